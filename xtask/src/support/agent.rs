//! Release build of vipd.

use std::path::PathBuf;

use anyhow::Result;

use super::process::{run, say};
use super::workspace;

/// Builds vipd, with cargo's progress on the terminal, and returns its path.
pub(crate) fn build(verb: &str) -> Result<PathBuf> {
    say(verb, "building vipd (release)");
    run(workspace::cargo().args(["build", "--release", "--locked", "--package", "vipd"]))?;
    Ok(path())
}

/// Returns the path of the release build.
pub(crate) fn path() -> PathBuf {
    workspace::target().join("release/vipd")
}
