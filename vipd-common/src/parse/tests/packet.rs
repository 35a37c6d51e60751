//! Builds IPv4 packets with one wrong field, independently of `wire`.

use std::vec::Vec;

/// The checksum of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Over the message only (VRRPv2, and RFC 9568).
    Message,
    /// With the IPv4 pseudo-header (RFC 5798).
    Pseudo,
    /// A value that matches neither form.
    Wrong,
}

#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) ihl: u8,
    pub(super) ip_version: u8,
    pub(super) fragment: u16,
    pub(super) ttl: u8,
    pub(super) source: [u8; 4],
    pub(super) destination: [u8; 4],
    /// Error added to the correct total length.
    pub(super) total_error: i32,
    pub(super) header_error: u16,
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) vrid: u8,
    pub(super) priority: u8,
    /// Replaces the address count.
    pub(super) count: Option<u8>,
    pub(super) word: u16,
    pub(super) addresses: Vec<[u8; 4]>,
    /// VRRPv2's authentication data.
    pub(super) data: [u8; 8],
    /// Number of bytes after the last address and VRRPv2's authentication data, within the total
    /// length.
    pub(super) trailing: usize,
    pub(super) form: Form,
    /// Number of bytes beyond the total length.
    pub(super) padding: usize,
}

impl Packet {
    /// Returns a valid advert with one address.
    pub(super) fn valid(version: u8) -> Self {
        Self {
            ihl: 5,
            ip_version: 4,
            fragment: 0x4000,
            ttl: 255,
            source: [10, 0, 0, 1],
            destination: [224, 0, 0, 18],
            total_error: 0,
            header_error: 0,
            version,
            kind: 1,
            vrid: 51,
            priority: 100,
            count: None,
            word: if version == 2 { 1 } else { 100 },
            addresses: Vec::from([[10, 0, 0, 50]]),
            data: [0; 8],
            trailing: 0,
            form: if version == 2 { Form::Message } else { Form::Pseudo },
            padding: 0,
        }
    }

    pub(super) fn with_addresses(version: u8, count: u8) -> Self {
        Self { addresses: (0..count).map(|last| [10, 1, 0, last]).collect(), ..Self::valid(version) }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let message = self.message();
        let header = usize::from(self.ihl) * 4;
        let mut bytes = std::vec![0; header.max(20)];
        let total = i32::try_from(bytes.len() + message.len()).expect("short") + self.total_error;
        bytes[0] = self.ip_version << 4 | self.ihl;
        bytes[1] = 0xc0;
        bytes[2..4].copy_from_slice(&u16::try_from(total).expect("16 bits").to_be_bytes());
        bytes[6..8].copy_from_slice(&self.fragment.to_be_bytes());
        bytes[8] = self.ttl;
        bytes[9] = 112;
        bytes[12..16].copy_from_slice(&self.source);
        bytes[16..20].copy_from_slice(&self.destination);
        // Options: Router Alert, followed by No Operation.
        for (index, option) in bytes[20..].iter_mut().enumerate() {
            *option = [0x94, 4, 0, 0].get(index).copied().unwrap_or(1);
        }
        let checksum = !sum(&bytes) ^ self.header_error;
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(message);
        // Padding is not always zero (Etherleak).
        bytes.extend((0..self.padding).map(|index| if index % 2 == 0 { 0xa5 } else { 0 }));
        bytes
    }

    fn message(&self) -> Vec<u8> {
        let count = self.count.unwrap_or_else(|| u8::try_from(self.addresses.len()).expect("255 at most"));
        let mut bytes = Vec::from([self.version << 4 | self.kind, self.vrid, self.priority, count]);
        bytes.extend(self.word.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.addresses.iter().flatten());
        if self.version == 2 {
            bytes.extend(self.data);
        }
        bytes.extend((0..self.trailing).map(|_| 0x77));
        let mut covered = Vec::new();
        if self.form == Form::Pseudo {
            covered.extend(self.source);
            covered.extend(self.destination);
            covered.extend([0, 112]);
            covered.extend(u16::try_from(bytes.len()).expect("short").to_be_bytes());
        }
        covered.extend(&bytes);
        // Subtracting 1 gives a value that matches neither form.
        let checksum = (!sum(&covered)).wrapping_sub(u16::from(self.form == Form::Wrong));
        bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// Returns the RFC 1071 sum of 16-bit words, with end-around carry.
pub(super) fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0u16, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}
