//! Broken routers: the invariants detect each kind.

/// How the routers of a world are broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// Not at all.
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
