//! `cargo xtask docs`: builds the book and checks the documentation.

mod book;
#[cfg(test)]
mod commands;
mod html;
mod links;
mod pages;
mod spelling;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use vipd_tests::markdown::documents;

use crate::support::process::{self, ask, program, run as run_command};
use crate::support::workspace;
use pages::Pages;

/// Version of mdBook that the book is built with. Its theme's variables are used in
/// `docs/book.css`.
const MDBOOK_VERSION: &str = "0.5.4";

/// Build the book into target/book, and check links and spelling
///
/// Installs mdBook into target/tools, and codespell from Debian, if they are missing. Copies the
/// pages listed in `docs/SUMMARY.md` to target/book-source, rewrites their links to other files of
/// the repository, and builds the book. Checks the links and anchors in the documents and in the
/// book, and the spelling of documents and source code. The tests of xtask and vipd check links,
/// configurations and command lines in the documents without building the book.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs `cargo xtask docs`.
pub(crate) fn run(_: &Args) -> Result<()> {
    let root = workspace::root();
    let documents = documents(root)?;
    let pages = Pages::new(root, &documents)?;
    let mut problems = links::check(root, &documents);
    problems.extend(pages.missing(&documents));
    report("the documents", &problems)?;
    spelling::check()?;

    let mdbook = mdbook()?;
    let source = workspace::target().join("book-source");
    let book = workspace::target().join("book");
    book::write_source(root, &documents, &pages, &source)?;
    run_command(program(mdbook).arg("build").arg(&source).arg("--dest-dir").arg(&book))?;
    report("the book", &html::check(&book)?)?;
    progress(format_args!("the book is in {}", book.join("index.html").display()));
    Ok(())
}

/// Prints the problems, and fails if there are any.
fn report(subject: &str, problems: &[String]) -> Result<()> {
    for problem in problems {
        eprintln!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        count => bail!("{count} problems in {subject}"),
    }
}

/// Returns the path of mdBook, which is installed if it is missing or has another version.
fn mdbook() -> Result<PathBuf> {
    let root = workspace::target().join("tools");
    let path = root.join("bin/mdbook");
    if ask(program(&path).arg("--version"))
        .is_some_and(|text| text.trim() == format!("mdbook v{MDBOOK_VERSION}"))
    {
        return Ok(path);
    }
    progress(format_args!("installing mdBook {MDBOOK_VERSION} from crates.io; takes a few minutes"));
    let mut cargo = workspace::cargo();
    cargo.args(["install", "mdbook", "--locked", "--version", MDBOOK_VERSION]);
    // Without the web server of `mdbook serve`.
    cargo.args(["--no-default-features", "--features", "search"]).arg("--root").arg(&root);
    run_command(&mut cargo).with_context(|| format!("cannot install mdBook {MDBOOK_VERSION}"))?;
    Ok(path)
}

fn progress(message: impl std::fmt::Display) {
    process::progress("docs", message);
}
