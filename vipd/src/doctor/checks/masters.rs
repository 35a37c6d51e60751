//! Checks of the masters of the configured virtual routers.

use std::time::Duration;

use vipd_common::counters::Counter;

use super::{
    checksum_text, hmac, interval, is_unrelated, list_with, observed, others, senders, time, virtual_router,
};
use crate::doctor::{Facts, Finding};
use crate::observe::{Advert, Sender};
use crate::vrrp::config::PRIORITY_OWNER;

/// Describes the adverts of a router.
fn describe(sender: &Sender) -> String {
    let advert = &sender.advert;
    let whose = if sender.is_local { " (this host)" } else { "" };
    let key = advert.trailer.map(|trailer| format!(", key {}", trailer.key_id)).unwrap_or_default();
    format!(
        "{}{whose}: VRRPv{}, priority {}, interval {}, checksum {}{key}",
        advert.source,
        advert.version,
        advert.priority,
        interval(advert.interval),
        checksum(sender)
    )
}

/// Stands for the checksum form of an advert with a defect other than its checksum. The form is not
/// recorded, even if the defect was found after the checksum had been verified.
const NOT_CHECKED: &str = "not checked";

/// Returns the name of the checksum form of a router's adverts, or [`NOT_CHECKED`].
fn checksum(sender: &Sender) -> &'static str {
    let Advert { checksum, defect, .. } = &sender.advert;
    match defect {
        None | Some(Counter::ChecksumErrors) => checksum_text(*checksum),
        Some(_) => NOT_CHECKED,
    }
}

pub(in crate::doctor) fn one_master(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, survey) in observed(facts) {
        let mut masters = survey.competing_masters(virtual_router(instance));
        masters.retain(|sender| !is_unrelated(instance, sender));
        let Some((first, rest)) = masters.split_first().filter(|(_, rest)| !rest.is_empty()) else {
            continue;
        };
        let differs = |of: fn(&Sender) -> u64| rest.iter().any(|one| of(one) != of(first));
        let same_version = !differs(|one| one.advert.version.into());
        let mut forms = masters.iter().map(|sender| checksum(sender)).filter(|form| *form != NOT_CHECKED);
        let forms_differ = forms.next().is_some_and(|first| forms.any(|form| form != first));
        let mut causes = Vec::new();
        for (what, is_different) in [
            ("VRRP version", !same_version),
            ("checksum form", same_version && forms_differ),
            (
                "authentication",
                same_version
                    && rest.iter().any(|one| {
                        one.advert.authentication != first.advert.authentication
                            || one.advert.trailer.is_some() != first.advert.trailer.is_some()
                    }),
            ),
            ("keys", masters.iter().any(|one| !one.is_local && hmac::has_wrong_key(instance, &one.advert))),
            ("interval", same_version && first.advert.version == 2 && differs(|one| one.advert.interval)),
            ("transport (multicast or unicast)", differs(|one| u64::from(one.advert.is_multicast()))),
            ("TTL", differs(|one| one.lowest_ttl.into())),
        ] {
            if is_different {
                causes.push(what);
            }
        }
        let remedy = if causes.is_empty() {
            format!(
                "at least one of them does not receive the adverts of another: run `vipd capture {}` on each node \
                 to see which arrive, and check packet filters, VLANs and multicast snooping between them",
                instance.interface
            )
        } else {
            format!("use the same {} on all routers", causes.join(" and "))
        };
        findings.push(
            Finding::problem(
                "two-masters",
                &instance.name,
                format!(
                    "{} routers are master of VRID {} at the same time",
                    masters.len(),
                    instance.router.vrid
                ),
            )
            .evidence(list_with(masters.iter().map(|sender| describe(sender)), "; "))
            .remedy(remedy),
        );
    }
    findings
}

pub(in crate::doctor) fn some_master(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, survey) in observed(facts) {
        let Some(wire) = facts.wire.get(&instance.interface) else { continue };
        // A VRRPv3 backup uses the interval of the last master.
        let learned = facts.status_of(&instance.name).map(|status| status.active_advertise_interval_ns);
        let longest = instance.router.interval.nanos().max(learned.unwrap_or_default());
        let down = Duration::from_nanos(longest).mul_f64(3.6);
        let has_master = senders(instance, survey).any(|sender| sender.is_master(survey.end));
        // Adverts of the master may be among those that were not visible or not recorded.
        let is_incomplete = wire.obstacle.is_some() || survey.unrecorded > 0;
        if has_master || is_incomplete || wire.duration < down {
            continue;
        }
        let state =
            facts.status_of(&instance.name).map(|status| format!("{:?}", status.state).to_lowercase());
        let state =
            state.map_or_else(String::new, |state| format!("; the instance here is in state {state}"));
        findings.push(
            Finding::problem(
                "no-master",
                &instance.name,
                format!("no router is master of VRID {}", instance.router.vrid),
            )
            .evidence(format!(
                "no master of this VRID on {} at the end of an observation of {}{state}",
                instance.interface,
                time(wire.duration)
            ))
            .remedy("start the agents; if they run, `vipd status` on each node shows why it is not master"),
        );
    }
    findings
}

pub(in crate::doctor) fn priorities_differ(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, sender) in others(facts) {
        let status = facts.status_of(&instance.name);
        let own = status.map_or(instance.router.priority, |status| status.effective_priority);
        let source = sender.advert.source;
        if sender.advert.priority != own || sender.advert.defect.is_some() {
            continue;
        }
        let evidence = format!("{source} and this node both have priority {own}");
        findings.push(if own == PRIORITY_OWNER {
            Finding::problem("two-owners", &instance.name, "two routers claim to own the VIPs")
                .evidence(evidence)
                .remedy(
                    "set priority 255 only on the router whose interface has the VIPs as its own addresses",
                )
        } else {
            Finding::warning(
                "equal-priority",
                &instance.name,
                "two routers have the same priority, so their IP addresses decide which becomes master",
            )
            .evidence(evidence)
            .remedy("give each router a different priority")
        });
    }
    findings
}

pub(in crate::doctor) fn adverts_are_regular(facts: &Facts) -> Vec<Finding> {
    /// Minimum number of adverts for an average interval.
    const ENOUGH: u64 = 20;
    let mut findings = Vec::new();
    for (instance, survey) in observed(facts) {
        for sender in senders(instance, survey) {
            let expected = Duration::from_nanos(sender.advert.interval);
            let source = sender.advert.source;
            if sender.is_master(survey.end)
                && sender.adverts > 2
                && sender.longest_gap > expected.mul_f64(1.8)
            {
                findings.push(
                    Finding::warning("irregular-adverts", &instance.name, format!("{source} sends adverts late, or some are lost"))
                        .evidence(format!(
                            "{} between two adverts; the advertised interval is {}",
                            time(sender.longest_gap),
                            interval(sender.advert.interval)
                        ))
                        .remedy(format!(
                            "look for load and steal time on that node (`vmstat 1`) and lost frames on the path (`ip -s link \
                             show dev {}`); backups take over after 3 intervals",
                            instance.interface
                        )),
                );
            }
            let average = sender.average_interval().filter(|_| sender.adverts >= ENOUGH);
            if let Some(average) = average.filter(|average| *average < expected / 4) {
                findings.push(
                    Finding::warning(
                        "advert-flood",
                        &instance.name,
                        format!("adverts of {source} arrive far more often than its interval allows"),
                    )
                    .evidence(format!(
                        "an advert every {:.1} ms; the advertised interval is {}",
                        average.as_secs_f64() * 1000.0,
                        interval(sender.advert.interval)
                    ))
                    .remedy(
                        "look for a loop between switches, or an advert interval that the router rounds to 0",
                    ),
                );
            }
        }
    }
    findings
}
