//! Captured frames and their decoders.

mod advert;
mod neighbor;
mod packet;

use std::net::{IpAddr, Ipv4Addr};

use crate::station::{Mac, Station};
use crate::time::WallTime;

pub use advert::{Advert, ChecksumForm};
pub use neighbor::{MembershipReport, NeighborAdvertisement};
use packet::{array_at, u16_at};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;

/// A frame that entered the switch, or that arrived at the interface of
/// [`Capture::of_interface`](crate::capture::Capture::of_interface).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Kernel receive timestamp.
    pub time: WallTime,
    /// Station on the ingress port, regardless of the frame's source MAC; in a capture that is
    /// limited to one interface, the station passed to it.
    pub from: Station,
    /// The frame, starting with the destination MAC.
    pub bytes: Vec<u8>,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arp {
    /// 1 for a request, 2 for a reply.
    pub operation: u16,
    /// Sender hardware address.
    pub sender_mac: Mac,
    /// Sender protocol address.
    pub sender: Ipv4Addr,
    /// Target protocol address.
    pub target: Ipv4Addr,
}

/// An ICMP echo request or reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// Whether the message is a reply.
    pub reply: bool,
    /// Source MAC.
    pub source_mac: Mac,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Identifier; each prober uses its own.
    pub identifier: u16,
    /// Sequence number.
    pub sequence: u16,
}

impl Frame {
    /// Returns whether the frame is an advert with which `station` claims to be master, that is,
    /// any advert except a priority-0 advert.
    pub fn claims_mastership(&self, station: Station) -> bool {
        self.from == station && self.advert().is_some_and(|advert| advert.priority > 0)
    }

    /// Decodes an ARP packet.
    pub fn arp(&self) -> Option<Arp> {
        let arp = self.payload(ETHERTYPE_ARP)?;
        // Hardware type Ethernet (1), protocol type IPv4 (0x0800), and the length of each address
        // type.
        if arp.get(..6)? != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        Some(Arp {
            operation: u16_at(arp, 6)?,
            sender_mac: array_at(arp, 8).map(Mac)?,
            sender: array_at::<4>(arp, 14).map(Ipv4Addr::from)?,
            target: array_at::<4>(arp, 24).map(Ipv4Addr::from)?,
        })
    }

    /// Decodes a gratuitous ARP for `address`, sent as a request or as a reply.
    pub fn gratuitous_arp(&self, address: Ipv4Addr) -> Option<Arp> {
        self.arp().filter(|arp| arp.sender == address && arp.target == address)
    }

    /// Decodes an ICMP echo request or reply.
    pub fn echo(&self) -> Option<Echo> {
        let packet = self.packet(PROTOCOL_ICMP)?;
        let reply = match packet.payload.first()? {
            0 => true,
            8 => false,
            _ => return None,
        };
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.source, packet.destination) else {
            return None;
        };
        Some(Echo {
            reply,
            source_mac: self.source_mac()?,
            source,
            destination,
            identifier: u16_at(packet.payload, 4)?,
            sequence: u16_at(packet.payload, 6)?,
        })
    }

    /// Returns the type and code if the frame is an ICMP error that rejects a packet: Destination
    /// Unreachable, or an ICMPv6 Parameter Problem.
    pub fn icmp_unreachable(&self) -> Option<(u8, u8)> {
        let of = |protocol, types: &[u8]| {
            let packet = self.packet(protocol)?;
            let (kind, code) = (*packet.payload.first()?, *packet.payload.get(1)?);
            types.contains(&kind).then_some((kind, code))
        };
        of(PROTOCOL_ICMP, &[3]).or_else(|| of(PROTOCOL_ICMPV6, &[1, 4]))
    }

    /// Returns the Ethernet source address.
    pub fn source_mac(&self) -> Option<Mac> {
        array_at(&self.bytes, 6).map(Mac)
    }

    fn payload(&self, ethertype: u16) -> Option<&[u8]> {
        (u16_at(&self.bytes, 12)? == ethertype).then(|| &self.bytes[14..])
    }
}
