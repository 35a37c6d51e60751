//! Verdicts on IPv4 packets for routers without authentication, whose adverts have no trailer.

use std::string::{String, ToString};
use std::vec::Vec;

use super::packet::{Form, Packet};
use super::{Refusal, parse, source};
use crate::counters::Counter;
use crate::parse::{ChecksumForm, NotOurs, address_digest};

const VERSIONS: [u8; 2] = [2, 3];

#[test]
fn a_valid_advert_is_parsed() {
    for version in VERSIONS {
        for count in [1, 2, 6, 7, 8, 9, 100, 254, 255] {
            let packet = Packet::with_addresses(version, count);
            let advert = parse(&packet.bytes(), version).expect("a valid advert");
            assert_eq!((advert.version, advert.vrid, advert.priority), (version, 51, 100));
            assert_eq!((advert.count, advert.interval), (count, packet.word), "{count}");
            assert_eq!(advert.source, source(packet.source));
            assert_eq!(
                advert.addresses,
                address_digest(packet.addresses.into_iter().map(Into::into)),
                "{count} addresses"
            );
        }
    }
}

#[test]
fn every_priority_and_vrid_is_parsed() {
    for version in VERSIONS {
        for value in 0..=255 {
            let packet = Packet { priority: value, vrid: !value, ..Packet::valid(version) };
            let advert = parse(&packet.bytes(), version).expect("a valid advert");
            assert_eq!((advert.priority, advert.vrid), (value, !value));
        }
    }
}

#[test]
fn options_of_every_length_are_skipped() {
    for version in VERSIONS {
        for ihl in 5..=15 {
            for count in [1, 255] {
                let packet = Packet { ihl, ..Packet::with_addresses(version, count) };
                let advert = parse(&packet.bytes(), version);
                assert_eq!(advert.map(|advert| advert.count), Ok(count), "IHL {ihl}");
            }
        }
    }
}

#[test]
fn padding_is_ignored() {
    for version in VERSIONS {
        let bare = parse(&Packet::valid(version).bytes(), version);
        assert!(bare.is_ok());
        for padding in 0..64 {
            let packet = Packet { padding, ..Packet::valid(version) };
            assert_eq!(parse(&packet.bytes(), version), bare, "C7: {padding} bytes");
        }
    }
}

#[test]
fn both_checksum_forms_of_vrrpv3_are_distinguished() {
    let form = |packet: Packet| parse(&packet.bytes(), packet.version).map(|advert| advert.checksum);
    assert_eq!(form(Packet::valid(3)), Ok(ChecksumForm::Rfc5798), "C3");
    assert_eq!(form(Packet { form: Form::Message, ..Packet::valid(3) }), Ok(ChecksumForm::Rfc9568), "C4");
    assert_eq!(form(Packet::valid(2)), Ok(ChecksumForm::V2), "C1");
    let refused = Err(Refusal::Discarded(Counter::ChecksumErrors));
    assert_eq!(form(Packet { form: Form::Pseudo, ..Packet::valid(2) }), refused, "C1: no pseudo-header");
}

#[test]
fn the_reserved_bits_are_ignored() {
    for reserved in 0..16 {
        let packet = Packet { word: reserved << 12 | 0x0123, ..Packet::valid(3) };
        let advert = parse(&packet.bytes(), 3).expect("R16: a valid advert");
        assert_eq!(advert.interval, 0x0123, "R16");
    }
}

#[test]
fn the_largest_intervals_are_parsed() {
    let packet = Packet { word: 4095, ..Packet::valid(3) };
    assert_eq!(parse(&packet.bytes(), 3).map(|advert| advert.interval), Ok(4095));
    let packet = Packet { word: 255, ..Packet::valid(2) };
    assert_eq!(parse(&packet.bytes(), 2).map(|advert| advert.interval), Ok(255));
}

/// Returns invalid packets, each with the name of its fault and the expected reason.
fn wrong(version: u8) -> Vec<(String, Packet, Refusal)> {
    let valid = Packet::valid(version);
    let discarded = Refusal::Discarded;
    let foreign = Refusal::NotOurs;
    let mut table = std::vec![
        ("R17 fragment", Packet { fragment: 0x2000, ..valid.clone() }, foreign(NotOurs::Fragment)),
        ("R17 later fragment", Packet { fragment: 1, ..valid.clone() }, foreign(NotOurs::Fragment)),
        ("R17 IPv6", Packet { ip_version: 6, ..valid.clone() }, foreign(NotOurs::Unparsable)),
        ("R17 IHL 4", Packet { ihl: 4, ..valid.clone() }, foreign(NotOurs::Unparsable)),
        ("unicast", Packet { destination: [10, 0, 0, 2], ..valid.clone() }, foreign(NotOurs::Destination)),
        (
            "OSPF's group",
            Packet { destination: [224, 0, 0, 5], ..valid.clone() },
            foreign(NotOurs::Destination)
        ),
        ("R17 header sum", Packet { header_error: 1, ..valid.clone() }, discarded(Counter::IpHeaderErrors)),
        ("source 0/8", Packet { source: [0, 0, 0, 1], ..valid.clone() }, discarded(Counter::IpHeaderErrors)),
        (
            "source group",
            Packet { source: [224, 0, 0, 1], ..valid.clone() },
            discarded(Counter::IpHeaderErrors)
        ),
        ("source E", Packet { source: [255; 4], ..valid.clone() }, discarded(Counter::IpHeaderErrors)),
        ("R1", Packet { ttl: 254, ..valid.clone() }, discarded(Counter::IpTtlErrors)),
        ("R1", Packet { ttl: 1, ..valid.clone() }, discarded(Counter::IpTtlErrors)),
        ("R2", Packet { version: 5 - version, ..valid.clone() }, discarded(Counter::VersionErrors)),
        ("R2", Packet { version: 4, ..valid.clone() }, discarded(Counter::VersionErrors)),
        ("R3", Packet { kind: 0, ..valid.clone() }, discarded(Counter::InvalidTypeRcvd)),
        ("R3", Packet { kind: 2, ..valid.clone() }, discarded(Counter::InvalidTypeRcvd)),
        ("R4", Packet { count: Some(2), ..valid.clone() }, discarded(Counter::PacketLengthErrors)),
        ("R4", Packet { count: Some(255), ..valid.clone() }, discarded(Counter::PacketLengthErrors)),
        ("R4 trailing", Packet { trailing: 4, ..valid.clone() }, discarded(Counter::PacketLengthErrors)),
        ("R4 trailing", Packet { trailing: 1, ..valid.clone() }, discarded(Counter::PacketLengthErrors)),
        ("R17 cut", Packet { total_error: 1, ..valid.clone() }, discarded(Counter::PacketLengthErrors)),
        ("R4 short", Packet { total_error: -4, ..valid.clone() }, discarded(Counter::PacketLengthErrors)),
        ("R5", Packet { form: Form::Wrong, ..valid.clone() }, discarded(Counter::ChecksumErrors)),
        ("R8", Packet { count: Some(0), ..valid.clone() }, discarded(Counter::AddressCountErrors)),
        ("R8", Packet { addresses: Vec::new(), ..valid.clone() }, discarded(Counter::AddressCountErrors)),
        ("R9", Packet { word: 0, ..valid.clone() }, discarded(Counter::IntervalZeroErrors)),
    ];
    if version == 3 {
        let reserved = Packet { word: 0xf000, ..valid };
        table.push(("R9, R16", reserved, discarded(Counter::IntervalZeroErrors)));
    } else {
        for (auth, counter) in [
            (1, Counter::AuthTypeMismatch),
            (2, Counter::AuthTypeMismatch),
            (3, Counter::InvalidAuthType),
            (254, Counter::InvalidAuthType),
        ] {
            table.push(("R13", Packet { word: auth << 8 | 1, ..valid.clone() }, discarded(counter)));
        }
    }
    table.into_iter().map(|(what, packet, refusal)| (what.to_string(), packet, refusal)).collect()
}

#[test]
fn r1_to_r17_each_invalid_packet_is_rejected_for_the_right_reason() {
    for version in VERSIONS {
        for (what, packet, refusal) in wrong(version) {
            assert_eq!(parse(&packet.bytes(), version), Err(refusal), "{what}: {packet:?}");
        }
    }
}

#[test]
fn r4_a_truncated_packet_is_never_an_advert() {
    for version in VERSIONS {
        for ihl in [5, 7, 15] {
            let bytes = Packet { ihl, ..Packet::with_addresses(version, 3) }.bytes();
            let vrid = usize::from(ihl) * 4 + 2;
            for length in 0..bytes.len() {
                let refusal = parse(&bytes[..length], version).expect_err("a cut packet");
                let wanted = if length < vrid {
                    Refusal::NotOurs(NotOurs::Unparsable)
                } else {
                    Refusal::Discarded(Counter::PacketLengthErrors)
                };
                assert_eq!(refusal, wanted, "R4: {length} bytes of {}", bytes.len());
            }
        }
    }
}

#[test]
fn the_digest_depends_on_the_addresses_but_not_on_their_order() {
    let digest = |list: &[[u8; 4]]| address_digest(list.iter().copied().map(Into::into));
    let (a, b, zero) = ([10, 0, 0, 1], [10, 0, 0, 2], [0; 4]);
    assert_eq!(digest(&[a, b]), digest(&[b, a]), "RFC 9568 section 5.2.9 only recommends an order");
    let different = [&[][..], &[a], &[b], &[a, a], &[a, b], &[b, b], &[zero], &[zero, zero], &[a, zero]];
    for (index, one) in different.iter().enumerate() {
        for other in &different[index + 1..] {
            assert_ne!(digest(one), digest(other), "{one:?} {other:?}");
        }
    }
}
