//! Checks of the interfaces.

use std::net::IpAddr;

use super::list;
use crate::config::Instance;
use crate::config::settings::Transport;
use crate::control::model::State;
use crate::doctor::facts::Interface;
use crate::doctor::{Facts, Finding};
use crate::netlink::PROTO_VIPD;
use crate::vrrp::config::{Family, VirtualAddress};

/// Returns the multicast instances with their interfaces, if these exist.
fn multicast(facts: &Facts) -> impl Iterator<Item = (&Instance, &Interface)> {
    let instances = facts.instances().iter().filter(|one| one.transport == Transport::Multicast);
    instances.filter_map(|one| Some((&**one, facts.interfaces.get(&one.interface)?)))
}

pub(in crate::doctor) fn interfaces_carry_multicast(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (_, interface) in multicast(facts) {
        let name = &interface.link.name;
        if !interface.link.has_multicast && !findings.iter().any(|finding| finding.subject == *name) {
            findings.push(
                Finding::problem("multicast-off", name, "the interface does not carry multicast adverts")
                    .evidence("its flags lack MULTICAST (`ip link show`)")
                    .remedy(format!("run `ip link set {name} multicast on`, or configure unicast_peers")),
            );
        }
    }
    findings
}

pub(in crate::doctor) fn groups_are_joined(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, interface) in multicast(facts) {
        let Some(status) = facts.status_of(&instance.name) else { continue };
        let is_active = matches!(status.state, State::Backup | State::Master);
        let [v4, v6] = interface.is_member;
        let (is_member, group) = match instance.router.family {
            Family::V4 => (v4, "224.0.0.18"),
            Family::V6 => (v6, "ff02::12"),
        };
        if is_active && !is_member {
            findings.push(
                Finding::problem(
                    "group-not-joined",
                    &instance.name,
                    "the interface has left the VRRP group, so switches may not forward adverts to it",
                )
                .evidence(format!("`ip maddress show dev {}` lacks {group}", instance.interface))
                .remedy("restart the agent; the log has the reason if it cannot join"),
            );
        }
    }
    findings
}

pub(in crate::doctor) fn bridges_have_a_querier(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (_, interface) in multicast(facts) {
        let is_bridge = |other: &&Interface| {
            other.link.snoops_without_querier
                && (other.link.ifindex == interface.link.ifindex
                    || Some(other.link.ifindex) == interface.link.controller)
        };
        let Some(bridge) = facts.interfaces.values().find(is_bridge) else { continue };
        let name = &bridge.link.name;
        if !findings.iter().any(|finding| finding.subject == *name) {
            let summary = "the bridge filters multicast by snooping, but no querier keeps memberships alive";
            findings.push(
                Finding::warning("snooping-without-querier", name, summary)
                    .evidence("mcast_snooping is 1 and mcast_querier is 0 (`ip -d link show`)")
                    .remedy(format!(
                        "run `ip link set {name} type bridge mcast_querier 1`, unless a router or switch of the \
                         segment is the querier"
                    )),
            );
        }
    }
    findings
}

pub(in crate::doctor) fn native_mode_is_free(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for name in facts.vrrp_interfaces() {
        let mode = mode_of(facts, name);
        let cost = facts.interfaces.get(name).and_then(|interface| interface.native_cost.as_ref());
        if let (Some("native"), Some((driver, cost))) = (mode, cost) {
            findings.push(
                Finding::warning(
                    "native-xdp-cost",
                    name,
                    "native XDP affects the other traffic of the interface",
                )
                .evidence(format!("native mode on {driver} {cost}"))
                .remedy("set `xdp = \"auto\"`, unless adverts are so frequent that native mode pays"),
            );
        }
    }
    findings
}

/// Returns the XDP mode of an interface.
fn mode_of<'a>(facts: &'a Facts, interface: &str) -> Option<&'a str> {
    let statuses = &facts.running()?.status.instances;
    statuses.iter().find(|status| status.interface == interface)?.xdp_mode.as_deref()
}

pub(in crate::doctor) fn no_other_xdp_program_runs(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in facts.vrrp_interfaces() {
        let program = facts.interfaces.get(name).and_then(|interface| interface.link.xdp_program);
        let is_own = matches!(mode_of(facts, name), Some("native" | "generic"));
        if let Some(program) = program.filter(|_| !is_own && facts.running().is_some()) {
            findings.push(
                Finding::warning(
                    "other-xdp-program",
                    name,
                    "another XDP program sees adverts before vipd, and may drop or redirect them",
                )
                .evidence(format!("XDP program {program} (`bpftool prog show id {program}`)"))
                .remedy("make that program pass IP protocol 112, or detach it"),
            );
        }
    }
    findings
}

pub(in crate::doctor) fn vlan_tags_are_visible(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in facts.vrrp_interfaces() {
        let Some(interface) = facts.interfaces.get(name) else { continue };
        let is_vlan = |other: &&Interface| {
            other.link.parent == Some(interface.link.ifindex) && other.link.kind.as_deref() == Some("vlan")
        };
        let vlans: Vec<&str> =
            facts.interfaces.values().filter(is_vlan).map(|vlan| vlan.link.name.as_str()).collect();
        let is_xdp = matches!(mode_of(facts, name), Some("native" | "generic"));
        if is_xdp && interface.removes_tags && !vlans.is_empty() {
            findings.push(
                Finding::problem(
                    "vlan-tags-removed",
                    name,
                    "the NIC removes VLAN tags before XDP, so adverts of VLANs look untagged",
                )
                .evidence(format!("rx-vlan-offload is on, and {} use this interface", list(vlans)))
                .remedy(format!("set `xdp = \"auto\"` (TC ingress), or run `ethtool -K {name} rxvlan off`")),
            );
        }
    }
    findings
}

/// Returns each VIP with its instance and the name of its interface.
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
    for (instance, vip, _) in vips(facts) {
        if instance.router.is_owner() {
            continue;
        }
        for interface in facts.interfaces.values() {
            let is_foreign = |found: &&crate::netlink::Address| {
                found.address == vip.address && found.protocol != PROTO_VIPD
            };
            if interface.addresses.iter().any(|found| is_foreign(&found)) {
                let name = &interface.link.name;
                findings.push(
                    Finding::problem(
                        "vip-configured-elsewhere",
                        &instance.name,
                        "another tool has added a VIP, so this host answers for it in any state",
                    )
                    .evidence(format!(
                        "{} is on {name} without vipd's mark (`ip address show dev {name}`)",
                        vip.address
                    ))
                    .remedy("remove the address from that tool's configuration and from the interface"),
                );
            }
        }
    }
    findings
}

pub(in crate::doctor) fn one_interface_answers_for_a_subnet(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (_, vip, name) in vips(facts) {
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
                    "set net.ipv4.conf.{}.arp_ignore = 1 and arp_announce = 2 with sysctl, or use different subnets",
                    other.link.name
                )),
        );
    }
    findings
}

/// Returns whether an IPv4 address is in the subnet of another one.
pub(super) fn contains(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask && prefix < 32
        }
        _ => false,
    }
}
