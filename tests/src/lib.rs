//! The lab: VRRP nodes and a client on one LAN segment, in network namespaces.
//!
//! ```text
//!   node 1 ── eth1 ┐
//!   node 2 ── eth1 ┼── br0 (switch)      192.168.122.11, .12, …  nodes
//!   client ── eth1 ┘                     192.168.122.100         client
//!                                        192.168.122.50          VIP
//! ```
//!
//! A [`Lab`](lab::Lab) is the segment. [`Agent`](agent::Agent)s run on its nodes, a
//! [`Capture`](capture::Capture) records each frame as it enters the switch, a
//! [`Prober`](probe::Prober) pings the VIP from the client, and an [`Injector`](inject::Injector)
//! sends arbitrary frames. [`scenario`] uses them to play a failure and measure its
//! [`Outcome`](scenario::Outcome), [`compare`] repeats a scenario with several agents, and
//! [`report`] prints the results.
//!
//! A lab does not affect the host, and disappears with its process, even after SIGKILL (see
//! [`namespace`]).
//!
//! The lab has its own frame decoder, because tests that used vipd's parser would not detect the
//! bugs of that parser.

pub mod agent;
pub mod arp;
pub mod binary;
pub mod browser;
pub mod capture;
pub mod chaos;
pub mod client;
pub mod command;
pub mod compare;
pub mod configuration;
pub mod conformance;
pub mod control;
pub mod control_group;
pub mod failure;
pub mod foreign_program;
pub mod frame;
pub mod frozen_thread;
mod frr;
pub mod hmac;
pub mod http;
pub mod inject;
pub mod interop;
pub mod lab;
pub mod links;
pub mod markdown;
pub mod namespace;
mod netlink;
mod packet_socket;
pub mod probe;
pub mod process;
pub mod protocol;
pub mod pty;
pub mod random;
pub mod report;
pub mod routers;
pub mod scenario;
pub mod station;
pub mod tap;
pub mod time;
pub mod tun;
pub mod wait;

pub use binary::vipd_binary;
pub use failure::TestResult;
