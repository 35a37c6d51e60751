//! Paths of the workspace.

use std::env;
use std::path::{Path, PathBuf};

use super::process::program;

/// Returns the root of the workspace in which this xtask was built.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Returns cargo's target directory.
pub(crate) fn target() -> PathBuf {
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(folder)
}

/// Returns a command for the cargo that runs this xtask, in the workspace root.
pub(crate) fn cargo() -> std::process::Command {
    let mut command = program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}
