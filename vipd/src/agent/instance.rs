//! A virtual router and the frames it sends.

use std::net::Ipv4Addr;

use vipd_common::Timestamp;
use vipd_common::records::AdvertRecord;
use vipd_common::wire::vrrp::Fields;

use super::message::Sent;
use crate::packet::{AdvertFrame, ArpFrame};
use crate::vrrp::{Received, Router, RouterConfig};

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
    primary: Ipv4Addr,
    /// The advert.
    pub(super) advert: AdvertFrame,
    /// Gratuitous ARP.
    pub(super) arp: ArpFrame,
}

impl Instance {
    pub(super) fn new(config: RouterConfig, interface: usize) -> Self {
        Self { router: Router::new(config), interface, sent: Sent::default(), ring_full: 0, frames: None }
    }

    /// Prepares the frames anew, if they are not already for this MAC and primary address. Returns whether they were
    /// for another MAC.
    pub(super) fn prepare(&mut self, mac: [u8; 6], primary: Ipv4Addr) -> bool {
        let before = self.frames.as_ref().map(|frames| (frames.mac, frames.primary));
        if before == Some((mac, primary)) {
            return false;
        }
        let config = self.router.config();
        let fields = Fields {
            version: config.version().number(),
            vrid: config.vrid,
            priority: config.priority,
            interval: config.interval.wire(),
        };
        let addresses = config.virtual_addresses.iter().map(|vip| vip.address);
        // The configuration has 1 to 255 addresses: there is always a frame.
        self.frames = AdvertFrame::new(mac, primary, fields, addresses).ok().map(|advert| Frames {
            mac,
            primary,
            advert,
            arp: ArpFrame::new(mac),
        });
        before.is_some_and(|(old, _)| old != mac)
    }

    /// The frames, once the interface could carry adverts.
    pub(super) fn frames(&mut self) -> Option<&mut Frames> {
        self.frames.as_mut()
    }

    /// Source of its adverts.
    pub(super) fn primary(&self) -> Option<Ipv4Addr> {
        self.frames.as_ref().map(|frames| frames.primary)
    }

    /// Whether `address` is one of its virtual addresses.
    pub(super) fn is_virtual(&self, address: Ipv4Addr) -> bool {
        self.router.config().virtual_addresses.iter().any(|vip| vip.address == address)
    }

    /// Whether it is the owner (priority 255), whose interface carries the virtual addresses as its own.
    pub(super) fn is_owner(&self) -> bool {
        self.router.config().is_owner()
    }
}

/// A record of the ring as the core wants it.
pub(super) fn received(record: &AdvertRecord) -> Received {
    Received {
        arrival: Timestamp::from_nanos(record.arrival),
        source: Ipv4Addr::from(record.source),
        priority: record.priority,
        interval: record.interval,
        addresses: record.addresses,
    }
}

/// Whether an address is there by somebody else's doing: vipd neither adds nor removes it. The owner's virtual addresses
/// are of that kind (RFC 9568 section 1.7).
pub(super) fn is_foreign(found: &crate::netlink::Address) -> bool {
    found.protocol != crate::netlink::PROTO_VIPD
}
