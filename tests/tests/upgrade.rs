//! `vipd upgrade`: another process takes over the routers of a running agent.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use vipd_tests::agent::Agent;
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::capture::Capture;
use vipd_tests::command::run;
use vipd_tests::control::{change, stats, status};
use vipd_tests::lab::Lab;
use vipd_tests::process::output;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);
/// VRIDs for which node 1 is master.
const OWN: [u8; 4] = [1, 2, 3, 4];
/// VRIDs for which node 2 is master, or node 1 in a lab without node 2.
const OTHERS: [u8; 2] = [5, 6];

/// Returns the configuration of an agent that has priority 200 for the VRIDs in `masters` and
/// priority 50 for all other VRIDs, followed by `more`.
fn configuration(masters: &[u8], more: &str) -> String {
    let mut text = String::new();
    for vrid in OWN.into_iter().chain(OTHERS) {
        let priority = if masters.contains(&vrid) { 200 } else { 50 };
        let settings = match vrid {
            2 => "virtual_mac = true",
            3 => "accept = false",
            4 => "routes = [{ to = \"10.99.0.0/16\", dev = \"eth1\" }]",
            _ => "",
        };
        let _ = write!(
            text,
            "[[instance]]\nname = \"VI_{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\npriority = {priority}\n\
             advert_interval = \"100ms\"\ngarp = {{ delay = \"0s\" }}\nvirtual_addresses = [\"10.0.{vrid}.1\"]\n{settings}\n"
        );
    }
    text + more
}

fn start(lab: &Lab, station: Station, text: String) -> Agent {
    let mut agent = Agent::with_configuration(lab, station, vipd().expect("vipd binary"), text)
        .expect("create the agent");
    agent.run_below_init();
    agent.start().expect("start the agent");
    agent
}

/// Starts both agents, and waits until each agent is master of its own virtual routers.
fn pair(lab: &Lab) -> (Agent, Agent) {
    let one = start(lab, ONE, configuration(&OWN, ""));
    let two = start(lab, TWO, configuration(&OTHERS, ""));
    for (agent, masters) in [(&one, &OWN[..]), (&two, &OTHERS[..])] {
        wait_for_masters(agent, masters);
    }
    (one, two)
}

fn wait_for_masters(agent: &Agent, masters: &[u8]) {
    let expected = |vrid: u8| if masters.contains(&vrid) { "master" } else { "backup" };
    let expected: Vec<_> = OWN.into_iter().chain(OTHERS).map(expected).collect();
    try_wait_until("the expected states", TIMEOUT, || Ok(states(agent)? == expected))
        .unwrap_or_else(|error| panic!("{error}: {:#?}", agent.log()));
}

fn states(agent: &Agent) -> Result<Vec<String>> {
    Ok(status(agent)?.iter().map(|status| status.text("state").to_owned()).collect())
}

/// Runs `vipd upgrade`. Returns whether it succeeded, and its output.
fn upgrade(agent: &Agent, executable: Option<&Path>) -> (bool, String) {
    let mut command = Command::new(vipd_binary().expect("vipd binary"));
    command.arg("--runtime-dir").arg(Agent::runtime_dir()).arg("upgrade");
    if let Some(executable) = executable {
        command.arg("--exe").arg(executable);
    }
    let output = output(agent.host(), command).expect("run vipd upgrade");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn upgrade_successfully(agent: &Agent) {
    let (succeeded, text) = upgrade(agent, None);
    assert!(succeeded && text.starts_with("handed over to process "), "{text}: {:#?}", agent.log());
}

/// Returns the value of a counter for each instance.
fn counters(agent: &Agent, name: &str) -> Vec<u64> {
    let (_, instances) = stats(agent).expect("stats");
    instances.iter().map(|instance| instance.number(name).expect("a counter")).collect()
}

/// Returns, for each virtual router, the number of adverts that a station has sent.
fn adverts(capture: &Capture, since: WallTime, station: Station) -> Vec<u64> {
    let count = |vrid: u8| {
        let sent = capture.filter_map(since, |frame| {
            frame.advert().filter(|advert| frame.from == station && advert.vrid == vrid)
        });
        sent.len() as u64
    };
    OWN.into_iter().chain(OTHERS).map(count).collect()
}

fn write_script(agent: &Agent, name: &str, text: &str) -> PathBuf {
    let path = Agent::runtime_dir().join(name);
    let (file, text) = (path.clone(), format!("#!/bin/sh\n{text}\n"));
    agent.host().run(move || {
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("executable");
    });
    path
}

fn log_has(agent: &Agent, text: &str) -> bool {
    agent.log().iter().any(|line| line.text.contains(text))
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn masters_and_backups_keep_their_states_and_counters() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let begin = WallTime::now();
    let (one, two) = pair(&lab);
    let nodes = [(&one, ONE), (&two, TWO)];
    let transitions = nodes.map(|(agent, _)| counters(agent, "master-transitions"));
    let received = counters(&one, "advertisement-rcvd");
    let start = WallTime::now();
    for round in 0..3 {
        for (agent, station) in nodes {
            upgrade_successfully(agent);
            let seen = adverts(&capture, begin, station);
            let counted = counters(agent, "advertisement-sent");
            assert!(seen.iter().zip(&counted).all(|(seen, counted)| seen <= counted), "{seen:?} {counted:?}");
            wait_until("the counted adverts to be captured", TIMEOUT, || {
                adverts(&capture, begin, station).iter().zip(&counted).all(|(seen, counted)| seen >= counted)
            })
            .expect("no advert is counted twice");
        }
        assert_eq!(
            nodes.map(|(agent, _)| counters(agent, "master-transitions")),
            transitions,
            "round {round}: {:#?}",
            one.log()
        );
    }
    wait_for_masters(&one, &OWN);
    wait_for_masters(&two, &OTHERS);
    let now = counters(&one, "advertisement-rcvd");
    assert!(received.iter().zip(&now).all(|(before, now)| before <= now), "{received:?} {now:?}");
    assert!(now.iter().sum::<u64>() > received.iter().sum(), "the successor receives adverts");
    let leaving = capture.filter_map(start, |frame| frame.advert().filter(|advert| advert.priority == 0));
    assert_eq!(leaving, [], "no priority-0 advert");
    for (_, station) in nodes {
        let own = if station == ONE { &OWN[..] } else { &OTHERS[..] };
        let foreign = capture.filter_map(start, |frame| {
            frame.advert().filter(|advert| frame.from == station && !own.contains(&advert.vrid))
        });
        assert_eq!(foreign, [], "{station}: adverts of a backup");
    }
    let announced = capture.filter_map(start, |frame| frame.arp().filter(|arp| arp.sender == arp.target));
    assert_eq!(announced, [], "no VIP is announced");
    let addresses = run(one.host(), "ip", &["-o", "-4", "address"]).expect("list the addresses");
    for vrid in OWN {
        assert!(addresses.contains(&format!("10.0.{vrid}.1/")), "{addresses}");
    }
    let routes = run(one.host(), "ip", &["route"]).expect("list the routes");
    assert!(routes.contains("10.99.0.0/16"), "{routes}");
    for agent in [&one, &two] {
        assert!(!log_has(agent, "ERROR") && !log_has(agent, " WARN "), "{:#?}", agent.log());
    }
}

/// Each successor inherits descriptors and maps from its predecessor.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn twenty_upgrades_leave_no_traces() {
    let lab = Lab::new(1).expect("create the lab");
    let mut agent = start(&lab, ONE, configuration(&OWN, ""));
    let all: Vec<u8> = OWN.into_iter().chain(OTHERS).collect();
    wait_for_masters(&agent, &all);
    for _ in 0..20 {
        upgrade_successfully(&agent);
    }
    wait_for_masters(&agent, &all);
    assert_eq!(counters(&agent, "master-transitions"), [1; 6]);
    let capture = lab.capture().expect("start the capture");
    let start = WallTime::now();
    agent.stop().expect("stop the agent");
    wait_until("the priority-0 adverts", TIMEOUT, || {
        let leaving = capture.filter_map(start, |frame| frame.advert().filter(|advert| advert.priority == 0));
        leaving.len() == 6
    })
    .expect("sent");
    let addresses = run(agent.host(), "ip", &["-o", "-4", "address"]).expect("list the addresses");
    assert!(!addresses.contains("10.0."), "{addresses}");
    let links = run(agent.host(), "ip", &["-o", "link"]).expect("list the links");
    assert!(!links.contains("vrrp4-2"), "{links}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn nothing_changes_if_the_successor_fails() {
    let lab = Lab::new(1).expect("create the lab");
    let text = configuration(&OWN, "");
    let mut agent = start(&lab, ONE, text.clone());
    let all: Vec<u8> = OWN.into_iter().chain(OTHERS).collect();
    wait_for_masters(&agent, &all);
    let vipd = vipd_binary().expect("vipd binary");
    let vipd = vipd.display();
    let hung = write_script(&agent, "hung", "exec sleep 600");
    let killed = write_script(&agent, "killed", "kill -KILL $$");
    let starved = write_script(&agent, "starved", &format!("ulimit -n 40\nexec {vipd} \"$@\""));
    // SIGTERM is already pending when the successor starts.
    let stopped = format!("exec env --block-signal=TERM sh -c 'kill -TERM $$; exec {vipd} \"$@\"' sh \"$@\"");
    let stopped = write_script(&agent, "stopped", &stopped);
    let data = write_script(&agent, "data", "");
    let path = data.clone();
    agent.host().run(move || fs::set_permissions(path, Permissions::from_mode(0o644)).expect("changed"));
    for (executable, reason) in [
        (Path::new("/bin/true"), "it ended (exit status: 0) before it was ready"),
        (&killed, "it ended (signal: 9 (SIGKILL)"),
        (&hung, "it did not answer within 5 s"),
        (&starved, "the limit on open files is 40"),
        (&stopped, "a signal stopped the successor"),
        (&data, "is not executable"),
        (Path::new("/no/such/file"), "cannot be run: No such file or directory"),
    ] {
        let (succeeded, text) = upgrade(&agent, Some(executable));
        assert!(!succeeded && text.contains(reason), "{}: {text}", executable.display());
    }
    agent.configure(text.replace("priority = 50", "priority = 500")).expect("written");
    let (succeeded, problems) = upgrade(&agent, None);
    assert!(!succeeded && problems.contains("vipd.toml:") && problems.contains("500"), "{problems}");
    agent.configure(text).expect("written");
    wait_for_masters(&agent, &all);
    assert_eq!(counters(&agent, "master-transitions"), [1; 6]);
    upgrade_successfully(&agent);
    wait_for_masters(&agent, &all);
    assert_eq!(counters(&agent, "master-transitions"), [1; 6]);
}

/// A changed `fence` takes effect at the next start. A successor that applied the change would not
/// renew the leases that it inherits, and adverts from other routers, even with a lower priority,
/// would fence its VIPs.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn successor_keeps_the_fence() {
    let lab = Lab::new(1).expect("create the lab");
    let text = configuration(&OWN, "");
    let mut agent = start(&lab, ONE, text.clone());
    let all: Vec<u8> = OWN.into_iter().chain(OTHERS).collect();
    wait_for_masters(&agent, &all);
    let level = |agent: &Agent| status(agent).expect("status")[0].text("vipd:fence").to_owned();
    assert_eq!(level(&agent), "full");
    agent.configure(format!("fence = \"off\"\n{text}")).expect("written");
    change(&agent, &json!({"command": "reload"})).expect("reloaded");
    for _ in 0..2 {
        upgrade_successfully(&agent);
        assert_eq!(level(&agent), "full", "{:#?}", agent.log());
    }
    // A restart applies the changed `fence`.
    agent.stop().expect("stopped");
    agent.start().expect("started");
    wait_for_masters(&agent, &all);
    assert_eq!(level(&agent), "off");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn successor_applies_a_changed_configuration() {
    let lab = Lab::new(1).expect("create the lab");
    let text = configuration(&OWN, "");
    let mut agent = start(&lab, ONE, text.clone());
    let all: Vec<u8> = OWN.into_iter().chain(OTHERS).collect();
    wait_for_masters(&agent, &all);
    agent.configure(text.replace("\"10.0.1.1\"", "\"10.0.1.1\", \"10.0.1.2\"")).expect("written");
    upgrade_successfully(&agent);
    wait_until("the new VIP to be added", TIMEOUT, || {
        run(agent.host(), "ip", &["-o", "-4", "address"]).is_ok_and(|found| found.contains("10.0.1.2/"))
    })
    .expect("added");
    wait_for_masters(&agent, &all);
    assert_eq!(counters(&agent, "master-transitions"), [1; 6]);
}

/// State that an agent keeps outside its routers: drained instances, changed priorities, tracked
/// objects and events.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn successor_keeps_the_state_of_the_service() {
    let lab = Lab::new(1).expect("create the lab");
    let script = "[[script]]\nname = \"check\"\ncommand = [\"/bin/false\"]\ninterval = \"100ms\"\nfall = 3\n";
    let text = configuration(&OWN, script)
        .replace("vrid = 5\n", "vrid = 5\ntrack = [{ script = \"check\", weight = -20 }]\n");
    let agent = start(&lab, ONE, text);
    let effective = |position: usize| {
        let all = status(&agent).expect("status");
        all[position].number("effective-priority").expect("a priority")
    };
    wait_until("the script to fail", TIMEOUT, || effective(4) == 30).expect("failed");
    change(&agent, &json!({ "command": "drain", "instances": ["VI_1"] })).expect("drained");
    change(&agent, &json!({ "command": "priority", "instance": "VI_6", "priority": 77 })).expect("changed");
    wait_until("the priority", TIMEOUT, || effective(5) == 77).expect("changed");
    wait_until("the drained instance", TIMEOUT, || {
        states(&agent)
            .is_ok_and(|states| states[0] == "fault" && states[1..].iter().all(|one| one == "master"))
    })
    .expect("drained");
    let events = |agent: &Agent| {
        let mut command = Command::new(vipd_binary().expect("vipd binary"));
        command.arg("--runtime-dir").arg(Agent::runtime_dir()).args(["events", "--json"]);
        String::from_utf8(output(agent.host(), command).expect("events").stdout).expect("text")
    };
    let before = events(&agent);
    for _ in 0..2 {
        upgrade_successfully(&agent);
    }
    // The predecessor passes its events after the successor has taken over.
    wait_until("the events of the predecessors", TIMEOUT, || events(&agent).starts_with(&before))
        .unwrap_or_else(|error| panic!("{error:#}: {before}\n{}", events(&agent)));
    let after = events(&agent);
    assert!(!after[before.len()..].contains("state-changed"), "{after}");
    assert_eq!((effective(4), effective(5)), (30, 77));
    assert_eq!(states(&agent).expect("status")[0], "fault");
    change(&agent, &json!({ "command": "undrain", "instances": ["VI_1"] })).expect("undrained");
    change(&agent, &json!({ "command": "priority", "instance": "VI_6", "priority": null })).expect("reset");
    wait_until("the configured priority", TIMEOUT, || effective(5) == 50).expect("reset");
    wait_for_masters(&agent, &[1, 2, 3, 4, 5, 6]);
}
