//! Links and addresses by rtnetlink.
//!
//! [`Requests`] changes addresses and reads links and addresses; [`Monitor`] receives notifications
//! of links and addresses in use. Each has its own socket, so that a burst of notifications cannot
//! displace an answer. [`Macvlans`] creates and deletes the macvlans of virtual routers with their
//! own MAC.

mod change;
mod dump;
mod filter;
mod macvlan;
mod message;
mod monitor;
mod requests;
mod stale;
mod sysctl;
mod wire;
mod worker;

pub use change::{Attributes, Change, Label, Scope};
pub use macvlan::{Macvlan, Macvlans, Wanted};
pub use message::{Address, Link, Notice, PROTO_VIPD};
pub use monitor::{Drained, Monitor, MonitorTraffic};
pub use requests::{BATCH, Requests, Traffic};
pub use stale::Configured;
