//! Hundreds of virtual routers on a virtual LAN in virtual time, and the invariants that must hold all the way.
//!
//! ```text
//!   seed ─► plan ─► World ─┬─ Host: a clock that runs wrong, a process that is held up, a feed
//!                          ├─ Member: vipd's core for one virtual router of that host
//!                          ├─ lan: adverts under way, with delay, reordering, duplication, loss, partition
//!                          └─ Watch: the invariants, the last events, the tally
//!   story: bad times ─► whole again ─► at rest ─► one failure after the other ─► bad times …
//! ```
//!
//! A world follows from its seed alone, so a seed is all it takes to see a failure again.

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
