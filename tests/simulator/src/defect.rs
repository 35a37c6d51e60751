//! Defects of routers, which the invariants must detect.

/// A defect that is injected into all routers of a world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Defect {
    /// No defect.
    #[default]
    None,
    /// A master receives no adverts.
    MasterReceivesNothing,
    /// Timers always fire before the adverts that have arrived are handled, not only after a stall.
    TimersFirst,
    /// Priority-0 adverts are not received.
    NoPriorityZero,
    /// A router that leaves Master keeps the VIPs.
    KeepsAddresses,
    /// A backup treats all adverts except priority-0 adverts as having priority 255.
    NeverPreempts,
    /// Adverts do not fence VIPs.
    NoFence,
    /// The fence is never lifted.
    StuckFence,
    /// A lease is ten advertisement intervals too long.
    LongLease,
    /// A router is started again right after its shutdown or the loss of its link.
    Restarts,
}
