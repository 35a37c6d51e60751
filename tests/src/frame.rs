//! Frames as the switch saw them, and what they say.

use std::net::Ipv4Addr;

use crate::station::{Mac, Station};
use crate::time::WallTime;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_VRRP: u8 = 112;

/// A frame that entered the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When the kernel received it.
    pub time: WallTime,
    /// Who sent it: the station behind the port, whatever the frame itself claims.
    pub from: Station,
    /// The frame, from the destination address on.
    pub bytes: Vec<u8>,
}

/// A VRRP advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// Ethernet source.
    pub source_mac: Mac,
    /// IPv4 source.
    pub source: Ipv4Addr,
    /// Protocol version.
    pub version: u8,
    /// Virtual router.
    pub vrid: u8,
    /// Priority; 0 when the sender resigns.
    pub priority: u8,
    /// Interval as it is on the wire: hundredths of a second in version 3, seconds in version 2.
    pub interval: u16,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arp {
    /// 1 for a request, 2 for a reply.
    pub operation: u16,
    /// Sender's hardware address.
    pub sender_mac: Mac,
    /// Sender's address.
    pub sender: Ipv4Addr,
    /// Target's address.
    pub target: Ipv4Addr,
}

/// An ICMP echo request or reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// Whether it is the reply.
    pub reply: bool,
    /// Ethernet source.
    pub source_mac: Mac,
    /// IPv4 source.
    pub source: Ipv4Addr,
    /// IPv4 destination.
    pub destination: Ipv4Addr,
    /// Identifier, the prober's own.
    pub identifier: u16,
    /// Sequence number, modulo 2^16.
    pub sequence: u16,
}

impl Frame {
    /// The advertisement in it, if it is one.
    pub fn advert(&self) -> Option<Advert> {
        let ip = self.ipv4(PROTOCOL_VRRP)?;
        let vrrp = ip.payload;
        let first = *vrrp.first()?;
        let version = first >> 4;
        if first & 0xf != 1 || vrrp.len() < 8 {
            return None;
        }
        let interval = match version {
            2 => u16::from(vrrp[5]),
            3 => u16_at(vrrp, 4)? & 0x0fff,
            _ => return None,
        };
        let (vrid, priority) = (vrrp[1], vrrp[2]);
        Some(Advert { source_mac: self.source_mac()?, source: ip.source, version, vrid, priority, interval })
    }

    /// The ARP packet in it, if it is one.
    pub fn arp(&self) -> Option<Arp> {
        let arp = self.payload(ETHERTYPE_ARP)?;
        // Ethernet (1), IPv4 (0x0800), and the lengths of their addresses.
        if arp.get(..6)? != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        Some(Arp {
            operation: u16_at(arp, 6)?,
            sender_mac: mac_at(arp, 8)?,
            sender: ipv4_at(arp, 14)?,
            target: ipv4_at(arp, 24)?,
        })
    }

    /// The ARP packet in it, if it is a gratuitous one for `address`: nobody is asked, everybody is
    /// told. Both forms in use count, request and reply.
    pub fn gratuitous_arp(&self, address: Ipv4Addr) -> Option<Arp> {
        self.arp().filter(|arp| arp.sender == address && arp.target == address)
    }

    /// The echo in it, if it is one.
    pub fn echo(&self) -> Option<Echo> {
        let ip = self.ipv4(PROTOCOL_ICMP)?;
        let reply = match ip.payload.first()? {
            0 => true,
            8 => false,
            _ => return None,
        };
        Some(Echo {
            reply,
            source_mac: self.source_mac()?,
            source: ip.source,
            destination: ip.destination,
            identifier: u16_at(ip.payload, 4)?,
            sequence: u16_at(ip.payload, 6)?,
        })
    }

    /// Ethernet source.
    pub fn source_mac(&self) -> Option<Mac> {
        mac_at(&self.bytes, 6)
    }

    fn payload(&self, ethertype: u16) -> Option<&[u8]> {
        (u16_at(&self.bytes, 12)? == ethertype).then(|| &self.bytes[14..])
    }

    fn ipv4(&self, protocol: u8) -> Option<Ipv4<'_>> {
        let packet = self.payload(ETHERTYPE_IPV4)?;
        let header = usize::from(packet.first()? & 0xf) * 4;
        if *packet.get(9)? != protocol {
            return None;
        }
        // The length in the header, not the frame's: what follows is Ethernet padding.
        let length = usize::from(u16_at(packet, 2)?);
        Some(Ipv4 {
            source: ipv4_at(packet, 12)?,
            destination: ipv4_at(packet, 16)?,
            payload: packet.get(header..length)?,
        })
    }
}

struct Ipv4<'a> {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    payload: &'a [u8],
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_be_bytes)
}

fn ipv4_at(bytes: &[u8], offset: usize) -> Option<Ipv4Addr> {
    array_at::<4>(bytes, offset).map(Ipv4Addr::from)
}

fn mac_at(bytes: &[u8], offset: usize) -> Option<Mac> {
    array_at(bytes, offset).map(Mac)
}
