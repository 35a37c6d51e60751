//! One configured virtual router: its protocol state machine and its prepared frames.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use vipd_common::Timestamp;
use vipd_common::address::{from_words, to_words};
use vipd_common::lease;
use vipd_common::parse::ChecksumForm;
use vipd_common::parse::fingerprint;
use vipd_common::records::{AddressKey, AdvertRecord};
use vipd_common::wire::vrrp::Fields;

use super::authentication::Authentication;
use super::command::Sent;
use super::id::LinkId;
use super::link::Link;
use super::link_io::FrameKind;
use super::link_spec::XdpEntry;
use super::links::Links;
use super::routing::Wanted;
use super::unicast_peer::UnicastPeer;
use crate::config;
use crate::config::settings::{Checksum, Placement, Transport};
use crate::packet::{AdvertFrame, Signing};
use crate::vrrp::{Family, FastPath, Received, Router, RouterConfig, State, Steady, Version, VirtualAddress};
use crate::xdp::{FenceLevel, Row};

/// A virtual router and its state in the engine.
pub(crate) struct Instance {
    pub(crate) router: Router,
    pub(crate) settings: Arc<config::Instance>,
    /// Row of the router in the BPF program's arrays.
    pub(crate) row: Row,
    /// The link on which the router sends and receives adverts.
    pub(crate) link: LinkId,
    /// All VIPs. Excluded VIPs come last.
    pub(crate) addresses: Vec<VirtualAddress>,
    /// The link of each VIP.
    pub(crate) vip_links: Vec<LinkId>,
    /// Macvlan of the router, if it uses a virtual MAC.
    pub(crate) macvlan: Option<LinkId>,
    /// The router's routes and policy rules.
    pub(crate) routing: Vec<Wanted>,
    /// Whether the macvlan must be up. The service checks this before and after it brings the
    /// macvlan down.
    pub(crate) wanted_up: Arc<AtomicBool>,
    /// The router's entries in the BPF program's map of VIPs.
    pub(crate) covered: Vec<AddressKey>,
    /// MAC, primary address and fence level for which the router's record was last published to the
    /// guardian.
    pub(crate) guarded_for: Option<(Option<[u8; 6]>, IpAddr, Option<FenceLevel>)>,
    /// Indices of the interfaces that filter the router's VIPs, recorded once the map has the VIPs
    /// that each of these interfaces filters; empty after a failure or a change of the settings.
    pub(crate) covered_on: BTreeSet<u32>,
    /// The router's sync group: an index into `Topology::groups`.
    pub(crate) group: Option<usize>,
    pub(crate) sent: Sent,
    /// Whether a refused frame has been reported since the last successful advert.
    pub(crate) refusal_reported: bool,
    /// The unchanged advert published to the BPF program.
    pub(crate) fast_path: FastPath,
    /// Whether the fast path may have to be published again at the end of this turn.
    pub(crate) dirty: bool,
    /// Rate-limit state for the corrections of each VIP: a theoretical arrival time (GCRA).
    corrected: Vec<Timestamp>,
    /// Signs and verifies adverts if the instance has keys.
    pub(crate) authentication: Option<Authentication>,
    frames: Option<Frames>,
}

/// Adverts prepared for a MAC and primary address.
struct Frames {
    mac: Option<[u8; 6]>,
    primary: IpAddr,
    /// Prefix length of the primary address, if it is known.
    prefix: Option<u8>,
    adverts: Adverts,
}

/// The adverts of one virtual router.
pub(crate) enum Adverts {
    /// One Ethernet frame to the multicast group.
    Multicast(AdvertFrame),
    /// One VRRP message per peer.
    Unicast(Vec<UnicastPeer>),
}

impl Adverts {
    fn frames(&mut self) -> impl Iterator<Item = &mut AdvertFrame> {
        let (frame, peers) = match self {
            Self::Multicast(frame) => (Some(frame), &mut [][..]),
            Self::Unicast(peers) => (None, peers.as_mut_slice()),
        };
        frame.into_iter().chain(peers.iter_mut().map(|peer| &mut peer.advert))
    }
}

impl Instance {
    pub(crate) fn new(
        settings: Arc<config::Instance>,
        row: Row,
        link: LinkId,
        vip_links: Vec<LinkId>,
        macvlan: Option<LinkId>,
        routing: Vec<Wanted>,
    ) -> Self {
        Self {
            router: Router::new(settings.router.clone()),
            row,
            link,
            addresses: settings.router.all_addresses().collect(),
            vip_links,
            macvlan,
            routing,
            wanted_up: Arc::default(),
            covered: Vec::new(),
            guarded_for: None,
            covered_on: BTreeSet::new(),
            group: None,
            sent: Sent::default(),
            refusal_reported: false,
            fast_path: FastPath::default(),
            dirty: false,
            corrected: vec![Timestamp::ZERO; settings.router.all_addresses().count()],
            authentication: Authentication::new(&settings),
            frames: None,
            settings,
        }
    }

    /// Prepares the adverts for the link's MAC and for the primary address, whose prefix length is
    /// `prefix`. Returns whether the MAC has changed.
    pub(crate) fn prepare(&mut self, mac: Option<[u8; 6]>, primary: IpAddr, prefix: Option<u8>) -> bool {
        let before = self.frames.as_ref().map(|frames| (frames.mac, frames.primary, frames.prefix));
        if before == Some((mac, primary, prefix)) {
            return false;
        }
        // Always succeeds: the configuration allows at most 255 addresses of one family, and a
        // multicast router is ready only if its interface has a MAC.
        self.frames =
            self.build_adverts(mac, primary, prefix).map(|adverts| Frames { mac, primary, prefix, adverts });
        before.is_some_and(|(old, ..)| old != mac)
    }

    /// Replaces the settings, and prepares adverts for the new settings. Call this after the router
    /// itself has been [reconfigured](Router::reconfigure). `vip_links` contains the link of each
    /// VIP, and `routing` contains the routes and rules of the new settings. Returns the new
    /// position of each former VIP, or `None` if the VIP was removed.
    pub(crate) fn change(
        &mut self,
        settings: Arc<config::Instance>,
        vip_links: Vec<LinkId>,
        routing: Vec<Wanted>,
    ) -> Vec<Option<usize>> {
        let addresses: Vec<_> = settings.router.all_addresses().collect();
        let find = |vip: &VirtualAddress| addresses.iter().position(|other| other == vip);
        let positions: Vec<_> = self.addresses.iter().map(find).collect();
        let mut corrected = vec![Timestamp::ZERO; addresses.len()];
        for (position, former) in positions.iter().zip(&self.corrected) {
            if let Some(now) = position.and_then(|position| corrected.get_mut(position)) {
                *now = *former;
            }
        }
        self.authentication = Authentication::change(self.authentication.take(), &settings);
        (self.settings, self.addresses, self.vip_links) = (settings, addresses, vip_links);
        self.routing = routing;
        self.covered_on.clear();
        self.corrected = corrected;
        if let Some(Frames { mac, primary, prefix, .. }) = self.frames.take() {
            self.prepare(mac, primary, prefix);
        }
        positions
    }

    fn build_adverts(&self, mac: Option<[u8; 6]>, primary: IpAddr, prefix: Option<u8>) -> Option<Adverts> {
        let fields = fields(&self.settings);
        let key = self.authentication.as_ref().and_then(Authentication::signing_key);
        let signing = if key.is_some() { Signing::Signed } else { Signing::Unsigned };
        let advertised = self.router.config().virtual_addresses.iter().map(|vip| vip.address);
        match &self.settings.transport {
            Transport::Multicast => {
                let mac = match self.settings.virtual_mac {
                    Some(virtual_mac) if !virtual_mac.transmit_on_base => self.virtual_mac(),
                    _ => mac?,
                };
                AdvertFrame::multicast(mac, primary, &fields, advertised, signing)
                    .ok()
                    .map(Adverts::Multicast)
            }
            Transport::Unicast(peers) => {
                let message = |peer: IpAddr| {
                    let frame =
                        AdvertFrame::unicast(primary, peer, &fields, advertised.clone(), signing).ok()?;
                    Some(UnicastPeer::new(peer, frame, primary, prefix, mac))
                };
                peers.iter().map(|peer| message(peer.address)).collect::<Option<_>>().map(Adverts::Unicast)
            }
        }
    }

    /// Returns the prepared adverts, or `None` if the router has never been ready.
    pub(crate) fn adverts(&self) -> Option<&Adverts> {
        self.frames.as_ref().map(|frames| &frames.adverts)
    }

    /// Sets the priority of the prepared adverts, and signs them if the instance has a signing key.
    /// Returns `None` if the router has never been ready.
    pub(crate) fn complete_adverts(&mut self, priority: u8) -> Option<&Adverts> {
        let header = self.pseudo_header(self.primary()?);
        let adverts = &mut self.frames.as_mut()?.adverts;
        adverts.frames().for_each(|frame| frame.set_priority(priority));
        // One trailer for all peers: their messages differ only in the checksum, which the HMAC
        // does not cover.
        let authentication = self.authentication.as_mut();
        let trailer = authentication
            .and_then(|authentication| authentication.sign(&header, adverts.frames().next()?.message()));
        if let Some(trailer) = trailer {
            adverts.frames().for_each(|frame| frame.set_trailer(&trailer));
        }
        Some(adverts)
    }

    /// Returns the sequence of the last signed advert; `None` if none has been signed.
    pub(crate) fn sent_sequence(&self) -> Option<u64> {
        self.authentication.as_ref()?.sent()
    }

    /// Returns the virtual router MAC (RFC 9568 section 7.3).
    pub(crate) fn virtual_mac(&self) -> [u8; 6] {
        let RouterConfig { vrid, family, .. } = self.router.config();
        let block = match family {
            Family::V4 => 1,
            Family::V6 => 2,
        };
        [0x00, 0x00, 0x5e, 0x00, block, *vrid]
    }

    /// Returns the source address of the router's adverts.
    pub(crate) fn primary(&self) -> Option<IpAddr> {
        self.frames.as_ref().map(|frames| frames.primary)
    }

    /// Counts a frame that the kernel accepted. For an advert, also passes the time to the router,
    /// which uses it to detect stalls.
    pub(crate) fn count_sent(&mut self, now: Timestamp, kind: FrameKind) {
        let sent = &mut self.sent;
        match kind {
            FrameKind::Advert | FrameKind::PriorityZero => {
                self.router.advert_sent(now);
                sent.adverts += 1;
                sent.priority_zero += u64::from(matches!(kind, FrameKind::PriorityZero));
            }
            FrameKind::GratuitousArp => sent.gratuitous_arps += 1,
            FrameKind::NeighborAdvertisement => sent.neighbor_advertisements += 1,
            FrameKind::Solicitation => {}
        }
    }

    pub(crate) fn xdp_entry(&self) -> XdpEntry {
        XdpEntry::new(self.row, &self.settings)
    }

    /// Returns whether the router uses unicast peers.
    pub(crate) fn is_unicast(&self) -> bool {
        matches!(self.settings.transport, Transport::Unicast(_))
    }

    pub(crate) fn is_master(&self) -> bool {
        self.router.state() == State::Master
    }

    /// Returns the time at which a master whose BPF program was detached, or now runs after another
    /// program, becomes impeded. Returns `None` if the program is attached and first at its hook.
    /// Also returns `None` for a backup, which is impeded immediately because it may miss the
    /// master's adverts.
    pub(crate) fn grace_ends(&self, link: &Link) -> Option<Timestamp> {
        let detached_at = link.io.as_ref()?.detached_at.filter(|_| self.is_master())?;
        Some(detached_at + self.router.snapshot().master_down_interval)
    }

    /// Iterates over the VIPs and their links.
    pub(crate) fn vips(&self) -> impl Iterator<Item = (VirtualAddress, LinkId)> + Clone {
        self.addresses.iter().copied().zip(self.vip_links.iter().copied())
    }

    /// Returns the VIP at a position in [`vips`](Self::vips), and its link.
    pub(crate) fn vip(&self, position: usize) -> Option<(VirtualAddress, LinkId)> {
        Some((*self.addresses.get(position)?, *self.vip_links.get(position)?))
    }

    /// Returns the VIP at a position, its link and its attributes on the link.
    pub(crate) fn placed_vip(&self, position: usize) -> Option<(VirtualAddress, LinkId, &Placement)> {
        let (vip, on) = self.vip(position)?;
        Some((vip, on, self.settings.placements.get(position)?))
    }

    /// Returns the links on which a VIP may be present: the VIP's own link and, if that is the
    /// macvlan, also the parent. Another agent or a network manager may have added the VIP to the
    /// parent.
    pub(crate) fn links_of(&self, position: usize) -> impl Iterator<Item = LinkId> + Clone + use<> {
        let on = self.vip_links.get(position).copied();
        let parent = on.filter(|on| self.macvlan == Some(*on)).map(|_| self.link);
        on.into_iter().chain(parent)
    }

    /// Iterates over the links on which packets to and from a VIP are filtered: the router's own
    /// link and the link of the VIP. The BPF programs of the router's own link also process the
    /// packets of the router's macvlan. The kernel answers ARP requests for the VIP on both links.
    pub(crate) fn filtering_links(&self, on: LinkId) -> impl Iterator<Item = LinkId> {
        [self.link].into_iter().chain((on != self.link && self.macvlan != Some(on)).then_some(on))
    }

    /// Returns the lowest fence level among the interfaces of the router and its VIPs, or `None` if
    /// no such interface is open.
    pub(crate) fn fence(&self, links: &Links) -> Option<FenceLevel> {
        let links_of_vips = self.vip_links.iter().filter(|link| Some(**link) != self.macvlan);
        let ios = links_of_vips.chain([&self.link]).filter_map(|link| links.get(*link)?.io.as_ref());
        ios.map(|io| io.fence).min()
    }

    /// Returns the duration in nanoseconds for which each sent advert renews the lease.
    pub(crate) fn lease(&self) -> u64 {
        let config = self.router.config();
        lease::duration(config.interval.nanos(), config.down_after_adverts)
    }

    /// Returns whether a VIP may be added. With `accept = false`, the BPF program must already drop
    /// packets to the VIP.
    pub(crate) fn may_add(&self, address: IpAddr) -> bool {
        self.settings.accept || self.covered.iter().any(|key| key.address == to_words(address))
    }

    /// Charges a correction to the VIP's rate limit. If the limit is reached, returns the time of
    /// the next attempt instead. The limit, a burst of five corrections and then one per second,
    /// slows down the fight with a tool that undoes every correction.
    pub(crate) fn correct(&mut self, position: usize, now: Timestamp) -> Option<Timestamp> {
        const PERIOD: u64 = 1_000_000_000;
        const BURST: u64 = 5;
        let corrected = self.corrected.get_mut(position)?;
        let next = (*corrected).max(now);
        if next.nanos_since(now) > (BURST - 1) * PERIOD {
            return Some(now + PERIOD);
        }
        *corrected = next + PERIOD;
        None
    }

    /// Returns a VIP whose removal would make a link lose either its primary address or one of its
    /// own addresses that is secondary to the VIP; `None` if there is no such VIP, or if the router
    /// is an address owner.
    pub(crate) fn conflict(&self, links: &Links) -> Option<IpAddr> {
        if self.is_owner() {
            return None;
        }
        let conflicts = |position: usize, vip: IpAddr| {
            self.links_of(position).filter_map(|id| links.get(id)).any(|link| link.conflicts(vip))
        };
        let mut each = self.addresses.iter().enumerate();
        each.find(|(position, vip)| conflicts(*position, vip.address)).map(|(_, vip)| vip.address)
    }

    /// Iterates over the VIPs that are missing although the router is master.
    pub(crate) fn missing(&self, links: &Links) -> impl Iterator<Item = VirtualAddress> {
        let is_present = |vip: VirtualAddress, on: LinkId| {
            links.get(on).is_some_and(|link| {
                link.addresses.get(vip.address, vip.prefix).is_some()
                    || (self.is_owner() && link.addresses.contains(vip.address))
            })
        };
        let held = self.vips().filter(|_| self.is_master());
        held.filter(move |(vip, on)| !is_present(*vip, *on)).map(|(vip, _)| vip)
    }

    /// Returns whether the router is the address owner (priority 255), in which case the VIPs
    /// belong to its interface.
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

/// Returns the checksum form of the adverts that an instance sends.
pub(crate) fn checksum_form(settings: &config::Instance) -> ChecksumForm {
    match (settings.router.version(), settings.router.family, settings.checksum) {
        (Version::V2, ..) => ChecksumForm::V2,
        (Version::V3, Family::V6, _) => ChecksumForm::Ipv6,
        (Version::V3, Family::V4, Checksum::Rfc5798) => ChecksumForm::Rfc5798,
        (Version::V3, Family::V4, Checksum::Rfc9568) => ChecksumForm::Rfc9568,
    }
}

/// Converts a record from the ring to an input for the core. Returns `None` if the record contains
/// an unknown checksum form.
pub(crate) fn received(record: &AdvertRecord) -> Option<Received> {
    Some(Received {
        arrival: Timestamp::from_nanos(record.arrival),
        source: from_words(record.family, record.source),
        priority: record.priority,
        interval: record.interval,
        addresses: record.addresses,
        checksum: ChecksumForm::from_number(record.checksum)?,
    })
}

/// Returns the fingerprint by which the BPF program recognizes an unchanged advert.
pub(crate) fn fingerprint_of(steady: &Steady) -> u64 {
    let Steady { source, priority, interval, addresses, checksum, down_interval: _ } = *steady;
    fingerprint(&to_words(source), priority, interval, addresses, checksum)
}
