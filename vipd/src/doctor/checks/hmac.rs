//! Checks of signed adverts: their presence, their keys, and the clocks of their senders.

use std::net::IpAddr;
use std::time::Duration;

use super::{list, observed, others, senders, time};
use crate::config::Instance;
use crate::doctor::{Facts, Finding};
use crate::observe::{Advert, Sender, Survey, mac_text};
use crate::vrrp::hmac::{AntiReplay, Config, Key, Mode, Refusal};

/// Returns the largest accepted difference between two clocks; `None` for an instance whose adverts
/// need no clock.
pub(super) fn window(instance: &Instance) -> Option<Duration> {
    let hmac = instance.hmac.as_ref()?;
    (hmac.anti_replay == AntiReplay::Time).then(|| Duration::from_secs(hmac.window.into()))
}

/// Returns why the key or the HMAC of a signed advert is refused; `None` if both are correct, or
/// the advert is not signed.
fn refusal(hmac: &Config, advert: &Advert) -> Option<Refusal> {
    let Some(key) = hmac.key(advert.trailer?.key_id) else { return Some(Refusal::UnknownKey) };
    (advert.is_signed_with(key) == Some(false)).then_some(Refusal::WrongHmac)
}

/// Returns whether an advert was signed with a key that the instance does not have. False for an
/// instance without `hmac`.
pub(super) fn has_wrong_key(instance: &Instance, advert: &Advert) -> bool {
    instance.hmac.as_ref().is_some_and(|hmac| refusal(hmac, advert).is_some())
}

/// Returns whether an instance accepts the key and the time of the sender's last advert. True if
/// the advert is not signed or the instance has no keys.
pub(super) fn is_accepted(instance: &Instance, survey: &Survey, sender: &Sender) -> bool {
    let offset = survey.clock_offset(sender).map(|millis| Duration::from_millis(millis.unsigned_abs()));
    let is_stale = window(instance).zip(offset).is_some_and(|(window, offset)| offset > window);
    !is_stale && !has_wrong_key(instance, &sender.advert)
}

/// Finds routers that sign their adverts although the instance has no `hmac`, and routers that do
/// not sign them although the instance requires it.
pub(in crate::doctor) fn routers_sign_alike(facts: &Facts) -> Vec<Finding> {
    const SWEEPS: &str = "\"Introduce keys in three sweeps\" in docs/signed-adverts.md";
    let mut findings = Vec::new();
    for (instance, sender) in others(facts).filter(|(_, sender)| sender.advert.defect.is_none()) {
        let source = sender.advert.source;
        let finding = |summary| Finding::problem("hmac-mismatch", &instance.name, summary);
        findings.push(match (sender.advert.trailer, &instance.hmac) {
            (Some(trailer), None) => {
                finding(format!("{source} signs its adverts, but this instance has no keys, so they are dropped"))
                    .evidence(format!("received: key {}; configured here: no hmac", trailer.key_id))
                    .remedy(format!("add `hmac` with the same keys here; see {SWEEPS}"))
            }
            (None, Some(hmac)) if hmac.mode == Mode::Enforce => {
                finding(format!("{source} does not sign its adverts, but this instance requires it, so they are dropped"))
                    .evidence(format!("received: no trailer; configured here: mode enforce, {}", keys(hmac)))
                    .remedy(format!(
                        "set `mode = \"permissive\"` here until {source} signs its adverts or, if it has no `hmac`, \
                         `mode = \"receive-only\"` on all routers until it has the keys; see {SWEEPS}; if {source} is not one \
                         of your routers, find it by its MAC {}",
                        macs(sender)
                    ))
            }
            _ => continue,
        });
    }
    findings
}

pub(in crate::doctor) fn keys_match(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, sender) in others(facts).filter(|(_, sender)| sender.advert.defect.is_none()) {
        let (Some(hmac), Some(trailer)) = (&instance.hmac, sender.advert.trailer) else { continue };
        let (source, key) = (sender.advert.source, trailer.key_id);
        findings.push(match refusal(hmac, &sender.advert) {
            Some(Refusal::UnknownKey) => Finding::problem(
                "hmac-unknown-key",
                &instance.name,
                format!("{source} signs its adverts with a key that is not configured here, so they are dropped"),
            )
            .evidence(format!("received: key {key}; configured here: {}", keys(hmac)))
            .remedy("add the key to `keys` here; add new keys on all routers before one of them signs with it"),
            Some(_) => Finding::problem(
                "hmac-failures",
                &instance.name,
                format!("the adverts of {source} have a wrong HMAC, so they are dropped"),
            )
            .evidence(format!("received: key {key}, from the MAC {}", macs(sender)))
            .remedy(format!(
                "compare the content of key {key} on all routers, for example with `sha256sum FILE`; if it is the same, the \
                 adverts are forged: find their sender by its MAC"
            )),
            None => continue,
        });
    }
    findings
}

/// Finds senders of signed adverts whose clocks differ from this host's. Uses the adverts observed
/// on the segment or, for a sender whose adverts were not observed, the agent's status.
pub(in crate::doctor) fn clocks_agree(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (instance, survey) in observed(facts) {
        for sender in senders(instance, survey).filter(|sender| !sender.is_local) {
            let is_verified = sender.advert.defect.is_none() && !has_wrong_key(instance, &sender.advert);
            let offset = survey.clock_offset(sender).filter(|_| is_verified);
            findings.extend(offset.and_then(|offset| clock(instance, sender.advert.source, offset)));
        }
    }
    for instance in facts.instances() {
        let Some(status) = facts.status_of(&instance.name) else { continue };
        let is_observed = |address: IpAddr| {
            let survey = facts.survey(&instance.interface);
            survey
                .is_some_and(|survey| senders(instance, survey).any(|sender| sender.advert.source == address))
        };
        for peer in &status.peers {
            // The offset of a router that no longer sends adverts may be outdated.
            let is_active = peer.last_heard_ms <= status.master_down_interval_ns / 1_000_000;
            let offset = peer.clock_offset_ms.filter(|_| is_active && !is_observed(peer.address));
            findings.extend(offset.and_then(|offset| clock(instance, peer.address, offset)));
        }
    }
    findings
}

/// Returns a finding if the clock of a sender differs from this host's by more than half the
/// window. `offset` is the sender's clock minus this host's in milliseconds.
fn clock(instance: &Instance, source: IpAddr, offset: i64) -> Option<Finding> {
    let window = window(instance)?;
    let difference = Duration::from_millis(offset.unsigned_abs());
    if difference <= window / 2 {
        return None;
    }
    let order = if offset < 0 { "behind" } else { "ahead of" };
    let finding = if difference > window {
        let summary = format!(
            "the clocks of {source} and this host differ too much, so its adverts are dropped as stale"
        );
        Finding::problem("clocks-differ", &instance.name, summary)
    } else {
        let summary =
            format!("the clocks of {source} and this host differ by more than half of the `window`");
        Finding::warning("clocks-differ", &instance.name, summary)
    };
    Some(
        finding
            .evidence(format!(
                "the clock of {source} is {} {order} this host's; window: {} s",
                time(difference),
                window.as_secs()
            ))
            .remedy(
                "synchronize the clocks of both nodes (`chronyc tracking` shows which one is wrong); if they are \
                 synchronized, old adverts are sent again: look for a loop or an attacker",
            ),
    )
}

/// Lists the IDs of the keys: `keys 1, 2`.
fn keys(hmac: &Config) -> String {
    let plural = if hmac.keys.len() == 1 { "" } else { "s" };
    format!("key{plural} {}", list(hmac.keys.iter().map(Key::id)))
}

/// Lists the Ethernet sources of a sender's adverts.
fn macs(sender: &Sender) -> String {
    if sender.macs.is_empty() {
        return "unknown".to_owned();
    }
    list(sender.macs.iter().map(|mac| mac_text(*mac)))
}
