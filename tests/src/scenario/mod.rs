//! Failures of a master, each measured the same way.
//!
//! A scenario starts two agents, waits until the preferred one (node 1) is master and the client's
//! ping is answered, does something to it, and waits for what the protocol promises. What it
//! measures comes from the switch, where both agents look alike.

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
use crate::arp::Neighbour;
use crate::probe::Probes;
use crate::process::LogLine;
use crate::protocol::Version;
use crate::station::Station;
use crate::time::WallTime;

use stage::Stage;

/// The preferred node of every scenario, master at its start.
pub const PREFERRED: Station = Station::Node(1);
/// The other one.
pub const BACKUP: Station = Station::Node(2);

/// What happens to the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// The whole agent is killed (SIGKILL) and stays away.
    Crash,
    /// The whole agent is killed, and started again once the backup has taken over.
    Return,
    /// Its cable is cut, and mended once the backup has taken over.
    Cut,
    /// It is stopped (SIGTERM) and resigns.
    Stop,
    /// It is frozen (SIGSTOP), and thawed (SIGCONT) once the backup has taken over.
    Pause,
}

impl Scenario {
    /// All of them, the simplest first.
    pub const ALL: [Self; 5] = [Self::Crash, Self::Return, Self::Cut, Self::Stop, Self::Pause];

    /// The word for it on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Return => "return",
            Self::Cut => "cut",
            Self::Stop => "stop",
            Self::Pause => "pause",
        }
    }

    /// A sentence for a person.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Crash => "the master's agent is killed with SIGKILL",
            Self::Return => "the master's agent is killed with SIGKILL, then started again",
            Self::Cut => "the master's cable is cut, then mended",
            Self::Stop => "the master's agent is stopped with SIGTERM",
            Self::Pause => "the master's agent is frozen with SIGSTOP, then thawed",
        }
    }

    /// Plays it in a lab of its own.
    ///
    /// # Errors
    /// When the lab cannot be made, an agent does not start, or what the protocol promises does not
    /// come; the message has both agents' logs.
    pub fn play(self, setup: &Setup) -> Result<Outcome> {
        self.play_watched(setup, &mut |_| {})
    }

    /// Plays it, and says meanwhile what is done and what is waited for: some waits are as long as
    /// the protocol's deadlines, and a person wants to know that it is these.
    ///
    /// # Errors
    /// As [`Scenario::play`].
    pub fn play_watched(self, setup: &Setup, watch: &mut dyn FnMut(&str)) -> Result<Outcome> {
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
            Err(error) => Err(error.context(format!("scenario {self}; the logs:\n{}", stage.log_text()))),
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
                bail!("there is no scenario {name:?}: it is one of {}", Self::ALL.map(Self::name).join(", "))
            }
        }
    }
}

/// Who plays, and by which rules. [`Setup::new`] has the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Agent of [`PREFERRED`].
    pub preferred: AgentKind,
    /// Agent of [`BACKUP`].
    pub backup: AgentKind,
    /// Protocol version of both.
    pub version: Version,
    /// Advertisement interval of both.
    pub interval: Duration,
    /// Whether the preferred node takes over from a living master.
    pub preempt: bool,
    /// Priority of the preferred node.
    pub preferred_priority: u8,
    /// Priority of the backup, which its deadline depends on.
    pub backup_priority: u8,
    /// Time between two pings of the client.
    pub ping_spacing: Duration,
}

impl Setup {
    /// VRRPv3 every 10 ms, the shortest interval there is, with preemption, priorities 200 and 100,
    /// and a ping each millisecond.
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

    /// Priority of a scenario's node.
    fn priority(&self, station: Station) -> u8 {
        if station == PREFERRED { self.preferred_priority } else { self.backup_priority }
    }

    /// Agent of a scenario's node.
    pub fn kind(&self, station: Station) -> &AgentKind {
        if station == PREFERRED { &self.preferred } else { &self.backup }
    }
}

/// One change of master, as the switch saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Takeover {
    /// When its cause was made.
    pub cause: WallTime,
    /// The master before.
    pub old: Station,
    /// The master after.
    pub new: Station,
    /// t0: the old master's last advert before the new master's first.
    pub last_advert: WallTime,
    /// t1: the new master's first advert.
    pub first_advert: WallTime,
    /// t2: the new master's first gratuitous ARP.
    pub first_garp: WallTime,
    /// t3: the new master's first answer to the client's ping.
    pub first_answer: WallTime,
    /// What the protocol gives the new master from t0 to t1, where t0 is what starts its clock.
    pub deadline: Option<Duration>,
    /// Gratuitous ARPs of the new master until [`Takeover::observed`].
    pub garps: usize,
    /// Adverts of the old master after the new master's first: for so long there were two.
    pub crossed: usize,
    /// End of the observation.
    pub observed: WallTime,
    /// The client's neighbour entry for the virtual address before the cause.
    pub arp_before: Option<Neighbour>,
    /// And at the end of the observation.
    pub arp_after: Option<Neighbour>,
}

impl Takeover {
    /// Milliseconds from the old master's last advert to the new master's first (t1 - t0).
    pub fn silence(&self) -> f64 {
        self.first_advert.millis_since(self.last_advert)
    }

    /// Milliseconds the new master's first advert came after its deadline; negative if before.
    pub fn lateness(&self) -> Option<f64> {
        self.deadline.map(|deadline| self.silence() - crate::time::millis(deadline))
    }

    /// Milliseconds from the new master's first advert to its first gratuitous ARP (t2 - t1).
    pub fn announcement(&self) -> f64 {
        self.first_garp.millis_since(self.first_advert)
    }

    /// Milliseconds from the new master's first advert to its first answer (t3 - t1).
    pub fn service(&self) -> f64 {
        self.first_answer.millis_since(self.first_advert)
    }
}

/// Something the scenario did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub time: WallTime,
    /// What, in words.
    pub text: String,
}

/// What a scenario came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Which scenario.
    pub scenario: Scenario,
    /// Who played, and by which rules.
    pub setup: Setup,
    /// What was done, in order.
    pub events: Vec<Event>,
    /// The changes of master that followed, in order; the first is the failover.
    pub takeovers: Vec<Takeover>,
    /// The client's ping, from before the first event to the end.
    pub probes: Probes,
    /// What both agents logged, in order.
    pub log: Vec<(Station, LogLine)>,
    /// What vipd's own commands show at the end, where the node runs vipd.
    pub views: Vec<View>,
}

/// What a command of vipd's shows on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The node.
    pub station: Station,
    /// The command, `vipd status` or `vipd stats`.
    pub command: &'static str,
    /// What it printed.
    pub text: String,
}

impl Outcome {
    /// The client's ping around a takeover: from shortly before its cause to its observation's end.
    pub fn probes_around(&self, takeover: &Takeover) -> Probes {
        // So that a gap has the answer it begins with.
        let before = 10 * self.setup.ping_spacing;
        let (cause, end) = (takeover.cause, takeover.observed);
        let within = |sent: WallTime| sent + before >= cause && sent <= end;
        Probes(self.probes.0.iter().filter(|probe| within(probe.sent)).copied().collect())
    }
}
