//! The invariants, and violations of them.

use std::fmt;

/// An invariant that must hold in every world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// Once the LAN has had no partitions and has lost no adverts for the longest
    /// Active_Down_Interval, two masters coexist for no longer than an advert and its answer take.
    OneMasterAtMost,
    /// Under the same condition, two hosts answer for the VIPs for no longer than an advert and its
    /// answer take, even if the process of one of them is stalled or dead.
    OneAnswersAtMost,
    /// At rest, a running master answers for its VIPs.
    MasterAnswers,
    /// At rest, each virtual router has one master, no running router that preempts has a higher
    /// priority, and all other running routers follow the master.
    TheRightMaster,
    /// A failed master is replaced within Active_Down_Interval, or within Skew_Time after a
    /// priority-0 advert.
    TakeoverInTime,
    /// No takeover occurs without a failure, or because a backup stalls.
    NoFalseTakeover,
    /// A master has the VIPs, and no other router has them. Only VIPs that are on the interface are
    /// announced.
    AddressesInMasterOnly,
    /// On shutdown, a master sends one priority-0 advert. Afterwards, or after the loss of its
    /// link, a router sends nothing.
    SilentAfterShutdown,
}

/// A violation, and the events before it.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Seed of the world in which the violation occurred.
    pub seed: u64,
    /// The violated invariant.
    pub invariant: Invariant,
    /// Description of the violation.
    pub found: String,
    /// The last events of the virtual router before the violation.
    pub events: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, invariant, found, events } = self;
        for event in events {
            writeln!(f, "  {event}")?;
        }
        writeln!(f, "seed {seed}: {invariant:?} is violated: {found}")?;
        write!(f, "reproduce with `cargo xtask simulate --seed {seed} --trace`")
    }
}
