//! Hundreds of virtual routers on a virtual LAN in virtual time, and the invariants that hold
//! throughout.
//!
//! ```text
//!   seed ─► plan ─► World ─┬─ Host: a clock that drifts, a process that stalls, a ring
//!                          ├─ Member: vipd's core for one virtual router of that host
//!                          ├─ lan: adverts in transit, with delay, reordering, duplication, loss, partition
//!                          └─ the invariants, the last events, the tally
//!   story: bad times ─► healed ─► at rest ─► one failure after the other ─► bad times …
//! ```
//!
//! A world follows from its seed alone: a seed reproduces a failure.

pub mod campaign;
mod clock;
mod host;
mod lan;
mod machine;
mod plan;
mod random;
mod rest;
pub mod sabotage;
mod story;
pub mod trace;
pub mod violation;
mod world;

pub use sabotage::Sabotage;
pub use story::{Outcome, run};
pub use violation::Violation;
