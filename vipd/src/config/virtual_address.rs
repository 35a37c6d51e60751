//! Virtual addresses: `a.b.c.d` or `a.b.c.d/len`, and only what a host may own.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::vrrp::config::VirtualAddress;

/// The address of `text`, or what was found, what is allowed and what to do.
pub(super) fn parse(text: &str) -> Result<VirtualAddress, String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    if address.parse::<Ipv6Addr>().is_ok() {
        return Err(format!(
            "virtual address {text:?} is IPv6; this version of vipd speaks IPv4 only; write an IPv4 address"
        ));
    }
    let Ok(address) = address.parse::<Ipv4Addr>() else {
        return Err(format!(
            "virtual address {text:?} is not an IPv4 address; it must be a.b.c.d or a.b.c.d/length; \
             write e.g. \"192.0.2.10/24\""
        ));
    };
    let prefix = match prefix {
        None => 32,
        Some(digits) => prefix_length(digits).ok_or_else(|| {
            format!(
                "virtual address {text:?} has the prefix length {digits:?}; it must be an integer from 1 to 32; \
                 write the length of the interface's network, e.g. \"{address}/24\""
            )
        })?,
    };
    match unusable(address, prefix) {
        None => Ok(VirtualAddress { address: address.into(), prefix }),
        Some(reason) => Err(format!(
            "virtual address {text:?} is {reason}; it must be a unicast address that a host may own; \
             choose a free address of the interface's network"
        )),
    }
}

/// 1 to 32 in plain digits: `+24` and `024` are slips, not lengths.
fn prefix_length(digits: &str) -> Option<u8> {
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|length| plain && (1..=32).contains(length))
}

/// Why no host may own this address, if so.
fn unusable(address: Ipv4Addr, prefix: u8) -> Option<String> {
    if address.octets()[0] == 0 {
        return Some("in 0.0.0.0/8, which means \"this network\"".to_owned());
    }
    if address.is_loopback() {
        return Some("a loopback address".to_owned());
    }
    if address.is_multicast() {
        return Some("a multicast address".to_owned());
    }
    if address.is_broadcast() {
        return Some("the broadcast address".to_owned());
    }
    // A /31 (RFC 3021) and a /32 have neither network nor broadcast address.
    if prefix <= 30 {
        let host_bits = u32::MAX >> prefix;
        match address.to_bits() & host_bits {
            0 => return Some(format!("the network address of its /{prefix}")),
            bits if bits == host_bits => return Some(format!("the broadcast address of its /{prefix}")),
            _ => {}
        }
    }
    None
}
