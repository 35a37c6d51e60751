//! The engine's thread, and the removal of the VIPs that a failed engine has left.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, anyhow};
use rustix::thread::CapabilitySet;

use super::configured::Configured;
use super::forward;
use super::successor::Heir;
use super::supervisor::EngineControl;
use crate::engine::command::Command;
use crate::engine::succession::Predecessor;
use crate::engine::{Engine, Handle, Remaining};
use crate::netlink::Requests;
use crate::process::capabilities::{ThreadKind, confine, with};
use crate::xdp::KernelLog;

/// The process to which the routers and their addresses belong.
pub(super) enum Owner {
    ThisProcess,
    /// The predecessor, which keeps running.
    Predecessor,
    /// The predecessor, which ended before this process was started.
    EndedPredecessor,
}

/// The engine, before its thread is started.
pub(super) struct Unstarted {
    pub(super) engine: Engine,
    pub(super) predecessor: Option<Predecessor>,
    /// Log of the BPF program.
    pub(super) kernel_log: Option<KernelLog>,
}

/// The state of a successor that determines to which process the routers belong.
pub(super) struct Inherited {
    /// Whether the engine has taken over.
    pub(super) has_taken_over: Arc<AtomicBool>,
    /// Whether this process is the main process of the service from its start, because the
    /// predecessor has ended.
    pub(super) is_main: bool,
}

/// Starts the engine's thread, and removes the VIPs that remain once it has ended.
pub(super) struct EngineThread<'a> {
    handle: &'a Handle,
    configured: &'a Configured,
    inherited: Option<Inherited>,
    state: State,
}

enum State {
    Unstarted(Box<Unstarted>),
    Running(JoinHandle<io::Result<Remaining>>),
    /// The thread has ended with this result; `None` if it could not be started, or if the engine
    /// was dropped before its thread was started.
    Ended(Option<anyhow::Result<Remaining>>),
}

impl<'a> EngineThread<'a> {
    /// `inherited` is `None` unless this process is a successor.
    pub(super) fn new(
        engine: Unstarted,
        inherited: Option<Inherited>,
        handle: &'a Handle,
        configured: &'a Configured,
    ) -> Self {
        Self { handle, configured, inherited, state: State::Unstarted(Box::new(engine)) }
    }

    /// Returns the process to which the routers and their addresses belong at present.
    pub(super) fn owner(&self) -> Owner {
        match &self.inherited {
            Some(inherited) if !Heir::has_taken_over(&inherited.has_taken_over) => {
                if inherited.is_main {
                    Owner::EndedPredecessor
                } else {
                    Owner::Predecessor
                }
            }
            _ => Owner::ThisProcess,
        }
    }

    /// Requests that the engine end, and waits until its thread has ended. If the engine failed,
    /// also removes its VIPs, routes and rules. Does nothing if this has already been done. An
    /// engine that has not been started is dropped. Returns whether the engine was started.
    pub(super) fn stop(&mut self) -> bool {
        match std::mem::replace(&mut self.state, State::Ended(None)) {
            State::Running(thread) => {
                self.handle.send(Command::Stop);
                let result = match thread.join() {
                    Ok(result) => result.context("the engine failed"),
                    Err(_) => Err(anyhow!("the engine panicked; this is a bug in vipd")),
                };
                if result.is_err() {
                    // Repeated at the end, because the threads that change addresses and routes may
                    // still complete the engine's last request.
                    let _ = self.withdraw(&result);
                }
                self.state = State::Ended(Some(result));
                true
            }
            State::Unstarted(_) => false,
            State::Ended(ended) => {
                let has_run = ended.is_some();
                self.state = State::Ended(ended);
                has_run
            }
        }
    }

    /// Removes the VIPs that remain, after [`stop`](Self::stop). An engine that has not been
    /// started is treated like one that has ended with the result `unstarted`. Returns the engine's
    /// result, and an error if VIPs may still remain.
    pub(super) fn result(
        mut self,
        unstarted: anyhow::Result<Remaining>,
    ) -> (anyhow::Result<()>, anyhow::Result<()>) {
        let result = match std::mem::replace(&mut self.state, State::Ended(None)) {
            State::Ended(Some(result)) => result,
            _ => unstarted,
        };
        let withdrawn = self.withdraw(&result);
        (result.map(drop), withdrawn)
    }

    fn withdraw(&self, result: &anyhow::Result<Remaining>) -> anyhow::Result<()> {
        with(CapabilitySet::NET_ADMIN, || withdraw_remaining(result, self.configured))
    }
}

impl EngineControl for EngineThread<'_> {
    fn start(&mut self) -> anyhow::Result<()> {
        let unstarted = match std::mem::replace(&mut self.state, State::Ended(None)) {
            State::Unstarted(unstarted) => unstarted,
            state => {
                self.state = state;
                return Ok(());
            }
        };
        let Unstarted { engine, predecessor, kernel_log } = *unstarted;
        forward(kernel_log)?;
        let thread = thread::Builder::new().name("engine".to_owned()).spawn(move || engine.run(predecessor));
        self.state = State::Running(thread.context("cannot start the engine thread")?);
        confine(ThreadKind::Control);
        Ok(())
    }

    fn ended(&mut self) {
        if let Owner::ThisProcess = self.owner() {
            self.stop();
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_of_the_engine_is_kept_until_the_end() {
        let (handle, commands) = Handle::without_engine().expect("a handle");
        let configured = Configured::default();
        let thread = thread::spawn(|| Err(io::Error::other("out of memory")));
        let state = State::Running(thread);
        let mut engine = EngineThread { handle: &handle, configured: &configured, inherited: None, state };
        engine.ended();
        assert!(matches!(commands.try_recv(), Ok(Command::Stop)));
        assert!(matches!(&engine.state, State::Ended(Some(_))), "the thread has been waited for");
        assert!(engine.stop(), "the engine has run");
        let (result, withdrawn) = engine.result(Ok(Remaining::default()));
        assert_eq!(format!("{:#}", result.expect_err("a failure")), "the engine failed: out of memory");
        withdrawn.expect("no VIPs are configured");
    }

    #[test]
    fn successor_that_has_not_taken_over_leaves_the_engine_alone() {
        let (handle, commands) = Handle::without_engine().expect("a handle");
        let configured = Configured::default();
        let thread = thread::spawn(|| Err(io::Error::other("the predecessor refuses")));
        let state = State::Running(thread);
        let inherited = Some(Inherited { has_taken_over: Arc::default(), is_main: false });
        let mut engine = EngineThread { handle: &handle, configured: &configured, inherited, state };
        engine.ended();
        assert!(commands.try_recv().is_err() && matches!(engine.state, State::Running(_)));
    }
}
