//! `vipd run`.

use std::path::Path;

use anyhow::Context as _;

use super::args::ConfigArgs;
use super::logging;
use crate::config::Config;
use crate::config::machine::Machine;
use crate::guardian;
use crate::process::{AgentLock, LockError, Signals, start_launcher};
use crate::service;

/// Runs the agent.
///
/// If systemd has kept the state of the previous process, continues with it. Otherwise, or if the
/// state cannot be continued, starts as described below.
///
/// After signals are blocked and the configuration has been loaded, ends the guardian of a killed
/// agent, if the lock can be acquired. Then claims the interfaces and removes stale VIPs, routes
/// and rules left by a killed agent, unless another agent with this runtime directory is running or
/// the holder of the lock cannot be determined. All other failures, such as a lock held by a
/// process of another user, are reported only after these steps.
pub(super) fn run(args: &ConfigArgs, runtime_dir: &Path) -> anyhow::Result<()> {
    // Must happen before the first thread starts and before any step that a signal must not
    // interrupt.
    let signals = Signals::block().context("cannot open a file descriptor for signals")?;
    let stored = service::take_stored();
    let config = match Config::load_protected(&args.config, &Machine::default()) {
        Ok(config) => config,
        Err(error) => {
            if let Some(stored) = stored {
                // If the log cannot be written, the VIPs are removed all the same.
                let _guard = logging::init();
                stored.abandon();
            }
            return Err(error.into());
        }
    };
    let log = logging::init();
    // A reload reports problems to clients, which may have another working directory.
    let path = std::path::absolute(&args.config).unwrap_or_else(|_| args.config.clone());
    if let Some(start) = stored.and_then(|stored| stored.prepare(&path, &config, runtime_dir)) {
        let _guard = log?;
        // Otherwise, its keys would stay in memory.
        drop(config);
        return start.run(signals);
    }
    // Also raises the limit on open files, which the next two steps rely on.
    let open_files = service::check_open_files(&config);
    let lock = AgentLock::acquire_patiently(runtime_dir);
    if let Ok(lock) = &lock {
        guardian::stand_down(lock.name());
    }
    let claims = match lock {
        Err(LockError::Taken { .. }) => service::Claims::new(),
        _ => service::claim_interfaces(&config, runtime_dir),
    };
    if let Err(error) = service::check_privileges().and(open_files) {
        return log.and(Err(error));
    }
    let lock = lock?;
    let _guard = log?;
    start_launcher().context("cannot start the thread that runs commands")?;
    let main = args.config.display().to_string();
    for warning in &config.warnings {
        tracing::warn!("{}", warning.in_file(&main));
    }
    service::run(config, &path, lock, claims, runtime_dir, signals)
}
