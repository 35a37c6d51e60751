//! Simulates signed adverts: nodes whose wall clocks drift, step or start wrong, and an attacker
//! who receives and sends on their segment but has no key.
//!
//! ```text
//!   node 0 ──┐  a wall clock, and for each virtual router a Router and an Authenticator
//!   node 1 ──┼── segment: delivers each advert, as bytes, to all other nodes
//!   attacker ┘  has captured all adverts, replays and changes them
//! ```
//!
//! [`World`] runs a scenario step by step. [`attack::run`] runs random events, with or without an
//! attacker.

pub mod attack;
mod packet;
mod wall_clock;
mod world;

pub use packet::Packet;
pub use wall_clock::{SECOND, WallClock};
pub use world::{INTERVAL, KEY, Transition, VIRTUAL_ROUTERS, World};
