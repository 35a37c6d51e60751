//! Interfaces and addresses by rtnetlink.
//!
//! The message types are those of the `rtnetlink` crate; the socket is the plain one below it, because the engine's
//! thread has no async runtime and wants a whole batch of changes in one system call. [`Requests`] changes addresses
//! and dumps, [`Monitor`] listens: two sockets, so that a flood of notifications swallows no answer.

mod ahead;
mod change;
mod macvlan;
mod message;
mod monitor;
mod requests;
mod stale;
mod sysctl;

pub use change::{Attributes, Change, Scope};
pub use macvlan::{Macvlan, Macvlans, Wanted};
pub use message::{Address, Link, Notice, PROTO_VIPD};
pub use monitor::Monitor;
pub use requests::{BATCH, Requests};
pub use stale::Configured;
