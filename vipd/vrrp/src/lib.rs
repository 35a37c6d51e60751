//! VRRP as a state machine without input or output: RFC 9568 (VRRPv3) and RFC 3768 (VRRPv2).
//!
//! One [`Router`] is one virtual router on one interface. Time is an argument, actions and events
//! are data:
//!
//! ```text
//!                handle(now, Input) ─►┌────────┐─► poll_action()   what to do, in this order
//!                                     │ Router │─► poll_event()    what happened, for the log
//!              advert_sent(when) ────►│        │─► next_timeout()  when to call again
//!                                     └────────┘─► snapshot()      the state, for `status`
//! ```
//!
//! # Contract
//!
//! 1. Call [`handle`](Router::handle) with one [`Input`]. `now` never decreases.
//! 2. Drain [`poll_action`](Router::poll_action) and [`poll_event`](Router::poll_event), then read
//!    [`next_timeout`](Router::next_timeout).
//! 3. Call [`advert_sent`](Router::advert_sent) for each advert that the kernel accepted, and not for
//!    one that it refused.
//! 4. Before [`Input::Timeout`], and before anything is sent, hand over every advert that arrived
//!    before `now`. A process that was not scheduled for seconds then handles the adverts that it
//!    missed before its timers fire.
//! 5. At the start and after a change of the interface, set impediments first, then report the
//!    primary address, then clear impediments: the router starts as soon as nothing impedes it.
//!
//! `handle` returns no error. Invalid adverts do not reach this crate; adverts that do not match the
//! configuration are counted, and each kind is logged once until the state or the master changes.
//! Durations are [nanoseconds](interval::Nanos).
//!
//! The crate is `no_std` and uses no clock, socket, thread or random number. Equal inputs at equal
//! times have equal results.
//!
//! # Reading it beside the RFC
//!
//! | section | file |
//! | --- | --- |
//! | 6.1 Parameters and timers | `config.rs`, `interval.rs`, `priority.rs` |
//! | 6.4.1 Initialize | `state/initialize.rs` |
//! | 6.4.2 Backup | `state/backup.rs` |
//! | 6.4.3 Active | `state/master.rs` |
//! | 7.1 Receiving, checks that need the configuration | `receive.rs` |
//! | - unchanged adverts that the XDP program does not record | `fast_path.rs` |
//! | every departure from the RFC | [`deviation`], one file each |
//!
//! S1 to S28, M1 to M5, R7, R11 and R12 are the items of the conformance suite
//! (`tests/conformance/items/items.md`), which number what sections 6 and 7 demand.
//!
//! # Glossary
//!
//! | RFC 9568 | RFC 8347 | keepalived | here |
//! | --- | --- | --- | --- |
//! | Active | master | MASTER | [`State::Master`] |
//! | Backup | backup | BACKUP | [`State::Backup`] |
//! | Initialize, interface usable or not | initialize | INIT, FAULT | [`State::Initialize`], [`State::Fault`] |
//! | ADVERTISEMENT | advertisement | advert | [`Received`], [`Action::SendAdvert`] |
//! | Advertisement_Interval | advertise-interval | `advert_int` | [`RouterConfig::interval`] |
//! | Active_Adver_Interval | - | `master_adver_int` | [`Snapshot::active_interval`] |
//! | Active_Down_Interval | master-down-interval | `ms_down_timer` | [`Snapshot::master_down_interval`] |
//! | Active_Down_Timer | - | `sands` | [`Snapshot::master_down_at`] |
//! | Skew_Time | skew-time | `TIMER_SKEW` | [`Interval::skew`] |
//! | Adver_Timer | - | `sands` | `Master::adver_timer` |
//! | Priority | priority | `effective_priority` | [`Snapshot::priority`] |
//! | Preempt_Mode | preempt/enabled | `nopreempt` | [`RouterConfig::preempt`] |
//! | - | preempt/hold-time | `preempt_delay` | [`RouterConfig::preempt_delay`] |
//! | primary IPvX address | - | `mcast_src_ip` | [`Input::PrimaryAddress`] |
//! | Startup, Shutdown | startup, shutdown | - | nothing [impedes](Impediment) the router, [`Input::Shutdown`] |
//! | gratuitous ARP, unsolicited NA | - | GARP, `garp_master_*` | [`Action::Announce`] |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod common;
pub mod config;
pub mod deviation;
mod fast_path;
mod impediments;
mod input;
pub mod interval;
mod output;
mod peers;
pub mod priority;
mod receive;
mod router;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

pub use config::{Announcements, Family, RouterConfig, VirtualAddress};
pub use deviation::Policy;
pub use fast_path::{FastPath, FastPathSlot};
pub use input::{Fault, Impediment, Input, Received};
pub use interval::{Interval, Version};
pub use output::{Action, Addresses, Discard, Event, Reason, State, Steady};
pub use peers::Peer;
pub use router::Router;
pub use snapshot::{Counters, Snapshot};
