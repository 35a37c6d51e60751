//! Broken routers: the invariants detect each kind.

/// Faults that are injected into the routers of a world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// No sabotage.
    #[default]
    None,
    /// A master receives nothing.
    DeafMaster,
    /// After a stall timers fire before pending adverts are handled.
    TimersFirst,
    /// Priority-0 adverts are not received.
    NoPriorityZero,
    /// A backup keeps the addresses.
    KeepsAddresses,
    /// A backup handles every advert as one of priority 255.
    NeverPreempts,
    /// A router is started again right after its shutdown.
    Restarts,
}
