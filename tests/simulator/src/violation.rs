//! Invariants and their violations.

use std::fmt;

/// Invariants that hold in every world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// Once the LAN has been whole for the longest Active_Down_Interval, two masters last no longer than
    /// an advert and its answer.
    OneMasterAtMost,
    /// At rest there is one master, the right router, and all other routers follow it.
    TheRightMaster,
    /// A master that is gone is replaced within Active_Down_Interval, or Skew_Time after priority 0.
    TakeoverInTime,
    /// No takeover without a cause, nor while a backup is stalled.
    NoFalseTakeover,
    /// Only a master has the virtual addresses, and only addresses on the interface are announced.
    AddressesInMasterOnly,
    /// At a shutdown a master sends one priority-0 advert; after the priority-0 advert nothing is
    /// sent.
    SilentAfterShutdown,
}

/// A violation, and the events before it.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Seed of the world.
    pub seed: u64,
    /// The violated invariant.
    pub invariant: Invariant,
    /// The violation that was found.
    pub found: String,
    /// The last events of the virtual router.
    pub events: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, invariant, found, events } = self;
        for event in events {
            writeln!(f, "  {event}")?;
        }
        writeln!(f, "seed {seed}: {invariant:?} does not hold: {found}")?;
        write!(f, "reproduce with `cargo xtask simulate --seed {seed} --trace`")
    }
}
