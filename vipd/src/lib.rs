//! vipd: a failover agent for Linux.

pub mod agent;
pub mod cli;
pub mod config;
pub mod control;
pub mod netlink;
pub mod packet;
pub mod realtime;
pub mod xdp;
pub mod vrrp;
