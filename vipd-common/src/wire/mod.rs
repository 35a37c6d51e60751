//! Formats on the wire, in network byte order, as offsets and as writers into a caller's buffer.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod nd;
pub mod vrrp;
