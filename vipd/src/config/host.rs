//! Addresses of hosts: which ones a host may own, and those that are written without a prefix length.

use std::net::IpAddr;

use super::table::{Refusal, Value};

/// Why no host may own this address, if so.
pub(super) fn unusable(address: IpAddr) -> Option<&'static str> {
    if address.is_loopback() {
        return Some("a loopback address");
    }
    if address.is_multicast() {
        return Some("a multicast address");
    }
    match address {
        IpAddr::V4(address) if address.octets()[0] == 0 => Some("in 0.0.0.0/8, which means \"this network\""),
        IpAddr::V4(address) if address.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(address) if address.is_unspecified() => Some("the unspecified address"),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Some("an IPv4-mapped address, which is never on a wire")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Whether an address is one of fe80::/10.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The address of a router, written alone.
pub(super) fn read(value: &Value<'_>) -> Result<IpAddr, Refusal> {
    let text = value.string()?;
    let Ok(address) = text.parse() else {
        let example = value.key().example;
        return Err(value.refused(format!("{text:?}"), &format!("write e.g. `{example}`")));
    };
    match unusable(address) {
        None => Ok(address),
        Some(reason) => {
            Err(value.refused(format!("{text:?}, {reason}"), "write an address that a router sends from"))
        }
    }
}
