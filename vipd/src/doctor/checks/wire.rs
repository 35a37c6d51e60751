//! Checks of the segments.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::addresses::contains;
use super::list;
use crate::config::settings::Transport;
use crate::doctor::{Facts, Finding};
use crate::observe::mac_text;

pub(in crate::doctor) fn is_observed(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, wire) in &facts.wire {
        let finding = |summary| Finding::warning("not-observed", name, summary);
        findings.push(match (&wire.survey, &wire.obstacle) {
            (Err(error), _) if facts.interfaces.contains_key(name) => {
                finding("the adverts of this interface could not be observed").evidence(error).remedy(
                    "run this command as root; if that does not help, check the interface with `ip -d link show`",
                )
            }
            (Err(error), _) => finding("the interface does not exist, so its adverts could not be observed")
                .evidence(error)
                .remedy(
                    "create the interface, correct `interface` in the file, or run this command in the network namespace of the \
                     agent",
                ),
            (Ok(_), Some(obstacle)) => finding("adverts dropped by the XDP program are not visible")
                .evidence(obstacle.to_string())
                .remedy(obstacle.remedy()),
            (Ok(survey), None) if survey.unrecorded > 0 => finding("too many packets, senders or MACs to record them all")
                .evidence(format!("{} packets were not recorded", survey.unrecorded))
                .remedy("look for a host that floods the segment with adverts or ARP, and block it (`vipd capture` shows the sources)"),
            (Ok(_), None) if !wire.unasked.is_empty() => {
                finding("the time was too short to request the MACs of all VIPs and peers")
                    .evidence(format!("not requested: {}", list(&wire.unasked)))
                    .remedy("run this command with a larger --seconds")
            }
            (Ok(_), None) => continue,
        });
    }
    findings
}

pub(in crate::doctor) fn vrids_are_configured(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in facts.wire.keys() {
        let Some(survey) = facts.survey(name) else { continue };
        let is_configured = |family: u8, vrid: u8| {
            let mut on_interface = facts.instances().iter().filter(|one| one.interface == *name);
            on_interface.any(|one| (one.router.family.number(), one.router.vrid) == (family, vrid))
        };
        let foreign = survey.senders().filter(|(router, sender)| {
            router.vlan.is_none() && !sender.is_local && !is_configured(router.family, router.vrid)
        });
        let foreign: Vec<String> = foreign
            .map(|(router, sender)| {
                format!("VRID {} (IPv{}) from {}", router.vrid, router.family, sender.advert.source)
            })
            .collect();
        if !foreign.is_empty() {
            findings.push(
                Finding::note(
                    "foreign-vrid",
                    name,
                    "the segment has virtual routers that are not configured here",
                )
                .evidence(list(foreign))
                .remedy("if they belong to other clusters, no action is needed; otherwise correct `vrid` here or on those routers"),
            );
        }
    }
    findings
}

pub(in crate::doctor) fn adverts_are_untagged(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for instance in facts.instances() {
        let Some(survey) = facts.survey(&instance.interface) else { continue };
        let key = (instance.router.family.number(), instance.router.vrid);
        let tagged = survey.senders().filter(|(router, sender)| {
            router.vlan.is_some() && !sender.is_local && (router.family, router.vrid) == key
        });
        let tagged: Vec<String> = tagged
            .map(|(router, sender)| {
                format!("{} in VLAN {}", sender.advert.source, router.vlan.unwrap_or_default())
            })
            .collect();
        let has_untagged = survey.senders().any(|(router, sender)| {
            router.vlan.is_none() && !sender.is_local && (router.family, router.vrid) == key
        });
        if !tagged.is_empty() && !has_untagged {
            findings.push(
                Finding::warning(
                    "vlan-tagged",
                    &instance.name,
                    "adverts of this VRID arrive only with a VLAN tag, so this instance does not receive them",
                )
                .evidence(list(tagged))
                .remedy(format!(
                    "configure the instance on the VLAN's interface, or make the switch port of {} untagged in this VLAN",
                    instance.interface
                )),
            );
        }
    }
    findings
}

pub(in crate::doctor) fn addresses_are_unique(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for instance in facts.instances() {
        let Some(survey) = facts.survey(&instance.interface) else { continue };
        let key = (instance.router.family.number(), instance.router.vrid);
        // During a takeover, two hosts may announce an address.
        let masters = survey
            .senders()
            .filter(|(router, _)| router.vlan.is_none() && (router.family, router.vrid) == key);
        let masters: Vec<_> = masters.map(|(_, sender)| sender).collect();
        if masters.len() > 1 {
            continue;
        }
        let has_vip = |address: IpAddr| {
            let all = facts.interfaces.values().flat_map(|interface| &interface.addresses);
            all.into_iter().any(|found| found.address == address)
        };
        for vip in instance.router.all_addresses() {
            let owners: Vec<_> = survey.owners(vip.address).collect();
            let others: Vec<_> =
                owners.iter().filter(|(_, is_local)| !is_local).map(|(mac, _)| *mac).collect();
            let is_master_here = masters.iter().any(|sender| sender.is_local) && has_vip(vip.address);
            if others.is_empty() || !is_master_here && others.len() < 2 {
                continue;
            }
            let here = if is_master_here { " besides this host, which is master" } else { "" };
            findings.push(
                Finding::problem("duplicate-vip", &instance.name, "several hosts answer for a VIP")
                    .evidence(format!("{} answered for {}{here}", list(others.iter().map(|mac| mac_text(*mac))), vip.address))
                    .remedy(
                        "find the port of each MAC in the switch's MAC table, and remove the address from the host there; \
                         on a dead vipd node, run `vipd cleanup`",
                    ),
            );
        }
    }
    findings
}

pub(in crate::doctor) fn sources_are_unique(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, interface) in &facts.interfaces {
        let Some(survey) = facts.survey(name) else { continue };
        let is_vip = |address: IpAddr| {
            facts.instances().iter().any(|one| one.router.all_addresses().any(|vip| vip.address == address))
        };
        let mut reported = BTreeSet::new();
        let claimed = interface.addresses.iter().map(|own| own.address).filter(|own| !is_vip(*own));
        let claimed =
            claimed.flat_map(|own| survey.owners(own).map(move |(mac, is_local)| (own, mac, is_local)));
        for (own, mac, _) in claimed.filter(|(_, _, is_local)| !is_local) {
            if reported.insert(own) {
                findings.push(duplicate_source(name, own, &[mac]));
            }
        }
        for (_, sender) in survey.senders() {
            let source = sender.advert.source;
            if sender.macs.len() > 1 && reported.insert(source) {
                findings.push(duplicate_source(
                    name,
                    source,
                    &sender.macs.iter().copied().collect::<Vec<_>>(),
                ));
            }
        }
    }
    findings
}

fn duplicate_source(interface: &str, address: IpAddr, macs: &[[u8; 6]]) -> Finding {
    Finding::problem("duplicate-source", interface, "several hosts use the same address")
        .evidence(format!("{address} is used by {}", list(macs.iter().map(|mac| mac_text(*mac)))))
        .remedy("give each router its own address; routers with equal addresses cannot elect a master")
}

pub(in crate::doctor) fn unicast_peers_are_reachable(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for instance in facts.instances() {
        let Transport::Unicast(peers) = &instance.transport else { continue };
        let (Some(survey), Some(interface)) =
            (facts.survey(&instance.interface), facts.interfaces.get(&instance.interface))
        else {
            continue;
        };
        for peer in peers {
            // Peers behind routers answer neither ARP requests nor Neighbor Solicitations.
            // Without a MAC address, an interface has no neighbors to ask, as with WireGuard.
            let is_neighbor = interface.link.has_arp
                && interface.addresses.iter().any(|own| contains(own.address, own.prefix, peer.address));
            let has_answered = survey.owners(peer.address).next().is_some()
                || survey.senders().any(|(_, sender)| sender.advert.source == peer.address);
            let is_asked =
                facts.wire.get(&instance.interface).is_some_and(|wire| !wire.unasked.contains(&peer.address));
            if is_neighbor && is_asked && !has_answered {
                findings.push(
                    Finding::warning("peer-unreachable", &instance.name, "a unicast peer does not answer")
                        .evidence(format!(
                            "no answer to requests for the MAC of {} on {}",
                            peer.address, instance.interface
                        ))
                        .remedy(format!(
                            "run `ping -c 1 {}`; check that the node is up, and that unicast_peers has its address",
                            peer.address
                        )),
                );
            }
        }
    }
    findings
}
