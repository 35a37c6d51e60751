//! VRRPv2's password, unicast peers behind routers, and adverts without addresses.

use core::net::IpAddr;
use std::vec::Vec;

use super::packet::Packet;
use super::{Refusal, parse_as};
use crate::address::FAMILY_IPV4;
use crate::counters::Counter;
use crate::parse::{Advert, Expected, NotOurs};

const GROUP: [u8; 4] = [224, 0, 0, 18];
const PASSWORD: [u8; 8] = *b"geheim\0\0";

fn parse(packet: &Packet, destination: [u8; 4], expected: &Expected) -> Result<Advert, Refusal> {
    parse_as(&packet.bytes(), FAMILY_IPV4, IpAddr::from(destination), expected)
}

fn with_password(data: [u8; 8]) -> Expected {
    let (halves, _) = data.as_chunks::<4>();
    let password = [u32::from_ne_bytes(halves[0]), u32::from_ne_bytes(halves[1])];
    Expected { authentication: 1, password, ..Expected::version(2) }
}

#[test]
fn r13_type_and_data_must_match_the_configuration() {
    let advert = |kind: u16, data| Packet { word: kind << 8 | 1, data, ..Packet::valid(2) };
    let discarded = |counter| Err(Refusal::Discarded(counter));
    let ours = with_password(PASSWORD);
    assert!(parse(&advert(1, PASSWORD), GROUP, &ours).is_ok());
    for (kind, data, counter) in [
        (1, *b"Geheim\0\0", Counter::AuthFailures),
        (1, *b"geheim\0x", Counter::AuthFailures),
        (1, [0; 8], Counter::AuthFailures),
        (0, PASSWORD, Counter::AuthTypeMismatch),
        (2, PASSWORD, Counter::AuthTypeMismatch),
        (3, PASSWORD, Counter::InvalidAuthType),
        (254, PASSWORD, Counter::InvalidAuthType),
    ] {
        assert_eq!(parse(&advert(kind, data), GROUP, &ours), discarded(counter), "R13: type {kind}");
    }
    // Without authentication, the data is ignored (RFC 3768 section 5.3.10).
    assert!(parse(&advert(0, PASSWORD), GROUP, &Expected::version(2)).is_ok());
    assert_eq!(
        parse(&advert(1, PASSWORD), GROUP, &Expected::version(2)),
        discarded(Counter::AuthTypeMismatch)
    );
}

#[test]
fn destination_and_ttl_depend_on_the_transport() {
    const OURS: [u8; 4] = [10, 0, 0, 2];
    let routed = Expected { ttl: 250, ..Expected::version(3) };
    let to_us = |ttl| Packet { destination: OURS, ttl, ..Packet::valid(3) };
    for ttl in [250, 254, 255] {
        assert!(
            parse(&to_us(ttl), OURS, &routed).is_ok(),
            "TTL {ttl}, C6: the pseudo-header contains the packet's destination"
        );
    }
    assert_eq!(parse(&to_us(249), OURS, &routed), Err(Refusal::Discarded(Counter::IpTtlErrors)));
    let elsewhere = Err(Refusal::NotOurs(NotOurs::Destination));
    assert_eq!(parse(&to_us(255), GROUP, &Expected::version(3)), elsewhere);
    assert_eq!(parse(&Packet::valid(3), OURS, &routed), elsewhere);
}

#[test]
fn adverts_without_addresses_are_valid_only_for_routers_without_addresses() {
    for version in [2, 3] {
        let packet = Packet { addresses: Vec::new(), ..Packet::valid(version) };
        let expected = Expected { empty: true, ..Expected::version(version) };
        let advert = parse(&packet, GROUP, &expected).expect("a valid advert");
        assert_eq!((advert.count, advert.addresses), (0, 0));
        assert!(parse(&Packet::valid(version), GROUP, &expected).is_ok());
        assert_eq!(
            parse(&packet, GROUP, &Expected::version(version)),
            Err(Refusal::Discarded(Counter::AddressCountErrors)),
            "R8"
        );
    }
}
