//! vipd: a failover agent for Linux.

pub mod agent;
pub mod cli;
pub mod config;
pub mod control;
pub mod vrrp;
