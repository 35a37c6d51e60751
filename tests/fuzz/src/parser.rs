//! The advert parser on a byte slice: it never panics, and accepts only valid adverts.

use std::net::IpAddr;

use vipd_common::address;
use vipd_common::counters::Counter;
use vipd_common::parse::{Advert, ChecksumForm, Expected, address_digest, locate, validate};
use vipd_common::wire::{ethernet, ipv4, ipv6, vrrp};
use vipd_witness::{internet_checksum, pseudo_header};

use crate::repair;

/// Runs one input: a byte that selects the fields to repair, followed by a frame.
///
/// # Panics
/// Panics if the parser accepts an invalid advert, or if an accepted advert changes when it is
/// encoded and decoded.
pub fn run(input: &[u8]) {
    let Some(frame) = repair::frame(input) else { return };
    let Some(ip) = ethernet::ip(&&frame[..]).filter(|ip| ip.protocol == ipv4::PROTOCOL_VRRP) else { return };
    let packet = &frame[ip.offset..];
    // The EtherType may contradict the version field of the packet.
    if packet.first().is_none_or(|first| first >> 4 != ip.version) {
        assert!(locate(&packet, ip.version).is_err());
        return;
    }
    // The VRRP versions that can be configured. VRRPv2 does not support IPv6.
    let versions: &[u8] = if ip.version == 6 { &[3] } else { &[2, 3] };
    let Some(found) = parse(packet, versions[0]) else { return };
    let accepted: Vec<Advert> = versions.iter().filter_map(|version| parse(packet, *version)?.ok()).collect();
    assert!(accepted.len() <= 1, "valid in both versions: {accepted:?}");
    if let Some(advert) = accepted.first() {
        check(packet, advert);
    } else if let Err(reason) = found {
        let unrelated = [
            Counter::AdvertisementRcvd,
            Counter::PriorityZeroRcvd,
            Counter::ChecksumRfc5798Rcvd,
            Counter::ChecksumRfc9568Rcvd,
            Counter::RingFull,
            Counter::VridErrors,
        ];
        assert!(
            !unrelated.contains(&reason),
            "the parser returned {reason:?}, which is not a reason to drop an advert"
        );
    }
}

/// Locates and validates the advert. Returns `None` for a packet that the XDP program passes to the
/// kernel.
fn parse(packet: &[u8], version: u8) -> Option<Result<Advert, Counter>> {
    let located = locate(&packet, packet[0] >> 4).ok()?;
    assert_eq!(Some(&located.vrid), packet.get(header_len(packet) + vrrp::VRID), "wrong VRID");
    Some(validate(&packet, &located, &Expected::version(version)))
}

fn header_len(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 6 { ipv6::HEADER_LEN } else { usize::from(packet[0] & 0x0f) * 4 }
}

/// Returns the length of the packet, source and destination, TTL or Hop Limit, and protocol.
fn header(packet: &[u8]) -> (usize, &[u8], u8, u8) {
    let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    if packet[0] >> 4 == 6 {
        (40 + word(4), &packet[8..40], packet[7], packet[6])
    } else {
        assert_eq!(internet_checksum(&packet[..header_len(packet)]), 0, "header checksum");
        (word(2), &packet[12..20], packet[8], packet[9])
    }
}

/// Checks an advert that the parser accepted.
fn check(packet: &[u8], advert: &Advert) {
    let (total, ends, ttl, protocol) = header(packet);
    let message = &packet[header_len(packet)..total];
    assert_eq!((ttl, protocol), (255, ipv4::PROTOCOL_VRRP));
    assert_eq!(packet[0] >> 4, advert.family);
    assert_eq!(message[0], advert.version << 4 | 1);
    assert_eq!(message[1..4], [advert.vrid, advert.priority, advert.count]);
    assert_eq!(message.len(), vrrp::message_len(advert.version, advert.family, advert.count));
    assert_eq!(advert.source, to_words(&ends[..ends.len() / 2]));
    assert!(advert.count > 0, "no addresses");
    let longest = if advert.version == 2 { 255 } else { 4095 };
    assert!((1..=longest).contains(&advert.interval), "interval {}", advert.interval);

    let end = |bytes| address::from_words(advert.family, to_words(bytes));
    let (source, destination) = ends.split_at(ends.len() / 2);
    let pseudo = pseudo_header(end(source), end(destination), message.len());
    let alone = internet_checksum(message);
    let with_pseudo = internet_checksum(&[&pseudo, message].concat());
    let (version, family, checksum) = match advert.checksum {
        ChecksumForm::V2 => (2, 4, alone),
        ChecksumForm::Rfc5798 => (3, 4, with_pseudo),
        ChecksumForm::Rfc9568 => (3, 4, alone),
        ChecksumForm::Ipv6 => (3, 6, with_pseudo),
    };
    assert_eq!((advert.version, advert.family, 0), (version, family, checksum));

    let length = ends.len() / 2;
    let bytes = &message[vrrp::HEADER_LEN..][..length * usize::from(advert.count)];
    let addresses: Vec<IpAddr> =
        bytes.chunks(length).map(|bytes| address::from_words(advert.family, to_words(bytes))).collect();
    assert_eq!(
        advert.addresses,
        address_digest(addresses.iter().rev().copied()),
        "the digest depends on the order"
    );

    check_surrounding_bytes(packet, total, advert);
    check_encoding(advert, to_words(&ends[length..]), &addresses);
}

/// Converts the bytes of an address in a packet to words.
fn to_words(bytes: &[u8]) -> address::Address {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    words
}

/// Checks that padding has no effect, and that the packet is invalid without its last byte.
fn check_surrounding_bytes(packet: &[u8], total: usize, advert: &Advert) {
    let padded = [&packet[..total], &[0xa5; 46]].concat();
    assert_eq!(parse(&padded, advert.version), Some(Ok(*advert)), "with other padding");
    let cut = parse(&packet[..total - 1], advert.version);
    assert_eq!(cut, Some(Err(Counter::PacketLengthErrors)), "without its last byte");
}

/// Checks that an advert with the same fields, encoded by vipd, decodes to the same advert.
fn check_encoding(advert: &Advert, destination: address::Address, addresses: &[IpAddr]) {
    let Advert { family, version, vrid, priority, interval, checksum, source, .. } = *advert;
    let fields = vrrp::Fields { vrid, priority, interval, checksum, password: None };
    let mut message = vec![0; vrrp::MAX_LEN];
    let length = vrrp::write(&mut message, &fields, &source, &destination, addresses.iter().copied())
        .expect("a large enough buffer");
    let mut packet = vec![0; if family == 6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN }];
    let written = match (address::from_words(family, source), address::from_words(family, destination)) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ipv6::write(&mut packet, source.octets(), destination.octets(), ipv4::PROTOCOL_VRRP, length)
        }
        (IpAddr::V4(source), _) => ipv4::write_vrrp(&mut packet, source.octets(), length),
        other => panic!("two families: {other:?}"),
    };
    written.expect("a large enough buffer");
    packet.extend(&message[..length]);
    if destination == to_words(&header(&packet).1[address_len(family)..]) {
        assert_eq!(parse(&packet, version), Some(Ok(*advert)), "encoded again");
    }
}

/// Returns the length of an address, in bytes.
fn address_len(family: u8) -> usize {
    if family == 6 { 16 } else { 4 }
}
