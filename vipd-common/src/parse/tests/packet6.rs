//! Builds IPv6 packets with one wrong field, independently of `wire`.

use std::vec::Vec;

use super::packet::sum;

#[derive(Clone, Debug)]
pub(super) struct Packet6 {
    pub(super) ip_version: u8,
    pub(super) hops: u8,
    pub(super) source: [u8; 16],
    pub(super) destination: [u8; 16],
    /// Error added to the correct payload length.
    pub(super) length_error: i32,
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) vrid: u8,
    pub(super) priority: u8,
    /// Replaces the address count.
    pub(super) count: Option<u8>,
    pub(super) word: u16,
    pub(super) addresses: Vec<[u8; 16]>,
    /// Number of bytes after the last address, within the payload.
    pub(super) trailing: usize,
    /// Error added to the correct checksum.
    pub(super) checksum_error: u16,
    /// Computes the checksum without the pseudo-header.
    pub(super) message_only: bool,
    /// Number of bytes after the payload.
    pub(super) padding: usize,
}

/// Returns the bytes of fe80::`last`.
pub(super) const fn link_local(last: u8) -> [u8; 16] {
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

/// ff02::12.
pub(super) const GROUP: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12];

impl Packet6 {
    /// Returns a valid advert with one address.
    pub(super) fn valid() -> Self {
        Self {
            ip_version: 6,
            hops: 255,
            source: link_local(1),
            destination: GROUP,
            length_error: 0,
            version: 3,
            kind: 1,
            vrid: 51,
            priority: 100,
            count: None,
            word: 100,
            addresses: Vec::from([link_local(0x50)]),
            trailing: 0,
            checksum_error: 0,
            message_only: false,
            padding: 0,
        }
    }

    pub(super) fn with_addresses(count: u8) -> Self {
        Self { addresses: (0..count).map(link_local).collect(), ..Self::valid() }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let count = self.count.unwrap_or_else(|| u8::try_from(self.addresses.len()).expect("255 at most"));
        let mut message = Vec::from([self.version << 4 | self.kind, self.vrid, self.priority, count]);
        message.extend(self.word.to_be_bytes());
        message.extend([0, 0]);
        message.extend(self.addresses.iter().flatten());
        message.extend((0..self.trailing).map(|_| 0x77));
        let mut covered = Vec::new();
        if !self.message_only {
            covered.extend(self.source);
            covered.extend(self.destination);
            covered.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
            covered.extend([0, 0, 0, 112]);
        }
        covered.extend(&message);
        let checksum = (!sum(&covered)).wrapping_add(self.checksum_error);
        message[6..8].copy_from_slice(&checksum.to_be_bytes());
        let length = i32::try_from(message.len()).expect("short") + self.length_error;
        let mut bytes = Vec::from([self.ip_version << 4 | 0xc, 0, 0, 0]);
        bytes.extend(u16::try_from(length).expect("16 bits").to_be_bytes());
        bytes.extend([112, self.hops]);
        bytes.extend(self.source);
        bytes.extend(self.destination);
        bytes.extend(message);
        bytes.extend((0..self.padding).map(|_| 0xa5));
        bytes
    }
}
