//! Table tests of the checks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use vipd_witness::{Advert as Sent, Checksum, Version};

use crate::config::Config;
use crate::control::model::{GlobalStatistics, InstanceStats, State, Statistics, StatsReport, StatusReport};
use crate::doctor::facts::{Agent, Host, Interface, Running, Wire};
use crate::doctor::{Facts, Finding, Severity, diagnose};
use crate::netlink::{Address, LinkFacts};
use crate::observe::{Claim, Obstacle, Packet, Survey, dissect};

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);

/// An advert of another router that agrees with [`config`].
fn sent() -> Sent {
    Sent { addresses: vec![VIP.into()], ..Sent::new(Version::V3, 51, 200, OTHER) }
}

fn config(more: &str) -> Config {
    let text = format!(
        "[[instance]]\nname = \"a\"\ninterface = \"eth0\"\nvrid = 51\nvirtual_addresses = [\"192.0.2.50/24\"]\n{more}\n"
    );
    Config::parse(&text, "vipd.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

fn interface() -> Interface {
    let link = LinkFacts {
        ifindex: 2,
        name: "eth0".to_owned(),
        is_up: true,
        has_multicast: true,
        has_arp: true,
        ..LinkFacts::default()
    };
    let own = Address { protocol: 0, ..Address::vipd(2, OWN.into(), 24) };
    Interface { link, addresses: vec![own], is_member: [true; 2], ..Interface::default() }
}

/// Returns the facts of a host that received these adverts once a second for 4 s. No agent is
/// running, and [`found`] ignores the finding that says so.
fn facts(more: &str, adverts: &[Sent]) -> Facts {
    let mut survey = Survey::default();
    survey.watch(VIP.into());
    survey.watch(OWN.into());
    for second in 0..4 {
        for sent in adverts {
            let packet = dissect(&sent.frame(), true).expect("a packet");
            survey.add(packet, Duration::from_secs(second), sent.source == OWN);
        }
    }
    survey.end = Duration::from_secs(4);
    let wire = Wire { survey: Ok(survey), duration: Duration::from_secs(4), obstacle: None };
    Facts {
        host: Host { kernel: "6.18.0".to_owned(), ..Host::default() },
        path: "vipd.toml".to_owned(),
        config: Ok(config(more)),
        agent: Agent::NotRunning("no agent".to_owned()),
        interfaces: BTreeMap::from([("eth0".to_owned(), interface())]),
        wire: BTreeMap::from([("eth0".to_owned(), wire)]),
    }
}

/// Returns the findings, except that no agent is running, and the warnings of `vipd check`.
fn found(facts: &Facts) -> Vec<Finding> {
    let mut findings = diagnose(facts);
    findings.retain(|finding| !matches!(finding.check, "agent-not-running" | "configuration-warning"));
    findings
}

fn names(facts: &Facts) -> Vec<&'static str> {
    found(facts).iter().map(|finding| finding.check).collect()
}

#[test]
fn agreeing_routers_have_no_finding() {
    assert_eq!(found(&facts("", &[sent()])), []);
}

#[test]
fn each_disagreement_of_a_router_is_found() {
    let v2 = "version = 2\nadvert_interval = \"1s\"\n";
    let password = "version = 2\nadvert_interval = \"1s\"\nauth_pass = \"secret\"\n";
    let unicast = "unicast_peers = [\"192.0.2.9\"]\nunicast_source = \"192.0.2.1\"\n";
    let in_v2 = || Sent { addresses: vec![VIP.into()], ..Sent::new(Version::V2, 51, 200, OTHER) };
    let to_node = Sent { destination: OWN.into(), ..sent() };
    let cases: &[(&str, Sent, &[&str])] = &[
        (v2, sent(), &["version-mismatch"]),
        ("", Sent { checksum: Checksum::Message, ..sent() }, &["checksum-form"]),
        ("checksum = \"rfc9568\"\n", sent(), &["checksum-form"]),
        ("", Sent { corrupt: vec![22], ..sent() }, &["checksum-wrong"]),
        (password, in_v2(), &["authentication-mismatch"]),
        (
            v2,
            Sent { interval: 0x0101, authentication: *b"secret\0\0", ..in_v2() },
            &["authentication-mismatch"],
        ),
        (password, Sent { interval: 0x0101, authentication: *b"secret\0\0", ..in_v2() }, &[]),
        (v2, Sent { interval: 3, ..in_v2() }, &["interval-mismatch"]),
        ("", Sent { interval: 200, ..sent() }, &["interval-mismatch"]),
        (
            "",
            Sent { addresses: vec![VIP.into(), Ipv4Addr::new(192, 0, 2, 51).into()], ..sent() },
            &["address-list-mismatch"],
        ),
        ("", Sent { addresses: vec![Ipv4Addr::new(192, 0, 2, 51).into()], ..sent() }, &["vrid-conflict"]),
        ("", Sent { ttl: 64, ..sent() }, &["ttl-too-low"]),
        ("", to_node.clone(), &["transport-mismatch"]),
        (unicast, sent(), &["transport-mismatch"]),
        (unicast, to_node, &["unknown-peer"]),
        ("priority = 200\n", sent(), &["equal-priority"]),
        ("priority = 255\n", Sent { priority: 255, ..sent() }, &["two-owners"]),
        ("", Sent { kind: 2, ..sent() }, &["malformed-adverts"]),
        ("", Sent { interval: 0, ..sent() }, &["malformed-adverts"]),
        ("", Sent { vrid: 52, ..sent() }, &["no-master", "foreign-vrid"]),
        ("", Sent { tags: vec![(0x8100, 7)], ..sent() }, &["no-master", "vlan-tagged"]),
    ];
    for (more, sent, expected) in cases {
        let facts = facts(more, std::slice::from_ref(sent));
        // These are consequences: such adverts do not show a master, or a peer is missing.
        let follows =
            |name: &&str| !expected.contains(name) && matches!(*name, "no-master" | "peer-unreachable");
        let found: Vec<_> = names(&facts).into_iter().filter(|name| !follows(name)).collect();
        assert_eq!(found, *expected, "{more}{sent:?}");
    }
}

#[test]
fn two_masters_are_found_with_their_difference() {
    let own = Sent { source: OWN.into(), ..sent() };
    for (other, difference) in [
        (sent(), "one of them does not receive the other's adverts"),
        (Sent { checksum: Checksum::Message, ..sent() }, "use the same checksum form on all routers"),
        (Sent { ttl: 7, ..sent() }, "use the same TTL on all routers"),
    ] {
        let findings = found(&facts("priority = 150\n", &[own.clone(), other]));
        let finding = findings.iter().find(|finding| finding.check == "two-masters").expect("two masters");
        assert_eq!(finding.severity, Severity::Problem);
        assert!(finding.remedy.contains(difference), "{finding:?}");
        assert!(
            finding.evidence.contains("192.0.2.1 (this host): VRRPv3, priority 200, interval 1s"),
            "{finding:?}"
        );
    }
}

#[test]
fn hosts_with_the_same_address_are_found() {
    let claim = |address: Ipv4Addr, mac: u8| Packet::Claim(Claim { address: address.into(), mac: [mac; 6] });
    let names_with = |claims: &[Packet], adverts: &[Sent]| {
        let mut facts = facts("", adverts);
        if let Some(Wire { survey: Ok(survey), .. }) = facts.wire.get_mut("eth0") {
            for claim in claims {
                survey.add(claim.clone(), Duration::from_secs(1), false);
            }
        }
        names(&facts)
    };
    assert_eq!(names_with(&[claim(VIP, 2)], &[sent()]), [""; 0], "the master");
    assert_eq!(names_with(&[claim(VIP, 2), claim(VIP, 3)], &[sent()]), ["duplicate-vip"]);
    assert_eq!(names_with(&[claim(OWN, 2)], &[sent()]), ["duplicate-source"]);
    let twin = Sent { source_mac: vipd_witness::Mac([9; 6]), ..sent() };
    assert_eq!(names_with(&[], &[sent(), twin]), ["duplicate-source"]);
}

#[test]
fn settings_of_interfaces_are_judged() {
    type Edit = fn(&mut Facts);
    let cases: &[(&str, Edit)] = &[
        ("multicast-off", |facts| eth0(facts).link.has_multicast = false),
        ("snooping-without-querier", |facts| eth0(facts).link.snoops_without_querier = true),
        ("vip-configured-elsewhere", |facts| {
            eth0(facts).addresses.push(Address { protocol: 3, ..Address::vipd(2, VIP.into(), 32) });
        }),
        ("stale-addresses", |facts| eth0(facts).addresses.push(Address::vipd(2, VIP.into(), 24))),
        ("arp-flux", |facts| {
            let mut other = interface();
            (other.link.name, other.link.ifindex) = ("eth9".to_owned(), 9);
            facts.interfaces.insert("eth9".to_owned(), other);
        }),
        ("other-daemon", |facts| facts.host.daemons.push(("keepalived".to_owned(), 7))),
        ("stale-programs", |facts| facts.host.dead_agents.push("/run/old".to_owned())),
        ("kernel-without-tcx", |facts| facts.host.kernel = "6.1.0-18-amd64".to_owned()),
        ("kernel-too-old", |facts| facts.host.kernel = "4.19.0".to_owned()),
        ("cannot-run-agent", |facts| facts.host.obstacle = Some("this process lacks CAP_BPF".to_owned())),
        ("agent-silent", |facts| facts.agent = Agent::Silent("no reply".to_owned())),
        ("agent-not-queried", |facts| facts.agent = Agent::NotQueried("permission denied".to_owned())),
        ("configuration-invalid", |facts| facts.config = Err(vec!["vipd.toml:1:1: error".to_owned()])),
        ("not-observed", |facts| {
            let wire = Wire { survey: Err("no".to_owned()), duration: Duration::ZERO, obstacle: None };
            facts.wire.insert("eth0".to_owned(), wire);
        }),
    ];
    for (expected, edit) in cases {
        let mut facts = facts("", &[sent()]);
        edit(&mut facts);
        assert!(names(&facts).contains(expected), "{expected}: {:?}", found(&facts));
    }
}

/// The instance of [`config`] in a running agent that has it as backup, and reports no trouble.
fn running() -> Running {
    let status = serde_json::json!({
        "name": "a", "interface": "eth0", "vrid": 51, "family": "ipv4", "version": 3, "state": "backup",
        "priority": 100, "effective-priority": 100, "last-adv-source": null, "master-down-interval": 360,
        "skew-time": 609_375, "virtual-addresses": ["192.0.2.50/24"], "accept-mode": true,
        "vipd:excluded-addresses": [], "vipd:virtual-mac": null, "vipd:transport": "multicast",
        "vipd:authentication": "none", "vipd:checksum": "rfc5798", "vipd:peers": [],
        "vipd:advertise-interval-ns": 1_000_000_000, "vipd:active-advertise-interval-ns": 1_000_000_000,
        "vipd:master-down-interval-ns": 3_609_375_000_u64, "vipd:preempt": true, "vipd:fence": "full",
        "vipd:xdp-mode": "tc", "vipd:primary-address": "192.0.2.1", "vipd:fault-reason": null,
        "vipd:last-transition-reason": null, "vipd:last-transition-ms": null, "vipd:master-down-in-ns": null,
    });
    let status = serde_json::from_value(status).expect("a status");
    let report = |received| {
        let statistics = Statistics { advertisement_rcvd: received, ..Statistics::default() };
        let (name, interface, family) = ("a".to_owned(), "eth0".to_owned(), "ipv4".to_owned());
        let instances = vec![InstanceStats { name, interface, vrid: 51, family, statistics }];
        StatsReport { global: GlobalStatistics::default(), instances }
    };
    Running {
        status: StatusReport { instances: vec![status], guardian: Some(true) },
        before: report(7),
        after: report(11),
        is_here: Some(true),
        is_real_time: Some(true),
    }
}

#[test]
fn reports_of_the_agent_are_judged() {
    type Edit = fn(&mut Running, &mut Interface);
    let healthy: Edit = |_, _| {};
    let cases: &[(&[&str], Edit)] = &[
        (&[], healthy),
        (&["missing-addresses"], |agent, _| {
            agent.status.instances[0].missing_addresses.push("192.0.2.50/24".to_owned());
        }),
        (&["guardian-missing"], |agent, _| agent.status.guardian = Some(false)),
        (&["fence-incomplete"], |agent, _| agent.status.instances[0].fence = Some("process".to_owned())),
        (&["errors-increase"], |agent, _| agent.after.instances[0].statistics.rate_limited = 1),
        (&["adverts-not-received"], |agent, _| agent.after = agent.before.clone()),
        (&["not-real-time"], |agent, _| agent.is_real_time = Some(false)),
        (&["agent-elsewhere"], |agent, _| agent.is_here = Some(false)),
        (&["group-not-joined"], |_, eth0| eth0.is_member = [false, true]),
        (&["configuration-not-applied"], |agent, _| {
            agent.status.instances[0].advertise_interval_ns = 100_000_000;
        }),
    ];
    for (expected, edit) in cases {
        let mut facts = facts("", &[sent()]);
        let mut running = running();
        edit(&mut running, eth0(&mut facts));
        facts.agent = Agent::Running(Box::new(running));
        assert_eq!(names(&facts), *expected, "{:?}", found(&facts));
    }
}

#[test]
fn removed_vlan_tags_are_a_problem_at_the_xdp_hook() {
    let mut facts = facts("", &[sent()]);
    eth0(&mut facts).removes_tags = true;
    let link = LinkFacts {
        ifindex: 3,
        name: "eth0.7".to_owned(),
        parent: Some(2),
        kind: Some("vlan".to_owned()),
        ..LinkFacts::default()
    };
    facts.interfaces.insert("eth0.7".to_owned(), Interface { link, ..Interface::default() });
    for (mode, expected) in [("tc", &[][..]), ("generic", &["vlan-tags-removed"])] {
        let mut running = running();
        running.status.instances[0].xdp_mode = Some(mode.to_owned());
        facts.agent = Agent::Running(Box::new(running));
        assert_eq!(names(&facts), expected, "{mode}");
    }
}

#[test]
fn remedy_of_a_fault_depends_on_its_name() {
    for (fault, remedy) in [
        ("drained", "vipd undrain"),
        ("interface-down", "bring the interface up"),
        ("no-primary-ip-address", "address that is not a VIP"),
        ("address-interface", "docs/operations.md"),
    ] {
        let mut running = running();
        let status = &mut running.status.instances[0];
        (status.state, status.fault) = (State::Fault, Some(fault.to_owned()));
        // No word of the reason selects the remedy.
        status.fault_reason = Some("address down drained carrier".to_owned());
        let mut facts = facts("", &[sent()]);
        facts.agent = Agent::Running(Box::new(running));
        let findings = found(&facts);
        let finding = findings.iter().find(|finding| finding.check == "instance-fault").expect("a fault");
        assert!(finding.remedy.contains(remedy), "{finding:?}");
    }
}

#[test]
fn unrelated_cluster_with_multicast_is_one_warning() {
    let unicast = "unicast_peers = [\"192.0.2.9\"]\nunicast_source = \"192.0.2.1\"\n";
    let own = Sent { source: OWN.into(), destination: Ipv4Addr::new(192, 0, 2, 9).into(), ..sent() };
    let peer = Packet::Claim(Claim { address: Ipv4Addr::new(192, 0, 2, 9).into(), mac: [9; 6] });
    let unrelated = Sent { addresses: vec![Ipv4Addr::new(192, 0, 2, 77).into()], ..sent() };
    let mut facts = facts(unicast, &[own, unrelated]);
    if let Some(Wire { survey: Ok(survey), .. }) = facts.wire.get_mut("eth0") {
        survey.watch(Ipv4Addr::new(192, 0, 2, 9).into());
        survey.add(peer, Duration::from_secs(1), false);
    }
    let findings = found(&facts);
    assert_eq!(names(&facts), ["transport-mismatch"], "{findings:?}");
    assert_eq!(findings[0].severity, Severity::Warning);
}

#[test]
fn master_with_a_long_learned_interval_is_awaited() {
    let mut facts = facts("", &[]);
    assert_eq!(names(&facts), ["no-master"]);
    let mut running = running();
    running.status.instances[0].active_advertise_interval_ns = 10_000_000_000;
    facts.agent = Agent::Running(Box::new(running));
    assert_eq!(names(&facts), [""; 0]);
}

#[test]
fn links_without_arp_and_other_subnets_do_not_answer_arp() {
    for (has_arp, prefix, expected) in [(true, 24, &["arp-flux"][..]), (false, 24, &[]), (true, 16, &[])] {
        let mut facts = facts("", &[sent()]);
        let mut other = interface();
        (other.link.name, other.link.ifindex, other.link.has_arp) = ("eth9".to_owned(), 9, has_arp);
        other.addresses[0].prefix = prefix;
        facts.interfaces.insert("eth9".to_owned(), other);
        assert_eq!(names(&facts), expected, "{has_arp} {prefix}");
    }
}

#[test]
fn obstacles_have_their_own_remedies() {
    for (obstacle, remedy) in [
        (Obstacle::Busy { pid: Some(7) }, "wait until"),
        (Obstacle::Privilege, "as root"),
        (Obstacle::Foreign(7), "protocol 112"),
    ] {
        let mut facts = facts("", &[sent()]);
        if let Some(wire) = facts.wire.get_mut("eth0") {
            wire.obstacle = Some(obstacle);
        }
        let findings = found(&facts);
        assert_eq!(names(&facts), ["not-observed"]);
        assert!(findings[0].remedy.contains(remedy), "{findings:?}");
    }
}

fn eth0(facts: &mut Facts) -> &mut Interface {
    facts.interfaces.get_mut("eth0").expect("an interface")
}

#[test]
fn every_finding_has_a_subject_evidence_and_a_remedy() {
    let mut facts = facts("priority = 200\n", &[Sent { ttl: 7, interval: 300, ..sent() }]);
    facts.host.daemons.push(("keepalived".to_owned(), 7));
    let findings = diagnose(&facts);
    assert!(findings.len() > 4, "{findings:?}");
    assert!(findings.is_sorted_by_key(|finding| finding.severity));
    for Finding { subject, summary, evidence, remedy, .. } in &findings {
        for text in [subject, summary, evidence, remedy] {
            assert!(!text.is_empty() && !text.ends_with('.'), "{findings:?}");
        }
    }
}
