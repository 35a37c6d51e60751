//! The reference verdict on a frame, from the user-space parser.

use vipd::xdp::{Action, Framing};
use vipd_common::counters::Counter;
use vipd_common::filter::{self, Direction, Network};
use vipd_common::parse::{Advert, Expected, Trailer, locate, validate};
use vipd_common::records::{AddressKey, LeaseSlot, PeerKey, RouterKey, RouterSlot};
use vipd_common::wire::{ethernet, ip, ipv4};

/// Maximum number of bytes that the program reads, starting at the IP header. An advert has at most
/// 4156 bytes: an IPv6 header, a VRRP header, 255 addresses and a trailer.
const WINDOW: usize = 8192;

/// The verdict on a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Passed. A VRRP packet is counted with this counter in row 0.
    Passed(Option<Counter>),
    /// Dropped, and counted with this counter in this row.
    Discarded(u32, Counter),
    /// Dropped, and recorded in the ring. Unless the advert is signed, also counted as received in
    /// this row.
    Accepted(u32, Advert),
}

impl Verdict {
    pub(crate) fn action(&self) -> Action {
        match self {
            Self::Passed(_) => Action::Pass,
            Self::Discarded(..) | Self::Accepted(..) => Action::Drop,
        }
    }
}

/// Contents of the program's maps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Maps {
    pub(crate) routers: Vec<(RouterKey, RouterSlot)>,
    pub(crate) peers: Vec<(PeerKey, u8)>,
    pub(crate) closed: Vec<(AddressKey, u32)>,
}

impl Maps {
    /// Returns the verdict on a frame received on `ifindex`.
    pub(crate) fn verdict(&self, framing: Framing, frame: &[u8], ifindex: u32) -> Verdict {
        let ip = match framing {
            Framing::Ethernet => ethernet::ip(&frame),
            Framing::Bare => ip::bare(&frame),
        };
        let Some(ip) = ip else {
            return Verdict::Passed(None);
        };
        let packet = &frame[ip.offset..frame.len().min(ip.offset + WINDOW)];
        if ip.protocol != ipv4::PROTOCOL_VRRP {
            return self.other(packet, ip.version, ifindex);
        }
        let located = match locate(&packet, ip.version) {
            Ok(located) => located,
            Err(not_ours) => return Verdict::Passed(Some(not_ours.counter())),
        };
        let key = RouterKey::new(ifindex, located.vrid, located.family);
        let Some((_, slot)) = self.routers.iter().find(|(known, _)| *known == key) else {
            return Verdict::Passed(Some(located.unclaimed().counter()));
        };
        if slot.destination != located.destination {
            return Verdict::Passed(Some(Counter::DestinationPassed));
        }
        let peer = PeerKey { row: slot.row, address: located.source };
        let admitted = self.peers.iter().find(|(known, _)| *known == peer).map(|(_, ttl)| *ttl);
        let ttl = if slot.unicast == 0 { Some(255) } else { admitted };
        let Some(ttl) = ttl else { return Verdict::Discarded(slot.row, Counter::PeerErrors) };
        let expected = Expected {
            version: slot.version,
            authentication: slot.authentication,
            password: slot.password,
            ttl,
            empty: slot.empty != 0,
            trailer: Trailer::from_number(slot.trailer),
        };
        match validate(&packet, &located, &expected) {
            Ok(advert) => Verdict::Accepted(slot.row, advert),
            Err(reason) => Verdict::Discarded(slot.row, reason),
        }
    }

    /// Returns the verdict on a packet that is not an advert. The packet is dropped if it is
    /// addressed to a closed VIP and is neither a Neighbor Solicitation nor a Neighbor
    /// Advertisement.
    fn other(&self, packet: &[u8], version: u8, ifindex: u32) -> Verdict {
        let network = if version == 6 { Network::Ipv6 } else { Network::Ipv4 };
        let Some(subject) = filter::subject(&packet, network, Direction::Received) else {
            return Verdict::Passed(None);
        };
        let key = AddressKey::new(ifindex, subject.family, subject.address);
        let closed = LeaseSlot { valid_until: 0, priority: 0, fenced: 0, closed: 1 };
        let row = self.closed.iter().find(|(known, _)| *known == key).map(|(_, row)| *row);
        let verdict = row
            .and_then(|row| Some((row, filter::verdict(&closed, subject.is_neighbor, Direction::Received)?)));
        verdict.map_or(Verdict::Passed(None), |(row, counter)| Verdict::Discarded(row, counter))
    }
}
