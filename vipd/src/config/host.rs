//! Rules for host addresses and interface names.

use std::net::IpAddr;

use super::table::{Rejection, Value};
use crate::vrrp::config::Family;

/// Returns the reason why a host cannot use this address, as the end of a sentence; `None` if the
/// address is usable.
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
            Some("an IPv4-mapped address, which is not used on the wire")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Returns whether an address is in fe80::/10.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Reads a router's address. A prefix length is rejected.
pub(super) fn read(value: &Value<'_>) -> Result<IpAddr, Rejection> {
    let text = value.string()?;
    let Ok(address) = text.parse() else {
        let example = value.key().example();
        return Err(value.rejected(format!("{text:?}"), &format!("use e.g. `{example}`")));
    };
    match unusable(address) {
        None => Ok(address),
        Some(reason) => {
            Err(value.rejected(format!("{text:?}, {reason}"), "use an address that a router can send from"))
        }
    }
}

/// Returns `IPv4` or `IPv6`, for messages.
pub(super) fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// Reads an interface name. Rejects `lo`, control characters, and names that the kernel does not
/// allow.
pub(super) fn interface(value: &Value<'_>) -> Result<String, Rejection> {
    let name = any_interface(value)?;
    if name == "lo" {
        let key = value.key();
        return Err(value.rejected_because(format!(
            "{key} is \"lo\"; no other host is reachable through the loopback interface; use the interface that faces the hosts"
        )));
    }
    Ok(name)
}

/// Reads an interface name. Rejects control characters, and names that the kernel does not allow
/// (`dev_valid_name` in `net/core/dev.c`).
pub(super) fn any_interface(value: &Value<'_>) -> Result<String, Rejection> {
    let (key, name) = (value.key(), value.string()?);
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if !(1..=15).contains(&name.len()) || name.contains(forbidden) || name == "." || name == ".." {
        return Err(value.rejected_because(format!(
            "{key} is {name:?}; it must be 1 to 15 bytes without `/`, `:`, white space or control characters, and not \
             `.` or `..`; `ip link` lists the interfaces"
        )));
    }
    Ok(name.to_owned())
}
