//! The XDP program: loading, attaching, its ring buffer, its counters. The only place that knows aya.
//!
//! [`Kernel`] owns the program and its attachments, [`Feed`] the reading end of the ring, [`Counters`] a view of
//! the counter rows. They are separate because they live on different threads.

mod closed;
mod counters;
mod error;
mod feed;
mod link;
mod loader;
mod log;
mod mapping;
mod row;
mod steady;

pub use closed::Closed;
pub use counters::Counters;
pub use error::{AttachError, LoadError};
pub use feed::{Feed, MAX_PENDING};
pub use link::LinkProbe;
pub use loader::{Kernel, Loaded, Mode, Sizes, Verbosity};
pub use log::KernelLog;
pub use row::{Row, Rows};
pub use steady::Steady;

/// The committed object, built from `vipd-ebpf` by `cargo xtask ebpf`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/vipd.bpf.o"));
