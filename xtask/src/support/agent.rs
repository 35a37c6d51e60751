//! The agent as users run it: built in release, wherever cargo puts it.

use std::path::PathBuf;

use anyhow::Result;

use super::process::{run, say};
use super::workspace;

/// Builds vipd, with cargo's own progress on the terminal, and returns the program.
pub(crate) fn build(verb: &str) -> Result<PathBuf> {
    say(verb, "building vipd in release");
    run(workspace::cargo().args(["build", "--release", "--locked", "--package", "vipd"]))?;
    Ok(path())
}

/// Where the program is once it is built.
pub(crate) fn path() -> PathBuf {
    workspace::target().join("release/vipd")
}
