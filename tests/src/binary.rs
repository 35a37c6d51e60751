//! The vipd under test.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::agent::AgentKind;

/// Environment variable with the path of the vipd under test; `cargo xtask test` sets it.
const VARIABLE: &str = "VIPD_BIN";

/// Returns the path in `VIPD_BIN`.
///
/// # Errors
/// When the variable is unset or does not name a file.
pub fn vipd_binary() -> Result<PathBuf> {
    let path = env::var_os(VARIABLE).map(PathBuf::from);
    let path = path.context("VIPD_BIN, the path of the vipd to test, is not set; run `cargo xtask test`")?;
    ensure!(path.is_file(), "VIPD_BIN is {}, which is not a file; run `cargo xtask test`", path.display());
    Ok(path)
}

/// Returns the vipd under test as an agent for a lab node.
///
/// # Errors
/// As [`vipd_binary`].
pub fn vipd() -> Result<AgentKind> {
    vipd_binary().map(AgentKind::Vipd)
}
