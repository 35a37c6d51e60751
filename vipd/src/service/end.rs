//! The end of the agent: ends the engine and the guardian, and removes the remaining VIPs.

use std::thread;

use anyhow::{Context as _, anyhow};

use super::engine_thread::{EngineThread, Owner};
use super::supervisor::End;
use crate::engine::Remaining;
use crate::guardian::Guardian;

/// Ends this process's responsibility for the routers and their addresses.
pub(super) fn conclude(
    engine: EngineThread<'_>,
    served: thread::Result<anyhow::Result<End>>,
    guardian: Option<Guardian>,
) -> anyhow::Result<()> {
    match (engine.owner(), &served) {
        // The engine's thread ends with the process.
        (Owner::Predecessor, _) => returned(served).map(drop),
        // The VIPs must not stay.
        (Owner::EndedPredecessor, _) => {
            let unstarted = Err(anyhow!("the engine was not started"));
            wind_up(engine, unstarted, served, guardian)
                .context("cannot continue with the state of the previous process, so this process removes its VIPs and exits")
        }
        (Owner::ThisProcess, Ok(Ok(End::HandedOver))) => {
            // The engine has stopped, and the routers and their addresses belong to the successor,
            // which starts a guardian of its own.
            if let Some(guardian) = guardian {
                guardian.dismiss();
            }
            Ok(())
        }
        (Owner::ThisProcess, _) => wind_up(engine, Ok(Remaining::default()), served, guardian),
    }
}

/// Ends the engine and the guardian, and removes the VIPs that the engine did not remove.
/// `unstarted` is the result of an engine that has not been started.
fn wind_up(
    mut engine: EngineThread<'_>,
    unstarted: anyhow::Result<Remaining>,
    served: thread::Result<anyhow::Result<End>>,
    guardian: Option<Guardian>,
) -> anyhow::Result<()> {
    // Even after a panic or an error in the control thread, the engine must shut down the routers
    // and remove their addresses.
    let has_run = engine.stop();
    let (ended, withdrawn) = engine.result(unstarted);
    if let Some(guardian) = guardian {
        guardian.dismiss();
    }
    let served = returned(served).map(drop);
    // The cause first: if the engine has not run, the control thread's error is the cause.
    let result = if has_run { ended.and(served) } else { served.and(ended) };
    result.and(withdrawn)
}

/// Returns the result of the control thread, or an error if it has panicked.
fn returned(served: thread::Result<anyhow::Result<End>>) -> anyhow::Result<End> {
    served.unwrap_or_else(|_| Err(anyhow!("the control thread panicked; this is a bug in vipd")))
}
