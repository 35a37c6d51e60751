//! Adverts with a trailer.

use std::vec::Vec;

use super::packet::Packet;
use super::packet6::{GROUP, Packet6, link_local};
use super::{Refusal, parse_as};
use crate::counters::Counter;
use crate::parse::{Advert, Expected, Trailer};
use crate::wire::trailer::{KEY_ID, LEN, RESERVED};
use crate::wire::vrrp::PRIORITY;

/// Trailer of an IPv4 advert of keepalived 2.4.3: the first one in
/// [`keepalived_s_adverts_are_parsed`].
const TRAILER: [u8; LEN] = [
    1, 7, 0, 0, 0x69, 0x25, 0xf0, 0xa0, 0x80, 0, 0, 1, 0x67, 0xdd, 0x68, 0x49, 0x66, 0x95, 0x29, 0x27, 0x23,
    0xac, 0x51, 0x4a, 0x42, 0x91, 0xd6, 0xd4,
];

/// Returns an advert over IPv4 with this trailer.
fn ipv4(version: u8, trailer: &[u8]) -> Vec<u8> {
    let valid = Packet {
        source: [192, 0, 2, 11],
        priority: 200,
        addresses: [[192, 0, 2, 50]].into(),
        ..Packet::valid(version)
    };
    let total_error = i32::try_from(trailer.len()).expect("short");
    [&Packet { total_error, ..valid }.bytes(), trailer].concat()
}

/// Returns an advert over IPv6 with this trailer.
fn ipv6(trailer: &[u8]) -> Vec<u8> {
    let valid = Packet6 { source: link_local(0x11), ..Packet6::valid() };
    let length_error = i32::try_from(trailer.len()).expect("short");
    [&Packet6 { length_error, ..valid }.bytes(), trailer].concat()
}

fn read(packet: &[u8], version: u8, trailer: Trailer) -> Result<Advert, Counter> {
    let expected = Expected { trailer, ..Expected::version(version) };
    let is_ipv6 = packet[0] >> 4 == 6;
    let destination = if is_ipv6 { GROUP.into() } else { [224, 0, 0, 18].into() };
    parse_as(packet, packet[0] >> 4, destination, &expected).map_err(|refusal| match refusal {
        Refusal::Discarded(counter) => counter,
        Refusal::NotOurs(reason) => panic!("{reason:?}"),
    })
}

/// Returns the same advert with this trailer in each version and family.
fn all(trailer: &[u8]) -> [(u8, Vec<u8>); 3] {
    [(2, ipv4(2, trailer)), (3, ipv4(3, trailer)), (3, ipv6(trailer))]
}

#[test]
fn keepalived_s_adverts_are_parsed() {
    let messages: [&[u8]; 2] = [
        &[0x31, 0x33, 0xc8, 1, 0, 0x0a, 0xa1, 0xf3, 192, 0, 2, 50],
        &[
            &[0x31, 0x33, 0x64, 2, 0, 0x64, 0x3f, 0x4d][..],
            &link_local(0x50),
            &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50],
        ]
        .concat(),
    ];
    let headers = [
        ipv4(3, &TRAILER)[..20].to_vec(),
        // Payload of 40 + 28 bytes.
        [&[0x60, 0, 0, 0, 0, 68, 112, 255][..], &link_local(0x11), &GROUP].concat(),
    ];
    for (header, message) in headers.iter().zip(messages) {
        let packet = [header, message, &TRAILER].concat();
        let advert = read(&packet, 3, Trailer::Required).expect("a valid advert");
        assert!(advert.is_signed);
        assert_eq!((advert.vrid, advert.sequence), (51, 0x6925_f0a0_8000_0001));
    }
}

#[test]
fn trailer_is_absent_optional_or_required() {
    for ((version, signed), (_, unsigned)) in all(&TRAILER).iter().zip(all(&[])) {
        let read = |packet: &[u8], rule| {
            read(packet, *version, rule).map(|advert| (advert.is_signed, advert.sequence))
        };
        let with = Ok((true, 0x6925_f0a0_8000_0001));
        let without = Ok((false, 0));
        assert_eq!(read(signed, Trailer::Absent), Err(Counter::PacketLengthErrors));
        assert_eq!(read(&unsigned, Trailer::Absent), without);
        assert_eq!((read(signed, Trailer::Optional), read(&unsigned, Trailer::Optional)), (with, without));
        assert_eq!(read(signed, Trailer::Required), with);
        assert_eq!(read(&unsigned, Trailer::Required), Err(Counter::HmacMissing));
    }
}

#[test]
fn the_message_is_parsed_as_without_a_trailer() {
    for ((version, signed), (_, unsigned)) in all(&TRAILER).iter().zip(all(&[])) {
        let signed = read(signed, *version, Trailer::Required).expect("a valid advert");
        let unsigned = read(&unsigned, *version, Trailer::Absent).expect("a valid advert");
        assert_eq!(Advert { is_signed: false, sequence: 0, ..signed }, unsigned);
    }
}

#[test]
fn other_lengths_and_shapes_are_invalid() {
    let two = [TRAILER, TRAILER].concat();
    for length in (1..2 * LEN).filter(|length| *length != LEN) {
        for (version, packet) in all(&two[..length]) {
            let error = read(&packet, version, Trailer::Optional);
            assert_eq!(error, Err(Counter::PacketLengthErrors), "{length}");
        }
    }
    for (offset, value) in [(0, 0), (0, 2), (KEY_ID, 0), (RESERVED, 1), (RESERVED + 1, 1)] {
        let mut trailer = TRAILER;
        trailer[offset] = value;
        for (version, packet) in all(&trailer) {
            let error = read(&packet, version, Trailer::Optional);
            assert_eq!(error, Err(Counter::HmacMalformed), "{offset}");
        }
    }
}

#[test]
fn a_truncated_trailer_is_never_accepted() {
    for (version, packet) in all(&TRAILER) {
        for length in packet.len() - LEN..packet.len() {
            let error = read(&packet[..length], version, Trailer::Optional);
            assert_eq!(error, Err(Counter::PacketLengthErrors), "{length}");
        }
    }
}

#[test]
fn a_wrong_checksum_is_counted_before_the_trailer_is_read() {
    let mut trailer = TRAILER;
    trailer[KEY_ID] = 0;
    for (version, mut packet) in all(&trailer) {
        let message = if packet[0] >> 4 == 6 { 40 } else { 20 };
        packet[message + PRIORITY] ^= 1;
        assert_eq!(read(&packet, version, Trailer::Optional), Err(Counter::ChecksumErrors));
    }
}
