//! Builds the frames of adverts and announcements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use vipd_common::address::to_words;
use vipd_common::parse::ChecksumForm;
use vipd_common::wire::{arp, checksum, ethernet, ipv4, ipv6, nd, trailer, vrrp};

/// An advert cannot be encoded: it has too many addresses, or an address or the checksum form is
/// not of the source's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an advert can contain at most 255 addresses, all of one family")]
pub struct FrameError;

/// An advert of a virtual router, complete except for its priority and its trailer.
///
/// ```text
///  0          14             34 or 54               36 or 56
///  +----------+--------------+---------------+------+----------+---------+----- … -+---------+
///  | Ethernet | IPv4 or IPv6 | version, type | VRID | priority | count … | checks… | trailer |
///  +----------+--------------+---------------+------+----------+---------+----- … -+---------+
/// ```
///
/// A unicast advert consists only of the VRRP message and the trailer. The kernel selects the route
/// to the peer and adds the headers. Only a signed advert has a trailer.
#[derive(Clone, Debug)]
pub struct AdvertFrame {
    bytes: Vec<u8>,
    /// Position of the VRRP message.
    message: Range<usize>,
}

/// Whether an advert has room for a trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// The advert has no trailer.
    Unsigned,
    /// The advert has a trailer, which must be set before the advert is sent.
    Signed,
}

impl Signing {
    const fn trailer_len(self) -> usize {
        match self {
            Self::Unsigned => 0,
            Self::Signed => trailer::LEN,
        }
    }
}

impl AdvertFrame {
    /// Prepares an advert to the VRRP multicast group of the source's family.
    ///
    /// # Errors
    /// [`FrameError`] if there are more than 255 addresses, or if the family of an address or of
    /// the checksum form is not the source's family.
    pub fn multicast(
        mac: [u8; 6],
        source: IpAddr,
        fields: &vrrp::Fields,
        addresses: impl ExactSizeIterator<Item = IpAddr>,
        signing: Signing,
    ) -> Result<Self, FrameError> {
        match source {
            IpAddr::V4(source) => Self::to_group4(mac, source, fields, addresses, signing),
            IpAddr::V6(source) => Self::to_group6(mac, source, fields, addresses, signing),
        }
    }

    /// Prepares an advert from `source` to `peer`.
    ///
    /// # Errors
    /// [`FrameError`] if there are more than 255 addresses, or if the family of an address or of
    /// the checksum form is not the source's family.
    pub fn unicast(
        source: IpAddr,
        peer: IpAddr,
        fields: &vrrp::Fields,
        addresses: impl ExactSizeIterator<Item = IpAddr>,
        signing: Signing,
    ) -> Result<Self, FrameError> {
        Self::new(0, source, peer, fields, addresses, signing)
    }

    fn to_group4(
        mac: [u8; 6],
        source: Ipv4Addr,
        fields: &vrrp::Fields,
        addresses: impl ExactSizeIterator<Item = IpAddr>,
        signing: Signing,
    ) -> Result<Self, FrameError> {
        const MESSAGE: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
        let group = Ipv4Addr::from(ipv4::VRRP_GROUP);
        let mut frame = Self::new(MESSAGE, source.into(), group.into(), fields, addresses, signing)?;
        let bytes = &mut frame.bytes;
        let length = bytes.len() - MESSAGE;
        ethernet::write(bytes, ipv4::VRRP_GROUP_MAC, mac, ethernet::TYPE_IPV4).ok_or(FrameError)?;
        ipv4::write_vrrp(&mut bytes[ethernet::HEADER_LEN..], source.octets(), length).ok_or(FrameError)?;
        Ok(frame)
    }

    fn to_group6(
        mac: [u8; 6],
        source: Ipv6Addr,
        fields: &vrrp::Fields,
        addresses: impl ExactSizeIterator<Item = IpAddr>,
        signing: Signing,
    ) -> Result<Self, FrameError> {
        const MESSAGE: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN;
        let group = Ipv6Addr::from(ipv6::VRRP_GROUP);
        let mut frame = Self::new(MESSAGE, source.into(), group.into(), fields, addresses, signing)?;
        let bytes = &mut frame.bytes;
        let length = bytes.len() - MESSAGE;
        ethernet::write(bytes, ipv6::VRRP_GROUP_MAC, mac, ethernet::TYPE_IPV6).ok_or(FrameError)?;
        let header = &mut bytes[ethernet::HEADER_LEN..];
        ipv6::write(header, source.octets(), ipv6::VRRP_GROUP, ipv4::PROTOCOL_VRRP, length)
            .ok_or(FrameError)?;
        Ok(frame)
    }

    /// Builds the VRRP message, preceded by `headers` bytes of space for the lower-layer headers.
    fn new(
        headers: usize,
        source: IpAddr,
        destination: IpAddr,
        fields: &vrrp::Fields,
        addresses: impl ExactSizeIterator<Item = IpAddr>,
        signing: Signing,
    ) -> Result<Self, FrameError> {
        if source.is_ipv6() != (fields.checksum == ChecksumForm::Ipv6) {
            return Err(FrameError);
        }
        let mut bytes = vec![0; headers + vrrp::MAX_LEN];
        let length =
            vrrp::write(&mut bytes[headers..], fields, &to_words(source), &to_words(destination), addresses);
        let message = headers..headers + length.ok_or(FrameError)?;
        bytes.resize(message.end, 0);
        bytes.resize(message.end + signing.trailer_len(), 0);
        // Frees the unused memory, because there may be thousands of prepared adverts.
        bytes.shrink_to_fit();
        Ok(Self { bytes, message })
    }

    /// Sets the priority, and updates the checksum.
    pub fn set_priority(&mut self, priority: u8) {
        let message = &mut self.bytes[self.message.clone()];
        // The priority and the address count form one 16-bit word of the checksum.
        let count = message[vrrp::COUNT];
        let old = u16::from_be_bytes([message[vrrp::PRIORITY], count]);
        let new = u16::from_be_bytes([priority, count]);
        if old != new {
            let sum = u16::from_be_bytes([message[vrrp::CHECKSUM], message[vrrp::CHECKSUM + 1]]);
            let sum = checksum::update(sum, old, new).to_be_bytes();
            message[vrrp::PRIORITY] = priority;
            message[vrrp::CHECKSUM..vrrp::CHECKSUM + 2].copy_from_slice(&sum);
        }
    }

    /// Sets the trailer if the advert has room for one.
    pub fn set_trailer(&mut self, trailer: &[u8; trailer::LEN]) {
        if let Some(room) = self.bytes[self.message.end..].first_chunk_mut() {
            *room = *trailer;
        }
    }

    /// Returns the VRRP message, without the trailer.
    pub fn message(&self) -> &[u8] {
        &self.bytes[self.message.clone()]
    }

    /// Returns the frame, or the message and the trailer of a unicast advert.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the frame up to the end of the VRRP message, and the offset of the message.
    pub fn without_trailer(&self) -> (&[u8], usize) {
        (&self.bytes[..self.message.end], self.message.start)
    }
}

/// Builds the announcement of an address: gratuitous ARP or an unsolicited Neighbor Advertisement.
pub fn announcement(mac: [u8; 6], address: IpAddr) -> Announcement {
    match address {
        IpAddr::V4(address) => Announcement::Arp(arp::gratuitous(mac, address.octets())),
        IpAddr::V6(address) => Announcement::Neighbor(nd::unsolicited(mac, address.octets())),
    }
}

/// A frame that updates the neighbor entries of other hosts for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// Gratuitous ARP.
    Arp([u8; arp::FRAME_LEN]),
    /// An unsolicited Neighbor Advertisement.
    Neighbor([u8; nd::FRAME_LEN]),
}

impl Announcement {
    /// Returns the frame.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Arp(frame) => frame,
            Self::Neighbor(frame) => frame,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vipd_common::counters::Counter;
    use vipd_common::parse::{Cursor, Expected, locate, validate};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const FORMS: [ChecksumForm; 4] =
        [ChecksumForm::V2, ChecksumForm::Rfc5798, ChecksumForm::Rfc9568, ChecksumForm::Ipv6];

    fn fields(checksum: ChecksumForm) -> vrrp::Fields {
        vrrp::Fields { vrid: 51, priority: 100, interval: 1, checksum, password: None }
    }

    fn source(form: ChecksumForm) -> IpAddr {
        let text = if form == ChecksumForm::Ipv6 { "fe80::11" } else { "192.168.122.11" };
        text.parse().expect("an address")
    }

    fn addresses(form: ChecksumForm, count: u8) -> std::vec::IntoIter<IpAddr> {
        let address = |last: u8| match form {
            ChecksumForm::Ipv6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into()).into(),
            _ => Ipv4Addr::new(10, 0, 0, last).into(),
        };
        (0..count).map(address).collect::<Vec<_>>().into_iter()
    }

    fn frame(form: ChecksumForm, count: u8) -> AdvertFrame {
        AdvertFrame::multicast(MAC, source(form), &fields(form), addresses(form, count), Signing::Unsigned)
            .expect("fits")
    }

    #[test]
    fn advert_is_valid_with_any_priority() {
        for form in FORMS {
            for addresses in [1, 2, 255] {
                let mut frame = frame(form, addresses);
                for priority in [100, 0, 255, 1, 100, 0, 0, 100] {
                    frame.set_priority(priority);
                    let bytes = frame.bytes();
                    let ip = ethernet::ip(&bytes).expect("IP");
                    assert_eq!(ip.protocol, ipv4::PROTOCOL_VRRP);
                    let packet = &bytes[ip.offset..];
                    let located = locate(&packet, ip.version).expect("to the group");
                    let expected = Expected::version(fields(form).version());
                    let advert = validate(&packet, &located, &expected).expect("valid");
                    assert_eq!((advert.priority, advert.count, advert.checksum), (priority, addresses, form));
                    let length = match ip.version {
                        4 => packet.be16(ipv4::TOTAL_LENGTH).map_or(0, usize::from),
                        _ => ipv6::HEADER_LEN + packet.be16(ipv6::PAYLOAD_LENGTH).map_or(0, usize::from),
                    };
                    assert_eq!(packet.len(), length);
                }
            }
        }
    }

    #[test]
    fn signed_advert_has_a_trailer_that_only_the_ip_length_includes() {
        for form in FORMS {
            let fields = fields(form);
            let signed = |signing| {
                let frame = AdvertFrame::multicast(MAC, source(form), &fields, addresses(form, 2), signing);
                frame.expect("fits")
            };
            let mut frame = signed(Signing::Signed);
            let trailer = trailer::Trailer { key_id: 1, sequence: 2, hmac: [3; 16] }.encode();
            frame.set_trailer(&trailer);
            let unsigned = signed(Signing::Unsigned);
            assert_eq!(frame.message(), unsigned.message(), "{form:?}");
            let (without, offset) = frame.without_trailer();
            assert_eq!((without.len(), &without[offset..]), (unsigned.bytes().len(), unsigned.message()));
            assert_eq!(frame.bytes()[without.len()..], trailer);
            let ip = ethernet::ip(&frame.bytes()).expect("IP");
            let packet = &frame.bytes()[ip.offset..];
            let length = match ip.version {
                4 => packet.be16(ipv4::TOTAL_LENGTH).map_or(0, usize::from),
                _ => ipv6::HEADER_LEN + packet.be16(ipv6::PAYLOAD_LENGTH).map_or(0, usize::from),
            };
            assert_eq!(packet.len(), length, "{form:?}");
        }
    }

    #[test]
    fn corrupted_advert_fails_the_checksum() {
        for form in FORMS {
            let mut frame = frame(form, 1);
            frame.set_priority(100);
            let mut bytes = frame.bytes().to_vec();
            *bytes.last_mut().expect("not empty") ^= 1;
            let packet = &bytes[ethernet::HEADER_LEN..];
            let located = locate(&packet, fields(form).family()).expect("to the group");
            let expected = Expected::version(fields(form).version());
            assert_eq!(validate(&packet, &located, &expected), Err(Counter::ChecksumErrors));
        }
    }

    #[test]
    fn more_than_255_addresses_and_mixed_families_are_rejected() {
        let form = ChecksumForm::Rfc5798;
        let many = vec![source(form); 256].into_iter();
        assert_eq!(
            AdvertFrame::multicast(MAC, source(form), &fields(form), many, Signing::Unsigned).err(),
            Some(FrameError)
        );
        let other = addresses(ChecksumForm::Ipv6, 1);
        assert_eq!(
            AdvertFrame::multicast(MAC, source(form), &fields(form), other, Signing::Unsigned).err(),
            Some(FrameError)
        );
        let other = addresses(form, 1);
        let from = source(ChecksumForm::Ipv6);
        assert_eq!(
            AdvertFrame::multicast(MAC, from, &fields(form), other, Signing::Unsigned).err(),
            Some(FrameError)
        );
    }

    #[test]
    fn unicast_advert_is_a_bare_message_with_a_checksum_for_its_peer() {
        for form in FORMS {
            let (from, peer) = (source(form), addresses(form, 13).last().expect("one"));
            let frame =
                AdvertFrame::unicast(from, peer, &fields(form), addresses(form, 1), Signing::Unsigned)
                    .expect("fits");
            let mut frame = frame;
            frame.set_priority(0);
            let message = frame.bytes();
            let sum = match form {
                ChecksumForm::V2 | ChecksumForm::Rfc9568 => checksum::Sum::new(),
                _ => vrrp::pseudo_header(&to_words(from), &to_words(peer), message.len()),
            };
            assert_eq!(sum.bytes(message).fold(), 0xffff, "{form:?}");
        }
    }

    #[test]
    fn gratuitous_arp_contains_the_address_as_sender_and_target() {
        let frame = announcement(MAC, Ipv4Addr::new(10, 0, 0, 1).into());
        let bytes = frame.bytes();
        assert_eq!(&bytes[0..6], &[0xff; 6]);
        assert_eq!(&bytes[6..12], &MAC);
        assert_eq!(&bytes[12..22], &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(&bytes[22..28], &MAC);
        assert_eq!(&bytes[28..32], &[10, 0, 0, 1]);
        assert_eq!(&bytes[38..42], &[10, 0, 0, 1]);
    }
}
