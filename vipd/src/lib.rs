//! vipd: a failover agent for Linux.
//!
//! The nodes of a cluster share virtual addresses using VRRP. This library contains all code of the
//! `vipd` program. The adapters import [`process`], but not each other; `engine`, [`guardian`],
//! [`service`], `web`, `observe`, `doctor` and [`cli`] combine them:
//!
//! * [`vrrp`]: the protocol as a state machine that does no I/O.
//! * [`xdp`], [`packet`], [`netlink`], [`realtime`], [`process`]: adapters to the kernel's
//!   interfaces.
//! * [`config`], [`control`], [`cli`]: the user interfaces.
//! * [`guardian`]: the process that sends priority-0 adverts after the engine has died.
//! * `handover`: the messages between an agent and its successor during `vipd upgrade` and a
//!   restart by systemd.
//! * [`import`]: translates keepalived's configuration.
//! * `engine`: the real-time thread that runs the virtual routers.
//! * `web`: metrics, health and the status page over HTTP.
//! * `observe`: receives and decodes adverts, ARP and NDP, without consuming them.
//! * `doctor`: finds causes of problems, using reports from `observe`, the agent and the kernel.
//! * `color`: decides whether output is colored.
//! * [`service`]: startup, supervision, and all work that may block.

#![deny(unsafe_code)]

pub mod cli;
mod color;
pub mod config;
pub mod control;
mod doctor;
mod engine;
#[cfg(test)]
mod generated;
pub mod guardian;
mod handover;
pub mod import;
#[expect(unsafe_code, reason = "borrows rtnetlink's sockets as descriptors")]
pub mod netlink;
pub mod observe;
#[expect(unsafe_code, reason = "sockaddr_ll, sendmmsg(2), buffers of recvmsg(2), socket options")]
pub mod packet;
#[expect(
    unsafe_code,
    reason = "signals, users and groups, descriptors, sockets, memory, mutexes, system calls, child processes"
)]
pub mod process;
#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "mallopt(3) and malloc_trim(3)"))]
pub mod realtime;
pub mod service;
mod web;
#[expect(unsafe_code, reason = "BPF maps mapped into memory, bpf(2), dup3(2), ioctl(2), membarrier(2)")]
pub mod xdp;

pub use vipd_vrrp as vrrp;
