//! Chaos: real agents in namespaces, random but repeatable faults, and a judge that reads the wire.
//!
//! ```text
//! seed ─► plan: a segment, and rounds of faults in timed steps
//!           │ actions on processes, links and hosts
//!           ▼
//! clients ─► ARP, ND, pings ─► switch ports ─► capture ─► observations ─► judge ─► violations
//! ```
//!
//! A [`Plan`](plan::Plan) is drawn from a seed. An [`Episode`](episode::Episode) plays it in a new
//! lab, while clients ask for all addresses all the time. Each frame at each switch port is captured
//! in both directions and stamped by one clock, and each answer is attributed to the node behind the
//! port. The [`judge`] is given the plan, and applies the protocol's rules; it does
//! not ask the agents. A [`run`](run::run) plays episode after episode.
//!
//! A new kind of fault is a variant of [`Kind`](fault::Kind), and of [`Action`](action::Action) if it
//! needs a new action. A [`Sabotage`](sabotage::Sabotage) simulates a defect that the judge must find.

pub mod action;
mod arena;
mod bound;
mod cables;
mod clients;
mod disk;
pub mod episode;
pub mod fault;
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
