//! The vipd under test.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::agent::AgentKind;

/// Environment variable with the path of the vipd under test, set by `cargo xtask test`.
const VARIABLE: &str = "VIPD_BIN";

/// Returns the path in `VIPD_BIN`.
///
/// # Errors
/// Returns an error if the variable is unset or does not name a file.
pub fn vipd_binary() -> Result<PathBuf> {
    let path = env::var_os(VARIABLE).map(PathBuf::from);
    let path = path
        .context("VIPD_BIN is not set; set it to the path of the vipd to test, or run `cargo xtask test`")?;
    ensure!(path.is_file(), "VIPD_BIN is {}, which is not a file; run `cargo xtask test`", path.display());
    Ok(path)
}

/// Returns the vipd under test as an agent for a lab node.
///
/// # Errors
/// See [`vipd_binary`].
pub fn vipd() -> Result<AgentKind> {
    vipd_binary().map(AgentKind::Vipd)
}
