//! The guardian: a second process that answers the death of the engine.
//!
//! A killed agent sends nothing more. Without the guardian, backups take over only after the
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
//! The guardian inherits no other descriptor of the agent, in particular no map on which the BPF
//! program relies to find out whether an agent runs.

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
pub(crate) use record::{Packet, Record};
pub use stand_down::stand_down;
pub(crate) use writer::Writer;

/// First argument of vipd's executable that selects this mode.
pub(crate) const VERB: &str = "guardian";
