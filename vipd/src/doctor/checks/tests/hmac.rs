//! Table tests of the checks of signed adverts.

use std::time::{Duration, UNIX_EPOCH};

use vipd_witness::{Advert as Sent, Trailer, sequence_at};

use super::agent::running;
use super::{OTHER, facts, found, names, sent};
use crate::control::model::PeerStatus;
use crate::doctor::facts::{Agent, Running};
use crate::doctor::{Facts, Finding, Severity};
use crate::service::hmac_status;

const KEY: [u8; 32] = [0x5a; 32];
/// Wall clock minus monotonic clock, in seconds.
const EPOCH: f64 = 1_000_000.0;
/// Arrival of the last advert of [`facts`] on the monotonic clock, in seconds.
const ARRIVAL: f64 = 3.0;

/// Returns the settings of `hmac` with the keys 1 and 2, which have the same content, and, if
/// `anti_replay` is `time`, a window of 5 s.
fn rules(mode: &str, anti_replay: &str) -> String {
    let key = |id: u8| format!("{{ id = {id}, hex = \"{}\" }}", "5a".repeat(KEY.len()));
    let window = if anti_replay == "time" { ", window = \"5s\"" } else { "" };
    format!(
        "hmac = {{ keys = [{}, {}], active = 1, mode = \"{mode}\", anti_replay = \"{anti_replay}\"{window} }}\n",
        key(1),
        key(2)
    )
}

fn enforce() -> String {
    rules("enforce", "time")
}

/// Returns an advert that is signed by a sender whose clock is ahead by `offset` seconds.
fn signed(key: &[u8], key_id: u8, offset: f64) -> Sent {
    let time = UNIX_EPOCH + Duration::from_secs_f64(EPOCH + ARRIVAL + offset);
    Sent { signed: Some(Trailer { sequence: sequence_at(time), ..Trailer::new(key, key_id) }), ..sent() }
}

/// Returns the facts of a host whose clock is that of [`signed`].
fn facts_of(more: &str, adverts: &[Sent]) -> Facts {
    let mut facts = facts(more, adverts);
    let survey = facts.wire.get_mut("eth0").and_then(|wire| wire.survey.as_mut().ok());
    survey.expect("a survey").epoch = Duration::from_secs_f64(EPOCH);
    facts
}

#[test]
fn differences_of_signed_adverts_are_found() {
    let monotonic = rules("enforce", "monotonic");
    let malformed = Sent { trailer: vec![9; 28], ..sent() };
    let cases: &[(&str, Sent, &[&str])] = &[
        (&enforce(), signed(&KEY, 1, 0.0), &[]),
        (&enforce(), signed(&KEY, 2, 2.4), &[]),
        ("", signed(&KEY, 1, 0.0), &["hmac-mismatch"]),
        (&enforce(), sent(), &["hmac-mismatch"]),
        (&rules("permissive", "time"), sent(), &[]),
        (&rules("receive-only", "time"), signed(&KEY, 1, 0.0), &[]),
        (&rules("receive-only", "time"), signed(&KEY, 3, 0.0), &["hmac-unknown-key"]),
        (&enforce(), signed(&KEY, 3, 60.0), &["hmac-unknown-key"]),
        (&enforce(), signed(&[1; 32], 2, 60.0), &["hmac-failures"]),
        (&enforce(), signed(&KEY, 1, 2.6), &["clocks-differ"]),
        (&enforce(), signed(&KEY, 1, -2.6), &["clocks-differ"]),
        (&enforce(), signed(&KEY, 1, -60.0), &["clocks-differ"]),
        (&monotonic, signed(&KEY, 1, -60.0), &[]),
        // No router accepts such a trailer, with or without a key.
        ("", malformed.clone(), &["malformed-adverts"]),
        (&enforce(), malformed, &["malformed-adverts"]),
        (&enforce(), Sent { kind: 2, ..signed(&KEY, 3, 60.0) }, &["malformed-adverts"]),
        (&enforce(), Sent { ttl: 7, ..signed(&KEY, 1, 0.0) }, &["ttl-too-low"]),
    ];
    for (more, sent, expected) in cases {
        let facts = facts_of(more, std::slice::from_ref(sent));
        assert_eq!(names(&facts), *expected, "{more}{sent:?}: {:#?}", found(&facts));
    }
}

#[test]
fn evidence_names_the_keys_and_the_clocks() {
    for (more, sent, severity, evidence) in [
        ("", signed(&KEY, 1, 0.0), Severity::Problem, "received: key 1; configured here: no hmac"),
        (&*enforce(), sent(), Severity::Problem, "no trailer; configured here: mode enforce, keys 1, 2"),
        (&enforce(), signed(&KEY, 3, 0.0), Severity::Problem, "received: key 3; configured here: keys 1, 2"),
        (&enforce(), signed(&[1; 32], 2, 0.0), Severity::Problem, "key 2, from the MAC 02:00:00:00:00:01"),
        (&enforce(), signed(&KEY, 1, 3.5), Severity::Warning, "is 3.5 s ahead of this host's; window: 5 s"),
        (&enforce(), signed(&KEY, 1, -6.0), Severity::Problem, "is 6.0 s behind this host's; window: 5 s"),
    ] {
        let findings = found(&facts_of(more, &[sent]));
        let [Finding { severity: of, evidence: text, .. }] = &findings[..] else { panic!("{findings:#?}") };
        assert!(*of == severity && text.contains(evidence), "{evidence}: {findings:#?}");
    }
}

#[test]
fn competing_masters_with_different_keys_are_told_to_use_the_same() {
    let own = Sent { source: super::OWN.into(), ..signed(&KEY, 1, 0.0) };
    for (other, cause) in [
        (sent(), "use the same authentication on all routers"),
        (signed(&[1; 32], 1, 0.0), "use the same keys on all routers"),
        (signed(&KEY, 2, 0.0), "does not receive the adverts of another"),
    ] {
        let findings = found(&facts_of(&(enforce() + "priority = 150\n"), &[own.clone(), other]));
        let finding = findings.iter().find(|finding| finding.check == "two-masters").expect("two masters");
        assert!(finding.remedy.contains(cause), "{finding:?}");
        assert!(finding.evidence.contains("checksum rfc5798, key 1"), "{finding:?}");
    }
}

/// Returns the reports of an agent with the configuration of [`enforce`], which has received
/// another router's adverts.
fn signed_agent() -> Running {
    let mut running = running();
    let facts = facts(&enforce(), &[]);
    let status = &mut running.status.instances[0];
    status.authentication = "hmac".to_owned();
    status.hmac = facts.instances()[0].hmac.as_ref().map(hmac_status);
    status.peers = vec![PeerStatus {
        address: OTHER.into(),
        priority: 200,
        checksum: "rfc5798".to_owned(),
        last_heard_ms: 100,
        key_id: Some(1),
        clock_offset_ms: Some(4000),
    }];
    running
}

#[test]
fn clock_of_a_peer_in_the_status_is_used_if_its_adverts_were_not_observed() {
    type Edit = fn(&mut PeerStatus);
    let cases: &[(&[Sent], Edit, &[&str])] = &[
        (&[], |_| {}, &["clocks-differ"]),
        (&[], |peer| peer.clock_offset_ms = Some(-2500), &[]),
        (&[], |peer| peer.clock_offset_ms = None, &[]),
        (&[], |peer| peer.last_heard_ms = 3700, &[]),
        (&[signed(&KEY, 1, 0.0)], |_| {}, &[]),
    ];
    for (adverts, edit, expected) in cases {
        let mut facts = facts_of(&enforce(), adverts);
        let mut running = signed_agent();
        edit(&mut running.status.instances[0].peers[0]);
        facts.agent = Agent::Running(Box::new(running));
        // Without adverts, there is no master.
        let found: Vec<_> = names(&facts).into_iter().filter(|name| *name != "no-master").collect();
        assert_eq!(found, *expected, "{adverts:?}");
    }
}

#[test]
fn rules_of_the_agent_are_compared_with_the_file() {
    for (more, evidence) in [
        (enforce(), None),
        (
            rules("permissive", "time"),
            Some("hmac: enforce, signs with key 1, accepts keys 1, 2, clocks within 5s"),
        ),
        (
            rules("enforce", "monotonic"),
            Some("hmac: enforce, signs with key 1, accepts keys 1, 2, monotonic in the file"),
        ),
        (enforce().replace("active = 1", "active = 2"), Some("hmac: enforce, signs with key 2")),
        (enforce().replace("id = 2", "id = 3"), Some("accepts keys 1, 3")),
        (enforce().replace("5s", "6s"), Some("clocks within 6s in the file")),
        (String::new(), Some("none in the file")),
    ] {
        let mut facts = facts_of(&more, &[]);
        facts.agent = Agent::Running(Box::new(signed_agent()));
        let findings = found(&facts);
        let found = findings.iter().find(|finding| finding.check == "configuration-not-applied");
        assert_eq!(found.is_some(), evidence.is_some(), "{more}{found:?}");
        assert!(found.is_none_or(|found| found.evidence.contains(evidence.unwrap_or_default())), "{found:?}");
    }
}

#[test]
fn adverts_that_the_agent_refuses_do_not_count_as_lost() {
    for (sent, expected) in [
        (signed(&KEY, 1, 0.0), "adverts-not-received"),
        (signed(&KEY, 1, 6.0), "clocks-differ"),
        (signed(&KEY, 3, 0.0), "hmac-unknown-key"),
        (signed(&[1; 32], 1, 0.0), "hmac-failures"),
    ] {
        let mut facts = facts_of(&enforce(), &[sent]);
        let mut running = signed_agent();
        running.after = running.before.clone();
        facts.agent = Agent::Running(Box::new(running));
        assert_eq!(names(&facts), [expected]);
    }
}

#[test]
fn replays_are_reported_by_the_agent_alone() {
    let mut facts = facts_of(&enforce(), &[signed(&KEY, 1, 0.0)]);
    let mut running = signed_agent();
    let statistics = &mut running.after.instances[0].statistics;
    (statistics.hmac_replayed, statistics.hmac_failures, statistics.hmac_missing) = (1, 1, 1);
    facts.agent = Agent::Running(Box::new(running));
    let findings = found(&facts);
    let [Finding { check: "errors-increase", evidence, .. }] = &findings[..] else { panic!("{findings:#?}") };
    assert_eq!(evidence, "vipd:hmac-replayed went from 0 to 1");
}
