//! The lab: VRRP nodes and a client on one LAN segment, made of namespaces.
//!
//! ```text
//!   node 1 ── eth1 ┐
//!   node 2 ── eth1 ┼── br0 (switch)      192.168.122.11, .12, …  nodes
//!   client ── eth1 ┘                     192.168.122.100         client
//!                                        192.168.122.50          virtual address
//! ```
//!
//! A [`Lab`](lab::Lab) is the segment. [`Agent`](agent::Agent)s run on its nodes, a
//! [`Capture`](capture::Capture) sees every frame once as it enters the switch, a
//! [`Prober`](probe::Prober) pings from the client, an [`Injector`](inject::Injector) sends what an
//! agent never would. [`scenario`] puts them together into failures with measured
//! [`Outcome`](scenario::Outcome)s, [`compare`] repeats them for several agents, [`story`] prints them.
//!
//! Nothing of a lab is visible on the host and nothing outlives the process that made it, however
//! that process ends: [`namespace`] says how.
//!
//! The lab reads frames with its own decoder, not with vipd's: it is the witness, and a witness that
//! shares the parser of the accused would share its mistakes.

pub mod agent;
pub mod arp;
pub mod ask;
pub mod binary;
pub mod capture;
pub mod command;
pub mod compare;
pub mod configuration;
pub mod conformance;
pub mod failure;
pub mod frame;
mod frr;
pub mod inject;
pub mod interop;
pub mod lab;
pub mod links;
pub mod namespace;
mod netlink;
mod packet_socket;
pub mod probe;
pub mod process;
pub mod protocol;
pub mod scenario;
pub mod station;
pub mod story;
pub mod tap;
pub mod time;
pub mod tun;
pub mod wait;

pub use binary::vipd_binary;
pub use failure::TestResult;
