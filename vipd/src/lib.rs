//! vipd: a failover agent for Linux.
//!
//! The nodes of a cluster share a virtual address by VRRP. This is the library behind the program `vipd`; its parts
//! know each other only through `engine` and [`service`]:
//!
//! * [`vrrp`]: the protocol, as a state machine without input or output.
//! * [`xdp`], [`packet`], [`netlink`], [`realtime`]: the kernel's interfaces, one adapter each.
//! * [`config`], [`control`], [`cli`]: the people's interfaces.
//! * `engine`: the real-time thread that runs the virtual routers.
//! * [`service`]: the control thread around it.

pub mod cli;
pub mod config;
pub mod control;
mod engine;
pub mod netlink;
pub mod packet;
pub mod realtime;
pub mod service;
pub mod xdp;

pub use vipd_vrrp as vrrp;
