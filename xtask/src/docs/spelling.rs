//! The spelling of documents and source code, checked by codespell.

use anyhow::{Context, Result, bail};

use super::progress;
use crate::support::process::{ask, output, program};
use crate::support::{debian, workspace};

/// Correct words that codespell would report, one per line.
const WORDS: &str = "docs/words.txt";
/// Git pathspecs of the files to check.
const FILES: [&str; 6] = ["*.md", "*.rs", "*.toml", "*.svg", "packaging/*", ":!*/fuzz/corpus/*"];

/// Checks the spelling of all documents and source files. Installs codespell if it is missing.
pub(super) fn check() -> Result<()> {
    if ask(program("codespell").arg("--version")).is_none() {
        debian::install("docs", &["codespell"])?;
    }
    // Include new files that have not been added to Git yet.
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"];
    let files = output(program("git").current_dir(workspace::root()).args(list).args(FILES))?;
    let files: Vec<_> = files.split_terminator('\0').collect();
    progress(format_args!("checking the spelling of {} files", files.len()));
    let mut codespell = program("codespell");
    codespell.current_dir(workspace::root()).args(["--ignore-words", WORDS]).args(files);
    let status = codespell.status().context("cannot start codespell")?;
    if !status.success() {
        bail!("misspelled words are listed above; correct them, or add correct words to {WORDS}");
    }
    Ok(())
}
