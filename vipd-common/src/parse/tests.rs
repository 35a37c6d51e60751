//! Tests of the parser on slices: every verdict is covered, and no input causes a panic.

mod authentication;
mod ipv6;
mod packet;
mod packet6;
mod properties;
mod signed;
mod verdicts;

use core::net::IpAddr;

use super::{Advert, Expected, NotOurs, locate, validate};
use crate::address::FAMILY_IPV4;
use crate::address::{ipv4, to_words};
use crate::counters::Counter;

/// The reason why a packet is not a valid advert for this router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NotOurs(NotOurs),
    Discarded(Counter),
}

/// Locates and validates a packet for a multicast IPv4 virtual router of this version.
fn parse(packet: &[u8], version: u8) -> Result<Advert, Refusal> {
    parse_as(packet, FAMILY_IPV4, IpAddr::from([224, 0, 0, 18]), &Expected::version(version))
}

/// Locates and validates a packet for a virtual router of this family whose adverts go to
/// `destination`.
fn parse_as(packet: &[u8], family: u8, destination: IpAddr, expected: &Expected) -> Result<Advert, Refusal> {
    let located = locate(&packet, family).map_err(Refusal::NotOurs)?;
    if located.destination != to_words(destination) {
        return Err(Refusal::NotOurs(NotOurs::Destination));
    }
    validate(&packet, &located, expected).map_err(Refusal::Discarded)
}

/// Returns an IPv4 address as in a parsed advert.
fn source(address: [u8; 4]) -> crate::address::Address {
    ipv4(address)
}
