//! A working day of an administrator, from start to stop, as observed by a client.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::{change, reload, stats, wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::probe::Prober;
use vipd_tests::station::Station;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 122, 50);
/// Active_Down_Interval of node 2: the outage after the loss of a master that sends no priority-0
/// advert.
const MASTER_DOWN: Duration = Duration::from_millis(3609);

/// Returns a configuration that tracks whether the served program is installed.
fn configuration(priority: u8, second_vip: bool, directory: &Path) -> String {
    let more = if second_vip { ", \"192.168.122.51/24\"" } else { "" };
    let directory = directory.display();
    format!(
        "[[script]]\nname = \"service\"\ncommand = [\"{directory}/check\"]\ninterval = \"200ms\"\ntimeout = \"20s\"\n\
         [[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\npriority = {priority}\n\
         virtual_addresses = [\"{VIP}/24\"{more}]\ntrack = [{{ script = \"service\", weight = -150 }}]\n\
         notify = {{ any = [\"{directory}/notify\"] }}\n"
    )
}

fn write_script(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
}

fn wait(agent: &Agent, state: &str, priority: u64) {
    wait_for(agent, &format!("{state} with priority {priority}"), TIMEOUT, |status| {
        status.text("state") == state
            && status.number("effective-priority").is_ok_and(|found| found == priority)
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
}

fn transitions(agent: &Agent) -> u64 {
    stats(agent).expect("stats").1[0].number("master-transitions").expect("a number")
}

/// A master sends a priority-0 advert when it is drained or stopped, or hands over mastership, so
/// that the backup does not wait for its Active_Down_Interval.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn client_never_waits_for_a_timeout_during_planned_changes() {
    let lab = Lab::new(2).expect("create the lab");
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let program = directory.join("program");
    fs::write(&program, "version 1").expect("written");
    write_script(directory, "check", &format!("test -e {}", program.display()));
    write_script(directory, "notify", &format!("echo \"$3\" >>{}/notified", directory.display()));

    let start = |station, priority| {
        let text = configuration(priority, false, directory)
            .replace("notify = {", if station == ONE { "notify = {" } else { "# notify = {" });
        let mut agent =
            Agent::with_configuration(&lab, station, vipd().expect("vipd binary"), text).expect("created");
        agent.start().expect("started");
        agent
    };
    let mut one = start(ONE, 200);
    wait(&one, "master", 200);
    let mut two = start(TWO, 100);
    wait(&two, "backup", 100);
    let client = lab.host(Station::Client).expect("the client");
    let prober = Prober::start(client, VIP, Duration::from_millis(20)).expect("pinging");
    wait_until_answered(&prober);

    // A reload of an invalid file changes nothing, and a reload of a valid file does not interrupt
    // the service.
    one.configure(configuration(200, true, directory).replace("vrid = 51", "vrid = 510")).expect("written");
    let refused = format!("{:#}", reload(&one).expect_err("the file is invalid"));
    assert!(refused.contains("vrid is 510"), "{refused}");
    one.configure(configuration(180, true, directory)).expect("written");
    assert_eq!(
        reload(&one).expect("reloaded"),
        ["VI_1: priority 200 → 180", "VI_1: virtual address 192.168.122.51/24 added"]
    );
    wait(&one, "master", 180);
    assert_eq!((transitions(&one), transitions(&two)), (1, 0));

    // Maintenance: the node is drained while the served program is replaced.
    change(&one, &json!({ "command": "drain", "instances": [] })).expect("drained");
    wait_for_state(&two, "master", TIMEOUT).expect("node 2 takes over");
    fs::remove_file(&program).expect("removed");
    // The check also fails on node 2, which remains master because node 1 is drained.
    wait(&two, "master", 1);
    fs::write(&program, "version 2").expect("installed");
    wait(&two, "master", 100);
    wait(&one, "fault", 180);
    change(&one, &json!({ "command": "undrain", "instances": [] })).expect("undrained");
    wait(&one, "master", 180);
    wait_for_state(&two, "backup", TIMEOUT).expect("node 2 is backup");

    // A failover by command, then the shutdown of both nodes.
    change(&one, &json!({ "command": "failover", "instances": ["VI_1"] })).expect("handed over");
    wait_for_state(&two, "master", TIMEOUT).expect("node 2 is master");
    two.stop().expect("stop node 2");
    wait(&one, "master", 180);
    let pings = prober.stop().expect("pinged");
    one.stop().expect("stop node 1");

    let (_, outage) = pings.longest_gap().expect("replies");
    assert!(outage < MASTER_DOWN, "{outage:?} without a reply, {} of {} lost", pings.lost(), pings.sent());
    let notified = fs::read_to_string(directory.join("notified")).expect("notified");
    let states: Vec<_> = notified.lines().collect();
    let expected = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "BACKUP", "MASTER", "STOP"];
    assert!(states.ends_with(&expected), "{states:?}");
}

fn wait_until_answered(prober: &Prober) {
    vipd_tests::wait::wait_until("the VIP to answer", TIMEOUT, || prober.answered() > 0).expect("answered");
}
