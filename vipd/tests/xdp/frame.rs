//! Valid adverts that the tests modify.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd_witness::{Advert, Version};

use crate::bench::PEER;

/// Returns a valid advert with one address for VRID 51 (VRRPv3) or 52 (VRRPv2).
pub(crate) fn valid(version: u8) -> Advert {
    let (version, vrid) = if version == 2 { (Version::V2, 52) } else { (Version::V3, 51) };
    Advert { addresses: addresses(4, 1), ..Advert::new(version, vrid, 100, PEER) }
}

/// Returns a valid VRRPv3 advert over IPv6 for VRID 51, with one address.
pub(crate) fn valid6() -> Advert {
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    Advert { addresses: addresses(6, 1), ..Advert::new(Version::V3, 51, 100, source) }
}

/// Returns a trailer with key ID 7, the sequence `0x6925_f0a0_8000_0001`, and an HMAC whose bytes
/// are all 0xa5.
pub(crate) fn trailer() -> Vec<u8> {
    let mut trailer = vec![1, 7, 0, 0, 0x69, 0x25, 0xf0, 0xa0, 0x80, 0, 0, 1];
    trailer.resize(28, 0xa5);
    trailer
}

/// Returns `count` virtual addresses.
pub(crate) fn addresses(family: u8, count: u8) -> Vec<IpAddr> {
    let address = |index| match family {
        6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(index)).into(),
        _ => Ipv4Addr::new(10, 1, 0, index).into(),
    };
    (0..count).map(address).collect()
}
