//! The agent's release program, built first.

use std::path::PathBuf;

use anyhow::Result;

use super::process::{run, say};
use super::workspace;

/// Builds vipd in release and returns where it is.
pub(crate) fn build(verb: &str) -> Result<PathBuf> {
    say(verb, "building vipd in release");
    run(workspace::cargo().args(["build", "--release", "--locked", "--package", "vipd"]))?;
    Ok(workspace::target().join("release/vipd"))
}
