//! The VRRP core: RFC 9568 and RFC 3768 as a state machine without input or output.
//!
//! Time comes in as a value, actions go out as data. One [`Router`] is one virtual router on one interface:
//!
//! ```text
//!                handle(now, Input) ─►┌────────┐─► poll_action()  what to do, in this order
//!                                     │ Router │─► poll_event()   what happened, for the log
//!                    next_timeout() ◄─└────────┘─► snapshot()     what it is like now
//! ```
//!
//! * After each [`handle`](Router::handle), drain actions and events, then ask for the next timeout.
//! * `handle` returns no error: what is wrong on the wire is counted, and told once as an [`Event`].
//! * Before [`Input::Timeout`], hand over every advert that has arrived: a process that was held up must hear what
//!   it missed before it decides that it missed something.
//!
//! The core knows no clock, socket, file, random number or thread.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod config;
mod fast_path;
pub mod interval;
mod limit;
mod message;
mod router;
mod timer;

pub use config::{Announcements, Family, RouterConfig, VirtualAddress};
pub use fast_path::{FastPath, FastPathSlot};
pub use interval::{Interval, Version};
pub use message::{Action, Addresses, Discard, Event, Fault, Input, Reason, Received, State, Steady};
pub use router::{Counters, Peer, Router, Snapshot};
