//! Decodes frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd_common::address::from_words;
use vipd_common::counters::Counter;
use vipd_common::hmac::PseudoHeader;
use vipd_common::parse::{self, ChecksumForm, Expected, Located, NotOurs, locate, validate};
use vipd_common::wire::ip::{self, Ip};
use vipd_common::wire::trailer::{self, Trailer};
use vipd_common::wire::{arp, ethernet, ipv4, ipv6, nd, vrrp};

use crate::vrrp::hmac::{self, WallTime};

/// The contents of a frame that `vipd` decodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// An advert, valid or not.
    Advert(Box<Advert>),
    /// A packet of IP protocol 112 in which no advert can be located: its [VLAN](Advert::vlan) and
    /// the reason.
    NotLocated(Option<u16>, NotOurs),
    /// A host claims an address.
    Claim(Claim),
}

/// The sender of an ARP packet, or the target of a Neighbor Advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) address: IpAddr,
    pub(crate) mac: [u8; 6],
}

/// The fields of an advert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advert {
    /// VLAN identifier of the outermost tag that is not a priority tag; 0 if there are only
    /// priority tags. `None` if the frame has no tags, or only priority tags that the BPF program
    /// skips.
    pub(crate) vlan: Option<u16>,
    /// `None` on an interface without a link-layer header.
    pub(crate) source_mac: Option<[u8; 6]>,
    pub(crate) located: Located,
    /// The IP packet.
    pub(crate) packet: Vec<u8>,
    /// The VRRP message in the packet, without its trailer.
    pub(crate) message: Vec<u8>,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// TTL or Hop Limit.
    pub(crate) ttl: u8,
    pub(crate) version: u8,
    pub(crate) priority: u8,
    /// Nanoseconds.
    pub(crate) interval: u64,
    /// VRRPv2: authentication type and data.
    pub(crate) authentication: Option<(u8, [u8; 8])>,
    /// The trailer of a signed advert.
    pub(crate) trailer: Option<Trailer>,
    pub(crate) addresses: Vec<IpAddr>,
    /// `None` if the checksum is wrong in every form, or the advert has another defect.
    pub(crate) checksum: Option<ChecksumForm>,
    /// The reason why routers drop the advert, whatever their configuration; `None` if some would
    /// accept it.
    pub(crate) defect: Option<Counter>,
}

/// Decodes a frame. Returns `None` if it is neither VRRP nor an address claim, and for a claim with
/// a VLAN identifier, because the address belongs to another segment.
pub(crate) fn dissect(frame: &[u8], has_ethernet: bool) -> Option<Packet> {
    if !has_ethernet {
        return vrrp(frame, ip::bare(&frame)?, None, None);
    }
    let source_mac = *frame.get(6..)?.first_chunk()?;
    if let Some(offset) = ethernet::arp(&frame) {
        return arp_claim(frame.get(offset..)?);
    }
    match ethernet::ip(&frame) {
        Some(ip) if ip.version == 6 && ip.protocol == ipv6::NEXT_HEADER_ICMPV6 => {
            neighbor_claim(frame.get(ip.offset + ipv6::HEADER_LEN..)?, source_mac)
        }
        Some(ip) => vrrp(frame, ip, None, Some(source_mac)),
        None => {
            let (vlan, untagged) = untag(frame)?;
            vrrp(&untagged, ethernet::ip(&untagged.as_slice())?, Some(vlan), Some(source_mac))
        }
    }
}

/// Removes all VLAN tags of a frame with tags that the BPF program does not skip. Returns the VLAN
/// identifier of the outermost tag that is not a priority tag, or 0 if there are only priority
/// tags.
fn untag(frame: &[u8]) -> Option<(u16, Vec<u8>)> {
    let (addresses, mut rest) = frame.split_at_checked(12)?;
    let mut vlan = None;
    while let ethernet::TYPE_VLAN | ethernet::TYPE_QINQ = half_at(rest, 0) {
        let id = half_at(rest, 2) & 0x0fff;
        vlan = Some(vlan.filter(|outer| *outer != 0).unwrap_or(id));
        rest = rest.get(4..)?;
    }
    Some((vlan?, [addresses, rest].concat()))
}

fn arp_claim(packet: &[u8]) -> Option<Packet> {
    let mac = *packet.get(8..)?.first_chunk()?;
    let address = Ipv4Addr::from(*packet.get(arp::SENDER_IP..)?.first_chunk::<4>()?);
    // An ARP probe has the sender address 0.0.0.0 (RFC 5227 section 1.1), and claims nothing.
    let is_claim = packet.starts_with(&arp::ETHERNET_IPV4) && !address.is_unspecified();
    is_claim.then_some(Packet::Claim(Claim { address: address.into(), mac }))
}

fn neighbor_claim(message: &[u8], source_mac: [u8; 6]) -> Option<Packet> {
    /// Option type of the target's link-layer address.
    const TARGET_LINK_LAYER: u8 = 2;
    if *message.first()? != nd::TYPE_ADVERTISEMENT {
        return None;
    }
    let target = Ipv6Addr::from(*message.get(nd::TARGET..)?.first_chunk::<16>()?);
    let option = message.get(24..32).filter(|option| option[0] == TARGET_LINK_LAYER && option[1] == 1);
    let mac = option.and_then(|option| option[2..].first_chunk().copied()).unwrap_or(source_mac);
    Some(Packet::Claim(Claim { address: target.into(), mac }))
}

fn vrrp(frame: &[u8], ip: Ip, vlan: Option<u16>, source_mac: Option<[u8; 6]>) -> Option<Packet> {
    if ip.protocol != ipv4::PROTOCOL_VRRP {
        return None;
    }
    let packet = frame.get(ip.offset..)?;
    Some(match locate(&packet, ip.version) {
        Ok(located) => Packet::Advert(Box::new(advert(packet, located, vlan, source_mac))),
        Err(reason) => Packet::NotLocated(vlan, reason),
    })
}

fn advert(packet: &[u8], located: Located, vlan: Option<u16>, source_mac: Option<[u8; 6]>) -> Advert {
    let is_ipv6 = located.family == 6;
    let start = if is_ipv6 { ipv6::HEADER_LEN } else { usize::from(packet[0] & 0x0f) * 4 };
    let end = if is_ipv6 {
        start + usize::from(half_at(packet, ipv6::PAYLOAD_LENGTH))
    } else {
        usize::from(half_at(packet, ipv4::TOTAL_LENGTH))
    };
    let payload = packet.get(start..end.min(packet.len())).unwrap_or_default();
    let byte = |offset: usize| payload.get(offset).copied().unwrap_or_default();
    let version = byte(0) >> 4;
    let length = vrrp::message_len(version, located.family, byte(vrrp::COUNT));
    let (message, trailer) = payload.split_at_checked(length).unwrap_or((payload, &[]));
    let trailer = <&[u8; trailer::LEN]>::try_from(trailer).ok();
    let word = half_at(message, vrrp::INTERVAL);
    let size = if is_ipv6 { 16 } else { 4 };
    let list = message.get(vrrp::HEADER_LEN..).unwrap_or_default();
    let list = &list[..list.len().min(size * usize::from(byte(vrrp::COUNT)))];
    let addresses = list.chunks_exact(size).filter_map(|bytes| {
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
    });
    let data: Option<[u8; 8]> = (version == 2).then(|| message.last_chunk().copied().unwrap_or_default());
    let authentication = data.map(|data| (word.to_be_bytes()[0], data));
    let (words, _) = data.as_ref().unwrap_or(&[0; 8]).as_chunks::<4>();
    // The expectations of a router with the sender's configuration.
    let expected = Expected {
        authentication: authentication.map_or(0, |(kind, _)| kind),
        password: [u32::from_ne_bytes(words[0]), u32::from_ne_bytes(words[1])],
        ttl: 0,
        empty: true,
        trailer: parse::Trailer::Optional,
        ..Expected::version(version)
    };
    let valid = validate(&packet, &located, &expected);
    let valid = if matches!(version, 2 | 3) { valid } else { Err(Counter::VersionErrors) };
    Advert {
        vlan,
        source_mac,
        located,
        source: from_words(located.family, located.source),
        destination: from_words(located.family, located.destination),
        ttl: packet.get(if is_ipv6 { ipv6::HOP_LIMIT } else { ipv4::TTL }).copied().unwrap_or_default(),
        version,
        priority: byte(vrrp::PRIORITY),
        interval: if version == 2 {
            u64::from(word & 0x00ff) * 1_000_000_000
        } else {
            u64::from(word & 0x0fff) * 10_000_000
        },
        authentication,
        trailer: trailer.and_then(Trailer::parse),
        addresses: addresses.collect(),
        checksum: valid.ok().map(|valid| valid.checksum),
        defect: valid.err(),
        message: message.to_vec(),
        packet: packet.to_vec(),
    }
}

fn half_at(bytes: &[u8], offset: usize) -> u16 {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

impl Advert {
    /// Returns the virtual router identifier.
    pub(crate) fn vrid(&self) -> u8 {
        self.located.vrid
    }

    /// Returns the IP version, 4 or 6.
    pub(crate) fn family(&self) -> u8 {
        self.located.family
    }

    /// Returns the clock of the sender of a signed advert minus the clock of this host in
    /// milliseconds. `now` is the time of arrival.
    pub(crate) fn clock_offset(&self, now: WallTime) -> Option<i64> {
        Some(hmac::clock_offset(&self.trailer?.encode(), now))
    }

    /// Returns whether the HMAC of a signed advert was computed with this key. `None` if the advert
    /// is not signed.
    pub(crate) fn is_signed_with(&self, key: &hmac::Key) -> Option<bool> {
        let trailer = self.trailer?;
        let Located { family, vrid, source, .. } = self.located;
        let header = PseudoHeader { family, version: self.version, vrid, source };
        Some(hmac::is_signed_with(key, &header, &self.message, &trailer))
    }

    /// Returns whether the advert was sent to the VRRP multicast group.
    pub(crate) fn is_multicast(&self) -> bool {
        match self.destination {
            IpAddr::V4(destination) => destination.octets() == ipv4::VRRP_GROUP,
            IpAddr::V6(destination) => destination.octets() == ipv6::VRRP_GROUP,
        }
    }
}

#[cfg(test)]
mod tests {
    use vipd_witness::{Advert as Sent, Checksum, Version};

    use super::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn sent(version: Version) -> Sent {
        let addresses = vec![Ipv4Addr::new(192, 0, 2, 50).into()];
        Sent { addresses, ..Sent::new(version, 51, 200, SOURCE) }
    }

    fn decoded(sent: &Sent) -> Advert {
        match dissect(&sent.frame(), true) {
            Some(Packet::Advert(advert)) => *advert,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fields_of_a_valid_advert_are_decoded() {
        let advert = decoded(&sent(Version::V3));
        assert_eq!((advert.vrid(), advert.family(), advert.version, advert.priority), (51, 4, 3, 200));
        assert_eq!((advert.source, advert.ttl, advert.interval), (SOURCE.into(), 255, 1_000_000_000));
        assert_eq!(advert.addresses, [IpAddr::from([192, 0, 2, 50])]);
        assert_eq!((advert.checksum, advert.defect), (Some(ChecksumForm::Rfc5798), None));
        assert_eq!(
            (advert.vlan, advert.source_mac, advert.is_multicast()),
            (None, Some([2, 0, 0, 0, 0, 1]), true)
        );
        let message_only = decoded(&Sent { checksum: Checksum::Message, ..sent(Version::V3) });
        assert_eq!(message_only.checksum, Some(ChecksumForm::Rfc9568));
    }

    #[test]
    fn ttl_and_authentication_are_not_defects() {
        let password = Sent { ttl: 1, interval: 0x0105, authentication: *b"password", ..sent(Version::V2) };
        let advert = decoded(&password);
        assert_eq!((advert.ttl, advert.interval, advert.defect), (1, 5_000_000_000, None));
        assert_eq!(advert.authentication, Some((1, *b"password")));
    }

    #[test]
    fn advert_that_no_configuration_accepts_has_a_defect() {
        let cases = [
            (Sent { version: 4, ..sent(Version::V3) }, Counter::VersionErrors),
            (Sent { kind: 2, ..sent(Version::V3) }, Counter::InvalidTypeRcvd),
            (Sent { interval: 0, ..sent(Version::V3) }, Counter::IntervalZeroErrors),
            (Sent { count: Some(9), ..sent(Version::V3) }, Counter::PacketLengthErrors),
            (Sent { corrupt: vec![22], ..sent(Version::V3) }, Counter::ChecksumErrors),
        ];
        for (sent, defect) in cases {
            assert_eq!(decoded(&sent).defect, Some(defect), "{sent:?}");
        }
    }

    #[test]
    fn advert_of_a_vlan_is_decoded_with_its_identifier() {
        for (tags, vlan) in [
            (vec![(0x88a8, 0), (0x8100, 0x6007)], Some(7)),
            (vec![(0x8100, 7), (0x8100, 8)], Some(7)),
            (vec![(0x8100, 0x6000)], None),
            // The program skips at most two priority tags, and an inner one only with EtherType
            // 0x8100.
            (vec![(0x8100, 0); 3], Some(0)),
            (vec![(0x8100, 0), (0x88a8, 0)], Some(0)),
        ] {
            let tagged = Sent { tags, ..sent(Version::V3) };
            assert_eq!(decoded(&tagged).vlan, vlan, "{tagged:?}");
        }
    }

    #[test]
    fn arp_and_neighbor_advertisements_claim_addresses() {
        let mac = [2, 0, 0, 0, 0, 9];
        let claim = |address: IpAddr| Some(Packet::Claim(Claim { address, mac }));
        assert_eq!(dissect(&arp::gratuitous(mac, [192, 0, 2, 50]), true), claim([192, 0, 2, 50].into()));
        let probe = arp::gratuitous(mac, [0, 0, 0, 0]);
        assert_eq!(dissect(&probe, true), None);
        let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x50);
        assert_eq!(dissect(&nd::unsolicited(mac, v6.octets()), true), claim(v6.into()));
    }

    #[test]
    fn claims_of_a_vlan_are_ignored() {
        let mac = [2, 0, 0, 0, 0, 9];
        for frame in [&arp::gratuitous(mac, [192, 0, 2, 50])[..], &nd::unsolicited(mac, [0xfd; 16])] {
            let tagged = |tag: [u8; 4]| [&frame[..12], &tag, &frame[12..]].concat();
            assert_eq!(dissect(&tagged([0x81, 0, 0, 7]), true), None);
            let priority_tag = dissect(&tagged([0x81, 0, 0x60, 0]), true);
            assert!(matches!(priority_tag, Some(Packet::Claim(_))), "{priority_tag:?}");
        }
    }

    proptest::proptest! {
        /// Any bytes after a valid EtherType are decoded or ignored without a panic.
        #[test]
        fn arbitrary_packets_do_not_panic(
            ethertype in proptest::sample::select(vec![0x0800_u16, 0x86dd, 0x0806, 0x8100]),
            mut packet in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            is_vrrp: bool,
        ) {
            if is_vrrp && packet.len() > 9 {
                packet[0] = if ethertype == 0x0800 { 0x45 } else { 0x60 };
                packet[if ethertype == 0x0800 { 9 } else { 6 }] = 112;
            }
            dissect(&packet, false);
            let frame = [&[2; 12][..], &ethertype.to_be_bytes(), &packet].concat();
            dissect(&frame, true);
        }
    }

    #[test]
    fn truncated_frames_do_not_panic() {
        for whole in [sent(Version::V2).frame(), nd::unsolicited([2; 6], [1; 16]).to_vec()] {
            for length in 0..whole.len() {
                dissect(&whole[..length], true);
                dissect(&whole[whole.len() - length..], false);
            }
        }
    }
}
