//! Chaos: real agents in namespaces, random but repeatable faults, and a judge of captured frames.
//!
//! ```text
//! seed ─► plan: a segment, and rounds of faults in timed steps
//!           │ actions on processes, links and hosts
//!           ▼
//! clients ─► ARP, ND, pings ─► switch ports ─► capture ─► observations ─► judge ─► violations
//! ```
//!
//! A [`Plan`](plan::Plan) is drawn from a seed. An [`Episode`](episode::Episode) plays the plan in
//! a new lab, while clients continuously send ARP, ND and echo requests for all addresses. All
//! frames at all switch ports are captured in both directions and stamped by one clock, and each
//! answer is attributed to the node behind the port. The [`judge`] applies the protocol's rules to
//! the frames, given the plan and the times of its actions, without querying the agents. A
//! [`run`](run::run) plays episode after episode.
//!
//! A new kind of fault is added to [`fault`], and to [`Action`](action::Action) if it needs a new
//! action. A [`Sabotage`](sabotage::Sabotage) simulates a defect that the judge must find.

pub mod action;
mod arena;
mod attacker;
mod bound;
mod cables;
mod clients;
mod disk;
pub mod episode;
pub mod fault;
pub mod genuine;
pub mod judge;
pub mod observation;
mod pcapng;
pub mod plan;
mod processes;
mod programs;
mod questions;
mod relay;
pub mod run;
pub mod sabotage;
mod scheduling;
pub mod segment;
pub mod stall;
pub mod subject;
mod timeline;
pub mod wire;
