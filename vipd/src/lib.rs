//! vipd: a failover agent for Linux.
//!
//! The nodes of a cluster share a virtual address by VRRP. This is the library behind the program `vipd`; its parts
//! know each other only through [`agent`]:
//!
//! * [`vrrp`]: the protocol, as a state machine without input or output.
//! * [`xdp`], [`packet`], [`netlink`], [`realtime`]: the kernel's interfaces, one adapter each.
//! * [`config`], [`control`], [`cli`]: the people's interfaces.
//! * [`agent`]: the two threads that put them together.

pub mod agent;
pub mod cli;
pub mod config;
pub mod control;
pub mod netlink;
pub mod packet;
pub mod realtime;
pub mod vrrp;
pub mod xdp;
