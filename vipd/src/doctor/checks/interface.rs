//! Checks of the interfaces.

use super::list;
use crate::config::Instance;
use crate::config::settings::{Transport, XdpMode};
use crate::control::model::State;
use crate::doctor::facts::Interface;
use crate::doctor::{Facts, Finding};
use crate::vrrp::config::Family;

/// Returns each multicast instance whose interface exists, with this interface.
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
                    .evidence(format!("the interface flags lack MULTICAST (`ip link show dev {name}`)"))
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
                .remedy(
                    "run `systemctl restart vipd`; if vipd cannot join, `journalctl -u vipd -g 'cannot (re)?join'` \
                     shows the reason",
                ),
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
            let summary = "the bridge snoops multicast, but is not a querier, so memberships may expire";
            findings.push(
                Finding::warning("snooping-without-querier", name, summary)
                    .evidence(format!("mcast_snooping is 1 and mcast_querier is 0 (`ip -d link show dev {name}`)"))
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
                .remedy("set `xdp = \"auto\"`, unless adverts are so frequent that native mode pays off"),
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

pub(in crate::doctor) fn native_mode_is_used(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for instance in facts.instances().iter().filter(|one| one.xdp == XdpMode::Native) {
        let name = &instance.interface;
        let mode = mode_of(facts, name).filter(|mode| *mode != "native");
        if let Some(mode) = mode.filter(|_| !findings.iter().any(|finding| finding.subject == *name)) {
            findings.push(
                Finding::warning("native-xdp-unused", name, "native XDP is configured, but not in use")
                    .evidence(format!("configured: xdp = \"native\"; in use: {mode} (`vipd status`)"))
                    .remedy(format!(
                        "run `vipd reload` if the setting is new; if the driver refuses native XDP (`journalctl -u vipd -g \
                         'BPF program attached'` shows the reason for {name}), set `xdp = \"auto\"`"
                    )),
            );
        }
    }
    findings
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
                    "another XDP program processes adverts before vipd, and may drop or redirect them",
                )
                .evidence(format!("XDP program {program} (`bpftool prog show id {program}`)"))
                .remedy(
                    "make that program pass IP protocol 112, or detach it with the tool that attached it",
                ),
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
                    "the NIC removes VLAN tags before XDP, so adverts from VLANs look untagged",
                )
                .evidence(format!("rx-vlan-offload is on; VLAN interfaces: {}", list(vlans)))
                .remedy(format!("set `xdp = \"auto\"` (TC ingress), or run `ethtool -K {name} rxvlan off`")),
            );
        }
    }
    findings
}
