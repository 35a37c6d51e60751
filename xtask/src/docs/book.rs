//! The source of the book: pages with rewritten links, their pictures, and mdBook's configuration.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use vipd_tests::markdown::Document;

use super::links::Target;
use super::pages::{self, Pages, is_asset, path_in_book};

/// Files in docs that configure mdBook.
const CONFIGURATION: [&str; 2] = ["book.toml", "book.css"];

/// Writes the source of the book to the directory `to`, which is replaced.
pub(super) fn write_source(root: &Path, documents: &[Document], pages: &Pages, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    for name in CONFIGURATION {
        copy(&root.join("docs").join(name), &to.join(name))?;
    }
    let to = to.join("src");
    for document in documents {
        let Some(path) = pages.get(&document.path) else { continue };
        let mut text = rewrite(document, pages);
        if document.path == Path::new(pages::SUMMARY) {
            text = with_scenarios(&text, documents);
        }
        write(&to.join(path), &text)?;
        let targets = document.links.iter().filter_map(|link| Target::of(&document.path, &link.destination));
        for asset in targets.map(|target| target.path).filter(|path| is_asset(path)) {
            copy(&root.join(&asset), &to.join(path_in_book(&asset)))?;
        }
    }
    Ok(())
}

/// Returns the text of the document with its links rewritten for the book.
fn rewrite(document: &Document, pages: &Pages) -> String {
    let mut text = document.text.clone();
    let mut changes: Vec<_> = document
        .links
        .iter()
        .filter_map(|link| Some((link.range.clone()?, pages.destination(&document.path, &link.destination)?)))
        .collect();
    changes.sort_by_key(|(range, _)| range.start);
    // From the end, so that earlier ranges remain valid.
    for (range, destination) in changes.into_iter().rev() {
        text.replace_range(range, &destination);
    }
    text
}

/// Adds a chapter for each scenario below the page about scenarios.
fn with_scenarios(summary: &str, documents: &[Document]) -> String {
    let parent = format!("({})", path_in_book(Path::new(pages::SCENARIOS)).display());
    let mut lines = Vec::new();
    for line in summary.lines() {
        lines.push(line.to_owned());
        if line.ends_with(&parent) {
            let indent = " ".repeat(line.len() - line.trim_start().len() + 2);
            lines.extend(pages::scenarios(documents).map(|scenario| {
                format!("{indent}- [{}]({})", scenario.title, path_in_book(&scenario.path).display())
            }));
        }
    }
    lines.join("\n") + "\n"
}

fn write(path: &Path, text: &str) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    fs::create_dir_all(path.parent().with_context(cannot)?).with_context(cannot)?;
    fs::write(path, text).with_context(cannot)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let cannot = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to.parent().with_context(cannot)?).with_context(cannot)?;
    fs::copy(from, to).map(drop).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use vipd_tests::markdown::Document;

    use super::super::pages::Pages;
    use super::{rewrite, with_scenarios, write_source};
    use crate::support::workspace;

    #[test]
    fn links_are_rewritten_in_place() {
        let summary = Document::parse("docs/SUMMARY.md".into(), "[A](a.md)\n[B](../README.md)\n".into());
        let text =
            "# A\n\n![x](x.svg), [`b`](../README.md#b), [c](../Cargo.toml), [d](#a), [e](https://e.org/)\n";
        let documents = [summary, Document::parse("docs/a.md".into(), text.into())];
        let pages = Pages::new(workspace::root(), &documents).expect("pages");
        assert_eq!(
            rewrite(&documents[1], &pages),
            "# A\n\n![x](x.svg), [`b`](index.md#b), [c](https://github.com/vipd/vipd/blob/main/Cargo.toml), \
             [d](a.md#a), [e](https://e.org/)\n"
        );
    }

    #[test]
    fn scenarios_are_chapters_below_their_page() {
        let scenario = Document::parse("tests/conformance/r1-ttl.md".into(), "# A TTL\n".into());
        let summary = "- [One](one.md)\n  - [Scenarios](conformance/index.md)\n- [Two](two.md)\n";
        assert_eq!(
            with_scenarios(summary, &[scenario]),
            "- [One](one.md)\n  - [Scenarios](conformance/index.md)\n    - [A TTL](conformance/r1-ttl.md)\n- [Two](two.md)\n"
        );
    }

    #[test]
    fn pictures_are_copied() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let summary = Document::parse("docs/SUMMARY.md".into(), "[A](a.md)\n".into());
        let page = Document::parse("docs/a.md".into(), "![x](bench/cpu.svg)\n".into());
        let documents = [summary, page];
        let pages = Pages::new(workspace::root(), &documents).expect("pages");
        write_source(workspace::root(), &documents, &pages, directory.path()).expect("source");
        let read = |name| fs::read_to_string(directory.path().join(name)).expect(name);
        let original = fs::read_to_string(workspace::root().join("docs/bench/cpu.svg")).expect("picture");
        assert_eq!(read("src/bench/cpu.svg"), original);
        assert!(directory.path().join("book.toml").exists());
    }
}
