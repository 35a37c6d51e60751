//! Table tests of the checks of the agent's reports.

use super::{eth0, facts, found, names, sent};
use crate::control::model::{GlobalStatistics, InstanceStats, State, Statistics, StatsReport, StatusReport};
use crate::doctor::facts::{Agent, Interface, Running};
use crate::doctor::process::{Engine, Process};
use crate::netlink::LinkFacts;

/// Returns the reports of an agent without trouble, whose only instance is that of [`config`], as
/// backup.
pub(super) fn running() -> Running {
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
        process: Some(Process {
            pid: 4711,
            state: Some('S'),
            namespaces: Some(("net:[1]".to_owned(), "net:[1]".to_owned())),
            engine: Some(Engine { thread: 4713, policy: Engine::FIFO }),
            locked: Some(9000),
        }),
    }
}

fn process(agent: &mut Running) -> &mut Process {
    agent.process.as_mut().expect("a process")
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
        (&["guardian-missing"], |agent, _| {
            agent.status.instances[0].fence = Some("full".to_owned());
            agent.status.guardian = None;
        }),
        (&["fence-incomplete"], |agent, _| agent.status.instances[0].fence = Some("process".to_owned())),
        (&["errors-increase"], |agent, _| agent.after.instances[0].statistics.rate_limited = 1),
        (&["adverts-not-received"], |agent, _| agent.after = agent.before.clone()),
        (&["not-real-time"], |agent, _| process(agent).engine = Some(Engine { thread: 4713, policy: 0 })),
        (&["memory-not-locked"], |agent, _| process(agent).locked = Some(0)),
        (&["agent-elsewhere"], |agent, _| {
            process(agent).namespaces = Some(("net:[1]".to_owned(), "net:[2]".to_owned()));
        }),
        (&[], |agent, _| agent.process = None),
        (&["adverts-not-sent"], |agent, _| {
            agent.after.instances[0].statistics.advertisement_sent = 9;
        }),
        // The agent runs a virtual router other than the one in the file.
        (&["configuration-not-applied"], |agent, _| {
            agent.after = agent.before.clone();
            for report in [&mut agent.before, &mut agent.after] {
                report.instances[0].vrid = 52;
            }
            agent.after.instances[0].statistics.advertisement_sent = 9;
            agent.status.instances[0].vrid = 52;
        }),
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
        ("drained", "vipd undrain a"),
        ("interface-down", "ip link set eth0 up"),
        ("no-primary-ip-address", "address that is not a VIP"),
        ("address-interface", "docs/operations.md"),
    ] {
        let mut running = running();
        let status = &mut running.status.instances[0];
        (status.state, status.fault) = (State::Fault, Some(fault.to_owned()));
        // The remedy must depend on the name of the fault, not on words in the reason.
        status.fault_reason = Some("address down drained carrier".to_owned());
        let mut facts = facts("", &[sent()]);
        facts.agent = Agent::Running(Box::new(running));
        let findings = found(&facts);
        let finding = findings.iter().find(|finding| finding.check == "instance-fault").expect("a fault");
        assert!(finding.remedy.contains(remedy), "{finding:?}");
    }
}

#[test]
fn missing_master_is_reported_only_after_the_learned_interval() {
    let mut facts = facts("", &[]);
    assert_eq!(names(&facts), ["no-master"]);
    let mut running = running();
    running.status.instances[0].active_advertise_interval_ns = 10_000_000_000;
    facts.agent = Agent::Running(Box::new(running));
    assert_eq!(names(&facts), [""; 0]);
}

#[test]
fn unused_native_mode_is_a_warning() {
    for (wanted, mode, expected) in [
        ("native", "tc", &["native-xdp-unused"][..]),
        ("native", "native", &[]),
        ("auto", "tc", &[]),
        ("generic", "generic", &[]),
    ] {
        let mut facts = facts(&format!("[[interface]]\nname = \"eth0\"\nxdp = \"{wanted}\"\n"), &[sent()]);
        let mut running = running();
        running.status.instances[0].xdp_mode = Some(mode.to_owned());
        facts.agent = Agent::Running(Box::new(running));
        assert_eq!(names(&facts), expected, "{wanted} {mode}");
    }
}

#[test]
fn remedy_of_a_silent_agent_depends_on_its_process() {
    let process = |state| Some(Process { pid: 4711, state: Some(state), ..Process::default() });
    for (process, evidence, remedy) in [
        (process('T'), "process 4711 is stopped (state T)", "kill -CONT 4711"),
        (process('D'), "process 4711 is in state D", "uptime"),
        (None, "no reply", "systemctl status vipd"),
    ] {
        let mut facts = facts("", &[sent()]);
        facts.agent = Agent::Silent("no reply".to_owned(), process);
        let findings = found(&facts);
        let finding = findings.iter().find(|finding| finding.check == "agent-silent").expect("a finding");
        assert!(finding.evidence.contains(evidence) && finding.remedy.contains(remedy), "{finding:?}");
    }
}
