//! `vipd run`.

use std::path::Path;

use anyhow::Context as _;

use super::args::ConfigArgs;
use super::logging;
use crate::config::Config;
use crate::process::{AgentLock, Signals};
use crate::service;

/// First performs all checks without side effects; then removes stale VIPs of a killed agent before
/// any step that may fail.
pub(super) fn run(args: &ConfigArgs, runtime_dir: &Path) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    // Before the first thread, and before any step that a signal must not interrupt.
    let signals = Signals::block().context("cannot open a file descriptor for signals")?;
    let log = logging::init();
    if let Err(error) = service::check_privileges().and_then(|()| service::check_open_files(&config)) {
        return log.and(Err(error));
    }
    let lock = AgentLock::acquire(runtime_dir)?;
    service::remove_stale_addresses(&config);
    let _guard = log?;
    for warning in &config.warnings {
        tracing::warn!("{}:{warning}", args.config.display());
    }
    service::run(&config, &lock, runtime_dir, signals)
}
