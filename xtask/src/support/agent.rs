//! Builds vipd in release mode.

use std::path::PathBuf;

use anyhow::Result;

use super::process::{progress, run};
use super::workspace;

/// Builds vipd and returns its path. cargo shows its progress on the terminal.
pub(crate) fn build(verb: &str) -> Result<PathBuf> {
    progress(verb, "building vipd (release)");
    run(workspace::cargo().args(["build", "--release", "--locked", "--package", "vipd"]))?;
    Ok(path())
}

/// Returns the path of the release build.
pub(crate) fn path() -> PathBuf {
    workspace::target().join("release/vipd")
}
