//! An invariant that does not hold.

use std::fmt;

/// Which invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// Never two masters once the LAN has been whole for the longest Active_Down_Interval, beyond an advert's way there
    /// and back.
    OneMasterAtMost,
    /// At rest there is one master, the right one, and all others follow it.
    TheRightMaster,
    /// A master that is gone is replaced within Active_Down_Interval, or Skew_Time if it said so.
    TakeoverInTime,
    /// Nothing changes while nothing happens, or while a backup is held up.
    NoFalseTakeover,
    /// A virtual address is held by a master and by nobody else, and nothing is announced that is not held.
    AddressesAreAMasters,
    /// After a stop nothing is sent but one advert with priority 0 by a master.
    SilentAfterStop,
}

/// What was found, and what led there.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The world.
    pub seed: u64,
    /// Which invariant.
    pub invariant: Invariant,
    /// What was found instead.
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
        write!(f, "see it again with `cargo xtask simulate --seed {seed} --trace`")
    }
}
