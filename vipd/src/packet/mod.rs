//! Sending adverts and gratuitous ARP by AF_PACKET, and belonging to VRRP's multicast group.
//!
//! Frames are prepared once, when the interface's MAC and primary address are known, and only patched afterwards.

mod frame;
mod membership;
mod socket;

pub use frame::{AdvertFrame, ArpFrame, FrameError};
pub use membership::Membership;
pub use socket::PacketSocket;
