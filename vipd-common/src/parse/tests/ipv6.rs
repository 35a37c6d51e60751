//! Verdicts on IPv6 packets without a trailer.

use core::net::{IpAddr, Ipv6Addr};
use std::vec::Vec;

use super::packet6::{GROUP, Packet6, link_local};
use super::{Refusal, parse_as};
use crate::address::FAMILY_IPV6;
use crate::address::ipv6;
use crate::counters::Counter;
use crate::parse::{Advert, ChecksumForm, Expected, NotOurs, address_digest};

fn parse(packet: &Packet6) -> Result<Advert, Refusal> {
    parse_bytes(&packet.bytes())
}

fn parse_bytes(bytes: &[u8]) -> Result<Advert, Refusal> {
    parse_as(bytes, FAMILY_IPV6, Ipv6Addr::from(GROUP).into(), &Expected::version(3))
}

fn digest(addresses: &[[u8; 16]]) -> u64 {
    address_digest(addresses.iter().map(|address| IpAddr::from(*address)))
}

#[test]
fn a_valid_advert_is_parsed() {
    for count in [1, 2, 3, 4, 5, 6, 90, 254, 255] {
        let packet = Packet6::with_addresses(count);
        let advert = parse(&packet).expect("a valid advert");
        assert_eq!((advert.family, advert.version, advert.vrid), (6, 3, 51));
        assert_eq!((advert.count, advert.priority, advert.interval), (count, 100, 100));
        assert_eq!((advert.source, advert.checksum), (ipv6(packet.source), ChecksumForm::Ipv6), "C2");
        assert_eq!(advert.addresses, digest(&packet.addresses), "{count} addresses");
        assert!(advert.link_local);
    }
}

#[test]
fn c7_padding_is_ignored() {
    for padding in 0..64 {
        assert_eq!(
            parse(&Packet6 { padding, ..Packet6::valid() }),
            parse(&Packet6::valid()),
            "{padding} bytes"
        );
    }
}

#[test]
fn r10_an_advert_whose_first_address_is_not_link_local_is_flagged_but_accepted() {
    let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for (first, link_local) in
        [(global, false), (link_local(1), true), ([0xfe, 0xbf].repeat(8).try_into().expect("16"), true)]
    {
        let packet =
            Packet6 { addresses: Vec::from([first, super::packet6::link_local(9)]), ..Packet6::valid() };
        assert_eq!(parse(&packet).map(|advert| advert.link_local), Ok(link_local), "R10: {first:?}");
    }
}

#[test]
fn each_invalid_packet_is_rejected_for_the_right_reason() {
    let valid = Packet6::valid;
    let discarded = Refusal::Discarded;
    let foreign = Refusal::NotOurs;
    let mapped = {
        let mut address = [0; 16];
        address[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        address
    };
    let table = [
        ("R17 another version", Packet6 { ip_version: 4, ..valid() }, foreign(NotOurs::Unparsable)),
        ("unicast", Packet6 { destination: link_local(2), ..valid() }, foreign(NotOurs::Destination)),
        ("R1", Packet6 { hops: 254, ..valid() }, discarded(Counter::IpTtlErrors)),
        ("R2", Packet6 { version: 2, ..valid() }, discarded(Counter::VersionErrors)),
        ("R3", Packet6 { kind: 2, ..valid() }, discarded(Counter::InvalidTypeRcvd)),
        ("R4", Packet6 { count: Some(2), ..valid() }, discarded(Counter::PacketLengthErrors)),
        ("R4 trailing", Packet6 { trailing: 16, ..valid() }, discarded(Counter::PacketLengthErrors)),
        ("R4 short", Packet6 { length_error: -4, ..valid() }, discarded(Counter::PacketLengthErrors)),
        ("R17 cut", Packet6 { length_error: 1, ..valid() }, discarded(Counter::PacketLengthErrors)),
        ("R5", Packet6 { checksum_error: 1, ..valid() }, discarded(Counter::ChecksumErrors)),
        (
            "C2 no pseudo-header",
            Packet6 { message_only: true, ..valid() },
            discarded(Counter::ChecksumErrors),
        ),
        ("R8", Packet6 { addresses: Vec::new(), ..valid() }, discarded(Counter::AddressCountErrors)),
        ("R9", Packet6 { word: 0xf000, ..valid() }, discarded(Counter::IntervalZeroErrors)),
        ("source ::", Packet6 { source: [0; 16], ..valid() }, discarded(Counter::IpHeaderErrors)),
        ("source group", Packet6 { source: GROUP, ..valid() }, discarded(Counter::IpHeaderErrors)),
        ("source mapped", Packet6 { source: mapped, ..valid() }, discarded(Counter::IpHeaderErrors)),
    ];
    for (what, packet, refusal) in table {
        assert_eq!(parse(&packet), Err(refusal), "{what}");
    }
}

#[test]
fn r4_a_truncated_packet_is_never_an_advert() {
    let bytes = Packet6::with_addresses(3).bytes();
    for length in 0..bytes.len() {
        let refusal = parse_bytes(&bytes[..length]).expect_err("a cut packet");
        let wanted = if length < 42 {
            Refusal::NotOurs(NotOurs::Unparsable)
        } else {
            Refusal::Discarded(Counter::PacketLengthErrors)
        };
        assert_eq!(refusal, wanted, "R4: {length} bytes of {}", bytes.len());
    }
}

#[test]
fn the_digest_depends_on_how_words_are_grouped_into_addresses() {
    let (mut a, mut b) = (link_local(1), link_local(2));
    assert_eq!(digest(&[a, b]), digest(&[b, a]), "RFC 9568 section 5.2.9 only recommends an order");
    let before = digest(&[a, b]);
    // The same words, grouped into other addresses.
    (a[7], b[7]) = (1, 0);
    let one = digest(&[a, b]);
    (a[7], b[7]) = (0, 1);
    assert_ne!(one, digest(&[a, b]));
    assert_ne!(one, before);
    assert_ne!(digest(&[[0; 16]]), digest(&[[0; 16]; 2]));
}
