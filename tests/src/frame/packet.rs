//! Decoding of IPv4 and IPv6 packets.

use std::net::IpAddr;

use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame};

/// The payload of an IP packet, and the header fields that the tests check.
pub(super) struct Packet<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// TTL or Hop Limit.
    pub(super) ttl: u8,
    pub(super) payload: &'a [u8],
}

impl Frame {
    /// Decodes an IP packet with this protocol number. In IPv6, skips Hop-by-Hop Options, Routing
    /// and Destination Options, but no other extension headers.
    pub(super) fn packet(&self, protocol: u8) -> Option<Packet<'_>> {
        self.ipv4(protocol).or_else(|| self.ipv6(protocol))
    }

    fn ipv4(&self, protocol: u8) -> Option<Packet<'_>> {
        let packet = self.payload(ETHERTYPE_IPV4)?;
        let header = usize::from(packet.first()? & 0xf) * 4;
        if *packet.get(9)? != protocol {
            return None;
        }
        // Use the length in the header, because the frame may be padded.
        let length = usize::from(u16_at(packet, 2)?);
        Some(Packet {
            source: array_at::<4>(packet, 12)?.into(),
            destination: array_at::<4>(packet, 16)?.into(),
            ttl: *packet.get(8)?,
            payload: packet.get(header..length)?,
        })
    }

    fn ipv6(&self, protocol: u8) -> Option<Packet<'_>> {
        const HEADER: usize = 40;
        let packet = self.payload(ETHERTYPE_IPV6)?;
        let length = HEADER + usize::from(u16_at(packet, 4)?);
        let (mut next, mut at) = (*packet.get(6)?, HEADER);
        // Hop-by-Hop Options, Routing and Destination Options start with the next header and their
        // own length in units of 8 bytes, not counting the first unit.
        while next != protocol && [0, 43, 60].contains(&next) {
            next = *packet.get(at)?;
            at += 8 + 8 * usize::from(*packet.get(at + 1)?);
        }
        if next != protocol {
            return None;
        }
        Some(Packet {
            source: array_at::<16>(packet, 8)?.into(),
            destination: array_at::<16>(packet, 24)?.into(),
            ttl: *packet.get(7)?,
            payload: packet.get(at..length)?,
        })
    }
}

pub(super) fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_be_bytes)
}
