//! Installs and runs cargo-nextest, the test runner.

use std::process::Command;

use anyhow::Result;

use super::process::{ask, progress, run};
use super::workspace;

/// Version to install if cargo-nextest is missing. Any installed version is used as is.
const VERSION: &str = "0.9.151";

/// Installs cargo-nextest from crates.io if it is missing.
pub(crate) fn ensure_installed(verb: &str) -> Result<()> {
    if ask(workspace::cargo().args(["nextest", "--version"])).is_some() {
        return Ok(());
    }
    progress(verb, format_args!("installing cargo-nextest {VERSION} from crates.io; takes a few minutes"));
    run(workspace::cargo().args(["install", "--locked", "cargo-nextest", "--version", VERSION]))
}

/// Returns a `cargo nextest run` command.
pub(crate) fn command() -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["nextest", "run", "--locked"]);
    cargo
}
