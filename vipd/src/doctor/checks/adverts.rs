//! Checks of the adverts for the configured virtual routers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use vipd_common::counters::Counter;
use vipd_common::parse::ChecksumForm;

use super::{checksum_text, interval, is_unrelated, list, observed, others, virtual_router};
use crate::config::Instance;
use crate::config::settings::{Checksum, Transport};
use crate::doctor::{Facts, Finding, Severity};
use crate::observe::{check, reason_of};
use crate::vrrp::Family;

pub(in crate::doctor) fn versions_match(facts: &Facts) -> Vec<Finding> {
    let version = |instance: &Instance| instance.router.version().number();
    let mismatches = others(facts).filter(|(instance, sender)| sender.advert.version != version(instance));
    let findings = mismatches.map(|(instance, sender)| {
        let own = version(instance);
        let theirs = sender.advert.version;
        let on_other = format!("version {own} on the other router");
        let is_supported = theirs == 3 || theirs == 2 && instance.router.family == Family::V4;
        Finding::problem(
            "version-mismatch",
            &instance.name,
            format!(
                "{} uses another VRRP version, so the two routers drop each other's adverts",
                sender.advert.source
            ),
        )
        .evidence(format!("received: VRRPv{theirs}; configured here: VRRPv{own}"))
        .remedy(if is_supported {
            format!("set `version = {theirs}` here, or {on_other}")
        } else {
            format!("set {on_other}")
        })
    });
    findings.collect()
}

pub(in crate::doctor) fn checksums_match(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, sender) in others(facts) {
        let (source, form) = (sender.advert.source, sender.advert.checksum);
        let own = match instance.checksum {
            Checksum::Rfc5798 => ChecksumForm::Rfc5798,
            Checksum::Rfc9568 => ChecksumForm::Rfc9568,
        };
        if sender.advert.defect == Some(Counter::ChecksumErrors) {
            findings.push(
                Finding::problem("checksum-wrong", &instance.name, format!("{source} sends adverts with a wrong checksum"))
                    .evidence(format!("{} of {} adverts are invalid; no checksum form matches", sender.defective, sender.adverts))
                    .remedy(
                        "look for a device that rewrites addresses (NAT) between the routers, and update the other \
                         router's software",
                    ),
            );
        } else if matches!(form, Some(ChecksumForm::Rfc5798 | ChecksumForm::Rfc9568)) && form != Some(own) {
            findings.push(
                Finding::warning(
                    "checksum-form",
                    &instance.name,
                    format!("{source} uses the other checksum form, and may drop the adverts of this node"),
                )
                .evidence(format!(
                    "received: {}; this node sends: {}",
                    checksum_text(form),
                    checksum_text(Some(own))
                ))
                .remedy(format!("set `checksum = \"{}\"` here; vipd accepts both", checksum_text(form))),
            );
        }
    }
    findings
}

pub(in crate::doctor) fn passwords_match(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, sender) in others(facts) {
        let Some(reason @ (Counter::InvalidAuthType | Counter::AuthTypeMismatch | Counter::AuthFailures)) =
            check(instance, &sender.advert)
        else {
            continue;
        };
        let kind = sender.advert.authentication.map_or(0, |(kind, _)| kind);
        let kind = match kind {
            0 => "none".to_owned(),
            1 => "a password".to_owned(),
            other => format!("type {other}"),
        };
        let own = if instance.password.is_some() { "a password" } else { "none" };
        findings.push(
            Finding::problem(
                "authentication-mismatch",
                &instance.name,
                format!(
                    "{} sends different authentication data, so its adverts are dropped",
                    sender.advert.source
                ),
            )
            .evidence(format!("{}; received: {kind}; configured here: {own}", reason_of(reason)))
            .remedy("use the same auth_pass on all routers; only the first 8 bytes count"),
        );
    }
    findings
}

pub(in crate::doctor) fn intervals_match(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, sender) in others(facts) {
        let (own, found) = (instance.router.interval.nanos(), sender.advert.interval);
        let is_comparable =
            sender.advert.version == instance.router.version().number() && sender.advert.defect.is_none();
        if own == found || !is_comparable {
            continue;
        }
        let (severity, effect) = if sender.advert.version == 2 {
            (Severity::Problem, "VRRPv2 routers drop its adverts")
        } else {
            (Severity::Warning, "VRRPv3 backups use the interval of the master")
        };
        let summary = format!("{} uses another advert interval; {effect}", sender.advert.source);
        let [found, own] = [found, own].map(interval);
        findings.push(Finding {
            severity,
            ..Finding::problem("interval-mismatch", &instance.name, summary)
                .evidence(format!("received: {found}; configured here: {own}"))
                .remedy(format!("set the same advert_interval on all routers, for example \"{found}\""))
        });
    }
    findings
}

pub(in crate::doctor) fn address_lists_match(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, sender) in others(facts) {
        let own: BTreeSet<IpAddr> = instance.router.virtual_addresses.iter().map(|vip| vip.address).collect();
        let found: BTreeSet<IpAddr> = sender.advert.addresses.iter().copied().collect();
        if own == found || sender.advert.defect.is_some() || sender.advert.priority == 0 {
            continue;
        }
        let evidence = format!("received: {}; configured here: {}", or_none(&found), or_none(&own));
        let source = sender.advert.source;
        findings.push(if own.is_disjoint(&found) && !found.is_empty() {
            Finding::problem(
                "vrid-conflict",
                &instance.name,
                format!(
                    "{source} uses VRID {} for other addresses, probably those of another cluster",
                    instance.router.vrid
                ),
            )
            .evidence(evidence)
            .remedy("use a VRID that no other cluster of the segment uses; `vipd scan` lists those in use")
        } else {
            Finding::warning(
                "address-list-mismatch",
                &instance.name,
                format!("{source} advertises another address list"),
            )
            .evidence(evidence)
            .remedy("use the same virtual_addresses on all routers; some drop adverts with another list")
        });
    }
    findings
}

fn or_none(addresses: &BTreeSet<IpAddr>) -> String {
    if addresses.is_empty() { "none".to_owned() } else { list(addresses) }
}

pub(in crate::doctor) fn ttl_is_255(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, sender) in others(facts) {
        let lowest = match &instance.transport {
            Transport::Multicast => u8::MAX,
            Transport::Unicast(peers) => {
                let peer = peers.iter().find(|peer| peer.address == sender.advert.source);
                peer.map_or(0, |peer| peer.min_ttl)
            }
        };
        if sender.lowest_ttl < lowest {
            let remedy = match instance.transport {
                Transport::Multicast => {
                    "look for a router or proxy between the nodes, and connect them to one segment, or use \
                     unicast_peers with min_ttl"
                }
                Transport::Unicast(_) => {
                    "lower the min_ttl of this peer to the received TTL, if routers between the nodes are intended, or if the \
                     peer itself sends this TTL, as keepalived 2.2.7 does over IPv6; otherwise, look for the sender of forged \
                     adverts"
                }
            };
            findings.push(
                Finding::problem(
                    "ttl-too-low",
                    &instance.name,
                    format!(
                        "the TTL or Hop Limit in adverts of {} is too low, so they are dropped",
                        sender.advert.source
                    ),
                )
                .evidence(format!("received: TTL {}; at least {lowest} is required", sender.lowest_ttl))
                .remedy(remedy),
            );
        }
    }
    findings
}

pub(in crate::doctor) fn transport_matches(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, sender) in others(facts) {
        let source = sender.advert.source;
        let (other, own) = match (&instance.transport, sender.advert.is_multicast()) {
            (Transport::Multicast, false) if sender.advert.destination.is_multicast() => {
                ("other multicast", "the VRRP group")
            }
            (Transport::Multicast, false) => ("unicast", "multicast"),
            (Transport::Unicast(_), true) => ("multicast", "unicast"),
            (Transport::Multicast, true) => continue,
            (Transport::Unicast(peers), false) => {
                if !peers.iter().any(|peer| peer.address == source) {
                    let known = list(peers.iter().map(|peer| peer.address));
                    findings.push(
                        Finding::problem(
                            "unknown-peer",
                            &instance.name,
                            format!("adverts of {source} are dropped, because it is not a configured peer"),
                        )
                        .evidence(format!("unicast_peers here: {known}"))
                        .remedy(format!(
                            "add \"{source}\" to unicast_peers, or correct the other router's source address"
                        )),
                    );
                }
                continue;
            }
        };
        findings.push(
            Finding::problem(
                "transport-mismatch",
                &instance.name,
                format!("{source} sends {other} adverts, but this instance uses {own}"),
            )
            .evidence(format!("destination {}", sender.advert.destination))
            .remedy("use either multicast or unicast peers on all routers"),
        );
    }
    for (instance, survey) in observed(facts) {
        let unrelated = survey.senders_of(virtual_router(instance));
        for sender in unrelated.filter(|sender| !sender.is_local && is_unrelated(instance, sender)) {
            let summary = format!(
                "{} uses this VRID with multicast, probably for another cluster",
                sender.advert.source
            );
            findings.push(
                Finding::warning("transport-mismatch", &instance.name, summary)
                    .evidence(format!(
                        "addresses {}; destination {}",
                        or_none(&sender.advert.addresses.iter().copied().collect()),
                        sender.advert.destination
                    ))
                    .remedy("if it belongs to another cluster, no action is needed; otherwise use unicast peers on all routers"),
            );
        }
    }
    findings
}

pub(in crate::doctor) fn adverts_are_well_formed(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, sender) in others(facts) {
        // Each of these reasons has its own check.
        let reason = check(instance, &sender.advert).filter(|reason| match reason {
            Counter::VersionErrors
            | Counter::ChecksumErrors
            | Counter::IpTtlErrors
            | Counter::PeerErrors
            | Counter::InvalidAuthType
            | Counter::AuthTypeMismatch
            | Counter::AuthFailures
            | Counter::HmacMissing => false,
            // The length is wrong only because of the trailer.
            Counter::PacketLengthErrors => sender.advert.trailer.is_none(),
            _ => true,
        });
        if let Some(reason) = reason {
            findings.push(
                Finding::problem(
                    "malformed-adverts",
                    &instance.name,
                    format!("{} sends malformed adverts, which are dropped", sender.advert.source),
                )
                .evidence(reason_of(reason))
                .remedy("update or replace that router's software; `vipd capture` shows its adverts"),
            );
        }
    }
    findings
}

pub(in crate::doctor) fn first_address_is_link_local(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, sender) in others(facts) {
        let first = sender.advert.addresses.first();
        let Some(IpAddr::V6(first)) = first.filter(|_| sender.advert.defect.is_none()) else { continue };
        if !first.is_unicast_link_local() {
            findings.push(
                Finding::warning(
                    "first-not-link-local",
                    &instance.name,
                    format!("{} does not advertise a link-local address first", sender.advert.source),
                )
                .evidence(format!("the first address is {first} (RFC 9568 section 5.2.9)"))
                .remedy("put a link-local address first on all routers; some drop adverts without one"),
            );
        }
    }
    findings
}
