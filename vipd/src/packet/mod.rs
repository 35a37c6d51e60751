//! Sending adverts, gratuitous ARP and Neighbor Advertisements, and belonging to VRRP's multicast groups.
//!
//! Frames are prepared once, when the interface's MAC and primary address are known, and only patched afterwards.

mod batch;
mod frame;
mod membership;
mod socket;
mod unicast;

pub use batch::Batch;
pub use frame::{AdvertFrame, Announcement, FrameError, announcement};
pub use membership::Membership;
pub use socket::PacketSocket;
pub use unicast::UnicastSocket;
