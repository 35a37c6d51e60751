//! cargo-nextest, which runs the tests.

use std::process::Command;

use anyhow::Result;

use super::process::{ask, run, say};
use super::workspace;

/// The version that is installed where there is none; any other that is installed is used as it is.
const VERSION: &str = "0.9.151";

/// Installs cargo-nextest from crates.io if it is missing: some minutes, once a machine.
pub(crate) fn ensure_installed(verb: &str) -> Result<()> {
    if ask(workspace::cargo().args(["nextest", "--version"])).is_some() {
        return Ok(());
    }
    say(verb, format_args!("installing cargo-nextest {VERSION} from crates.io, which takes some minutes"));
    run(workspace::cargo().args(["install", "--locked", "cargo-nextest", "--version", VERSION]))
}

/// `cargo nextest run`.
pub(crate) fn command() -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["nextest", "run", "--locked"]);
    cargo
}
