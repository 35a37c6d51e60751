//! vipd: a failover agent for Linux.

pub mod control;
pub mod vrrp;
pub mod xdp;
