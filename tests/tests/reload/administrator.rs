//! The commands `drain`, `undrain`, `failover` and `priority`: effects, access rights and log
//! lines.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;
use vipd_tests::agent::AgentKind;
use vipd_tests::control::{change, reload, wait_for_state};
use vipd_tests::process::Process;

use super::*;

/// Each change is logged as one line per instance or group. As in all other log lines, the name of
/// the instance or group is a field.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn changes_are_logged_with_the_instance_and_the_user_as_fields() {
    let lab = Lab::new(1).unwrap();
    let mut agent = start(&lab, &[Settings::new(51), Settings::new(52)]).unwrap();
    let drain = |command: &str| change(&agent, &json!({ "command": command, "instances": [] }));
    assert_eq!(drain("drain").unwrap(), ["VI_51: drained", "VI_52: drained"]);
    assert_eq!(drain("drain").unwrap(), ["VI_51: already drained", "VI_52: already drained"]);
    assert_eq!(drain("undrain").unwrap(), ["VI_51: no longer drained", "VI_52: no longer drained"]);
    assert_eq!(drain("undrain").unwrap(), ["VI_51: not drained", "VI_52: not drained"]);
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
        ("INFO mastership released ", &["instance=\"VI_52\""]),
        (
            "ERROR VI_52 is in state fault, not master; run the command on the master ",
            &["instance=\"VI_52\""],
        ),
        (
            "INFO priority 150 → 170; virtual address 10.0.0.51/32 removed; virtual address 10.0.0.99/32 added ",
            &["instance=\"VI_51\""],
        ),
        ("INFO added with members VI_51, VI_52 ", &["group=\"both\""]),
    ] {
        for subject in subjects {
            wait_for_log(&agent, &format!("{message}{subject} user=0"));
        }
    }
    let log = agent.log();
    assert!(!log.iter().any(|line| line.text.contains("VI_51: ")), "{log:#?}");
    agent.stop().unwrap();
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
    // The capture may lag behind the agent.
    wait_until("the priority-0 advert", TIMEOUT, || priority_zero_adverts(&capture, since, 51) == 1).unwrap();
    // The first reload changes the drained instance in place, and the second restarts it.
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
        ["VI_51: no longer drained", "VI_52: not drained"]
    );
    wait_for_vrid(&agent, 51, "master").unwrap();
    let unknown = change(&agent, &json!({ "command": "drain", "instances": ["VI_9"] }));
    let error = format!("{:#}", unknown.expect_err("no such instance"));
    assert!(error.contains("no instance or sync group is named \"VI_9\""), "{error}");
}

/// Returns a command that runs a copy of `vipd` as an unprivileged user in this group, and the
/// temporary directory of the copy. The directory must outlive the command.
fn command_as(group: u32, arguments: &[&str]) -> (Command, TempDir) {
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
    (command, directory)
}

/// Runs a `vipd` command on node 1 as an unprivileged user in one group. Returns its standard
/// error.
fn run_as(lab: &Lab, group: u32, arguments: &[&str]) -> Result<String, String> {
    let (mut command, _directory) = command_as(group, arguments);
    let output = lab.host(ONE).unwrap().run(move || anyhow::Ok(command.output()?)).unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// Group 1 (daemon) may query the agent, group 2 (bin) may also change it, and other users may do
/// neither. A reload applies a changed `[control]` table.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn rights_to_query_and_change_the_agent_depend_on_groups() {
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
    let (command, _directory) = command_as(1, &["events", "--follow"]);
    let mut follower = Process::spawn(lab.host(ONE).unwrap(), command).unwrap();
    wait_until("the follower to receive events", TIMEOUT, || !follower.log().is_empty()).unwrap();
    // Without the table, users other than root have no access.
    agent.configure(instances).unwrap();
    assert_eq!(reload(&agent).unwrap(), ["control: access to the control socket changed"]);
    for group in [1, 2] {
        run_as(&lab, group, &["status"]).expect_err("the socket is closed to others");
    }
    let received = follower.log().len();
    change(&agent, &json!({ "command": "undrain", "instances": [] })).unwrap();
    wait_for_vrid(&agent, 51, "master").unwrap();
    wait_until("the follower to be disconnected", TIMEOUT, || !follower.is_running().unwrap()).unwrap();
    assert_eq!(follower.log().len(), received, "{:#?}", follower.log());
}

/// The higher-priority master hands over mastership, and becomes master again when the other node
/// hands mastership back.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn failover_moves_mastership_despite_a_higher_priority() {
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
    assert_eq!(change(&one, &failover).unwrap(), ["VI_51: mastership released"]);
    wait_for_state(&two, "master", TIMEOUT).unwrap();
    wait_for_state(&one, "backup", TIMEOUT).unwrap();
    assert_eq!(status(&one).unwrap()[0].text("vipd:last-transition-reason"), "failover");
    // Twenty adverts take long enough for several elections.
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
