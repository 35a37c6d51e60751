//! `checksum` and `virtual_mac`: checksum and source MAC of adverts.

use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::settings::{Checksum, VirtualMac};
use crate::config::table::{Table, Value};
use crate::vrrp::config::Family;
use crate::vrrp::interval::Version;

/// Reads `checksum`, which applies only to VRRPv3 over IPv4.
pub(in crate::config) fn checksum(
    table: &Table<'_>,
    version: Option<Version>,
    family: Option<Family>,
    problems: &mut Collector<'_>,
) -> Checksum {
    let found = table
        .given(&schema::CHECKSUM, problems, |value| value.choice([Checksum::Rfc5798, Checksum::Rfc9568]));
    let Some(found) = found.flatten() else { return Checksum::default() };
    let without_choice = match (version, family) {
        (Some(Version::V2), _) => Some("VRRPv2"),
        (_, Some(Family::V6)) => Some("IPv6"),
        _ => None,
    };
    if let Some(protocol) = without_choice {
        problems.add(
            found.at,
            format!(
                "checksum is set, but {protocol} has only one checksum; the key is for VRRPv3 over IPv4; remove it"
            ),
        );
    }
    found.value
}

/// Reads `virtual_mac` and `virtual_mac_transmit_on_base`.
pub(in crate::config) fn virtual_mac(
    table: &Table<'_>,
    is_unicast: bool,
    problems: &mut Collector<'_>,
) -> Option<VirtualMac> {
    let wanted = table.optional(&schema::VIRTUAL_MAC, problems, Value::boolean);
    let on_base = table.given(&schema::VIRTUAL_MAC_TRANSMIT_ON_BASE, problems, Value::boolean).flatten();
    let wanted = wanted?;
    if wanted != Some(true) {
        if let Some(on_base) = on_base {
            problems.add(
                on_base.at,
                "virtual_mac_transmit_on_base requires `virtual_mac = true`; add that, or remove this key",
            );
        }
        return None;
    }
    if let Some(on_base) = on_base.as_ref().filter(|on_base| is_unicast && !on_base.value) {
        problems.add(
            on_base.at,
            "virtual_mac_transmit_on_base = false and unicast_peers are mutually exclusive; the kernel routes unicast adverts and sends them with the interface's own MAC; remove `virtual_mac_transmit_on_base`",
        );
    }
    Some(VirtualMac { transmit_on_base: is_unicast || on_base.is_some_and(|on_base| on_base.value) })
}
