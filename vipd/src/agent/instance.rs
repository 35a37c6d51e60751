//! A virtual router and the frames it sends.

use std::net::IpAddr;

use vipd_common::Timestamp;
use vipd_common::address::narrow;
use vipd_common::parse::ChecksumForm;
use vipd_common::records::AdvertRecord;
use vipd_common::wire::vrrp::Fields;

use super::message::Sent;
use crate::packet::{AdvertFrame, Announcement, announcement};
use crate::vrrp::{Family, Received, Router, RouterConfig, Version};

/// One configured instance.
pub(super) struct Instance {
    /// The protocol.
    pub(super) router: Router,
    /// Its interface in the configuration.
    pub(super) interface: usize,
    /// What was sent for it.
    pub(super) sent: Sent,
    /// Adverts of it that found the ring full, as last looked at.
    pub(super) ring_full: u64,
    frames: Option<Frames>,
}

/// Frames prepared for one MAC and primary address.
pub(super) struct Frames {
    mac: [u8; 6],
    primary: IpAddr,
    /// The advert.
    pub(super) advert: AdvertFrame,
}

impl Frames {
    /// The frame that says where an address is.
    pub(super) fn announcement(&self, address: IpAddr) -> Announcement {
        announcement(self.mac, address)
    }
}

impl Instance {
    pub(super) fn new(config: RouterConfig, interface: usize) -> Self {
        Self { router: Router::new(config), interface, sent: Sent::default(), ring_full: 0, frames: None }
    }

    /// Prepares the frames anew, if they are not already for this MAC and primary address. Returns whether they were
    /// for another MAC.
    pub(super) fn prepare(&mut self, mac: [u8; 6], primary: IpAddr) -> bool {
        let before = self.frames.as_ref().map(|frames| (frames.mac, frames.primary));
        if before == Some((mac, primary)) {
            return false;
        }
        let config = self.router.config();
        let fields = Fields {
            vrid: config.vrid,
            priority: config.priority,
            interval: config.interval.wire(),
            checksum: match (config.version(), config.family) {
                (Version::V2, _) => ChecksumForm::V2,
                (Version::V3, Family::V4) => ChecksumForm::Rfc5798,
                (Version::V3, Family::V6) => ChecksumForm::Ipv6,
            },
            password: None,
        };
        let addresses = config.virtual_addresses.iter().map(|vip| vip.address);
        // The configuration has up to 255 addresses of one family: there is always a frame.
        let advert = AdvertFrame::multicast(mac, primary, &fields, addresses);
        self.frames = advert.ok().map(|advert| Frames { mac, primary, advert });
        before.is_some_and(|(old, _)| old != mac)
    }

    /// The frames, once the interface could carry adverts.
    pub(super) fn frames(&mut self) -> Option<&mut Frames> {
        self.frames.as_mut()
    }

    /// Source of its adverts.
    pub(super) fn primary(&self) -> Option<IpAddr> {
        self.frames.as_ref().map(|frames| frames.primary)
    }

    /// Whether `address` is one of its virtual addresses.
    pub(super) fn is_virtual(&self, address: IpAddr) -> bool {
        self.router.config().virtual_addresses.iter().any(|vip| vip.address == address)
    }

    /// Whether it is the owner (priority 255), whose interface carries the virtual addresses as its own.
    pub(super) fn is_owner(&self) -> bool {
        self.router.config().is_owner()
    }
}

/// A record of the ring as the core wants it; none for one that this program does not know how to read.
pub(super) fn received(record: &AdvertRecord) -> Option<Received> {
    Some(Received {
        arrival: Timestamp::from_nanos(record.arrival),
        source: narrow(record.family, record.source),
        priority: record.priority,
        interval: record.interval,
        addresses: record.addresses,
        checksum: ChecksumForm::from_number(record.checksum)?,
    })
}

/// Whether an address is there by somebody else's doing: vipd neither adds nor removes it. The owner's virtual addresses
/// are of that kind (RFC 9568 section 1.7).
pub(super) fn is_foreign(found: &crate::netlink::Address) -> bool {
    found.protocol != crate::netlink::PROTO_VIPD
}
