//! Judges an episode from the captured frames and the changes that the lab has made.
//!
//! * `ownership`: once a new master's advert has reached an old owner, the old owner neither
//!   answers for the address nor announces it.
//! * `gaps`: no client waits for an answer longer than the faults allow.
//! * `takeover`: another node advertises within the protocol's deadline.
//! * `transitions`: a fault that keeps the masters causes no transition.
//! * `settled`: after all faults have ended, exactly one node answers for each address.
//!
//! The judge is a pure function of timestamped events; it uses no clock and no sockets.

mod gaps;
mod ownership;
mod settled;
mod takeover;
mod transitions;

use std::fmt;
use std::time::Duration;

use super::fault::Kind;
use super::observation::Observation;
use super::plan::Round;
use super::segment::{Router, Segment};
use super::stall::Stalls;
use crate::time::WallTime;

/// Allowed delays of packets and processes, in addition to the protocol's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Time within which a running process yields to a master that outranks it.
    pub reaction: Duration,
    /// Time within which the kernel fences an address after an advert has been sent to the node.
    pub kernel: Duration,
    /// Time added to the bounds of gaps and takeovers.
    pub margin: Duration,
    /// Time for which an attacker can replay adverts to a node that has missed them; zero without
    /// an attacker.
    pub replay: Duration,
    /// Whether a guardian is expected to send a priority-0 advert for a process that has died.
    pub guardian: bool,
    /// Time within which the guardian must send the priority-0 advert.
    pub priority_zero: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            reaction: Duration::from_millis(5),
            kernel: Duration::from_millis(2),
            margin: Duration::from_millis(400),
            replay: Duration::ZERO,
            guardian: true,
            priority_zero: Duration::from_millis(100),
        }
    }
}

impl Bounds {
    /// Returns the time by which an attacker may delay a takeover in this round. In a flood, a
    /// priority-0 advert may be lost, so that a backup waits for Active_Down_Interval. Other
    /// adverts may be lost, too, which adds a second Active_Down_Interval. Replays of adverts that
    /// a node has missed delay the takeover for as long as such replays are possible.
    fn attack(&self, round: Option<&Round>, router: &Router) -> Duration {
        let kinds = || round.iter().flat_map(|round| &round.faults).map(|fault| fault.kind);
        if self.replay.is_zero() || kinds().all(Kind::keeps_masters) {
            return Duration::ZERO;
        }
        let has_missed = kinds().any(Kind::may_lose_adverts);
        2 * router.longest_down() + if has_missed { self.replay } else { Duration::ZERO }
    }
}

/// An event of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A frame on the wire.
    Observation(Observation),
    /// A change that the lab has made.
    Mark(Mark),
}

/// A change that the lab has made, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Time of the change.
    pub time: WallTime,
    /// The change.
    pub change: Change,
}

/// A change that the judge must take into account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The state of the agent's process on a node has changed.
    Process(u8, Activity),
    /// The node's BPF programs were detached; adverts to the node may be lost until the agent has
    /// attached the programs again.
    Detached {
        /// The node.
        node: u8,
        /// End of the period in which adverts may be lost.
        until: WallTime,
    },
    /// A fault other than a partition has begun on its node.
    Struck {
        /// Index of the fault in its round.
        fault: usize,
    },
}

/// The state of an agent's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// The process runs.
    Running,
    /// The process is suspended or starved of CPU time.
    Suspended,
    /// The process does not exist.
    Dead,
}

/// An invariant that the judge checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// Once a new master's advert has reached an old owner, the old owner neither answers for the
    /// address nor announces it.
    Ownership,
    /// No gap between answers is longer than the faults allow.
    Gap,
    /// Another node takes over within the protocol's deadline, and the guardian of a killed master
    /// sends its priority-0 advert in time.
    Takeover,
    /// A fault that keeps the masters causes no transition.
    Transition,
    /// After all faults have ended, exactly one node answers.
    Settled,
}

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The violated invariant.
    pub invariant: Invariant,
    /// Index of the virtual router in the segment.
    pub router: usize,
    /// Time at which the violation became certain.
    pub time: WallTime,
    /// The finding and, except for [`Invariant::Ownership`], the expectation.
    pub text: String,
}

/// The result of a round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Violations, in chronological order.
    pub violations: Vec<Violation>,
    /// The longest gap between answers to the clients.
    pub longest_gap: Duration,
    /// The longest time from a fault, or from the failed master's last advert after the fault
    /// (except priority-0 adverts), to another node's advert.
    pub longest_takeover: Option<Duration>,
    /// Number of answers that reached the clients, except answers to pings at a node's switch port.
    pub answers: u64,
    /// Number of answers and announcements that old owners sent although they had to be silent.
    pub unlawful: u64,
}

/// The events of a round, and the periods that matter for judging them.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Events, in chronological order.
    pub events: &'a [Event],
    /// Start and end of the period in which the routers must be settled; the period ends with the
    /// round.
    pub settled: (WallTime, WallTime),
    /// Periods in which the machine was stalled.
    pub stalls: &'a Stalls,
}

/// The judge of an episode, which keeps its state from round to round.
#[derive(Debug)]
pub struct Judge {
    segment: Segment,
    bounds: Bounds,
    ownership: ownership::Ownership,
    gaps: gaps::Gaps,
}

impl Judge {
    /// Creates a judge for a segment on which no agent runs yet.
    pub fn new(segment: &Segment, bounds: Bounds) -> Self {
        Self {
            segment: segment.clone(),
            bounds,
            ownership: ownership::Ownership::new(segment, bounds),
            gaps: gaps::Gaps::new(segment.routers.len()),
        }
    }

    /// Judges a round. `None` stands for the start of an episode, in which any gap is allowed.
    pub fn judge(&mut self, round: Option<&Round>, observed: &Observed<'_>) -> Verdict {
        let Observed { events, settled: (from, to), stalls } = *observed;
        let mut verdict = Verdict::default();
        let mut settled = settled::Settled::new(self.segment.routers.len(), from);
        let mut takeovers = takeover::Takeovers::new(&self.segment, self.bounds, round);
        let allowed = |router: usize| {
            let gap = round.map(|round| round.gap(&self.segment.routers[router]));
            gap.map(|gap| gap + self.bounds.margin + self.bounds.attack(round, &self.segment.routers[router]))
        };
        let mut transitions = transitions::Transitions::new(&self.segment, round);
        let unlawful_before = self.ownership.unlawful;
        for event in events {
            // These two go first, because they need the ownership as it was before the event.
            takeovers.observe(event, &self.ownership);
            if let Event::Observation(observation) = event {
                verdict.violations.extend(transitions.observe(observation, &self.ownership, stalls));
            }
            verdict.violations.extend(self.ownership.observe(event, stalls));
            if let Event::Observation(observation) = event {
                settled.observe(observation);
                verdict.violations.extend(self.gaps.observe(observation, &allowed, stalls));
            }
        }
        verdict.violations.extend(takeovers.finish(to, stalls));
        verdict.violations.extend(self.gaps.finish(to, &allowed, stalls));
        verdict.violations.extend(settled.finish(to));
        verdict.violations.sort_by_key(|violation| violation.time);
        verdict.longest_takeover = takeovers.longest();
        (verdict.longest_gap, verdict.answers) = self.gaps.take_figures();
        verdict.unlawful = self.ownership.unlawful - unlawful_before;
        verdict
    }
}

impl Event {
    /// Returns the time at which the event occurred.
    pub fn time(&self) -> WallTime {
        match self {
            Self::Observation(observation) => observation.time,
            Self::Mark(mark) => mark.time,
        }
    }
}

impl Invariant {
    /// All invariants.
    pub const ALL: [Self; 5] = [Self::Ownership, Self::Gap, Self::Takeover, Self::Transition, Self::Settled];
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ownership => "never two owners",
            Self::Gap => "no long gap",
            Self::Takeover => "takeover in time",
            Self::Transition => "no other transition",
            Self::Settled => "one owner at rest",
        })
    }
}

#[cfg(test)]
mod tests;
