//! Failures of a master.
//!
//! A scenario starts two agents, waits until the preferred agent (node 1) is master and answers the
//! client's ping, makes that master fail, and waits for the reaction that the protocol requires.
//! All measurements are taken at the switch and at the client, in the same way for each
//! implementation.

mod crash;
mod cut;
mod pause;
mod r#return;
mod stage;
mod stop;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::agent::AgentKind;
use crate::arp::Neighbor;
use crate::probe::Probes;
use crate::process::LogLine;
use crate::protocol::Version;
use crate::station::Station;
use crate::time::WallTime;

use stage::Stage;

/// The preferred node, which is master at the start of every scenario.
pub const PREFERRED: Station = Station::Node(1);
/// The other node, which is backup at the start.
pub const BACKUP: Station = Station::Node(2);

/// A failure of the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// The agent is killed (SIGKILL).
    Crash,
    /// The agent is killed, and restarted once the backup has taken over.
    Return,
    /// The link is cut, and restored once the backup has taken over.
    Cut,
    /// The agent is shut down (SIGTERM) and sends a priority-0 advert.
    Stop,
    /// The agent is suspended (SIGSTOP), and resumed (SIGCONT) once the backup has taken over.
    Pause,
}

impl Scenario {
    /// All scenarios, simplest first.
    pub const ALL: [Self; 5] = [Self::Crash, Self::Return, Self::Cut, Self::Stop, Self::Pause];

    /// Returns the scenario's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Return => "return",
            Self::Cut => "cut",
            Self::Stop => "stop",
            Self::Pause => "pause",
        }
    }

    /// Returns a one-line description.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Crash => "the master's agent is killed with SIGKILL",
            Self::Return => "the master's agent is killed with SIGKILL, then restarted",
            Self::Cut => "the master's cable is cut, then reconnected",
            Self::Stop => "the master's agent is shut down with SIGTERM",
            Self::Pause => "the master's agent is suspended with SIGSTOP, then resumed",
        }
    }

    /// Plays the scenario in a new lab.
    ///
    /// # Errors
    /// Returns an error if the lab cannot be created, an agent does not start, the required
    /// reaction does not occur, or the measurement fails, for example because the capture lost
    /// frames. If the reaction does not occur, the error contains both agents' logs.
    pub fn play(self, setup: &Setup) -> Result<Outcome> {
        self.play_with_progress(setup, &mut |_| {})
    }

    /// Like [`Scenario::play`], but reports each action and wait to `watch`. A wait can
    /// last more than twice Active_Down_Interval, so callers should show progress.
    ///
    /// # Errors
    /// See [`Scenario::play`].
    pub fn play_with_progress(self, setup: &Setup, watch: &mut dyn FnMut(&str)) -> Result<Outcome> {
        let mut stage = Stage::open(setup, watch)?;
        let played = match self {
            Self::Crash => crash::play(&mut stage),
            Self::Return => r#return::play(&mut stage),
            Self::Cut => cut::play(&mut stage),
            Self::Stop => stop::play(&mut stage),
            Self::Pause => pause::play(&mut stage),
        };
        match played {
            Ok(()) => stage.close(self),
            Err(error) => Err(error.context(format!("scenario {self}; logs:\n{}", stage.log_text()))),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|scenario| scenario.name() == name) {
            Some(scenario) => Ok(scenario),
            None => {
                bail!("unknown scenario {name:?}: expected one of {}", Self::ALL.map(Self::name).join(", "))
            }
        }
    }
}

/// The agents and their configuration. [`Setup::new`] sets the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Agent on [`PREFERRED`].
    pub preferred: AgentKind,
    /// Agent on [`BACKUP`].
    pub backup: AgentKind,
    /// Protocol version of both agents.
    pub version: Version,
    /// Advertisement interval of both agents.
    pub interval: Duration,
    /// Whether the preferred node preempts a lower-priority master.
    pub preempt: bool,
    /// Priority of the preferred node.
    pub preferred_priority: u8,
    /// Priority of the backup, which determines its takeover deadline.
    pub backup_priority: u8,
    /// Interval of the client's pings.
    pub ping_spacing: Duration,
}

impl Setup {
    /// Creates a setup with VRRPv3, the minimum interval of 10 ms, preemption, priorities 200 and
    /// 100, and a ping every millisecond.
    pub fn new(preferred: AgentKind, backup: AgentKind) -> Self {
        Self {
            preferred,
            backup,
            version: Version::V3,
            interval: Duration::from_millis(10),
            preempt: true,
            preferred_priority: 200,
            backup_priority: 100,
            ping_spacing: Duration::from_millis(1),
        }
    }

    /// Returns the priority of a node.
    fn priority(&self, station: Station) -> u8 {
        if station == PREFERRED { self.preferred_priority } else { self.backup_priority }
    }

    /// Returns which agent runs on a node.
    pub fn kind(&self, station: Station) -> &AgentKind {
        if station == PREFERRED { &self.preferred } else { &self.backup }
    }
}

/// A change of master, as observed at the switch.
#[derive(Debug, Clone, PartialEq)]
pub struct Takeover {
    /// Time of the event that caused the takeover.
    pub cause: WallTime,
    /// The master before the takeover.
    pub old: Station,
    /// The master after the takeover.
    pub new: Station,
    /// t0: the old master's last advert before the new master's first advert.
    pub last_advert: WallTime,
    /// t1: the new master's first advert.
    pub first_advert: WallTime,
    /// t2: the new master's first gratuitous ARP.
    pub first_garp: WallTime,
    /// t3: the new master's first reply to the client's ping.
    pub first_answer: WallTime,
    /// Protocol deadline for t1, relative to t0; `None` if the old master did not stop sending
    /// adverts.
    pub deadline: Option<Duration>,
    /// Number of gratuitous ARPs that the new master sent from [`Takeover::cause`] to
    /// [`Takeover::observed`].
    pub garps: usize,
    /// Number of adverts that the old master sent after the new master's first advert.
    pub crossed: usize,
    /// End of the observation.
    pub observed: WallTime,
    /// The client's neighbor entry for the VIP before [`Takeover::cause`].
    pub arp_before: Option<Neighbor>,
    /// The client's neighbor entry for the VIP at the end of the observation.
    pub arp_after: Option<Neighbor>,
}

impl Takeover {
    /// Returns the milliseconds from the old master's last advert to the new master's first advert
    /// (t1 - t0).
    pub fn silence(&self) -> f64 {
        self.first_advert.millis_since(self.last_advert)
    }

    /// Returns the milliseconds from the deadline to the new master's first advert; negative if the
    /// advert was early.
    pub fn lateness(&self) -> Option<f64> {
        self.deadline.map(|deadline| self.silence() - crate::time::millis(deadline))
    }

    /// Returns `t2 - t1`: the milliseconds from the new master's first advert to its first
    /// gratuitous ARP.
    pub fn announcement(&self) -> f64 {
        self.first_garp.millis_since(self.first_advert)
    }

    /// Returns the milliseconds from the new master's first advert to its first ping reply (t3 -
    /// t1).
    pub fn service(&self) -> f64 {
        self.first_answer.millis_since(self.first_advert)
    }
}

/// An action of the scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Time of the action.
    pub time: WallTime,
    /// Description for the report.
    pub text: String,
}

/// The result of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The scenario that was played.
    pub scenario: Scenario,
    /// The agents and their configuration.
    pub setup: Setup,
    /// Actions, in chronological order.
    pub events: Vec<Event>,
    /// Changes of master, in chronological order; the first is the failover.
    pub takeovers: Vec<Takeover>,
    /// The client's pings, from before the first action to the end.
    pub probes: Probes,
    /// Log lines of both agents, in chronological order.
    pub log: Vec<(Station, LogLine)>,
    /// Output of vipd commands at the end, from the nodes that run vipd.
    pub views: Vec<View>,
}

/// Output of a vipd command on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Node on which the command ran.
    pub station: Station,
    /// The command, `vipd status` or `vipd stats`.
    pub command: &'static str,
    /// Standard output.
    pub text: String,
}

impl Outcome {
    /// Returns the client's pings from shortly before [`Takeover::cause`] to
    /// [`Takeover::observed`].
    pub fn probes_around(&self, takeover: &Takeover) -> Probes {
        // Starts early enough to include the last reply before the gap.
        let before = 10 * self.setup.ping_spacing;
        let (cause, end) = (takeover.cause, takeover.observed);
        let within = |sent: WallTime| sent + before >= cause && sent <= end;
        Probes(self.probes.0.iter().filter(|probe| within(probe.sent)).copied().collect())
    }
}
