//! Adverts with every field under control: the right ones, and those no agent would send.

use std::net::Ipv4Addr;

use crate::protocol::Version;
use crate::station::{Mac, Station, VIP};

/// Where adverts go: 224.0.0.18.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const GROUP_MAC: Mac = Mac([0x01, 0x00, 0x5e, 0x00, 0x00, 0x12]);
const PROTOCOL_VRRP: u8 = 112;
const IPV4_HEADER: usize = 20;
const CHECKSUM_AT: usize = 6;

/// How the VRRP checksum is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Over the message alone: VRRPv2, and RFC 9568 for IPv4.
    Message,
    /// Over the message and an IPv4 pseudo-header: RFC 5798 as most read it.
    PseudoHeader,
    /// This value.
    Value(u16),
    /// One that is wrong under either rule.
    Bad,
}

/// An advertisement to be. Start from [`Advert::new`] and change what should be different:
///
/// ```
/// use vipd_tests::{craft::Advert, protocol::Version, station::Station};
/// let expired = Advert { ttl: 254, ..Advert::new(Version::V3, 51, 200, Station::Node(1)) };
/// assert_eq!(expired.frame().len(), 14 + 20 + 12);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// Ethernet source.
    pub source_mac: Mac,
    /// Ethernet destination.
    pub destination_mac: Mac,
    /// VLAN tags from the outside in: their identifiers, each with ethertype 0x8100.
    pub vlans: Vec<u16>,
    /// IPv4 source.
    pub source: Ipv4Addr,
    /// IPv4 destination.
    pub destination: Ipv4Addr,
    /// IPv4 time to live.
    pub ttl: u8,
    /// IPv4 protocol.
    pub protocol: u8,
    /// IPv4 flags and fragment offset as they stand in the header.
    pub fragment: u16,
    /// IPv4 options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv4 total length instead of the true one.
    pub total_length: Option<u16>,
    /// IPv4 header checksum instead of the true one.
    pub ip_checksum: Option<u16>,
    /// VRRP version, 4 bits. Fixes the form of the message: 2 has authentication data at its end.
    pub version: u8,
    /// VRRP type, 4 bits.
    pub kind: u8,
    /// Virtual router.
    pub vrid: u8,
    /// Priority.
    pub priority: u8,
    /// Number of addresses the message claims instead of the true one.
    pub count: Option<u8>,
    /// Interval: hundredths of a second (and the 4 reserved bits above) in version 3; in version 2
    /// the authentication type (high byte) and seconds (low byte).
    pub interval: u16,
    /// How the VRRP checksum is made.
    pub checksum: Checksum,
    /// Virtual addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Authentication data of version 2; not sent in others.
    pub authentication: [u8; 8],
    /// Bytes missing at the end of the message; the checksum is that of what is left.
    pub cut: usize,
    /// Bytes after the message, inside the IPv4 packet and covered by its checksum.
    pub trailing: Vec<u8>,
    /// Bytes after the IPv4 packet: Ethernet padding.
    pub padding: Vec<u8>,
}

impl Advert {
    /// A right advert from a node for [`VIP`], once a second.
    pub fn new(version: Version, vrid: u8, priority: u8, from: Station) -> Self {
        let (interval, checksum) = match version {
            Version::V2 => (1, Checksum::Message),
            Version::V3 => (100, Checksum::PseudoHeader),
        };
        Self {
            source_mac: from.mac(),
            destination_mac: GROUP_MAC,
            vlans: Vec::new(),
            source: from.ipv4(),
            destination: GROUP,
            ttl: 255,
            protocol: PROTOCOL_VRRP,
            fragment: 0,
            options: Vec::new(),
            total_length: None,
            ip_checksum: None,
            version: version.number(),
            kind: 1,
            vrid,
            priority,
            count: None,
            interval,
            checksum,
            addresses: vec![VIP],
            authentication: [0; 8],
            cut: 0,
            trailing: Vec::new(),
            padding: Vec::new(),
        }
    }

    /// The whole frame.
    ///
    /// # Panics
    /// With more addresses, options or bytes than their length fields can say.
    pub fn frame(&self) -> Vec<u8> {
        let message = self.message();
        let mut frame = Vec::new();
        frame.extend(self.destination_mac.0);
        frame.extend(self.source_mac.0);
        for vlan in &self.vlans {
            frame.extend(0x8100_u16.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        frame.extend(0x0800_u16.to_be_bytes());
        frame.extend(self.ip_header(message.len()));
        frame.extend(message);
        frame.extend(&self.padding);
        frame
    }

    fn ip_header(&self, payload: usize) -> Vec<u8> {
        let length = IPV4_HEADER + self.options.len();
        let words = u8::try_from(length / 4).expect("at most 40 bytes of options");
        let total = u16::try_from(length + payload).expect("an IPv4 packet has at most 65535 bytes");
        let mut header = vec![0x40 | words, 0xc0];
        header.extend(self.total_length.unwrap_or(total).to_be_bytes());
        header.extend([0, 0]);
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(&self.options);
        let checksum = self.ip_checksum.unwrap_or_else(|| internet_checksum(&header));
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn message(&self) -> Vec<u8> {
        let true_count = u8::try_from(self.addresses.len()).expect("an advert has at most 255 addresses");
        let count = self.count.unwrap_or(true_count);
        let mut message = vec![self.version << 4 | self.kind & 0xf, self.vrid, self.priority, count];
        message.extend(self.interval.to_be_bytes());
        message.extend([0, 0]);
        for address in &self.addresses {
            message.extend(address.octets());
        }
        if self.version == Version::V2.number() {
            message.extend(self.authentication);
        }
        message.truncate(message.len().saturating_sub(self.cut));
        message.extend(&self.trailing);
        let checksum = self.checksum(&message);
        message[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&checksum.to_be_bytes());
        message
    }

    fn checksum(&self, message: &[u8]) -> u16 {
        let plain = internet_checksum(message);
        let with_header = || {
            let length = u16::try_from(message.len()).expect("an IPv4 payload has at most 65535 bytes");
            let mut covered = Vec::with_capacity(12 + message.len());
            covered.extend(self.source.octets());
            covered.extend(self.destination.octets());
            covered.extend([0, PROTOCOL_VRRP]);
            covered.extend(length.to_be_bytes());
            covered.extend(message);
            internet_checksum(&covered)
        };
        match self.checksum {
            Checksum::Message => plain,
            Checksum::PseudoHeader => with_header(),
            Checksum::Value(value) => value,
            Checksum::Bad => {
                // One of these three differs from both, also where 0 and 0xffff are the same sum.
                let wrong = [0x1234, 0x5678, 0x9abc];
                wrong.into_iter().find(|&sum| sum != plain && sum != with_header()).unwrap_or(0x1234)
            }
        }
    }
}

/// The Internet checksum (RFC 1071) of bytes whose checksum field is zero.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the sum has just been folded to 16 bits")]
    let folded = sum as u16;
    !folded
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Station = Station::Node(1);

    #[test]
    fn a_v3_advert_is_what_the_rfc_draws() {
        let frame = Advert { interval: 1, ..Advert::new(Version::V3, 51, 100, NODE) }.frame();
        assert_eq!(&frame[..6], [0x01, 0, 0x5e, 0, 0, 0x12]);
        assert_eq!((frame[14 + 8], frame[14 + 9]), (255, 112));
        assert_eq!(&frame[34..40], [0x31, 51, 100, 1, 0, 1]);
        assert_eq!(&frame[42..], [192, 168, 122, 50]);
        // Pseudo-header and message word by word: with the checksum their sum is 0 modulo 2^16 - 1.
        let words =
            [0xc0a8_u32, 0x7a0b, 0xe000, 0x0012, 0x0070, 0x000c, 0x3133, 0x6401, 0x0001, 0xc0a8, 0x7a32];
        let checksum = u32::from(u16::from_be_bytes([frame[40], frame[41]]));
        assert_eq!((words.iter().sum::<u32>() + checksum) % 0xffff, 0, "checksum {checksum:04x}");
    }

    #[test]
    fn a_v2_advert_ends_with_eight_bytes_and_its_checksum_covers_the_message_alone() {
        let frame = Advert::new(Version::V2, 51, 100, NODE).frame();
        let message = &frame[34..];
        assert_eq!(message.len(), 20);
        assert_eq!(&message[..6], [0x21, 51, 100, 1, 0, 1]);
        assert_eq!(internet_checksum(message), 0, "a sum over its own checksum is zero");
    }

    #[test]
    fn a_bad_checksum_is_neither_of_the_good_ones() {
        for vrid in 1..=255 {
            let good = Advert::new(Version::V3, vrid, 100, NODE);
            let plain = Advert { checksum: Checksum::Message, ..good.clone() };
            let bad = Advert { checksum: Checksum::Bad, ..good.clone() };
            assert_ne!(bad.frame()[40..42], good.frame()[40..42]);
            assert_ne!(bad.frame()[40..42], plain.frame()[40..42]);
        }
    }

    #[test]
    fn what_is_overridden_is_sent_as_it_is() {
        let advert = Advert {
            total_length: Some(7),
            ip_checksum: Some(0xbeef),
            count: Some(9),
            checksum: Checksum::Value(0xcafe),
            vlans: vec![5],
            trailing: vec![1, 2],
            padding: vec![3],
            ..Advert::new(Version::V3, 51, 100, NODE)
        };
        let frame = advert.frame();
        assert_eq!(&frame[12..18], [0x81, 0, 0, 5, 8, 0]);
        let ip = &frame[18..];
        assert_eq!(u16::from_be_bytes([ip[2], ip[3]]), 7);
        assert_eq!(u16::from_be_bytes([ip[10], ip[11]]), 0xbeef);
        assert_eq!(ip[20 + 3], 9);
        assert_eq!(u16::from_be_bytes([ip[26], ip[27]]), 0xcafe);
        assert_eq!(&ip[32..], [1, 2, 3]);
    }
}
