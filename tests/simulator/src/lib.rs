//! Simulates LANs with hundreds of VRRP routers in virtual time, and checks invariants throughout.
//!
//! ```text
//!   seed ─► plan ─► World ─┬─ Host: a drifting clock, a process that may stall, a ring buffer
//!                          ├─ Member: vipd's core, for one virtual router on that host
//!                          ├─ lan: adverts in transit: delay, order, duplicates, loss, partitions
//!                          └─ invariants, the last events, and counts
//!   phases, repeated: simultaneous failures ─► healing ─► at rest ─► single failures
//! ```
//!
//! A world depends only on its seed, so a seed reproduces a failure.

pub mod campaign;
mod clock;
pub mod defect;
mod host;
mod lan;
mod machine;
mod phases;
mod plan;
mod random;
mod rest;
pub mod signed;
pub mod sync;
pub mod trace;
pub mod violation;
mod world;

pub use defect::Defect;
pub use phases::{Outcome, run};
pub use violation::Violation;
