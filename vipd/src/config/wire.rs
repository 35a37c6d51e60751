//! What adverts look like from outside: which checksum they have and which MAC they come from.

use super::keys;
use super::problem::Collector;
use super::settings::{Checksum, VirtualMac};
use super::table::{Table, Value};
use crate::vrrp::config::Family;
use crate::vrrp::interval::Version;

/// `checksum`; there is a choice in VRRPv3 over IPv4 only.
pub(super) fn checksum(
    table: &Table<'_>,
    version: Option<Version>,
    family: Option<Family>,
    problems: &mut Collector<'_>,
) -> Checksum {
    let found = table.given(&keys::CHECKSUM, problems, |value| match value.string()? {
        "rfc5798" => Ok(Checksum::Rfc5798),
        "rfc9568" => Ok(Checksum::Rfc9568),
        other => Err(value.refused(format!("{other:?}"), "choose one of them")),
    });
    let Some(found) = found.flatten() else { return Checksum::default() };
    let without_choice = match (version, family) {
        (Some(Version::V2), _) => Some("VRRPv2"),
        (_, Some(Family::V6)) => Some("IPv6"),
        _ => None,
    };
    if let Some(where_) = without_choice {
        problems.add(
            found.at,
            format!(
                "checksum is set in {where_}, which has one checksum; it is for VRRPv3 over IPv4; remove it"
            ),
        );
    }
    found.value
}

/// `virtual_mac` and `virtual_mac_transmit_on_base`.
pub(super) fn virtual_mac(
    table: &Table<'_>,
    is_unicast: bool,
    problems: &mut Collector<'_>,
) -> Option<VirtualMac> {
    let wanted = table.optional(&keys::VIRTUAL_MAC, problems, Value::boolean);
    let on_base = table.given(&keys::VIRTUAL_MAC_TRANSMIT_ON_BASE, problems, Value::boolean).flatten();
    let wanted = wanted?;
    if wanted != Some(true) {
        if let Some(on_base) = on_base {
            problems.add(
                on_base.at,
                "virtual_mac_transmit_on_base is set without `virtual_mac = true`; add that, or remove it",
            );
        }
        return None;
    }
    if let Some(on_base) = on_base.as_ref().filter(|on_base| is_unicast && !on_base.value) {
        problems.add(
            on_base.at,
            "virtual_mac_transmit_on_base is false beside unicast_peers; the kernel routes adverts to peers, from the \
             interface's own MAC; remove it",
        );
    }
    Some(VirtualMac { transmit_on_base: is_unicast || on_base.is_some_and(|on_base| on_base.value) })
}
