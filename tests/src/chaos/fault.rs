//! The kinds of faults: their names, and the actions that make up each.
//!
//! A new kind needs a variant of [`Kind`], an entry in [`Kind::ALL`], an arm in the `match`
//! expressions of this file, and its bounds in `bound.rs`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::action::{Action, Impairment, Sent};
use super::segment::Segment;
use crate::agent::AgentKind;
use crate::random::Random;

/// Longest time for which an agent is starved of CPU time.
const LONGEST_STARVATION: Duration = Duration::from_secs(2);
/// Shortest length of a fault that does not end at once.
const SHORTEST: Duration = Duration::from_millis(20);

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The agent's process is killed, and started again later.
    Kill,
    /// All processes of the agent are killed, and the agent is started again later.
    KillAll,
    /// The guardian is killed.
    KillGuardian,
    /// The agent's process is killed, and started again at once.
    KillRestart,
    /// The agent is stopped with SIGTERM, and started again later.
    Restart,
    /// The agent crashes with SIGABRT, and is started again later.
    Abort,
    /// The agent crashes with SIGSEGV, and is started again later.
    Segfault,
    /// The agent is suspended and resumed.
    Pause,
    /// The agent gets no CPU time.
    Starve,
    /// The cable is cut and reconnected.
    Cut,
    /// The cable is cut and reconnected several times.
    Flap,
    /// Frames to the node are lost.
    LossTo,
    /// Frames from the node are lost.
    LossFrom,
    /// Frames to the node are delayed.
    Delay,
    /// Frames to the node arrive twice.
    Duplicate,
    /// At least half of the frames to the node are delayed; the remaining frames overtake them.
    Reorder,
    /// The segment is partitioned.
    Partition,
    /// A VIP is removed by another tool.
    RemoveAddress,
    /// The agent's BPF programs are detached.
    Detach,
    /// The file system that contains the runtime directory is full.
    FullDisk,
    /// The configuration is reloaded.
    Reload,
    /// The agent hands over to another process.
    Upgrade,
    /// The node is drained, and the drain ends later.
    Drain,
    /// The node hands over mastership to another node.
    Failover,
    /// No fault. Not in [`Kind::ALL`]: without `--faults calm`, played only with an attacker.
    Calm,
}

/// A step of a fault: an action on a node at a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Time since the start of the round.
    pub at: Duration,
    /// Node on which the action is carried out; for [`Action::RemoveAddress`], the first node that
    /// is searched for the address.
    pub node: u8,
    /// Action on the node, or the end of an earlier one.
    pub action: Action,
}

impl Kind {
    /// All kinds, except [`Kind::Calm`].
    pub const ALL: [Self; 24] = [
        Self::Kill,
        Self::KillAll,
        Self::KillGuardian,
        Self::KillRestart,
        Self::Restart,
        Self::Abort,
        Self::Segfault,
        Self::Pause,
        Self::Starve,
        Self::Cut,
        Self::Flap,
        Self::LossTo,
        Self::LossFrom,
        Self::Delay,
        Self::Duplicate,
        Self::Reorder,
        Self::Partition,
        Self::RemoveAddress,
        Self::Detach,
        Self::FullDisk,
        Self::Reload,
        Self::Upgrade,
        Self::Drain,
        Self::Failover,
    ];

    /// Returns the kind's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillAll => "kill-all",
            Self::KillGuardian => "kill-guardian",
            Self::KillRestart => "kill-restart",
            Self::Restart => "restart",
            Self::Abort => "abort",
            Self::Segfault => "segfault",
            Self::Pause => "pause",
            Self::Starve => "starve",
            Self::Cut => "cut",
            Self::Flap => "flap",
            Self::LossTo => "loss-to",
            Self::LossFrom => "loss-from",
            Self::Delay => "delay",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Partition => "partition",
            Self::RemoveAddress => "remove-address",
            Self::Detach => "detach",
            Self::FullDisk => "full-disk",
            Self::Reload => "reload",
            Self::Upgrade => "upgrade",
            Self::Drain => "drain",
            Self::Failover => "failover",
            Self::Calm => "calm",
        }
    }

    /// Returns whether the fault can be played with this agent. keepalived has no control socket,
    /// no BPF programs and no guardian.
    pub fn applies_to(self, agent: &AgentKind) -> bool {
        let vipd_only = matches!(
            self,
            Self::KillGuardian | Self::Detach | Self::Reload | Self::Upgrade | Self::Drain | Self::Failover
        );
        !vipd_only || matches!(agent, AgentKind::Vipd(_))
    }

    /// Returns whether every master remains master during the fault.
    pub(crate) fn keeps_masters(self) -> bool {
        matches!(
            self,
            Self::KillGuardian
                | Self::RemoveAddress
                | Self::FullDisk
                | Self::Reload
                | Self::Upgrade
                | Self::Calm
        )
    }

    /// Returns whether a node may miss adverts because of the fault. A signed advert that a node
    /// has missed can be replayed to that node until its time is outside of the window.
    pub(crate) fn may_lose_adverts(self) -> bool {
        !self.keeps_masters() && !matches!(self, Self::Drain | Self::Failover | Self::Duplicate)
    }

    /// Draws the length of the fault: zero if it ends at once. About a third of the other draws are
    /// shorter than Active_Down_Interval, too short for a takeover without a priority-0 advert.
    /// With an interval of 1 s, every starvation is too short.
    pub(crate) fn draw_length(self, segment: &Segment, random: &mut Random) -> Duration {
        let (interval, down) = (segment.interval, segment.longest_down());
        let length = if random.percent(35) {
            random.between(interval / 2, interval * 2)
        } else {
            random.between(down + interval, down * 2 + Duration::from_millis(300))
        };
        match self {
            Self::KillRestart
            | Self::KillGuardian
            | Self::RemoveAddress
            | Self::Detach
            | Self::Reload
            | Self::Upgrade
            | Self::Failover
            | Self::Calm => Duration::ZERO,
            Self::Starve => length.clamp(SHORTEST, LONGEST_STARVATION),
            _ => length.max(SHORTEST),
        }
    }

    /// Draws the steps of the fault on a node, from `start` to `start + length`. If the fault has a
    /// length, the last step ends it.
    pub(crate) fn draw_steps(
        self,
        node: u8,
        (start, length): (Duration, Duration),
        segment: &Segment,
        random: &mut Random,
    ) -> Vec<Step> {
        let end = start + length;
        let step = |at, action| Step { at, node, action };
        let once = |action| vec![step(start, action)];
        let pair = |begin, finish| vec![step(start, begin), step(end, finish)];
        let impair = |impairment| pair(Action::Impair(impairment), Action::Repair);
        let percentage = |random: &mut Random| random.pick(&[30, 60, 100]);
        // Delays range from a fraction of an interval, which causes no takeover, to more than an
        // interval.
        let delay = |random: &mut Random| random.between(segment.interval / 5, segment.interval * 3 / 2);
        match self {
            Self::Kill | Self::KillRestart => pair(Action::Signal(Sent::Kill), Action::Start),
            Self::KillAll => pair(Action::KillAll, Action::Start),
            // The agent starts another guardian.
            Self::KillGuardian => once(Action::KillGuardian),
            Self::Restart => pair(Action::Stop, Action::Start),
            Self::Abort => pair(Action::Signal(Sent::Abort), Action::Start),
            Self::Segfault => pair(Action::Signal(Sent::Segfault), Action::Start),
            Self::Pause => pair(Action::Signal(Sent::Stop), Action::Signal(Sent::Continue)),
            Self::Starve => pair(Action::Starve, Action::Feed),
            Self::Cut => pair(Action::Cut, Action::Reconnect),
            Self::Flap => {
                let flaps = u32::try_from(2 + random.below(4)).unwrap_or(2);
                let half = length / (2 * flaps);
                let flap = |number| {
                    let cut = start + half * (2 * number);
                    [step(cut, Action::Cut), step(cut + half, Action::Reconnect)]
                };
                (0..flaps).flat_map(flap).collect()
            }
            Self::LossTo => impair(Impairment { loss_to: percentage(random), ..Impairment::default() }),
            Self::LossFrom => impair(Impairment { loss_from: percentage(random), ..Impairment::default() }),
            Self::Delay => impair(Impairment { delay: delay(random), ..Impairment::default() }),
            Self::Duplicate => impair(Impairment { duplicate: percentage(random), ..Impairment::default() }),
            Self::Reorder => {
                let (delay, reorder) = (delay(random), percentage(random) / 2);
                impair(Impairment { delay, reorder, ..Impairment::default() })
            }
            Self::Partition => {
                // At least one node stays on the client's side.
                let count = 1 + random.below(usize::from(segment.nodes.saturating_sub(1)));
                let parted = segment.nodes().cycle().skip(usize::from(node.saturating_sub(1))).take(count);
                let moved = |node| {
                    [
                        Step { at: start, node, action: Action::Part },
                        Step { at: end, node, action: Action::Rejoin },
                    ]
                };
                parted.flat_map(moved).collect()
            }
            Self::RemoveAddress => once(Action::RemoveAddress(random.below(segment.routers.len()))),
            Self::Detach => once(Action::Detach),
            Self::FullDisk => pair(Action::FillDisk, Action::FreeDisk),
            Self::Reload => once(Action::Reload),
            Self::Upgrade => once(Action::Upgrade),
            Self::Drain => pair(Action::Drain, Action::Undrain),
            Self::Failover => once(Action::Failover),
            Self::Calm => Vec::new(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().chain([Self::Calm]).find(|kind| kind.name() == name);
        found.with_context(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            format!("unknown fault {name:?}: expected one of {all}, {}", Self::Calm)
        })
    }
}
