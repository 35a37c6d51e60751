//! Faults of a master's processes.

use std::fmt;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use vipd_tests::agent::{Agent, AgentKind};

/// A fault of a master's processes. The fault affects neither the link nor the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL to the process that runs VRRP.
    Kill,
    /// SIGSTOP to all processes of the agent.
    Stop,
    /// A crash: SIGABRT to the process that runs VRRP. keepalived's process receives SIGSEGV,
    /// because it ignores a SIGABRT from another process.
    Abort,
    /// SIGKILL to all processes of the agent, as a service manager kills a control group.
    KillAll,
}

impl Fault {
    /// All faults.
    pub(crate) const ALL: [Self; 4] = [Self::Kill, Self::Stop, Self::Abort, Self::KillAll];

    /// Returns a description: the signal and the processes that receive it.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL to the process that runs VRRP",
            Self::Stop => "SIGSTOP to all processes of the agent",
            Self::Abort => "SIGABRT to the process that runs VRRP (keepalived: SIGSEGV)",
            Self::KillAll => "SIGKILL to all processes of the agent",
        }
    }

    /// Applies the fault to an agent running under an init process.
    ///
    /// # Errors
    /// Returns an error if the agent is not running.
    pub(super) fn strike(self, agent: &mut Agent) -> Result<()> {
        match self {
            Self::Kill => signal(agent, Signal::KILL),
            Self::Stop => agent.pause(),
            Self::Abort if *agent.kind() == AgentKind::Keepalived => signal(agent, Signal::SEGV),
            Self::Abort => signal(agent, Signal::ABORT),
            Self::KillAll => agent.kill(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "SIGKILL",
            Self::Stop => "SIGSTOP",
            Self::Abort => "SIGABRT",
            Self::KillAll => "SIGKILL to all",
        })
    }
}

/// Sends a signal to the process that runs VRRP: vipd's main process or keepalived's child process.
/// keepalived's parent process is not signaled, because the child of a killed parent shuts down
/// cleanly.
fn signal(agent: &Agent, signal: Signal) -> Result<()> {
    let processes = agent.processes();
    let process = match agent.kind() {
        AgentKind::Vipd(_) => processes.first(),
        _ => processes.last(),
    };
    let process = *process.with_context(|| format!("{agent} has no processes"))?;
    let process = Pid::from_raw(process.try_into()?).context("the process ID is 0")?;
    kill_process(process, signal).with_context(|| format!("cannot send {signal:?} to {agent}"))
}
