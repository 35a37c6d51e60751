//! A sans-I/O state machine for VRRPv3 (RFC 9568) and VRRPv2 (RFC 3768).
//!
//! A [`Router`] is one virtual router on one interface. Time is passed in; actions and events are
//! returned as data:
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
//! 1. Call [`handle`](Router::handle) with one [`Input`]. `now` must never decrease.
//! 2. Drain [`poll_action`](Router::poll_action) and [`poll_event`](Router::poll_event), then read
//!    [`next_timeout`](Router::next_timeout).
//! 3. Call [`advert_sent`](Router::advert_sent) for each advert that the kernel accepted, but not
//!    for adverts that it refused.
//! 4. Before any other input, in particular [`Input::Timeout`], pass in every advert that arrived
//!    before `now`. Adverts that arrived during a stall are then handled before the timers fire.
//! 5. At startup and after interface changes, set impediments first, then report the primary
//!    address, then clear impediments, because the router starts as soon as no impediment is left.
//!
//! `handle` returns no errors. Invalid adverts never reach a router: the BPF program drops them,
//! and [`hmac`] refuses adverts that fail verification. Adverts that do not match the configuration
//! are counted, and each kind of mismatch is logged once until the state, the master, or the
//! configured interval or virtual addresses change. In VRRPv3, a different interval is logged only
//! when a backup adopts it. Durations are in [nanoseconds](interval::Nanos).
//!
//! The crate is `no_std` and uses no clocks, sockets, threads or random numbers. The same inputs at
//! the same times give the same results.
//!
//! # Reading alongside the RFC
//!
//! | section | file |
//! | --- | --- |
//! | 6.1 Parameters and timers | `config.rs`, `interval.rs`, `priority.rs` |
//! | 6.4.1 Initialize | `state/initialize.rs` |
//! | 6.4.2 Backup | `state/backup.rs` |
//! | 6.4.3 Active | `state/master.rs` |
//! | 7.1 Receive checks that depend on the configuration | `receive.rs` |
//! | none: sync groups, whose members are masters together | `group.rs` |
//! | none: signed adverts | [`hmac`] |
//! | none: unchanged adverts, which the BPF program does not record | `fast_path.rs` |
//! | none: the saved state with which a successor process continues | `saved.rs` |
//! | all deviations from the RFC | [`deviation`], one file each |
//!
//! S1 to S28, M1 to M5, R7, R11, R12 and P2 number the requirements of sections 6, 7 and 8.3 as in
//! the conformance suite (`tests/conformance/items/items.md`).
//!
//! # Glossary
//!
//! | RFC 9568 | RFC 8347 | keepalived | here |
//! | --- | --- | --- | --- |
//! | Active | master | MASTER | [`State::Master`] |
//! | Backup | backup | BACKUP | [`State::Backup`] |
//! | Initialize, interface usable or not | initialize | INIT, FAULT | [`State::Initialize`], [`State::Fault`] |
//! | ADVERTISEMENT | advertisement | advert | [`Received`], [`Action::SendAdvert`] |
//! | Advertisement_Interval | advertise-interval-sec, -centi-sec | `advert_int` | [`RouterConfig::interval`] |
//! | Active_Adver_Interval | - | `master_adver_int` | [`Snapshot::active_interval`] |
//! | Active_Down_Interval | master-down-interval | `ms_down_timer` | [`Snapshot::master_down_interval`] |
//! | Active_Down_Timer | - | `sands` | [`Snapshot::master_down_at`] |
//! | Skew_Time | skew-time | `VRRP_TIMER_SKEW` | [`Interval::skew`] |
//! | Adver_Timer | - | `sands` | `Master::adver_timer` |
//! | Priority | priority | `effective_priority` | [`Snapshot::priority`] |
//! | Preempt_Mode | preempt/enabled | `nopreempt` | [`RouterConfig::preempt`] |
//! | - | preempt/hold-time | `preempt_delay` | [`RouterConfig::preempt_delay`] |
//! | primary IPvX address | - | `mcast_src_ip` | [`Input::PrimaryAddress`] |
//! | Startup, Shutdown | startup, shutdown | - | no [`Impediment`] left, [`Input::Shutdown`] |
//! | gratuitous ARP, unsolicited NA | - | GARP, `garp_master_*` | [`Action::Announce`] |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod common;
pub mod config;
pub mod deviation;
mod fast_path;
pub mod group;
pub mod hmac;
mod impediments;
mod input;
pub mod interval;
mod output;
mod peers;
pub mod priority;
mod receive;
mod reconfigure;
mod router;
pub mod saved;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

pub use config::{Announcements, Family, RouterConfig, VirtualAddress};
pub use deviation::Policy;
pub use fast_path::{FastPath, FastPathSlot};
pub use input::{Fault, GroupInput, Impediment, Input, Received};
pub use interval::{Interval, Version};
pub use output::{Action, Addresses, Discard, Event, Reason, State, Steady};
pub use peers::Peer;
pub use router::Router;
pub use snapshot::{Counters, Snapshot};
