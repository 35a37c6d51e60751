//! Tracked objects move mastership, and misbehaving checks do not affect the agent.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::{Reply, change, reload, status, wait_for, wait_for_state};
use vipd_tests::frame::Frame;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the configuration of one instance with an interval of 100 ms, these tracked objects, and
/// additional tables.
fn configuration(priority: u8, track: &str, tables: &str) -> String {
    format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 1\npriority = {priority}\n\
         advert_interval = \"100ms\"\nvirtual_addresses = [\"10.0.1.1\"]\ntrack = [{track}]\n{tables}"
    )
}

fn start(lab: &Lab, station: Station, text: String) -> Agent {
    let program = vipd().expect("vipd binary");
    let mut agent = Agent::with_configuration(lab, station, program, text).expect("create the agent");
    agent.start().expect("start the agent");
    agent
}

/// Starts a backup with priority 150.
fn start_other(lab: &Lab) -> Agent {
    start(lab, TWO, configuration(150, "", ""))
}

/// A directory with executable scripts.
struct Scripts(TempDir);

impl Scripts {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Creates a script and returns a `[[script]]` that runs it every 200 ms. The timeout is long,
    /// because a run may take seconds on a busy machine.
    fn check(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
        let path = path.display();
        format!(
            "[[script]]\nname = \"{name}\"\ncommand = [\"{path}\"]\ninterval = \"200ms\"\ntimeout = \"20s\"\n"
        )
    }
}

fn wait_for_priority(agent: &Agent, priority: u64) {
    wait_for(agent, &format!("priority {priority}"), TIMEOUT, |status| {
        status.number("effective-priority").is_ok_and(|found| found == priority)
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}", status(agent)));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn weighted_script_moves_mastership_and_returns_it() {
    let lab = Lab::new(2).expect("create the lab");
    let scripts = Scripts::new();
    let flag = scripts.path("healthy");
    fs::write(&flag, "").expect("written");
    let check =
        scripts.check("web", &format!("test -e {} || {{ echo web is gone; exit 3; }}", flag.display()));
    let one = start(&lab, ONE, configuration(200, "{ script = \"web\", weight = -60 }", &check));
    wait_for_state(&one, "master", TIMEOUT).expect("node 1 is master");
    let two = start_other(&lab);
    wait_for_state(&two, "backup", TIMEOUT).expect("node 2 is backup");
    wait_until("the first run", TIMEOUT, || {
        status(&one).is_ok_and(|all| all[0].0["vipd:track"][0]["detail"] == "succeeded")
    })
    .expect("the script has run");

    fs::remove_file(&flag).expect("removed");
    wait_for_state(&two, "master", TIMEOUT).expect("node 2 takes over");
    wait_for_state(&one, "backup", TIMEOUT).expect("node 1 is backup");
    let shown = &status(&one).expect("status")[0].0;
    assert_eq!(shown["effective-priority"], 140);
    assert_eq!(shown["vipd:track-weight"], -60);
    let object = &shown["vipd:track"][0];
    assert_eq!(
        (&object["kind"], &object["name"], &object["state"]),
        (&json!("script"), &json!("web"), &json!("down"))
    );
    assert_eq!(object["detail"], "exit status 3: web is gone");
    assert_eq!((&object["weight"], &object["changes"]), (&json!(-60), &json!(1)));

    fs::write(&flag, "").expect("written");
    wait_for_state(&one, "master", TIMEOUT).expect("node 1 preempts");
    wait_for_state(&two, "backup", TIMEOUT).expect("node 2 is backup");
    assert_eq!(status(&one).expect("status")[0].0["vipd:track"][0]["changes"], 2);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn script_runs_as_its_user_without_capabilities() {
    let lab = Lab::new(1).expect("create the lab");
    let scripts = Scripts::new();
    let check = scripts.check("who", "echo $(id -un) $(id -gn) $(grep CapEff /proc/self/status); exit 1");
    // `nobody` must be able to execute the script.
    fs::set_permissions(scripts.0.path(), Permissions::from_mode(0o755)).expect("accessible");
    let user = "user = \"nobody\"\n";
    let agent = start(&lab, ONE, configuration(200, "{ script = \"who\", weight = -1 }", &(check + user)));
    wait_until("the first result", TIMEOUT, || {
        status(&agent).is_ok_and(|all| all[0].0["vipd:track"][0]["state"] == "down")
    })
    .expect("the script has run");
    let detail = status(&agent).expect("status")[0].0["vipd:track"][0]["detail"].clone();
    assert_eq!(detail, "exit status 1: nobody nogroup CapEff: 0000000000000000");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unweighted_script_causes_a_fault_with_a_priority_zero_advert() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("capture");
    let scripts = Scripts::new();
    let flag = scripts.path("healthy");
    fs::write(&flag, "").expect("written");
    let check = scripts.check("web", &format!("test -e {}", flag.display()));
    let one = start(&lab, ONE, configuration(200, "{ script = \"web\" }", &check));
    wait_for_state(&one, "master", TIMEOUT).expect("node 1 is master");
    let two = start_other(&lab);
    wait_for_state(&two, "backup", TIMEOUT).expect("node 2 is backup");
    let since = WallTime::now();
    fs::remove_file(&flag).expect("removed");
    wait_for_state(&two, "master", TIMEOUT).expect("node 2 takes over");
    let reason = wait_for(&one, "fault", TIMEOUT, |status| status.text("state") == "fault").expect("fault");
    assert_eq!(reason.text("vipd:fault-reason"), "script web is down: exit status 1");
    let zeros = capture.filter_map(since, |frame| frame.advert().filter(|advert| advert.priority == 0));
    assert_eq!(zeros.len(), 1, "one priority-0 advert");
    fs::write(&flag, "").expect("written");
    wait_for_state(&one, "master", TIMEOUT).expect("node 1 is master again");
}

/// Scripts hang, leave processes behind, flood their output, are ended by a signal, or do not
/// exist. Each fails only its own check, and the master keeps advertising.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn misbehaving_scripts_fail_without_disturbing_the_master() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("capture");
    let scripts = Scripts::new();
    // The duration is unique on this machine, so that the test can find its `sleep` processes.
    let duration = format!("2000.{}", std::process::id());
    let mut tables = String::new();
    for (name, text) in [
        ("hang", format!("trap '' TERM; sleep {duration}; sleep {duration}")),
        ("fork", format!("sleep {duration} & sleep {duration} & exec sleep {duration}")),
        ("flood", "exec cat /dev/zero".to_owned()),
        ("signal", "kill -SEGV $$".to_owned()),
    ] {
        tables += &scripts.check(name, &text).replace("20s", "300ms");
    }
    tables += "[[script]]\nname = \"missing\"\ncommand = [\"/no/such/file\"]\ninterval = \"200ms\"\n";
    let names = ["hang", "fork", "flood", "signal", "missing"];
    let track: Vec<_> = names.iter().map(|name| format!("{{ script = \"{name}\", weight = -5 }}")).collect();
    let one = start(&lab, ONE, configuration(200, &track.join(", "), &tables));
    let two = start_other(&lab);
    wait_for_priority(&one, 175);
    wait_for_state(&one, "master", TIMEOUT).expect("node 1 is master");
    wait_for_state(&two, "backup", TIMEOUT).expect("node 2 is backup");
    let details: Vec<_> = status(&one).expect("status")[0].0["vipd:track"]
        .as_array()
        .expect("objects")
        .iter()
        .map(|object| object["detail"].as_str().unwrap_or_default().to_owned())
        .collect();
    let expected =
        ["timed out", "timed out", "timed out", "ended by signal 11", "exit status 126: /no/such/file"];
    for (found, expected) in details.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found:?} instead of {expected:?}");
    }
    let since = WallTime::now();
    wait_until("fifty adverts of the master", TIMEOUT, || {
        capture.filter_map(since, Frame::advert).len() >= 50
    })
    .expect("adverts");
    let others = capture.filter_map(since, |frame| frame.advert().filter(|advert| advert.priority != 175));
    assert_eq!(others.len(), 0, "no other router advertised: {others:?}");
    drop(one);
    wait_until("all processes of the checks to be gone", TIMEOUT, || !is_slept_for(&duration)).expect("gone");
}

/// A default route and a prefix are added and removed.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn priority_follows_tracked_routes() {
    let lab = Lab::new(1).expect("create the lab");
    let ip = |arguments: &str| {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let run =
            move || -> anyhow::Result<bool> { Ok(Command::new("ip").args(arguments).status()?.success()) };
        assert!(lab.host(ONE).expect("node 1").run(run).expect("run ip"));
    };
    let track = "{ route = \"default\", weight = -20 }, { route = \"172.16.0.0/12\", weight = -7 }";
    let agent = start(&lab, ONE, configuration(150, track, ""));
    wait_for_priority(&agent, 123);
    ip("route add default dev eth1");
    wait_for_priority(&agent, 143);
    ip("route add 172.16.0.0/12 dev eth1");
    wait_for_priority(&agent, 150);
    // A more specific route does not match the tracked prefix.
    ip("route add 172.16.1.0/24 dev eth1");
    ip("route delete 172.16.0.0/12");
    wait_for_priority(&agent, 143);
    ip("route delete default");
    wait_for_priority(&agent, 123);
    assert_eq!(status(&agent).expect("status")[0].0["vipd:track"][0]["detail"], "is not in the main table");
}

/// Returns whether a `sleep` of this duration is running on this machine.
fn is_slept_for(duration: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("read /proc").flatten();
    let mut commands = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands.any(|command| command == format!("sleep\0{duration}\0").as_bytes())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn priority_is_the_sum_of_the_administrators_value_and_all_weights() {
    let lab = Lab::new(1).expect("create the lab");
    let scripts = Scripts::new();
    let weight = scripts.path("weight");
    let ip = |arguments: &str| {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let run =
            move || -> anyhow::Result<bool> { Ok(Command::new("ip").args(arguments).status()?.success()) };
        assert!(lab.host(ONE).expect("node 1").run(run).expect("run ip"));
    };
    ip("link add tracked0 type veth peer name tracked1");
    ip("link set tracked1 up");
    ip("link set tracked0 up");
    let file = format!("[[file]]\nname = \"manual\"\npath = \"{}\"\n", weight.display());
    let track = "{ interface = \"tracked0\", weight = -50 }, { file = \"manual\" }";
    let mut agent = start(&lab, ONE, configuration(150, track, &file));
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    wait_for_priority(&agent, 150);
    ip("link set tracked1 down");
    wait_for_priority(&agent, 100);
    fs::write(&weight, "-30\n").expect("written in place");
    wait_for_priority(&agent, 70);
    let other = scripts.path("other");
    fs::write(&other, "5\n").expect("written");
    fs::rename(&other, &weight).expect("renamed");
    wait_for_priority(&agent, 105);
    let wanted = json!({ "command": "priority", "instance": "VI_1", "priority": 200 });
    change(&agent, &wanted).expect("changed");
    wait_for_priority(&agent, 155);
    ip("link set tracked1 up");
    wait_for_priority(&agent, 205);
    ip("link delete tracked0");
    wait_for_priority(&agent, 155);
    // The reload removes the interface from `track`, and the administrator's priority still
    // applies.
    agent.configure(configuration(150, "{ file = \"manual\", weight = 2 }", &file)).expect("configured");
    assert_eq!(reload(&agent).expect("reloaded"), ["VI_1: track changed"]);
    wait_for_priority(&agent, 210);
    assert_eq!(status(&agent).expect("status")[0].text("state"), "master", "without a transition");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn instance_is_in_fault_until_the_tracked_program_runs() {
    let lab = Lab::new(1).expect("create the lab");
    let scripts = Scripts::new();
    let program = scripts.path("daemon");
    fs::copy("/usr/bin/sleep", &program).expect("copied");
    let [begin, end, pid] = ["begin", "end", "pid"].map(|name| scripts.path(name));
    // The script starts and ends the program in the agent's PID namespace.
    let launcher = format!(
        "if rm {} 2>/dev/null; then {} 1000 </dev/null >/dev/null 2>&1 & echo $! >{pid}; fi\n\
         if rm {} 2>/dev/null; then kill $(cat {pid}); fi; true",
        begin.display(),
        program.display(),
        end.display(),
        pid = pid.display()
    );
    let tables = scripts.check("launcher", &launcher)
        + &format!("[[process]]\nname = \"daemon\"\nexecutable = \"{}\"\n", program.display());
    let track = "{ process = \"daemon\" }, { script = \"launcher\" }";
    let mut agent = start(&lab, ONE, configuration(150, track, &tables));
    let is_missing =
        |status: &Reply| status.text("vipd:fault-reason") == "process daemon is down: 0 found, 1 required";
    wait_for(&agent, "fault", TIMEOUT, is_missing).expect("fault");
    fs::write(&begin, "").expect("written");
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    fs::write(&end, "").expect("written");
    wait_for(&agent, "fault", TIMEOUT, is_missing).expect("fault");
    agent.stop().expect("stop the agent");
}
