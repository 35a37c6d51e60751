//! The advert parser over a slice: it never panics, and what it accepts is an advert.

use vipd_common::counters::Counter;
use vipd_common::parse::{Advert, ChecksumForm, address_digest, judge, locate};
use vipd_common::wire::{ethernet, ipv4, vrrp};

use crate::repair;

/// What a virtual router may be configured with.
const VERSIONS: [u8; 2] = [2, 3];

/// An input is a byte that says what to repair, and a frame.
///
/// # Panics
/// When the parser accepts what is no advert, or does not read what was written.
pub fn run(input: &[u8]) {
    let Some(frame) = repair::frame(input) else { return };
    let Some(offset) = ethernet::vrrp_offset(&&frame[..]) else { return };
    let packet = &frame[offset..];
    let Some(found) = parse(packet, 2) else { return };
    let accepted: Vec<Advert> =
        VERSIONS.into_iter().filter_map(|version| parse(packet, version)?.ok()).collect();
    assert!(accepted.len() <= 1, "valid in both versions: {accepted:?}");
    if let Some(advert) = accepted.first() {
        check(packet, advert);
    } else if let Err(reason) = found {
        let beside = [
            Counter::AdvertisementRcvd,
            Counter::PriorityZeroRcvd,
            Counter::ChecksumRfc5798Rcvd,
            Counter::ChecksumRfc9568Rcvd,
            Counter::RingFull,
            Counter::VridErrors,
        ];
        assert!(!beside.contains(&reason), "{reason:?} is no reason to discard an advert");
    }
}

/// Both steps; `None` for a packet that is passed on.
fn parse(packet: &[u8], version: u8) -> Option<Result<Advert, Counter>> {
    let located = locate(&packet).ok()?;
    assert_eq!(Some(&located.vrid), packet.get(header_len(packet) + vrrp::VRID), "the VRID is another byte");
    Some(judge(&packet, &located, version))
}

fn header_len(packet: &[u8]) -> usize {
    usize::from(packet[0] & 0x0f) * 4
}

/// What must be true of a packet that was accepted.
fn check(packet: &[u8], advert: &Advert) {
    let header = header_len(packet);
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let message = &packet[header..total];
    assert_eq!((packet[ipv4::TTL], packet[ipv4::PROTOCOL]), (255, 112));
    assert_eq!(packet[ipv4::DESTINATION..20], ipv4::VRRP_GROUP);
    assert_eq!(repair::sum(&packet[..header]), 0xffff, "header checksum");
    assert_eq!(message[0], advert.version << 4 | 1);
    assert_eq!(message[1..4], [advert.vrid, advert.priority, advert.count]);
    assert_eq!(message.len(), vrrp::message_len(advert.version, advert.count));
    assert_eq!(packet[ipv4::SOURCE..16], advert.source);
    assert!(advert.count > 0, "no addresses");
    let longest = if advert.version == 2 { 255 } else { 4095 };
    assert!((1..=longest).contains(&advert.interval), "interval {}", advert.interval);

    let mut pseudo = packet[ipv4::SOURCE..20].to_vec();
    pseudo.extend([0, 112]);
    pseudo.extend(u16::try_from(message.len()).expect("short").to_be_bytes());
    let (alone, with_pseudo) = (repair::sum(message), repair::sum(&[&pseudo, message].concat()));
    match advert.checksum {
        ChecksumForm::V2 => assert_eq!((advert.version, alone), (2, 0xffff)),
        ChecksumForm::Rfc5798 => assert_eq!((advert.version, with_pseudo), (3, 0xffff)),
        ChecksumForm::Rfc9568 => assert_eq!((advert.version, alone), (3, 0xffff)),
    }

    let bytes = &message[vrrp::HEADER_LEN..][..4 * usize::from(advert.count)];
    let addresses: Vec<[u8; 4]> = bytes.as_chunks().0.to_vec();
    assert_eq!(advert.addresses, address_digest(addresses.iter().rev().copied()), "in any order");

    surroundings(packet, total, advert);
    rewritten(advert, &addresses);
}

/// Padding is no part of an advert, and all of the rest is.
fn surroundings(packet: &[u8], total: usize, advert: &Advert) {
    let padded = [&packet[..total], &[0xa5; 46]].concat();
    assert_eq!(parse(&padded, advert.version), Some(Ok(*advert)), "with other padding");
    let cut = parse(&packet[..total - 1], advert.version);
    assert_eq!(cut, Some(Err(Counter::PacketLengthErrors)), "without its last byte");
}

/// What vipd itself would send with these fields is read as the same advert.
fn rewritten(advert: &Advert, addresses: &[[u8; 4]]) {
    let Advert { version, vrid, priority, interval, source, .. } = *advert;
    let mut packet = [0; ipv4::HEADER_LEN + vrrp::MAX_LEN];
    let (header, message) = packet.split_at_mut(ipv4::HEADER_LEN);
    let fields = vrrp::Fields { version, vrid, priority, interval };
    let length = vrrp::write(message, fields, source, addresses.iter().copied()).expect("there is room");
    ipv4::write_vrrp(header, source, length).expect("there is room");
    // vipd sends VRRPv3 with the pseudo-header, whatever came.
    let checksum = if version == 2 { ChecksumForm::V2 } else { ChecksumForm::Rfc5798 };
    let wanted = Advert { checksum, ..*advert };
    assert_eq!(parse(&packet[..ipv4::HEADER_LEN + length], version), Some(Ok(wanted)), "written again");
}
