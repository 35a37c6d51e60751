//! Decoding of VRRP adverts.

use std::net::IpAddr;

use super::Frame;
use super::packet::{Packet, array_at, u16_at};
use crate::station::Mac;
use vipd_witness::internet_checksum;

const PROTOCOL_VRRP: u8 = 112;

/// The data that a valid checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumForm {
    /// VRRPv2: message only.
    V2,
    /// VRRPv3 over IPv4: message and pseudo-header, the common reading of RFC 5798.
    Rfc5798,
    /// VRRPv3 over IPv4: message only (RFC 9568).
    Rfc9568,
    /// VRRPv3 over IPv6: message and pseudo-header.
    Ipv6,
}

/// A VRRP advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// Source MAC.
    pub source_mac: Mac,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or Hop Limit.
    pub ttl: u8,
    /// Protocol version.
    pub version: u8,
    /// Virtual router identifier.
    pub vrid: u8,
    /// Priority; 0 if the sender relinquishes mastership.
    pub priority: u8,
    /// Interval as encoded: centiseconds in version 3, seconds in version 2.
    pub interval: u16,
    /// Virtual addresses.
    pub addresses: Vec<IpAddr>,
    /// Data that the checksum covers; `None` if the checksum is wrong for every form.
    pub checksum_form: Option<ChecksumForm>,
    /// Authentication type and data; version 2 only.
    pub authentication: Option<(u8, [u8; 8])>,
    /// The VRRP message.
    pub message: Vec<u8>,
    /// Bytes after the message: the trailer of a signed advert.
    pub trailer: Vec<u8>,
}

impl Frame {
    /// Decodes a VRRP advert.
    pub fn advert(&self) -> Option<Advert> {
        let packet = self.packet(PROTOCOL_VRRP)?;
        let vrrp = packet.payload;
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
        let size = if packet.source.is_ipv6() { 16 } else { 4 };
        let end = 8 + size * usize::from(vrrp[3]);
        let address = |bytes: &[u8]| match size {
            16 => array_at::<16>(bytes, 0).map(IpAddr::from),
            _ => array_at::<4>(bytes, 0).map(IpAddr::from),
        };
        let addresses = vrrp.get(8..end).unwrap_or_default().chunks(size).filter_map(address).collect();
        let data = if version == 2 { array_at(vrrp, end) } else { None };
        let length = if version == 2 { end + 8 } else { end };
        let (message, trailer) = vrrp.split_at_checked(length).unwrap_or((vrrp, &[]));
        Some(Advert {
            source_mac: self.source_mac()?,
            source: packet.source,
            destination: packet.destination,
            ttl: packet.ttl,
            version,
            vrid,
            priority,
            interval,
            addresses,
            checksum_form: checksum_form(&packet, message, version),
            authentication: data.map(|data| (vrrp[4], data)),
            message: message.to_vec(),
            trailer: trailer.to_vec(),
        })
    }
}

/// Returns the form for which the checksum is correct. The Internet checksum of data that includes
/// its own correct checksum is 0.
fn checksum_form(packet: &Packet<'_>, message: &[u8], version: u8) -> Option<ChecksumForm> {
    let alone = internet_checksum(message) == 0;
    let length = u32::try_from(message.len()).ok()?;
    let mut covered = Vec::new();
    for address in [packet.source, packet.destination] {
        match address {
            IpAddr::V4(address) => covered.extend(address.octets()),
            IpAddr::V6(address) => covered.extend(address.octets()),
        }
    }
    // The layout of the IPv6 pseudo-header. The fields of the IPv4 pseudo-header have the same
    // values, but a different order and different sizes, which do not affect the sum.
    covered.extend(length.to_be_bytes());
    covered.extend([0, 0, 0, PROTOCOL_VRRP]);
    covered.extend(message);
    let with_header = internet_checksum(&covered) == 0;
    match (version, packet.source) {
        (2, _) => alone.then_some(ChecksumForm::V2),
        (_, IpAddr::V6(_)) => with_header.then_some(ChecksumForm::Ipv6),
        (_, IpAddr::V4(_)) if with_header => Some(ChecksumForm::Rfc5798),
        (_, IpAddr::V4(_)) => alone.then_some(ChecksumForm::Rfc9568),
    }
}
