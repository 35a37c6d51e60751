//! The configuration and the state of instances change while the agent runs.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use vipd_tests::agent::{Agent, AgentKind};
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::control::{Reply, change, reload, stats, status, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::routers::has_address;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);

/// The settings of an instance that the tests change.
#[derive(Clone, Copy)]
struct Settings {
    vrid: u8,
    priority: u8,
    /// Last byte of the VIP.
    vip: u8,
    /// Further keys.
    more: &'static str,
}

impl Settings {
    fn new(vrid: u8) -> Self {
        Self { vrid, priority: 150, vip: vrid, more: "" }
    }

    fn vip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, self.vip)
    }
}

fn configuration(instances: &[Settings]) -> String {
    let mut text = String::new();
    for Settings { vrid, priority, more, .. } in instances {
        let _ = writeln!(
            text,
            "[[instance]]\nname = \"VI_{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\npriority = {priority}\n\
             advert_interval = \"100ms\"\nvirtual_addresses = [\"{}\"]\n{more}\n",
            instances.iter().find(|one| one.vrid == *vrid).expect("it is listed").vip()
        );
    }
    text
}

fn start(lab: &Lab, instances: &[Settings]) -> Result<Agent> {
    let mut agent = Agent::with_configuration(lab, ONE, vipd()?, configuration(instances))?;
    agent.start()?;
    for one in instances {
        wait_for_vrid(&agent, one.vrid, "master")?;
    }
    Ok(agent)
}

fn find(agent: &Agent, vrid: u8) -> Result<Option<Reply>> {
    let name = format!("VI_{vrid}");
    Ok(status(agent)?.into_iter().find(|status| status.text("name") == name))
}

fn wait_for_vrid(agent: &Agent, vrid: u8, state: &str) -> Result<()> {
    try_wait_until(&format!("VRID {vrid} to be {state}"), TIMEOUT, || {
        Ok(find(agent, vrid)?.is_some_and(|status| status.text("state") == state))
    })
}

/// Returns the number of times that each instance has become master, in the order of `status`.
fn master_transitions(agent: &Agent) -> Result<Vec<u64>> {
    stats(agent)?.1.iter().map(|statistics| statistics.number("master-transitions")).collect()
}

/// Returns the number of priority-0 adverts of a virtual router.
fn priority_zero_adverts(capture: &Capture, since: WallTime, vrid: u8) -> usize {
    let is_priority_zero = |advert: &vipd_tests::frame::Advert| advert.vrid == vrid && advert.priority == 0;
    capture.filter_map(since, |frame| frame.advert().filter(is_priority_zero)).len()
}

/// Returns the priorities that a virtual router has advertised, without consecutive duplicates.
fn priorities(capture: &Capture, since: WallTime, vrid: u8) -> Vec<u8> {
    let mut all = capture.filter_map(since, |frame| {
        frame.advert().filter(|advert| advert.vrid == vrid).map(|advert| advert.priority)
    });
    all.dedup();
    all
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn only_instances_that_differ_are_changed() {
    let lab = Lab::new(1).unwrap();
    let capture = lab.capture().unwrap();
    let [kept, moved, removed, added] = [51, 52, 53, 54].map(Settings::new);
    let mut agent = start(&lab, &[kept, moved, removed]).unwrap();
    let since = WallTime::now();
    let moved_to = Settings { vip: 99, more: "accept = false", ..moved };
    agent.configure(configuration(&[kept, moved_to, added])).unwrap();
    assert_eq!(
        reload(&agent).unwrap(),
        [
            "VI_53: removed",
            "VI_52: virtual address 10.0.0.52/32 removed",
            "VI_52: virtual address 10.0.0.99/32 added",
            "VI_52: accept true → false; started again",
            "VI_54: added"
        ]
    );
    for vrid in [51, 52, 54] {
        wait_for_vrid(&agent, vrid, "master").unwrap();
    }
    assert!(find(&agent, 53).unwrap().is_none(), "it was removed");
    let node = lab.host(ONE).unwrap();
    for (vip, is_present) in [
        (kept.vip(), true),
        (moved.vip(), false),
        (moved_to.vip(), true),
        (removed.vip(), false),
        (added.vip(), true),
    ] {
        wait_until(&format!("{vip} to be present: {is_present}"), TIMEOUT, || {
            has_address(node, vip).is_ok_and(|found| found == is_present)
        })
        .unwrap();
    }
    assert_eq!([51, 52, 53, 54].map(|vrid| priority_zero_adverts(&capture, since, vrid)), [0, 1, 1, 0]);
    assert_eq!(priorities(&capture, since, 51), [150], "the unchanged instance keeps advertising");
    let untouched = status(&agent).unwrap().iter().position(|status| status.text("name") == "VI_51");
    let transitions = master_transitions(&agent).unwrap();
    assert_eq!(transitions[untouched.expect("it is listed")], 1);
}

/// The master changes its priority, interval and addresses. The backup adopts the new interval and
/// addresses without a transition, and receives no priority-0 advert.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn master_changes_its_settings_without_a_transition() {
    let [kept, removed, added] = [51, 52, 53].map(|last| Ipv4Addr::new(10, 0, 0, last));
    let text = |priority: u8, interval: &str, vips: [Ipv4Addr; 2]| {
        let [one, two] = vips;
        format!(
            "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 1\npriority = {priority}\n\
             advert_interval = \"{interval}\"\nvirtual_addresses = [\"{one}\", \"{two}\"]\n"
        )
    };
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let mut agent =
        Agent::with_configuration(&lab, ONE, vipd().unwrap(), text(150, "100ms", [kept, removed])).unwrap();
    agent.start().unwrap();
    wait_for_vrid(&agent, 1, "master").unwrap();
    let mut backup =
        Agent::with_configuration(&lab, TWO, vipd().unwrap(), text(100, "100ms", [kept, removed])).unwrap();
    backup.start().unwrap();
    wait_for_state(&backup, "backup", TIMEOUT).unwrap();

    let since = WallTime::now();
    agent.configure(text(200, "50ms", [added, kept])).unwrap();
    assert_eq!(
        reload(&agent).unwrap(),
        [
            "VI_1: priority 150 → 200",
            "VI_1: advert_interval 100ms → 50ms",
            "VI_1: virtual address 10.0.0.52/32 removed",
            "VI_1: virtual address 10.0.0.53/32 added"
        ]
    );
    wait_until("the added address to be announced", TIMEOUT, || {
        capture.has(since, |frame| frame.gratuitous_arp(added).is_some())
    })
    .unwrap();
    let expected = (200, 5, vec![added.into(), kept.into()]);
    wait_until("the new settings to be advertised", TIMEOUT, || {
        let adverts = capture.filter_map(since, vipd_tests::frame::Frame::advert);
        let last = adverts.into_iter().next_back();
        last.is_some_and(|advert| (advert.priority, advert.interval, advert.addresses) == expected)
    })
    .unwrap();
    let node = lab.host(ONE).unwrap();
    for (vip, is_present) in [(kept, true), (removed, false), (added, true)] {
        wait_until(&format!("{vip} to be present: {is_present}"), TIMEOUT, || {
            has_address(node, vip).is_ok_and(|found| found == is_present)
        })
        .unwrap();
    }
    let announced = |address| capture.has(since, |frame| frame.gratuitous_arp(address).is_some());
    assert!(!announced(kept) && !announced(removed), "only the added address is announced");
    let advertised = priorities(&capture, since, 1);
    assert!([&[200][..], &[150, 200]].contains(&advertised.as_slice()), "{advertised:?}");

    // The backup is changed as well, and afterwards takes over as usual.
    backup.configure(text(100, "50ms", [added, kept])).unwrap();
    assert_eq!(reload(&backup).unwrap().len(), 3);
    assert_eq!(master_transitions(&agent).unwrap(), [1]);
    assert_eq!(master_transitions(&backup).unwrap(), [0]);
    agent.stop().unwrap();
    wait_for_vrid(&backup, 1, "master").unwrap();
    assert!(has_address(lab.host(TWO).unwrap(), added).unwrap());
    assert!(!has_address(lab.host(TWO).unwrap(), removed).unwrap());
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn file_with_errors_changes_nothing_and_every_problem_is_reported() {
    let lab = Lab::new(1).unwrap();
    let mut agent = start(&lab, &[Settings::new(51)]).unwrap();
    let wrong = configuration(&[Settings::new(51), Settings::new(52)])
        .replace("priority = 150", "priority = 300")
        .replace("vrid = 52", "vrid = 0");
    agent.configure(wrong).unwrap();
    let error = format!("{:#}", reload(&agent).expect_err("the file has errors"));
    for problem in ["priority", "300", "vrid"] {
        assert!(error.contains(problem), "no {problem} in {error}");
    }
    assert!(error.matches("300").count() >= 2, "both instances are reported: {error}");
    assert_eq!(status(&agent).unwrap().len(), 1);
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    assert_eq!(master_transitions(&agent).unwrap(), [1]);
    // A correct file is then accepted.
    agent.configure(configuration(&[Settings::new(51), Settings::new(52)])).unwrap();
    assert_eq!(reload(&agent).unwrap(), ["VI_52: added"]);
    wait_for_vrid(&agent, 52, "master").unwrap();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn sighup_reloads_and_logs_each_change() {
    let lab = Lab::new(1).unwrap();
    let mut agent = start(&lab, &[Settings::new(51)]).unwrap();
    agent.configure(configuration(&[Settings::new(51), Settings::new(52)])).unwrap();
    let pid = Pid::from_raw(agent.pid().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    wait_for_vrid(&agent, 52, "master").unwrap();
    let logged = wait_for_log(&agent, " added ");
    assert!(logged.contains(" INFO ") && logged.contains(" instance=\"VI_52\" "), "{logged}");
    agent.configure("nonsense = 1\n".to_owned()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let logged = wait_for_log(&agent, "nonsense");
    assert!(logged.contains(" ERROR "), "{logged}");
    assert!(agent.is_alive().unwrap());
    assert_eq!(status(&agent).unwrap().len(), 2);
}

/// Waits for a log line that contains `text`, and returns the latest one.
fn wait_for_log(agent: &Agent, text: &str) -> String {
    let find = || agent.log().into_iter().rev().find(|line| line.text.contains(text));
    wait_until(&format!("the log to contain {text:?}"), TIMEOUT, || find().is_some())
        .unwrap_or_else(|error| panic!("{error}: {:#?}", agent.log()));
    find().expect("it was found").text
}

/// Each change is one line for an instance or group, whose name is a field as in all other lines.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn changes_are_logged_with_the_instance_and_the_user_as_fields() {
    let lab = Lab::new(1).unwrap();
    let mut agent = start(&lab, &[Settings::new(51), Settings::new(52)]).unwrap();
    let drain = |command: &str| change(&agent, &json!({ "command": command, "instances": [] }));
    assert_eq!(drain("drain").unwrap(), ["VI_51: drained", "VI_52: drained"]);
    assert_eq!(drain("undrain").unwrap(), ["VI_51: no longer drained", "VI_52: no longer drained"]);
    for vrid in [51, 52] {
        wait_for_vrid(&agent, vrid, "master").unwrap();
    }
    let priority = json!({ "command": "priority", "instance": "VI_51", "priority": 160 });
    change(&agent, &priority).unwrap();
    change(&agent, &json!({ "command": "failover", "instances": ["VI_52"] })).unwrap();
    drain("drain").unwrap();
    wait_for_vrid(&agent, 52, "fault").unwrap();
    change(&agent, &json!({ "command": "failover", "instances": ["VI_52"] })).expect_err("it is drained");
    let group = "[[group]]\nname = \"both\"\nmembers = [\"VI_51\", \"VI_52\"]\n";
    let changed = Settings { priority: 170, vip: 99, ..Settings::new(51) };
    agent.configure(configuration(&[changed, Settings::new(52)]) + group).unwrap();
    reload(&agent).unwrap();

    for (message, subjects) in [
        ("INFO drained ", &["instance=\"VI_51\"", "instance=\"VI_52\""][..]),
        ("INFO no longer drained ", &["instance=\"VI_51\"", "instance=\"VI_52\""]),
        ("INFO priority 150 → 160, until `vipd priority VI_51 reset` ", &["instance=\"VI_51\""]),
        ("INFO mastership handed over ", &["instance=\"VI_52\""]),
        (
            "ERROR VI_52 is in state fault, not master; run the command on the master ",
            &["instance=\"VI_52\""],
        ),
        (
            "INFO priority 150 → 170; virtual address 10.0.0.51/32 removed; virtual address 10.0.0.99/32 added ",
            &["instance=\"VI_51\""],
        ),
        ("INFO added with VI_51, VI_52 ", &["group=\"both\""]),
    ] {
        for subject in subjects {
            wait_for_log(&agent, &format!("{message}{subject} user=0"));
        }
    }
    let log = agent.log();
    assert!(!log.iter().any(|line| line.text.contains("VI_51: ")), "{log:#?}");
    agent.stop().unwrap();
}

/// Each reload adds one instance and removes another. The backup of an unchanged instance never
/// takes over.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn a_hundred_reloads_do_not_affect_an_untouched_instance() {
    const RELOADS: usize = 100;
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let mut agent = start(&lab, &[Settings::new(51)]).unwrap();
    let mut backup = Agent::with_configuration(
        &lab,
        TWO,
        vipd().unwrap(),
        configuration(&[Settings { priority: 100, ..Settings::new(51) }]),
    )
    .unwrap();
    backup.start().unwrap();
    wait_for_state(&backup, "backup", TIMEOUT).unwrap();
    let since = WallTime::now();
    for round in 0..RELOADS {
        let other = Settings::new(60 + u8::try_from(round % 7).unwrap());
        agent.configure(configuration(&[Settings::new(51), other])).unwrap();
        let changes = reload(&agent).unwrap();
        assert_eq!(changes.last(), Some(&format!("VI_{}: added", other.vrid)));
    }
    wait_for_vrid(&agent, 60 + u8::try_from((RELOADS - 1) % 7).unwrap(), "master").unwrap();
    assert_eq!(priorities(&capture, since, 51), [150], "no other router advertises, and no priority 0");
    assert_eq!(master_transitions(&backup).unwrap(), [0]);
    assert_eq!(status(&agent).unwrap().len(), 2);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn drained_instance_stays_drained_after_reload_and_restart() {
    let lab = Lab::new(1).unwrap();
    let capture = lab.capture().unwrap();
    let mut agent = start(&lab, &[Settings::new(51), Settings::new(52)]).unwrap();
    let since = WallTime::now();
    let drained = change(&agent, &json!({ "command": "drain", "instances": ["VI_51"] })).unwrap();
    assert_eq!(drained, ["VI_51: drained"]);
    let check = |agent: &Agent| -> Result<()> {
        try_wait_until("VRID 51 to be drained", TIMEOUT, || {
            Ok(find(agent, 51)?.is_some_and(|status| status.text("vipd:fault-reason").contains("drained")))
        })?;
        wait_for_vrid(agent, 52, "master")
    };
    check(&agent).unwrap();
    // The capture may be behind.
    wait_until("the priority-0 advert", TIMEOUT, || priority_zero_adverts(&capture, since, 51) == 1).unwrap();
    // The drained instance itself is changed while it runs, and then started again.
    for more in ["", "accept = false"] {
        let changed = Settings { vip: 98, more, ..Settings::new(51) };
        agent.configure(configuration(&[changed, Settings::new(52)])).unwrap();
        reload(&agent).unwrap();
        check(&agent).unwrap();
    }
    agent.stop().unwrap();
    agent.start().unwrap();
    check(&agent).unwrap();
    let all = priorities(&capture, since, 51);
    assert!([&[0][..], &[150, 0]].contains(&all.as_slice()), "it never advertises again: {all:?}");
    assert_eq!(
        change(&agent, &json!({ "command": "undrain", "instances": [] })).unwrap(),
        ["VI_51: no longer drained", "VI_52: no longer drained"]
    );
    wait_for_vrid(&agent, 51, "master").unwrap();
    let unknown = change(&agent, &json!({ "command": "drain", "instances": ["VI_9"] }));
    let error = format!("{:#}", unknown.expect_err("no such instance"));
    assert!(error.contains("no instance is named \"VI_9\""), "{error}");
}

/// Runs a `vipd` command on node 1 as an unprivileged user in one group. Returns its standard
/// error.
fn run_as(lab: &Lab, group: u32, arguments: &[&str]) -> Result<String, String> {
    let AgentKind::Vipd(built) = vipd().unwrap() else { panic!("not vipd") };
    // The user may lack access to the build directory.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("vipd");
    fs::copy(built, &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", &format!("--regid={group}"), "--clear-groups"])
        .arg(program)
        .args(arguments);
    command.args(["--runtime-dir", &Agent::runtime_dir().display().to_string()]);
    let output = lab.host(ONE).unwrap().run(move || anyhow::Ok(command.output()?)).unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// Group 1 (daemon) may query the agent, group 2 (bin) may also change it, and other users may do
/// neither. A reload applies a changed `[control]` table.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn groups_decide_who_may_query_and_change_the_agent() {
    let lab = Lab::new(1).unwrap();
    let instances = configuration(&[Settings::new(51)]);
    let control = "[control]\nread_group = \"daemon\"\nadmin_group = \"bin\"\n";
    let text = format!("{instances}{control}");
    let mut agent = Agent::with_configuration(&lab, ONE, vipd().unwrap(), text).unwrap();
    agent.start().unwrap();
    wait_for_vrid(&agent, 51, "master").unwrap();
    assert_eq!(run_as(&lab, 1, &["status"]), Ok(String::new()));
    assert_eq!(run_as(&lab, 2, &["status"]), Ok(String::new()));
    let refused = run_as(&lab, 3, &["status"]).expect_err("not in a group");
    assert!(refused.contains("user 65534 may not query the agent"), "{refused}");
    let refused = run_as(&lab, 1, &["drain"]).expect_err("not an administrator");
    assert!(
        refused.contains("user 65534 may not change the agent") && refused.contains("group bin"),
        "{refused}"
    );
    assert_eq!(run_as(&lab, 2, &["drain"]), Ok(String::new()));
    wait_for_vrid(&agent, 51, "fault").unwrap();
    // Without the table, users other than root have no access.
    agent.configure(instances).unwrap();
    assert_eq!(reload(&agent).unwrap(), ["control: access to the control socket changed"]);
    for group in [1, 2] {
        run_as(&lab, group, &["status"]).expect_err("the socket is closed to others");
    }
}

/// The higher-priority master hands over mastership, and becomes master again when its successor
/// does the same.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn failover_moves_mastership_once_although_the_priority_is_higher() {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let one = start(&lab, &[Settings::new(51)]).unwrap();
    let lower = configuration(&[Settings { priority: 100, ..Settings::new(51) }]);
    let mut two = Agent::with_configuration(&lab, TWO, vipd().unwrap(), lower).unwrap();
    two.start().unwrap();
    wait_for_state(&two, "backup", TIMEOUT).unwrap();
    let failover = json!({ "command": "failover", "instances": ["VI_51"] });
    let refused = format!("{:#}", change(&two, &failover).expect_err("it is a backup"));
    assert!(refused.contains("VI_51 is in state backup, not master"), "{refused}");

    let since = WallTime::now();
    assert_eq!(change(&one, &failover).unwrap(), ["VI_51: mastership handed over"]);
    wait_for_state(&two, "master", TIMEOUT).unwrap();
    wait_for_state(&one, "backup", TIMEOUT).unwrap();
    assert_eq!(status(&one).unwrap()[0].text("vipd:last-transition-reason"), "failover");
    // Long enough for several elections.
    wait_until("twenty adverts of the new master", TIMEOUT, || {
        let of_two = |advert: &vipd_tests::frame::Advert| advert.priority == 100;
        capture.filter_map(since, |frame| frame.advert().filter(of_two)).len() >= 20
    })
    .unwrap();
    assert_eq!(master_transitions(&one).unwrap(), [1]);

    change(&two, &failover).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    wait_for_state(&two, "backup", TIMEOUT).unwrap();
    let mut all = priorities(&capture, since, 51);
    all.retain(|priority| *priority != 150);
    assert_eq!(all, [0, 100, 0], "each priority-0 advert causes one takeover");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn priority_changes_without_a_transition_and_is_restored() {
    let lab = Lab::new(1).unwrap();
    let capture = lab.capture().unwrap();
    let agent = start(&lab, &[Settings::new(51)]).unwrap();
    let since = WallTime::now();
    wait_until("the configured priority to be advertised", TIMEOUT, || {
        priorities(&capture, since, 51) == [150]
    })
    .unwrap();
    for (priority, lines) in [
        (json!(200), "VI_51: priority 150 → 200, until `vipd priority VI_51 reset`"),
        (json!(null), "VI_51: priority 200 → 150, as configured"),
    ] {
        let wanted = json!({ "command": "priority", "instance": "VI_51", "priority": priority });
        assert_eq!(change(&agent, &wanted).unwrap(), [lines]);
        let expected = priority.as_u64().unwrap_or(150);
        wait_until("the new priority to be advertised", TIMEOUT, || {
            priorities(&capture, since, 51).last().copied().map(u64::from) == Some(expected)
        })
        .unwrap();
    }
    assert_eq!(priorities(&capture, since, 51), [150, 200, 150]);
    assert_eq!(master_transitions(&agent).unwrap(), [1]);
    for priority in [json!(0), json!(255)] {
        let wanted = json!({ "command": "priority", "instance": "VI_51", "priority": priority });
        assert!(change(&agent, &wanted).is_err(), "{wanted}");
    }
}
