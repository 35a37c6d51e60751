//! vipd: a failover agent for Linux.

pub mod control;
pub mod xdp;
pub mod vrrp;
