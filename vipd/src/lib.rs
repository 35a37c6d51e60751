//! vipd: a failover agent for Linux.
//!
//! The nodes of a cluster share a virtual address by VRRP. This is the library behind the program
//! `vipd`; its parts depend on each other only through `engine` and [`service`]:
//!
//! * [`vrrp`]: the protocol, as a state machine without input or output.
//! * [`xdp`], [`packet`], [`netlink`], [`realtime`], [`process`]: the kernel's interfaces, one adapter each.
//! * [`config`], [`control`], [`cli`]: the people's interfaces.
//! * `engine`: the real-time thread that runs the virtual routers.
//! * [`service`]: the control thread around it.

#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod control;
mod engine;
#[cfg(test)]
mod generated;
#[expect(unsafe_code, reason = "rtnetlink's socket, borrowed for poll")]
pub mod netlink;
#[expect(unsafe_code, reason = "sockaddr_ll, sendmmsg and socket filters")]
pub mod packet;
#[expect(unsafe_code, reason = "signalfd, signal masks and credentials of a peer")]
pub mod process;
#[expect(unsafe_code, reason = "sched_setscheduler and prctl")]
pub mod realtime;
pub mod service;
#[expect(unsafe_code, reason = "maps shared with the kernel")]
pub mod xdp;

pub use vipd_vrrp as vrrp;
