//! Facts about this host and its segments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::process::Process;
use crate::config::{Config, Instance};
use crate::control::model::{InstanceStatus, StatsReport, StatusReport};
use crate::netlink::sysctl::Changed;
use crate::netlink::{Address, LinkFacts};
use crate::observe::{Obstacle, Survey};
use crate::process::ClockState;

/// Everything that was observed.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) host: Host,
    /// Path of the configuration file.
    pub(crate) path: String,
    /// The configuration, or why it cannot be used, one line for each error.
    pub(crate) config: Result<Config, Vec<String>>,
    pub(crate) agent: Agent,
    /// The interfaces of this host, by name.
    pub(crate) interfaces: BTreeMap<String, Interface>,
    /// The observations of the VRRP interfaces, by name.
    pub(crate) wire: BTreeMap<String, Wire>,
}

/// Facts about the host and its processes.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Kernel release, as printed by `uname -r`.
    pub(crate) kernel: String,
    /// The reason why this process could not run the agent, for example missing capabilities.
    pub(crate) obstacle: Option<String>,
    /// Names and IDs of the other processes with raw sockets for VRRP.
    pub(crate) daemons: Vec<(String, u32)>,
    /// Names (runtime directories) of the agents that run in this network namespace.
    pub(crate) agents: BTreeSet<String>,
    /// Names of dead agents whose BPF programs are pinned, or why the pins cannot be listed.
    pub(crate) dead_agents: Result<Vec<String>, String>,
    /// Each dead agent with attached BPF programs whose pins this process cannot see, and the names
    /// of the programs' interfaces; or why the programs cannot be listed, usually because this
    /// process lacks CAP_SYS_ADMIN.
    pub(crate) hidden_programs: Result<Vec<(String, Vec<String>)>, String>,
    /// Routes and policy rules with vipd's mark, or why they cannot be read.
    pub(crate) routing: Result<Vec<String>, String>,
    pub(crate) clock: Clock,
}

/// The wall clock.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// State of the clock, or why it cannot be read.
    pub(crate) state: Result<ClockState, String>,
    /// Change of the wall clock relative to the monotonic clock during the observation, in
    /// nanoseconds: positive if it was set forward, negative if it was set back.
    pub(crate) step: i64,
    /// Duration of the observation.
    pub(crate) duration: Duration,
}

/// The agent that uses the runtime directory given on the command line. The strings are errors of
/// the control client.
#[derive(Debug)]
pub(crate) enum Agent {
    /// No agent is running.
    NotRunning(String),
    /// The agent does not answer in time.
    Silent(String, Option<Process>),
    /// The agent cannot be queried, for example because it refuses access.
    NotQueried(String),
    /// The agent answers.
    Running(Box<Running>),
}

/// Reports of a running agent.
#[derive(Debug)]
pub(crate) struct Running {
    /// Status at the end of the observation.
    pub(crate) status: StatusReport,
    /// Counters at the beginning and at the end of the observation.
    pub(crate) before: StatsReport,
    pub(crate) after: StatsReport,
    /// Process of the agent; `None` if it is not visible, or was replaced by `vipd upgrade`.
    pub(crate) process: Option<Process>,
}

/// An interface of the host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interface {
    pub(crate) link: LinkFacts,
    pub(crate) addresses: Vec<Address>,
    /// Driver and cost of native XDP; `None` if the cost is unknown or there is none.
    pub(crate) native_cost: Option<(String, &'static str)>,
    /// Whether the NIC removes VLAN tags.
    pub(crate) removes_tags: bool,
    /// Whether the interface was a member of the VRRP groups (IPv4, IPv6) before the observation
    /// began.
    pub(crate) is_member: [bool; 2],
    /// Effective `net.ipv4.conf.IF.arp_ignore` and `rp_filter`.
    pub(crate) arp_ignore: u32,
    pub(crate) rp_filter: u32,
    /// Whether `net.ipv6.conf.IF.disable_ipv6` is set.
    pub(crate) is_ipv6_disabled: bool,
    /// For a macvlan of an agent, or its parent: the sysctls that do not have the required values.
    pub(crate) changed_sysctls: Vec<Changed>,
}

/// The observation of an interface.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Packets that were observed, or the error.
    pub(crate) survey: Result<Survey, String>,
    pub(crate) duration: Duration,
    /// Watched addresses whose MACs were not requested, because the time was too short.
    pub(crate) unasked: BTreeSet<IpAddr>,
    /// The reason why adverts that an XDP program drops are not visible.
    pub(crate) obstacle: Option<Obstacle>,
}

impl Facts {
    /// Returns the configured instances; empty if the configuration is not valid.
    pub(crate) fn instances(&self) -> &[Arc<Instance>] {
        self.config.as_ref().map(|config| config.instances.as_slice()).unwrap_or_default()
    }

    /// Returns the reports of the agent; `None` unless it is running and answers.
    pub(crate) fn running(&self) -> Option<&Running> {
        match &self.agent {
            Agent::Running(running) => Some(running),
            Agent::NotRunning(_) | Agent::Silent(..) | Agent::NotQueried(_) => None,
        }
    }

    /// Returns the running agent's status of an instance.
    pub(crate) fn status_of(&self, instance: &str) -> Option<&InstanceStatus> {
        self.running()?.status.instances.iter().find(|status| status.name == instance)
    }

    /// Returns the VRRP interfaces, each once.
    pub(crate) fn vrrp_interfaces(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.instances().iter().map(|one| one.interface.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns the observation of an interface, if it succeeded.
    pub(crate) fn survey(&self, interface: &str) -> Option<&Survey> {
        self.wire.get(interface)?.survey.as_ref().ok()
    }
}
