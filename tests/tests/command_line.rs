//! The `vipd` program as a client of a running agent: output, exit status and warnings.

use std::process::Command;
use std::time::Duration;

use vipd_tests::agent::Agent;
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::control::{wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::wait::wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);

/// Output of a finished command.
struct Finished {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `vipd` on a node, by default with the runtime directory of the node's agent.
fn run(lab: &Lab, station: Station, arguments: &[&str]) -> Finished {
    let mut command = Command::new(vipd_binary().unwrap());
    command.env("VIPD_RUNTIME_DIR", Agent::runtime_dir()).args(arguments);
    let output = lab.host(station).unwrap().run(move || anyhow::Ok(command.output()?)).unwrap();
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn instance(priority: u8, more: &str) -> String {
    format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\npriority = {priority}\n\
         advert_interval = \"100ms\"\nvirtual_addresses = [\"192.168.122.50/24\"]\n{more}\n"
    )
}

fn start(lab: &Lab, station: Station, configuration: String) -> Agent {
    let mut agent = Agent::with_configuration(lab, station, vipd().unwrap(), configuration).unwrap();
    agent.start().unwrap();
    agent
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn failover_succeeds_only_if_another_node_takes_over() {
    let lab = Lab::new(2).unwrap();
    let one = start(&lab, ONE, instance(200, ""));
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    let Finished { code, stdout, stderr } = run(&lab, ONE, &["failover", "VI_1"]);
    assert_eq!(stdout, "VI_1: mastership released\n", "{stderr}");
    assert_eq!(stderr, "vipd: VI_1: no other router took over, and this node is master again\n");
    assert_eq!(code, Some(1));

    let two = start(&lab, TWO, instance(100, ""));
    wait_for(&two, "backup of node 1", TIMEOUT, |status| {
        status.text("state") == "backup" && status.address("last-adv-source").is_some()
    })
    .unwrap();
    let Finished { code, stdout, stderr } = run(&lab, TWO, &["failover", "VI_1"]);
    assert_eq!(stdout, "");
    assert!(
        stderr.contains("VI_1 is in state backup, not master; run the command on the master"),
        "{stderr}"
    );
    assert_eq!(code, Some(1));
    let Finished { code, stdout, stderr } = run(&lab, ONE, &["failover", "VI_1"]);
    let source = wait_for_state(&two, "master", TIMEOUT).unwrap().address("vipd:primary-address").unwrap();
    assert_eq!(stdout, format!("VI_1: mastership released\nVI_1: {source} is master\n"), "{stderr}");
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn status_shows_settings_and_the_reason_for_initialize() {
    let lab = Lab::new(1).unwrap();
    let more = "unicast_source = \"192.168.122.11\"\n\
                unicast_peers = [\"192.168.122.2\", { address = \"192.168.122.3\", min_ttl = 64 }]\n\
                startup_delay = \"1000s\"\npreempt_delay = \"30s\"\naccept = false\n\
                routes = [{ to = \"10.9.0.0/16\", via = \"192.168.122.9\" }]\n\
                rules = [{ from = \"10.9.0.1\", table = 100, priority = 100 }]";
    let agent = start(&lab, ONE, instance(100, more));
    let waiting = wait_for(&agent, "waiting for startup_delay", TIMEOUT, |status| {
        status.text("vipd:initialize-reason") == "startup_delay"
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(waiting.text("state"), "initialize");
    let left = waiting.number("vipd:starts-in-ns").unwrap();
    assert!((900_000_000_000..=1_000_000_000_000).contains(&left), "{left}");

    let table = run(&lab, ONE, &["status"]);
    assert!(table.stdout.contains("\n  initialize: startup_delay, 16m"), "{}", table.stdout);
    let details = run(&lab, ONE, &["status", "VI_1"]);
    for line in [
        "  waits for       startup_delay, 16m",
        "  startup delay   1000s\n",
        "  preempt         yes, after 30s\n",
        "  accept          no\n",
        "  unicast peer    192.168.122.2, no advert received\n",
        "  unicast peer    192.168.122.3 (min_ttl 64), no advert received\n",
        "  route           10.9.0.0/16 via 192.168.122.9\n",
        "  rule            from 10.9.0.1/32 table 100 priority 100\n",
    ] {
        assert!(details.stdout.contains(line), "{line:?} is missing in:\n{}", details.stdout);
    }
    assert_eq!((table.code, details.code), (Some(0), Some(0)));
    let unknown = run(&lab, ONE, &["status", "VI_2"]);
    assert_eq!(
        (unknown.stderr.as_str(), unknown.code),
        ("vipd: no instance or sync group is named \"VI_2\"; instances: VI_1\n", Some(1))
    );
}

/// A command that cannot be run must not keep the agent from starting, but the agent must log a
/// warning at startup.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn agent_warns_about_commands_that_cannot_be_run() {
    let lab = Lab::new(1).unwrap();
    let text = instance(
        100,
        "track = [{ script = \"web\", weight = -1 }]\nnotify = { master = [\"/nonexistent/notify\"] }",
    ) + "[[script]]\nname = \"web\"\ncommand = [\"/nonexistent/check\"]\n";
    let agent = start(&lab, ONE, text);
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    for warning in [
        ":21: notify.master: /nonexistent/notify cannot be run: No such file or directory",
        ":11: command: /nonexistent/check cannot be run: No such file or directory",
    ] {
        wait_until(&format!("the warning {warning}"), TIMEOUT, || {
            agent.log().iter().any(|line| line.text.contains("WARN") && line.text.contains(warning))
        })
        .unwrap_or_else(|error| panic!("{error}: {:#?}", agent.log()));
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn error_lists_other_running_agents_if_none_uses_the_directory() {
    let lab = Lab::new(1).unwrap();
    let agent = start(&lab, ONE, instance(100, ""));
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let output = run(&lab, ONE, &["--runtime-dir", "/nonexistent/vipd", "status"]);
    let running = Agent::runtime_dir().display().to_string();
    let expected = "vipd: no agent is running with the runtime directory /nonexistent/vipd; start one with `sudo vipd run \
                    -c FILE --runtime-dir /nonexistent/vipd`, or use ";
    assert!(output.stderr.starts_with(expected) && output.stderr.contains(&running), "{}", output.stderr);
    assert_eq!(output.code, Some(1));
}

/// The agent reads the file again, and the client shows the lines that the agent reports. The
/// client exits with status 1 if the file was not applied.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn reload_prints_each_error_on_one_line_to_a_pipe() {
    let lab = Lab::new(1).unwrap();
    let mut agent = start(&lab, ONE, instance(100, ""));
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    agent.configure(instance(0, "")).unwrap();
    let refused = run(&lab, ONE, &["reload"]);
    let lines: Vec<&str> = refused.stderr.lines().collect();
    let [problem, summary] = lines.as_slice() else { panic!("{}", refused.stderr) };
    assert!(problem.contains(":12: priority is 0; it must be an integer from 1 to 255"), "{problem}");
    assert!(
        summary.starts_with("vipd: ") && summary.ends_with(": 1 problem; nothing has changed"),
        "{summary}"
    );
    assert_eq!((refused.stdout.as_str(), refused.code), ("", Some(1)));
    agent.configure(instance(120, "")).unwrap();
    let applied = run(&lab, ONE, &["reload"]);
    assert_eq!((applied.stdout.as_str(), applied.code), ("VI_1: priority 100 → 120\n", Some(0)));
    let unchanged = run(&lab, ONE, &["reload"]);
    let expected = ("the configuration has not changed\n", Some(0));
    assert_eq!((unchanged.stdout.as_str(), unchanged.code), expected, "{}", unchanged.stderr);
}
