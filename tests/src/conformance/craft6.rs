//! VRRPv3 adverts over IPv6 with every field under control.

use std::net::Ipv6Addr;

use crate::craft::internet_checksum;
use crate::station::{Mac, Station};

const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
const GROUP_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 0x12]);
const PROTOCOL_VRRP: u8 = 112;
const DESTINATION_OPTIONS: u8 = 60;

/// An advert to be.
#[derive(Debug, Clone)]
pub(super) struct Advert6 {
    pub(super) from: Station,
    pub(super) hop_limit: u8,
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) vrid: u8,
    pub(super) priority: u8,
    /// What it claims instead of the true number.
    pub(super) count: Option<u8>,
    /// The 16-bit word: reserved bits and centiseconds.
    pub(super) interval: u16,
    pub(super) addresses: Vec<Ipv6Addr>,
    /// Whether the pseudo-header is left out.
    pub(super) message_only: bool,
    /// This value instead of the checksum.
    pub(super) checksum: Option<u16>,
    /// Bytes missing at the end; the checksum is that of what is left.
    pub(super) cut: usize,
    /// Bytes after the message, inside the IPv6 payload and covered by its checksum.
    pub(super) trailing: usize,
    /// A Destination Options header of 8 bytes comes before the message.
    pub(super) options: bool,
}

impl Advert6 {
    /// The whole frame.
    pub(super) fn frame(&self) -> Vec<u8> {
        let source = self.from.link_local();
        let mut payload = Vec::new();
        if self.options {
            // Next header, no further 8 bytes, and a PadN of 6 bytes (RFC 8200 section 4.2).
            payload.extend([PROTOCOL_VRRP, 0, 1, 4, 0, 0, 0, 0]);
        }
        payload.extend(self.message(source));
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        let mut frame = Vec::new();
        frame.extend(GROUP_MAC.0);
        frame.extend(self.from.mac().0);
        frame.extend(0x86dd_u16.to_be_bytes());
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([if self.options { DESTINATION_OPTIONS } else { PROTOCOL_VRRP }, self.hop_limit]);
        frame.extend(source.octets());
        frame.extend(GROUP.octets());
        frame.extend(payload);
        frame
    }

    fn message(&self, source: Ipv6Addr) -> Vec<u8> {
        let true_count = u8::try_from(self.addresses.len()).unwrap_or(u8::MAX);
        let count = self.count.unwrap_or(true_count);
        let mut message = vec![self.version << 4 | self.kind & 0xf, self.vrid, self.priority, count];
        message.extend(self.interval.to_be_bytes());
        message.extend([0, 0]);
        message.extend(self.addresses.iter().flat_map(Ipv6Addr::octets));
        message.truncate(message.len().saturating_sub(self.cut));
        message.extend(std::iter::repeat_n(0_u8, self.trailing));
        let mut covered = Vec::new();
        if !self.message_only {
            covered.extend(source.octets());
            covered.extend(GROUP.octets());
            covered.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
            covered.extend([0, 0, 0, PROTOCOL_VRRP]);
        }
        covered.extend(&message);
        let checksum = self.checksum.unwrap_or_else(|| internet_checksum(&covered));
        message[6..8].copy_from_slice(&checksum.to_be_bytes());
        message
    }
}
