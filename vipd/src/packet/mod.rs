//! Sends adverts, announcements and solicitations, joins the VRRP multicast groups, and receives
//! frames for diagnosis.
//!
//! Advert frames are prepared when the settings or the interface's MAC or primary address change.
//! For each advert, only the priority, the checksum and the trailer of a signed advert are updated.

mod any_interface;
mod batch;
mod frame;
mod membership;
mod sniffer;
mod socket;
mod solicitation;
mod unicast;

pub use any_interface::AnyInterface;
pub use batch::Batch;
pub use frame::{AdvertFrame, Announcement, FrameError, Signing, announcement};
pub use membership::{Members, Membership};
pub use sniffer::{Received, Sniffer};
pub use socket::PacketSocket;
pub use solicitation::Solicitation;
pub use unicast::UnicastSocket;
