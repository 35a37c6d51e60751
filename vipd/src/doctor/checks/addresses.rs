//! Checks of the addresses and the sysctls of this host.

use std::net::IpAddr;

use crate::config::Instance;
use crate::doctor::facts::Interface;
use crate::doctor::{Facts, Finding};
use crate::netlink::sysctl::{self, Changed};
use crate::netlink::{Address, PROTO_VIPD};
use crate::vrrp::config::{Family, VirtualAddress};

/// Returns each VIP with its instance and the name of its interface: the `dev` of the VIP, or the
/// interface of the instance. With a virtual MAC, the latter is the parent of the VIP's macvlan.
fn vips(facts: &Facts) -> impl Iterator<Item = (&Instance, VirtualAddress, &str)> {
    facts.instances().iter().flat_map(|instance| {
        let vips = instance.router.all_addresses().zip(&instance.placements);
        vips.map(move |(vip, placement)| {
            (&**instance, vip, placement.interface.as_deref().unwrap_or(&instance.interface))
        })
    })
}

pub(in crate::doctor) fn vips_are_only_vipds(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, vip, own) in vips(facts) {
        if instance.router.is_owner() {
            continue;
        }
        for interface in facts.interfaces.values() {
            let is_foreign = |found: &&Address| found.address == vip.address && found.protocol != PROTO_VIPD;
            if let Some(found) = interface.addresses.iter().find(is_foreign) {
                let name = &interface.link.name;
                // The found address may be this host's own, and even its only one.
                let owner = if name == own && !found.secondary {
                    "if it is this host's own address, set `priority = 255` or choose another VIP; otherwise "
                } else {
                    ""
                };
                findings.push(
                    Finding::problem(
                        "vip-configured-elsewhere",
                        &instance.name,
                        "another tool has added a VIP, so this host answers for it even as backup",
                    )
                    .evidence(format!(
                        "{} is on {name} without vipd's mark (`ip address show dev {name}`)",
                        vip.address
                    ))
                    .remedy(format!(
                        "{owner}remove the VIP from that tool's configuration, then run `ip address del {}/{} dev {name}`",
                        found.address, found.prefix
                    )),
                );
            }
        }
    }
    findings
}

pub(in crate::doctor) fn one_interface_answers_for_a_subnet(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (_, vip, name) in vips(facts).filter(|(_, vip, _)| vip.address.is_ipv4()) {
        let Some(own) = facts.interfaces.get(name) else { continue };
        // A wider or narrower subnet is probably that of another segment.
        let is_subnet = |prefix: u8| {
            let mut own = own.addresses.iter();
            own.any(|own| own.prefix == prefix && contains(own.address, prefix, vip.address))
        };
        let shares = |other: &&Interface| {
            other.link.is_up
                && other.link.has_arp
                && other.link.name != name
                && other.link.parent != Some(own.link.ifindex)
                && other.arp_ignore == 0
                && other.addresses.iter().any(|found| {
                    is_subnet(found.prefix) && contains(found.address, found.prefix, vip.address)
                })
        };
        let Some(other) = facts.interfaces.values().find(shares) else { continue };
        if findings.iter().any(|finding| finding.subject == name) {
            continue;
        }
        let filter = if own.rp_filter == 1 {
            format!("; rp_filter of {name} is 1 (strict), so it may drop packets to the VIP")
        } else {
            String::new()
        };
        findings.push(
            Finding::warning("arp-flux", name, "two interfaces of this host answer ARP for a VIP")
                .evidence(format!(
                    "{} is in the subnet of {name} and of {}, whose arp_ignore is 0{filter}",
                    vip.address, other.link.name
                ))
                .remedy(format!(
                    "run `sysctl -w {}=1 {}=2` and add both to /etc/sysctl.d, or use different subnets",
                    sysctl::key(4, &other.link.name, "arp_ignore"),
                    sysctl::key(4, &other.link.name, "arp_announce")
                )),
        );
    }
    findings
}

/// Returns whether an address is in the subnet of another one. A /32 or /128 prefix has no subnet.
pub(super) fn contains(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    let (difference, length) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u128::from(network.to_bits() ^ address.to_bits()), 32_u32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits() ^ address.to_bits(), 128),
        _ => return false,
    };
    let host_bits = length.saturating_sub(prefix.into());
    host_bits > 0 && difference.checked_shr(host_bits).unwrap_or(0) == 0
}

/// Without IPv6, an interface has no link-local address, and the kernel refuses IPv6 addresses.
pub(in crate::doctor) fn ipv6_is_enabled(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (instance, vip, name) in vips(facts) {
        if Family::of(vip.address) != Family::V6 {
            continue;
        }
        // Adverts of an IPv4 instance need no IPv6, even if it has an excluded IPv6 address.
        let for_adverts = (instance.router.family == Family::V6).then_some(instance.interface.as_str());
        for name in [Some(name), for_adverts].into_iter().flatten() {
            let is_disabled = facts.interfaces.get(name).is_some_and(|interface| interface.is_ipv6_disabled);
            if is_disabled && !findings.iter().any(|finding| finding.subject == name) {
                let key = sysctl::key(6, name, "disable_ipv6");
                findings.push(
                    Finding::problem(
                        "ipv6-disabled",
                        name,
                        "IPv6 is disabled on an interface that needs it for adverts or VIPs",
                    )
                    .evidence(format!("{key} is 1; instance {} has the VIP {}", instance.name, vip.address))
                    .remedy(format!("run `sysctl -w {key}=0`, and correct /etc/sysctl.d")),
                );
            }
        }
    }
    findings
}

pub(in crate::doctor) fn sysctls_are_as_virtual_macs_need_them(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in facts.interfaces.values() {
        for Changed { key, found, wanted } in &interface.changed_sysctls {
            findings.push(
                Finding::problem(
                    "sysctl-changed",
                    &interface.link.name,
                    "a sysctl does not have the value that the virtual MAC needs",
                )
                .evidence(format!("{key} is {found}, must be {wanted}"))
                .remedy(format!(
                    "run `sysctl -w {key}={wanted}`, and exclude this key where a file in /etc/sysctl.d sets it"
                )),
            );
        }
    }
    findings
}
