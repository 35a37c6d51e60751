//! The guardian: a second process that sends priority-0 adverts and removes the VIPs when the
//! engine has died.
//!
//! A killed agent cannot do either. Without the guardian, backups take over only after the
//! Active_Down_Interval (RFC 9568 section 6.1), and the VIPs stay on this host.
//!
//! ```text
//!  agent                                     guardian (same executable, `vipd guardian …`)
//!  ┌───────────────────────────┐             ┌─────────────────────────────────────────────┐
//!  │ engine ── writer ──┐      │             │ watcher: waits for the mutex                │
//!  │   holds the mutex  │      │             │   `death`: leases, priority-0 adverts       │
//!  │                    ▼      │             │                                             │
//!  │              memory ══════╪═════════════╪══ memory, array of leases                   │
//!  │ service ── launcher       │             │ main: socket, signals, `stand_down`         │
//!  │   starts, restarts  ◄─────┼── socket ───┼─►   `aftermath`: removes VIPs of rows that  │
//!  │ crash handlers ───────────┼─────────────┼─►    the BPF program has fenced             │
//!  └───────────────────────────┘             └─────────────────────────────────────────────┘
//! ```
//!
//! Apart from the socket and stderr, the guardian receives only descriptors of the memory, of the
//! array of leases, and of sockets for its adverts. In particular, it does not receive the program
//! array from which the BPF program recognizes that an agent is running.

mod aftermath;
mod death;
mod launcher;
mod memory;
mod process;
mod record;
mod socket;
mod stand_down;
mod writer;

pub(crate) use launcher::{Guardian, GuardianState, Setup};
pub use process::main;
pub(crate) use record::{Packet, Record, Signing};
pub use stand_down::{stand_down, stand_down_failure};
pub(crate) use writer::Writer;

/// The first argument with which vipd's executable runs as the guardian.
pub(crate) const VERB: &str = "guardian";
