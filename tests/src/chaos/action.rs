//! The primitive actions of a plan. A fault is a sequence of actions.

use std::fmt;
use std::time::Duration;

use crate::time::millis;

/// An action on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sends a signal to vipd's main process, but not to its guardian. With keepalived, all
    /// processes receive the signal, or SIGKILL in place of SIGABRT and SIGSEGV.
    Signal(Sent),
    /// Kills all processes of the agent, as a service manager does with a control group.
    KillAll,
    /// Kills the guardian with SIGKILL, but not the agent.
    KillGuardian,
    /// Stops the agent with SIGTERM.
    Stop,
    /// Starts the agent, unless it is running.
    Start,
    /// Cuts the cable; the node loses its carrier.
    Cut,
    /// Reconnects the cable; the node regains its carrier.
    Reconnect,
    /// Impairs the node's link.
    Impair(Impairment),
    /// Ends the impairment.
    Repair,
    /// Moves the node to the other side of a partition, away from the clients.
    Part,
    /// Ends the partition for this node.
    Rejoin,
    /// Removes the VIP of a router, given by its index, as another tool would.
    RemoveAddress(usize),
    /// Detaches the agent's BPF programs.
    Detach,
    /// Fills the file system that contains the runtime directory.
    FillDisk,
    /// Frees the space in that file system.
    FreeDisk,
    /// Restricts the agent to one CPU, and keeps that CPU busy with a real-time thread of higher
    /// priority.
    Starve,
    /// Ends the starvation.
    Feed,
    /// Changes and reloads the configuration.
    Reload,
    /// Replaces the agent with a new process (`vipd upgrade`).
    Upgrade,
    /// Drains all instances.
    Drain,
    /// Ends the drain.
    Undrain,
    /// Hands mastership over to another node for all instances in Master.
    Failover,
}

/// A signal sent to the agent's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// SIGKILL.
    Kill,
    /// SIGABRT.
    Abort,
    /// SIGSEGV.
    Segfault,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
}

/// How a link is impaired. The default impairs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Impairment {
    /// Percentage of frames to the node that are lost.
    pub loss_to: u8,
    /// Percentage of frames from the node that are lost after capture.
    pub loss_from: u8,
    /// Delay of frames to the node.
    pub delay: Duration,
    /// Percentage of frames to the node that are not delayed, and so overtake others.
    pub reorder: u8,
    /// Percentage of frames to the node that arrive twice.
    pub duplicate: u8,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "{signal} to the agent"),
            Self::KillAll => f.write_str("SIGKILL to all processes of the agent"),
            Self::KillGuardian => f.write_str("SIGKILL to the guardian"),
            Self::Stop => f.write_str("SIGTERM to the agent"),
            Self::Start => f.write_str("start the agent"),
            Self::Cut => f.write_str("cut the cable"),
            Self::Reconnect => f.write_str("reconnect the cable"),
            Self::Impair(impairment) => write!(f, "impair the link: {impairment}"),
            Self::Repair => f.write_str("end the impairment"),
            Self::Part => f.write_str("partition from the client"),
            Self::Rejoin => f.write_str("end the partition"),
            Self::RemoveAddress(router) => write!(f, "remove the address of router {}", router + 1),
            Self::Detach => f.write_str("detach the BPF programs"),
            Self::FillDisk => f.write_str("fill the file system of the runtime directory"),
            Self::FreeDisk => f.write_str("free the file system of the runtime directory"),
            Self::Starve => f.write_str("starve the agent of CPU time"),
            Self::Feed => f.write_str("let the agent run"),
            Self::Reload => f.write_str("change the configuration and reload"),
            Self::Upgrade => f.write_str("upgrade"),
            Self::Drain => f.write_str("drain"),
            Self::Undrain => f.write_str("end the drain"),
            Self::Failover => f.write_str("hand over mastership"),
        }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "SIGKILL",
            Self::Abort => "SIGABRT",
            Self::Segfault => "SIGSEGV",
            Self::Stop => "SIGSTOP",
            Self::Continue => "SIGCONT",
        })
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loss_to, loss_from, delay, reorder, duplicate } = self;
        let percentages = [
            (loss_to, "to the node lost"),
            (loss_from, "from the node lost"),
            (reorder, "to the node overtake others"),
            (duplicate, "to the node duplicated"),
        ];
        let mut parts: Vec<_> = percentages
            .into_iter()
            .filter(|(value, _)| **value > 0)
            .map(|(value, text)| format!("{value} % of the frames {text}"))
            .collect();
        if !delay.is_zero() {
            parts.push(format!("{:.0} ms delay to the node", millis(*delay)));
        }
        f.write_str(&parts.join(", "))
    }
}
