//! Table tests of the checks.

mod agent;
mod hmac;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use vipd_witness::{Advert as Sent, Checksum, Version};

use super::addresses::vips_are_only_vipds;
use crate::config::Config;
use crate::doctor::facts::{Agent, Clock, Host, Interface, Wire};
use crate::doctor::{Facts, Finding, Severity, diagnose};
use crate::netlink::sysctl::Changed;
use crate::netlink::{Address, LinkFacts};
use crate::observe::{Claim, Obstacle, Packet, Survey, dissect};
use crate::process::ClockState;

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);

/// An advert of another router whose settings agree with [`config`].
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

/// Returns the facts of a host without a running agent, which observed these adverts once a second
/// for 4 s. Those from [`OWN`] count as sent by the host itself.
pub(super) fn facts(more: &str, adverts: &[Sent]) -> Facts {
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
    Facts {
        host: host(),
        path: "vipd.toml".to_owned(),
        config: Ok(config(more)),
        agent: Agent::NotRunning("no agent".to_owned()),
        interfaces: BTreeMap::from([("eth0".to_owned(), interface())]),
        wire: BTreeMap::from([("eth0".to_owned(), wire(Ok(survey)))]),
    }
}

/// Returns the result of an observation of 4 s.
fn wire(survey: Result<Survey, String>) -> Wire {
    Wire { survey, duration: Duration::from_secs(4), unasked: BTreeSet::new(), obstacle: None }
}

fn host() -> Host {
    let error = Duration::from_millis(1);
    let clock =
        ClockState { status: 0x2001, has_error: false, estimated_error: error, maximum_error: error * 30 };
    Host {
        kernel: "6.18.0".to_owned(),
        obstacle: None,
        daemons: Vec::new(),
        agents: BTreeSet::new(),
        dead_agents: Ok(Vec::new()),
        hidden_programs: Ok(Vec::new()),
        routing: Ok(Vec::new()),
        clock: Clock { state: Ok(clock), step: 0, duration: Duration::from_secs(4) },
    }
}

/// Returns facts without trouble, except that no agent is running.
pub(in crate::doctor) fn healthy() -> Facts {
    facts("", &[sent()])
}

/// Returns the findings, except `agent-not-running` and `configuration-warning`.
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
fn each_difference_of_another_router_is_found() {
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
        // Consequences of the case: the advert of a router with the interval 0 is overdue at once,
        // and no peer answers.
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
        (sent(), "does not receive the adverts of another"),
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
fn troubles_of_the_host_and_its_interfaces_are_found() {
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
        ("ipv6-disabled", |facts| {
            let more = "[[instance]]\nname = \"b\"\ninterface = \"eth0\"\nvrid = 51\nvirtual_addresses = [\"fe80::50/64\"]";
            facts.config = Ok(config(more));
            eth0(facts).is_ipv6_disabled = true;
        }),
        ("other-daemon", |facts| facts.host.daemons.push(("keepalived".to_owned(), 7))),
        ("stale-programs", |facts| facts.host.dead_agents = Ok(vec!["/run/old".to_owned()])),
        ("kernel-without-tcx", |facts| facts.host.kernel = "6.1.0-18-amd64".to_owned()),
        ("kernel-too-old", |facts| facts.host.kernel = "4.19.0".to_owned()),
        ("cannot-run-agent", |facts| facts.host.obstacle = Some("this process lacks CAP_BPF".to_owned())),
        ("agent-silent", |facts| facts.agent = Agent::Silent("no reply".to_owned(), None)),
        ("stale-routes", |facts| facts.host.routing = Ok(vec!["route 198.51.100.0/24 dev eth0".to_owned()])),
        ("stale-programs", |facts| {
            facts.host.hidden_programs = Ok(vec![("/run/old".to_owned(), Vec::new())]);
        }),
        ("not-checked", |facts| facts.host.hidden_programs = Err("out of memory".to_owned())),
        ("not-checked", |facts| facts.host.dead_agents = Err("permission denied".to_owned())),
        ("not-checked", |facts| facts.host.routing = Err("interrupted".to_owned())),
        ("stale-macvlans", |facts| eth0(facts).link.owner = Some("/run/vipd".to_owned())),
        ("sysctl-changed", |facts| {
            let key = "net.ipv4.conf.eth0.arp_ignore".to_owned();
            eth0(facts).changed_sysctls.push(Changed { key, found: 0, wanted: 1 });
        }),
        ("agent-not-queried", |facts| facts.agent = Agent::NotQueried("permission denied".to_owned())),
        ("configuration-invalid", |facts| facts.config = Err(vec!["vipd.toml:1:1: error".to_owned()])),
        ("not-observed", |facts| {
            facts.wire.insert("eth0".to_owned(), wire(Err("no".to_owned())));
        }),
    ];
    for (expected, edit) in cases {
        let mut facts = facts("", &[sent()]);
        edit(&mut facts);
        assert!(names(&facts).contains(expected), "{expected}: {:?}", found(&facts));
    }
}

#[test]
fn peers_that_were_not_asked_are_not_unreachable() {
    let peer = Ipv4Addr::new(192, 0, 2, 9);
    let unicast = "unicast_peers = [\"192.0.2.9\"]\nunicast_source = \"192.0.2.1\"\n";
    let own = Sent { source: OWN.into(), destination: peer.into(), ..sent() };
    let mut facts = facts(unicast, &[own]);
    assert_eq!(names(&facts), ["peer-unreachable"]);
    if let Some(wire) = facts.wire.get_mut("eth0") {
        wire.unasked.insert(peer.into());
    }
    assert_eq!(names(&facts), ["not-observed"]);
}

#[test]
fn only_ipv6_peers_in_a_subnet_of_the_interface_must_answer() {
    for (peer, expected) in
        [("fe80::9", true), ("2001:db8:0:1::9", true), ("2001:db8:0:2::9", false), ("fd00::9", false)]
    {
        let unicast = format!("unicast_peers = [\"{peer}\"]\nunicast_source = \"2001:db8:0:1::1\"\n");
        let mut facts = facts("", &[]);
        let text = "[[instance]]\nname = \"a\"\ninterface = \"eth0\"\nvrid = 51\n\
                    virtual_addresses = [\"2001:db8:0:1::50/64\"]\n";
        facts.config = Ok(Config::parse(&format!("{text}{unicast}"), "vipd.toml").expect("valid"));
        let interface = facts.interfaces.get_mut("eth0").expect("an interface");
        for (address, prefix) in [("fe80::1", 64), ("2001:db8:0:1::1", 64), ("fd00::1", 128)] {
            let address = Address::vipd(2, address.parse().expect("an address"), prefix);
            interface.addresses.push(Address { protocol: 0, ..address });
        }
        assert_eq!(names(&facts).contains(&"peer-unreachable"), expected, "{peer}: {:?}", found(&facts));
        facts.interfaces.get_mut("eth0").expect("an interface").link.has_arp = false;
        assert!(!names(&facts).contains(&"peer-unreachable"), "{peer}, without MAC addresses");
    }
}

#[test]
fn own_address_is_not_to_be_deleted() {
    for (interface, secondary, expected) in
        [("eth0", false, true), ("eth0", true, false), ("lo", false, false)]
    {
        let mut facts = facts("", &[sent()]);
        let found = Address { protocol: 3, secondary, ..Address::vipd(2, VIP.into(), 24) };
        let mut one = self::interface();
        one.link.name = interface.to_owned();
        one.addresses = vec![found];
        facts.interfaces.insert(interface.to_owned(), one);
        let findings = vips_are_only_vipds(&facts);
        let remedy = &findings[0].remedy;
        assert_eq!(
            remedy.starts_with("if it is this host's own address, set `priority = 255`"),
            expected,
            "{remedy}"
        );
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
fn arp_flux_needs_arp_and_the_same_subnet() {
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
fn missing_interface_has_a_different_remedy() {
    for (is_present, remedy) in [(true, "as root"), (false, "correct `interface`")] {
        let mut facts = facts("", &[sent()]);
        facts.wire.insert("eth0".to_owned(), wire(Err("no".to_owned())));
        if !is_present {
            facts.interfaces.clear();
        }
        let findings = found(&facts);
        assert_eq!(names(&facts), ["not-observed"]);
        assert!(findings[0].remedy.contains(remedy), "{findings:?}");
    }
}

#[test]
fn each_obstacle_has_a_different_remedy() {
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

#[test]
fn excluded_ipv6_vip_of_an_ipv4_instance_needs_ipv6_only_on_its_own_interface() {
    let excluded = "virtual_addresses_excluded = [{ address = \"2001:db8::50/64\", dev = \"eth9\" }]\n";
    for (disabled, expected) in [("eth0", false), ("eth9", true)] {
        let mut facts = facts(excluded, &[sent()]);
        let mut other = interface();
        (other.link.name, other.link.ifindex) = ("eth9".to_owned(), 9);
        facts.interfaces.insert("eth9".to_owned(), other);
        facts.interfaces.get_mut(disabled).expect("an interface").is_ipv6_disabled = true;
        assert_eq!(names(&facts).contains(&"ipv6-disabled"), expected, "{disabled}");
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

#[test]
fn forged_adverts_do_not_flood_the_output() {
    let forged =
        |host: u32| Sent { source: Ipv4Addr::from_bits(0x0a00_0000 + host).into(), interval: 300, ..sent() };
    let foreign = |host: u32| Sent { vrid: 52, ..forged(host) };
    let all: Vec<Sent> = (0..200).flat_map(|host| [forged(host), foreign(host)]).collect();
    let findings = found(&facts("", &all));
    let alike: Vec<_> = findings.iter().filter(|finding| finding.check == "interval-mismatch").collect();
    assert_eq!(alike.len(), 4, "{alike:?}");
    assert!(alike[3].summary.ends_with("; more findings of this kind are not listed"), "{alike:?}");
    let foreign = findings.iter().find(|finding| finding.check == "foreign-vrid").expect("a note");
    assert!(foreign.evidence.ends_with(", and 192 more"), "{foreign:?}");
    assert!(findings.iter().all(|finding| finding.evidence.len() < 1000), "{findings:?}");
}
