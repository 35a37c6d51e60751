//! The VRRP core.

pub mod config;
pub mod interval;
