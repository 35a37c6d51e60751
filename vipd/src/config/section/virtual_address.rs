//! Virtual addresses given as strings: host addresses, with or without `/length`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::host;
use crate::vrrp::config::VirtualAddress;

/// Parses a virtual address. The default prefix length is 32 or 128.
///
/// # Errors
/// Returns a message for the user.
pub(in crate::config) fn parse(text: &str) -> Result<VirtualAddress, String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(format!(
            "virtual address {text:?} is not an IP address; it must be an IPv4 or IPv6 address, with or without `/length`; use e.g. \"192.0.2.10/24\" or \"fe80::50/64\""
        ));
    };
    let (longest, usual) = match address {
        IpAddr::V4(_) => (32, 24),
        IpAddr::V6(_) => (128, 64),
    };
    let prefix = match prefix {
        None => longest,
        Some(digits) => prefix_length(digits, longest).ok_or_else(|| {
            format!(
                "virtual address {text:?} has prefix length {digits:?}; it must be an integer from 1 to \
                 {longest}; use that of the interface's subnet, e.g. \"{address}/{usual}\""
            )
        })?,
    };
    let unusable = host::unusable(address).map(str::to_owned).or_else(|| match address {
        IpAddr::V4(address) => not_a_host4(address, prefix),
        IpAddr::V6(address) => not_a_host6(address, prefix),
    });
    match unusable {
        None => Ok(VirtualAddress { address, prefix }),
        Some(reason) => Err(format!(
            "virtual address {text:?} is {reason}; it must be a unicast address that a host may own; \
             choose a free address in the interface's subnet"
        )),
    }
}

/// Parses a prefix length of 1 to `longest`. Rejects signs and leading zeros.
fn prefix_length(digits: &str, longest: u8) -> Option<u8> {
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|length| plain && (1..=longest).contains(length))
}

/// Returns the reason why an IPv4 address cannot be a host address; `None` if it can. A /31
/// (RFC 3021) and a /32 have neither a network nor a broadcast address.
fn not_a_host4(address: Ipv4Addr, prefix: u8) -> Option<String> {
    let host_bits = u32::MAX.checked_shr(prefix.into()).filter(|_| prefix <= 30)?;
    match address.to_bits() & host_bits {
        0 => Some(format!("the network address of its /{prefix}")),
        bits if bits == host_bits => Some(format!("the broadcast address of its /{prefix}")),
        _ => None,
    }
}

/// Returns the reason why an IPv6 address cannot be a host address; `None` if it can. A /127
/// (RFC 6164) and a /128 have no Subnet-Router anycast address (RFC 4291 section 2.6.1).
fn not_a_host6(address: Ipv6Addr, prefix: u8) -> Option<String> {
    let host_bits = u128::MAX.checked_shr(prefix.into()).filter(|_| prefix <= 126)?;
    (address.to_bits() & host_bits == 0)
        .then(|| format!("the Subnet-Router anycast address of its /{prefix}"))
}
