//! The vipd under test.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::agent::AgentKind;

/// Names the vipd under test; `cargo xtask test` sets it to the release build it has made.
const VARIABLE: &str = "VIPD_BIN";

/// The vipd that `VIPD_BIN` names.
///
/// # Errors
/// When the variable is unset or names no file; the message says what to run.
pub fn vipd_binary() -> Result<PathBuf> {
    let path = env::var_os(VARIABLE).map(PathBuf::from);
    let path =
        path.context("VIPD_BIN does not say which vipd to test: run `cargo xtask test`, which sets it")?;
    ensure!(
        path.is_file(),
        "VIPD_BIN is {}, and there is no such file: run `cargo xtask test`, which builds vipd and sets it",
        path.display()
    );
    Ok(path)
}

/// The vipd under test as an agent for a lab's node.
///
/// # Errors
/// As [`vipd_binary`].
pub fn vipd() -> Result<AgentKind> {
    vipd_binary().map(AgentKind::Vipd)
}
