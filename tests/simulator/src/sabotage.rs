//! What a broken router would do: the invariants must notice each of these.

/// How the routers of a world are broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// They are not.
    #[default]
    None,
    /// A master hears nobody.
    DeafMaster,
    /// After a pause the timers are served before what has arrived.
    TimersFirst,
    /// Priority 0 is not heard.
    NoRelease,
    /// A backup keeps the addresses.
    KeepsAddresses,
    /// A backup takes every advert for one of the highest priority.
    Polite,
    /// A router that has stopped is told that its interface is available.
    Revives,
}
