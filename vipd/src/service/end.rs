//! The end of the agent: ends the engine and the guardian, and removes the remaining VIPs.

use std::io;
use std::net::IpAddr;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, anyhow};
use rustix::thread::CapabilitySet;

use super::configured::Configured;
use super::supervisor::End;
use crate::engine::command::Command;
use crate::engine::{Handle, Remaining};
use crate::guardian::Guardian;
use crate::netlink::Requests;
use crate::process::capabilities::with;

/// The process to which the routers and their addresses belong.
pub(super) enum Owner {
    ThisProcess,
    /// The predecessor, which keeps running.
    Predecessor,
    /// The predecessor, which ended before this process was started.
    EndedPredecessor,
}

/// Ends this process's responsibility for the routers and their addresses.
pub(super) fn conclude(
    engine: &Handle,
    engine_thread: Option<JoinHandle<io::Result<Remaining>>>,
    owner: Owner,
    served: thread::Result<anyhow::Result<End>>,
    configured: &Configured,
    guardian: Option<Guardian>,
) -> anyhow::Result<()> {
    match (owner, &served) {
        // The engine's thread ends with the process.
        (Owner::Predecessor, _) => returned(served).map(drop),
        // The VIPs must not stay.
        (Owner::EndedPredecessor, _) => {
            let unstarted = Err(anyhow!("the engine was not started"));
            wind_up(engine, engine_thread, unstarted, served, configured, guardian)
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
        (Owner::ThisProcess, _) => {
            wind_up(engine, engine_thread, Ok(Remaining::default()), served, configured, guardian)
        }
    }
}

/// Ends the engine and the guardian, and removes the VIPs that the engine did not remove.
/// `unstarted` is the result of an engine that has not been started.
fn wind_up(
    engine: &Handle,
    engine_thread: Option<JoinHandle<io::Result<Remaining>>>,
    unstarted: anyhow::Result<Remaining>,
    served: thread::Result<anyhow::Result<End>>,
    configured: &Configured,
    guardian: Option<Guardian>,
) -> anyhow::Result<()> {
    // Even after a panic or an error in the control thread, the engine must shut down the routers
    // and remove their addresses.
    engine.send(Command::Stop);
    let has_run = engine_thread.is_some();
    let ended = engine_thread.map_or(unstarted, |thread| match thread.join() {
        Ok(result) => result.context("the engine failed"),
        Err(_) => Err(anyhow!("the engine panicked; this is a bug in vipd")),
    });
    let withdrawn = with(CapabilitySet::NET_ADMIN, || withdraw_remaining(&ended, configured));
    if let Some(guardian) = guardian {
        guardian.dismiss();
    }
    let (ended, served) = (ended.map(drop), returned(served).map(drop));
    // The cause first: if the engine has not run, the control thread's error is the cause.
    let result = if has_run { ended.and(served) } else { served.and(ended) };
    result.and(withdrawn)
}

/// Returns the result of the control thread, or an error if it has panicked.
fn returned(served: thread::Result<anyhow::Result<End>>) -> anyhow::Result<End> {
    served.unwrap_or_else(|_| Err(anyhow!("the control thread panicked; this is a bug in vipd")))
}

/// Removes the VIPs that may remain after the engine has ended. If the engine failed, or was not
/// started after the predecessor had ended, also removes the routes and rules of all instances.
///
/// # Errors
/// Returns an error if VIPs may still remain.
fn withdraw_remaining(ended: &anyhow::Result<Remaining>, configured: &Configured) -> anyhow::Result<()> {
    // The engine has added only VIPs of routers that have been master. Other VIPs may belong to
    // another agent and must stay. In case of an error, it is unknown which VIPs the engine or an
    // ended predecessor had added, so all configured VIPs are removed.
    match ended {
        Ok(Remaining { vips, .. }) if vips.is_empty() => Ok(()),
        Ok(Remaining { interfaces, vips }) => withdraw(interfaces, vips),
        Err(_) => {
            configured.remove_routing();
            let (interfaces, vips) = configured.interfaces_and_vips();
            withdraw(&interfaces, &vips)
        }
    }
}

/// Removes VIPs that the engine did not remove. A failure is also logged, because the agent may
/// exit with a different error.
///
/// # Errors
/// Returns an error if VIPs may remain.
fn withdraw(names: &[String], vips: &[IpAddr]) -> anyhow::Result<()> {
    let withdrawn = Requests::open().and_then(|mut requests| requests.withdraw(names, vips));
    withdrawn.map_err(|error| {
        tracing::error!(%error, "cannot remove the VIPs; remove them with `ip address del`");
        anyhow!(error).context("VIPs may remain after shutdown")
    })
}
