//! Captured frames and their decoding.

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

/// A frame that entered the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Receive time of the kernel.
    pub time: WallTime,
    /// Ingress port: the station connected to it, regardless of the frame's source address.
    pub from: Station,
    /// Bytes of the frame, from the destination address on.
    pub bytes: Vec<u8>,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arp {
    /// 1 for a request, 2 for a reply.
    pub operation: u16,
    /// Sender's MAC.
    pub sender_mac: Mac,
    /// Sender's address.
    pub sender: Ipv4Addr,
    /// Target's address.
    pub target: Ipv4Addr,
}

/// An ICMP echo request or reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// Whether the message is a reply.
    pub reply: bool,
    /// Ethernet source.
    pub source_mac: Mac,
    /// IPv4 source.
    pub source: Ipv4Addr,
    /// IPv4 destination.
    pub destination: Ipv4Addr,
    /// Identifier, unique per prober.
    pub identifier: u16,
    /// Sequence number, modulo 2^16.
    pub sequence: u16,
}

impl Frame {
    /// Returns whether the frame is an advert by which the station claims to be master: any advert
    /// except a priority-0 advert.
    pub fn claims_mastership(&self, station: Station) -> bool {
        self.from == station && self.advert().is_some_and(|advert| advert.priority > 0)
    }

    /// Decodes an ARP packet.
    pub fn arp(&self) -> Option<Arp> {
        let arp = self.payload(ETHERTYPE_ARP)?;
        // Ethernet (1), IPv4 (0x0800), and the lengths of their addresses.
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

    /// Decodes a gratuitous ARP for `address`, in either form: request or reply.
    pub fn gratuitous_arp(&self, address: Ipv4Addr) -> Option<Arp> {
        self.arp().filter(|arp| arp.sender == address && arp.target == address)
    }

    /// Decodes an ICMP echo.
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

    /// Returns type and code of an ICMP error for an unexpected packet: destination unreachable, or
    /// unrecognized next header in IPv6.
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
