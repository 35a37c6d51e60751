//! A virtual router and the frames it sends.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use vipd_common::Timestamp;
use vipd_common::address::{narrow, wide};
use vipd_common::parse::ChecksumForm;
use vipd_common::parse::fingerprint;
use vipd_common::records::{AdvertRecord, ClosedKey};
use vipd_common::wire::vrrp::Fields;

use super::layout::Placed;
use super::message::Sent;
use crate::config;
use crate::config::settings::{Checksum, Transport};
use crate::packet::AdvertFrame;
use crate::vrrp::{Family, Received, Router, RouterConfig, Steady, Version, VirtualAddress};

/// One configured instance.
pub(crate) struct Instance {
    /// The protocol.
    pub(crate) router: Router,
    /// Everything else that was configured.
    pub(crate) settings: config::Instance,
    /// Its interface in the plan.
    pub(crate) interface: usize,
    /// All its virtual addresses.
    pub(crate) addresses: Vec<VirtualAddress>,
    /// The interface of each of them in the plan.
    pub(crate) homes: Vec<usize>,
    /// Its macvlan in the plan.
    pub(crate) macvlan: Option<usize>,
    /// Whether its macvlan is wanted up; the control thread, which sets it down, looks here before and after.
    pub(crate) wanted_up: Arc<AtomicBool>,
    /// What the kernel side drops for it now (Accept_Mode false).
    pub(crate) closed: Vec<ClosedKey>,
    /// What was sent for it.
    pub(crate) sent: Sent,
    /// Adverts of it that found the ring full, as last looked at.
    pub(crate) ring_full: u64,
    /// The advert that says nothing new, as the kernel side knows it.
    pub(crate) steady: Option<Steady>,
    /// Arrival of the last advert that the router was given.
    pub(crate) heard: Timestamp,
    frames: Option<Frames>,
}

/// Adverts prepared for one MAC and primary address.
pub(crate) struct Frames {
    mac: [u8; 6],
    primary: IpAddr,
    /// The adverts.
    pub(crate) adverts: Adverts,
}

/// The adverts of one instance.
pub(crate) enum Adverts {
    /// To the group: a whole frame.
    Multicast(AdvertFrame),
    /// To each peer: a message.
    Unicast(Vec<(IpAddr, AdvertFrame)>),
}

impl Instance {
    pub(crate) fn new(settings: config::Instance, placed: Placed) -> Self {
        Self {
            router: Router::new(settings.router.clone()),
            interface: placed.interface,
            addresses: settings.router.all_addresses().collect(),
            homes: placed.homes,
            macvlan: placed.macvlan,
            wanted_up: Arc::default(),
            closed: Vec::new(),
            sent: Sent::default(),
            ring_full: 0,
            steady: None,
            heard: Timestamp::ZERO,
            frames: None,
            settings,
        }
    }

    /// Prepares the frames anew, if they are not already for this MAC of the interface and primary address. Returns
    /// whether they were for another MAC.
    pub(crate) fn prepare(&mut self, mac: [u8; 6], primary: IpAddr) -> bool {
        let before = self.frames.as_ref().map(|frames| (frames.mac, frames.primary));
        if before == Some((mac, primary)) {
            return false;
        }
        // The configuration has up to 255 addresses of one family: there are always frames.
        self.frames = self.adverts(mac, primary).map(|adverts| Frames { mac, primary, adverts });
        before.is_some_and(|(old, _)| old != mac)
    }

    fn adverts(&self, mac: [u8; 6], primary: IpAddr) -> Option<Adverts> {
        let fields = fields(&self.settings);
        let advertised = self.router.config().virtual_addresses.iter().map(|vip| vip.address);
        match &self.settings.transport {
            Transport::Multicast => {
                let mac = match self.settings.virtual_mac {
                    Some(virtual_mac) if !virtual_mac.transmit_on_base => self.virtual_mac(),
                    _ => mac,
                };
                AdvertFrame::multicast(mac, primary, &fields, advertised).ok().map(Adverts::Multicast)
            }
            Transport::Unicast(peers) => {
                let message = |peer: IpAddr| {
                    let frame = AdvertFrame::unicast(primary, peer, &fields, advertised.clone()).ok()?;
                    Some((peer, frame))
                };
                peers.iter().map(|peer| message(peer.address)).collect::<Option<_>>().map(Adverts::Unicast)
            }
        }
    }

    /// The adverts, once the interface could carry them.
    pub(crate) fn adverts_mut(&mut self) -> Option<&mut Adverts> {
        self.frames.as_mut().map(|frames| &mut frames.adverts)
    }

    /// The virtual router's own MAC (RFC 9568 section 7.3).
    pub(crate) fn virtual_mac(&self) -> [u8; 6] {
        let RouterConfig { vrid, family, .. } = self.router.config();
        let block = match family {
            Family::V4 => 1,
            Family::V6 => 2,
        };
        [0x00, 0x00, 0x5e, 0x00, block, *vrid]
    }

    /// Source of its adverts.
    pub(crate) fn primary(&self) -> Option<IpAddr> {
        self.frames.as_ref().map(|frames| frames.primary)
    }

    /// Whether `address` is one of its virtual addresses.
    pub(crate) fn is_virtual(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|vip| vip.address == address)
    }

    /// Whether it has this address on this interface of the plan.
    pub(crate) fn holds(&self, home: usize, address: IpAddr) -> bool {
        self.addresses.iter().zip(&self.homes).any(|(vip, place)| *place == home && vip.address == address)
    }

    /// Whether it is the owner (priority 255), whose interface carries the virtual addresses as its own.
    pub(crate) fn is_owner(&self) -> bool {
        self.router.config().is_owner()
    }
}

fn fields(settings: &config::Instance) -> Fields {
    let config = &settings.router;
    Fields {
        vrid: config.vrid,
        priority: config.priority,
        interval: config.interval.wire(),
        checksum: checksum_form(settings),
        password: settings.password.map(|password| password.0),
    }
}

/// The checksum that an instance's adverts are sent with.
pub(crate) fn checksum_form(settings: &config::Instance) -> ChecksumForm {
    match (settings.router.version(), settings.router.family, settings.checksum) {
        (Version::V2, ..) => ChecksumForm::V2,
        (Version::V3, Family::V6, _) => ChecksumForm::Ipv6,
        (Version::V3, Family::V4, Checksum::Rfc5798) => ChecksumForm::Rfc5798,
        (Version::V3, Family::V4, Checksum::Rfc9568) => ChecksumForm::Rfc9568,
    }
}

/// A record of the ring as the core wants it; none for one that this program does not know how to read.
pub(crate) fn received(record: &AdvertRecord) -> Option<Received> {
    Some(Received {
        arrival: Timestamp::from_nanos(record.arrival),
        source: narrow(record.family, record.source),
        priority: record.priority,
        interval: record.interval,
        addresses: record.addresses,
        checksum: ChecksumForm::from_number(record.checksum)?,
    })
}

/// The core's word for a steady advert as the kernel side knows it.
pub(crate) fn fingerprint_of(steady: Steady) -> u64 {
    let Steady { source, priority, interval, addresses, checksum, down_interval: _ } = steady;
    fingerprint(&wide(source), priority, interval, addresses, checksum)
}

/// Whether an address is there by somebody else's doing: vipd neither adds nor removes it. The owner's virtual addresses
/// are of that kind (RFC 9568 section 1.7).
pub(crate) fn is_foreign(found: &crate::netlink::Address) -> bool {
    found.protocol != crate::netlink::PROTO_VIPD
}
