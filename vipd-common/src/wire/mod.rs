//! Wire formats, in network byte order: field offsets, and functions that write into a buffer.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod nd;
pub mod trailer;
pub mod vrrp;
