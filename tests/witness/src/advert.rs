//! Adverts in which a test can set every field.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::PROTOCOL_VRRP;
use crate::{Checksum, Mac, Trailer, Version, internet_checksum};

/// Destination of IPv4 adverts: 224.0.0.18.
pub const GROUP_IPV4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Destination of IPv6 adverts: ff02::12.
pub const GROUP_IPV6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

const ETHERNET_HEADER: usize = 14;
const TAG: usize = 4;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// Offset of the checksum in an IPv4 header.
const IPV4_CHECKSUM: usize = 10;
/// Offset of the checksum in a VRRP message.
const VRRP_CHECKSUM: usize = 6;
/// Next Header values (RFC 8200).
const FRAGMENT_HEADER: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// An advert to encode. Start with [`Advert::new`] and override fields:
///
/// ```
/// use std::net::Ipv4Addr;
/// use vipd_witness::{Advert, Version};
///
/// let valid = Advert {
///     addresses: vec![Ipv4Addr::new(192, 0, 2, 50).into()],
///     ..Advert::new(Version::V3, 51, 200, Ipv4Addr::new(192, 0, 2, 1))
/// };
/// let wrong_ttl = Advert { ttl: 254, ..valid };
/// assert_eq!(wrong_ttl.frame().len(), 14 + 20 + 12);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// Source MAC.
    pub source_mac: Mac,
    /// Destination MAC.
    pub destination_mac: Mac,
    /// VLAN tags, outermost first: TPID and TCI of each.
    pub tags: Vec<(u16, u16)>,
    /// EtherType after the tags.
    pub ethertype: u16,
    /// Source address. Its family selects IPv4 or IPv6.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// TTL or Hop Limit.
    pub ttl: u8,
    /// IPv4 Protocol, or the last Next Header in IPv6.
    pub protocol: u8,
    /// Flags and fragment offset, as encoded. In IPv6, a value other than 0 adds a Fragment header.
    pub fragment: u16,
    /// IPv4 options, a multiple of 4 bytes long; or the contents of an IPv6 Destination Options
    /// header, 6 bytes longer than a multiple of 8. Empty: no options, and no such header.
    pub options: Vec<u8>,
    /// Overrides the Total Length (IPv4) or Payload Length (IPv6).
    pub total_length: Option<u16>,
    /// Overrides the IPv4 header checksum.
    pub ip_checksum: Option<u16>,
    /// Offsets in the IP header, and bytes to store there before checksums are computed.
    pub ip_edits: Vec<(usize, u8)>,
    /// VRRP version, 4 bits. Version 2 messages over IPv4 end with authentication data.
    pub version: u8,
    /// VRRP type, 4 bits.
    pub kind: u8,
    /// Virtual router identifier. Valid adverts have 1 to 255.
    pub vrid: u8,
    /// Priority: 0 if the sender leaves Master, 255 if it is the owner.
    pub priority: u8,
    /// Overrides the address count.
    pub count: Option<u8>,
    /// Bytes 4 and 5 of the message. Version 3: 4 reserved bits, and the interval in centiseconds.
    /// Version 2: the authentication type (high byte), and the interval in seconds (low byte).
    pub interval: u16,
    /// Form of the VRRP checksum.
    pub checksum: Checksum,
    /// Virtual addresses.
    pub addresses: Vec<IpAddr>,
    /// Authentication data; only sent in version 2.
    pub authentication: [u8; 8],
    /// Number of bytes cut off the end of the message, before its checksum is computed.
    pub cut: usize,
    /// Bytes after the message that are part of the IP packet and covered by the VRRP checksum.
    pub trailing: Vec<u8>,
    /// Appends a trailer with an HMAC to the message, before [`trailer`](Self::trailer). The HMAC
    /// is computed before bytes are corrupted.
    pub signed: Option<Trailer>,
    /// Bytes after the message that are part of the IP packet, but not covered by the VRRP
    /// checksum: the trailer of a signed advert, or bytes after it.
    pub trailer: Vec<u8>,
    /// Offsets in the message, and bytes to store there before its checksum is computed.
    pub message_edits: Vec<(usize, u8)>,
    /// Offsets, from the start of the IP header, of bytes to corrupt after all checksums are
    /// computed.
    pub corrupt: Vec<usize>,
    /// Bytes after the IP packet, that is, Ethernet padding.
    pub padding: Vec<u8>,
}

impl Advert {
    /// Returns a multicast advert without addresses, with an interval of one second, the checksum
    /// that most routers send, and the source MAC 02:00:00:00:00:01.
    pub fn new(version: Version, vrid: u8, priority: u8, source: impl Into<IpAddr>) -> Self {
        let source = source.into();
        let (ethertype, destination_mac, destination) = match source {
            IpAddr::V4(_) => (0x0800, Mac([0x01, 0x00, 0x5e, 0x00, 0x00, 0x12]), GROUP_IPV4.into()),
            IpAddr::V6(_) => (0x86dd, Mac([0x33, 0x33, 0x00, 0x00, 0x00, 0x12]), GROUP_IPV6.into()),
        };
        let (interval, checksum) = match version {
            Version::V2 => (1, Checksum::Message),
            Version::V3 => (100, Checksum::PseudoHeader),
        };
        Self {
            source_mac: Mac([2, 0, 0, 0, 0, 1]),
            destination_mac,
            tags: Vec::new(),
            ethertype,
            source,
            destination,
            ttl: 255,
            protocol: PROTOCOL_VRRP,
            fragment: 0,
            options: Vec::new(),
            total_length: None,
            ip_checksum: None,
            ip_edits: Vec::new(),
            version: version.number(),
            kind: 1,
            vrid,
            priority,
            count: None,
            interval,
            checksum,
            addresses: Vec::new(),
            authentication: [0; 8],
            cut: 0,
            trailing: Vec::new(),
            signed: None,
            trailer: Vec::new(),
            message_edits: Vec::new(),
            corrupt: Vec::new(),
            padding: Vec::new(),
        }
    }

    /// Returns the offset of the IP header in the frame.
    pub fn ip_offset(&self) -> usize {
        ETHERNET_HEADER + TAG * self.tags.len()
    }

    /// Returns the encoded frame, without the frame check sequence.
    ///
    /// # Panics
    /// Panics if a list is too long for its length field, source and destination are of different
    /// families, or an edit is out of bounds.
    pub fn frame(&self) -> Vec<u8> {
        let mut message = self.message();
        let signed_length = self.signed.as_ref().map_or(0, Trailer::length);
        let header = self.ip_header(message.len() + signed_length + self.trailer.len());
        // Read the addresses from the header, because edits may have changed them.
        let (source, destination) = addresses_of(&header, self.source);
        let signed = self.signed.as_ref().map(|trailer| trailer.encode(source, &message));
        let checksum = self.checksum.of(&message, source, destination);
        if let Some(field) = message.get_mut(VRRP_CHECKSUM..VRRP_CHECKSUM + 2) {
            field.copy_from_slice(&checksum.to_be_bytes());
        }

        let mut frame = Vec::new();
        frame.extend(self.destination_mac.0);
        frame.extend(self.source_mac.0);
        for (tpid, tci) in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(self.ethertype.to_be_bytes());
        frame.extend(header);
        frame.extend(message);
        frame.extend(signed.unwrap_or_default());
        frame.extend(&self.trailer);
        for offset in &self.corrupt {
            frame[self.ip_offset() + offset] ^= 0x40;
        }
        frame.extend(&self.padding);
        frame
    }

    /// Returns the message, with a checksum of 0.
    fn message(&self) -> Vec<u8> {
        let computed = u8::try_from(self.addresses.len()).expect("an advert has at most 255 addresses");
        let count = self.count.unwrap_or(computed);
        let mut message = vec![self.version << 4 | self.kind & 0xf, self.vrid, self.priority, count];
        message.extend(self.interval.to_be_bytes());
        message.extend([0, 0]);
        for address in &self.addresses {
            match address {
                IpAddr::V4(address) => message.extend(address.octets()),
                IpAddr::V6(address) => message.extend(address.octets()),
            }
        }
        if self.version == Version::V2.number() && self.source.is_ipv4() {
            message.extend(self.authentication);
        }
        message.truncate(message.len().saturating_sub(self.cut));
        message.extend(&self.trailing);
        for (offset, value) in &self.message_edits {
            message[*offset] = *value;
        }
        message.iter_mut().skip(VRRP_CHECKSUM).take(2).for_each(|byte| *byte = 0);
        message
    }

    fn ip_header(&self, payload: usize) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4_header(source, destination, payload),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6_header(source, destination, payload),
            (source, destination) => panic!("{source} and {destination} are of different families"),
        }
    }

    fn ipv4_header(&self, source: Ipv4Addr, destination: Ipv4Addr, payload: usize) -> Vec<u8> {
        let length = IPV4_HEADER + self.options.len();
        let words = u8::try_from(length / 4).expect("at most 40 bytes of options");
        let total = u16::try_from(length + payload).expect("an IPv4 packet has at most 65535 bytes");
        let mut header = vec![0x40 | words, 0xc0];
        header.extend(self.total_length.unwrap_or(total).to_be_bytes());
        header.extend([0, 0]);
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(&self.options);
        self.edit_ip(&mut header);
        header[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].fill(0);
        let checksum = self.ip_checksum.unwrap_or_else(|| internet_checksum(&header));
        header[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    /// Returns the IPv6 header and the extension headers.
    fn ipv6_header(&self, source: Ipv6Addr, destination: Ipv6Addr, payload: usize) -> Vec<u8> {
        let mut extensions = Vec::new();
        let mut next = self.protocol;
        // Build the innermost header first, because each header names the next one.
        if !self.options.is_empty() {
            let units =
                u8::try_from((self.options.len() + 2) / 8 - 1).expect("at most 2046 bytes of options");
            extensions = [&[next, units], &self.options[..]].concat();
            next = DESTINATION_OPTIONS;
        }
        if self.fragment != 0 {
            let [high, low] = self.fragment.to_be_bytes();
            extensions = [&[next, 0, high, low, 0, 0, 0, 1], &extensions[..]].concat();
            next = FRAGMENT_HEADER;
        }
        let length =
            u16::try_from(extensions.len() + payload).expect("an IPv6 payload has at most 65535 bytes");
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(self.total_length.unwrap_or(length).to_be_bytes());
        header.extend([next, self.ttl]);
        header.extend(source.octets());
        header.extend(destination.octets());
        self.edit_ip(&mut header);
        header.extend(extensions);
        header
    }

    fn edit_ip(&self, header: &mut [u8]) {
        for (offset, value) in &self.ip_edits {
            header[*offset] = *value;
        }
    }
}

/// Returns source and destination from an IP header that has the same family as `like`.
fn addresses_of(header: &[u8], like: IpAddr) -> (IpAddr, IpAddr) {
    match like {
        IpAddr::V4(_) => {
            let at = |offset: usize| header[offset..].first_chunk::<4>().expect("a complete header");
            (Ipv4Addr::from(*at(12)).into(), Ipv4Addr::from(*at(16)).into())
        }
        IpAddr::V6(_) => {
            let at =
                |offset: usize| header[offset..IPV6_HEADER].first_chunk::<16>().expect("a complete header");
            (Ipv6Addr::from(*at(8)).into(), Ipv6Addr::from(*at(24)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pseudo_header;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 168, 122, 11);
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 122, 50);
    const SOURCE6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xb);
    const VIP6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x50);

    fn ipv4(version: Version, vrid: u8) -> Advert {
        Advert { addresses: vec![VIP.into()], ..Advert::new(version, vrid, 100, SOURCE) }
    }

    fn ipv6() -> Advert {
        Advert { addresses: vec![VIP6.into()], ..Advert::new(Version::V3, 51, 100, SOURCE6) }
    }

    #[test]
    fn v3_advert_matches_the_rfc() {
        let frame = Advert { interval: 1, ..ipv4(Version::V3, 51) }.frame();
        assert_eq!(&frame[..6], [0x01, 0, 0x5e, 0, 0, 0x12]);
        assert_eq!((frame[14 + 8], frame[14 + 9]), (255, 112));
        assert_eq!(&frame[34..40], [0x31, 51, 100, 1, 0, 1]);
        assert_eq!(&frame[42..], [192, 168, 122, 50]);
        // The words of the pseudo-header and the message. Together with the checksum, their sum
        // must be 0 modulo 2^16 - 1.
        let words =
            [0xc0a8_u32, 0x7a0b, 0xe000, 0x0012, 0x0070, 0x000c, 0x3133, 0x6401, 0x0001, 0xc0a8, 0x7a32];
        let checksum = u32::from(u16::from_be_bytes([frame[40], frame[41]]));
        assert_eq!((words.iter().sum::<u32>() + checksum) % 0xffff, 0, "checksum {checksum:04x}");
    }

    #[test]
    fn v2_advert_matches_the_rfc() {
        let frame = ipv4(Version::V2, 51).frame();
        let message = &frame[34..];
        assert_eq!(message.len(), 20);
        assert_eq!(&message[..6], [0x21, 51, 100, 1, 0, 1]);
        assert_eq!(internet_checksum(message), 0, "the sum including its checksum is zero");
    }

    #[test]
    fn ipv6_advert_matches_the_rfc() {
        let frame = ipv6().frame();
        assert_eq!(&frame[..6], [0x33, 0x33, 0, 0, 0, 0x12]);
        assert_eq!(&frame[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 112, 255]);
        let pseudo = pseudo_header(SOURCE6.into(), GROUP_IPV6.into(), 24);
        assert_eq!(internet_checksum(&[&pseudo, &frame[54..]].concat()), 0);
    }

    #[test]
    fn ipv6_extension_headers_are_chained() {
        let frame = Advert { fragment: 1, options: vec![1, 4, 0, 0, 0, 0], ..ipv6() }.frame();
        let packet = &frame[14..];
        assert_eq!(packet[4..7], [0, 40, FRAGMENT_HEADER], "payload length and first header");
        assert_eq!(packet[40..44], [DESTINATION_OPTIONS, 0, 0, 1]);
        assert_eq!(packet[48..50], [PROTOCOL_VRRP, 0]);
        assert_eq!(packet[56..58], [0x31, 51]);
    }

    #[test]
    fn bad_checksum_is_wrong_in_both_forms() {
        for vrid in 1..=255 {
            let good = ipv4(Version::V3, vrid);
            let plain = Advert { checksum: Checksum::Message, ..good.clone() };
            let bad = Advert { checksum: Checksum::Bad, ..good.clone() };
            assert_ne!(bad.frame()[40..42], good.frame()[40..42]);
            assert_ne!(bad.frame()[40..42], plain.frame()[40..42]);
        }
    }

    #[test]
    fn overridden_fields_are_sent_unchanged() {
        let advert = Advert {
            total_length: Some(7),
            ip_checksum: Some(0xbeef),
            count: Some(9),
            checksum: Checksum::Value(0xcafe),
            tags: vec![(0x8100, 5)],
            trailing: vec![1, 2],
            padding: vec![3],
            ..ipv4(Version::V3, 51)
        };
        let frame = advert.frame();
        assert_eq!(&frame[12..18], [0x81, 0, 0, 5, 8, 0]);
        let ip = &frame[advert.ip_offset()..];
        assert_eq!(u16::from_be_bytes([ip[2], ip[3]]), 7);
        assert_eq!(u16::from_be_bytes([ip[10], ip[11]]), 0xbeef);
        assert_eq!(ip[20 + 3], 9);
        assert_eq!(u16::from_be_bytes([ip[26], ip[27]]), 0xcafe);
        assert_eq!(&ip[32..], [1, 2, 3]);
    }

    #[test]
    fn checksums_are_updated_after_edits_but_not_after_corruption() {
        let edited = Advert { ip_edits: vec![(15, 9)], message_edits: vec![(2, 7)], ..ipv4(Version::V3, 51) };
        let packet = edited.frame().split_off(14);
        assert_eq!((packet[15], packet[22]), (9, 7));
        assert_eq!(internet_checksum(&packet[..20]), 0);
        let source = Ipv4Addr::new(192, 168, 122, 9);
        let pseudo = pseudo_header(source.into(), GROUP_IPV4.into(), 12);
        assert_eq!(internet_checksum(&[&pseudo, &packet[20..]].concat()), 0);

        let corrupt = Advert { corrupt: vec![15], ..edited }.frame().split_off(14);
        assert_ne!(internet_checksum(&corrupt[..20]), 0);
    }

    #[test]
    fn trailer_is_part_of_the_packet_but_not_of_the_checksum() {
        let unsigned = ipv4(Version::V3, 51).frame();
        let trailer = Trailer::new(b"key", 7);
        let encoded = trailer.encode(SOURCE.into(), &unsigned[34..]);
        let signed = Advert { signed: Some(trailer), ..ipv4(Version::V3, 51) }.frame();
        assert_eq!(u16::from_be_bytes([signed[16], signed[17]]), 20 + 12 + 28);
        assert_eq!(signed[34..], [&unsigned[34..], &encoded].concat());
        let copied = Advert { trailer: encoded, ..ipv4(Version::V3, 51) };
        assert_eq!(copied.frame(), signed);
        // The HMAC covers the source address of the header.
        let moved = Advert {
            signed: Some(Trailer::new(b"key", 7)),
            ip_edits: vec![(15, 9)],
            ..ipv4(Version::V3, 51)
        };
        let payload = moved.frame().split_off(34);
        assert_eq!(Trailer::verify(b"key", SOURCE.into(), &payload), None);
        let source = Ipv4Addr::new(192, 168, 122, 9).into();
        assert_eq!(Trailer::verify(b"key", source, &payload), moved.signed);
    }
}
