//! An agent that runs as an unprivileged user with exactly the capabilities of the unit.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use vipd_tests::command;

use super::*;

/// Waits until the scripts have run, and returns the reported detail of each tracked object by
/// name.
fn outputs(agent: &Running) -> BTreeMap<String, String> {
    let read = || -> BTreeMap<String, String> {
        let instance = agent.instance("VI_1");
        let objects = instance["vipd:track"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        objects.iter().map(|object| (text(&object["name"]), text(&object["detail"]))).collect()
    };
    let is_complete = || {
        ["other", "own", "none", "root"]
            .iter()
            .all(|name| read().get(*name).is_some_and(|detail| detail != "has not run yet"))
    };
    wait_until("the scripts to run", TIMEOUT, is_complete)
        .unwrap_or_else(|error| panic!("{error}: {:?}", read()));
    read()
}

/// An agent that does not run as root can still do everything that needs a capability, and can run
/// programs as other users.
#[test]
#[ignore = "needs root"]
fn agent_with_only_the_privileges_of_the_unit_works() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("the node");
    let sleep = Sleep::start(node);
    let agent = Running::start(node, false, &everything());
    agent.wait_for("VI_2", "master");
    let first = agent.wait_for("VI_1", "master");
    assert_eq!(first["vipd:fence"], "full", "{first}");
    let outputs = outputs(&agent);
    let own = USER.to_string();
    let unit = set(unit_capabilities().iter().filter_map(|name| name.strip_prefix("CAP_")));
    let permitted = |name: &str| {
        let digits: String = outputs[name].chars().filter(char::is_ascii_hexdigit).collect();
        let digits = &digits[digits.len() - 16..];
        u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{:?}", outputs[name]))
    };
    assert_eq!((outputs["other"].as_str(), outputs["own"].as_str()), ("65534", own.as_str()));
    assert_eq!((permitted("none"), permitted("root")), (0, unit));
    let has = |address: [u8; 4]| {
        command::address_line(node, Ipv4Addr::from(address).into()).expect("addresses").is_some()
    };
    let route = || command::run(node, "ip", &["route", "show", "10.9.0.0/16"]).expect("routes");
    wait_until("the VIPs", TIMEOUT, || has([10, 0, 1, 1]) && has([10, 0, 1, 2])).expect("added");
    wait_until("the route", TIMEOUT, || !route().is_empty()).expect("added");

    // Changes an instance, and adds one with a macvlan.
    let changed = everything().replace("accept = false", "accept = false\npriority = 150");
    agent.write(&format!("{changed}{}", instance("VI_3", 3, "virtual_mac = true")));
    let reloaded = agent.change(&["reload"]);
    assert!(reloaded.contains("VI_3") && reloaded.contains("150"), "{reloaded}");
    agent.wait_for("VI_3", "master");
    agent.change(&["drain", "VI_1"]);
    agent.wait_for("VI_1", "fault");
    wait_until("the VIP to be removed", TIMEOUT, || !has([10, 0, 1, 1])).expect("removed");
    agent.change(&["undrain", "VI_1"]);
    agent.wait_for("VI_1", "master");

    // A tracked process of another user ends.
    drop(sleep);
    agent.wait_for("VI_1", "fault");
    agent.signal(Signal::TERM);
    let (status, log) = agent.wait();
    assert!(status.success(), "{status}\n{log}");
    assert!(!has([10, 0, 1, 1]) && !has([10, 0, 1, 2]) && !has([10, 0, 1, 3]));
    // The faults above are warnings.
    let mut problems = log.lines().filter(|line| !line.contains("state changed"));
    assert!(!problems.any(|line| line.contains("ERROR") || line.contains("WARN")), "{log}");
}

/// The agent needs CAP_KILL to kill a script of another user.
#[test]
#[ignore = "needs root"]
fn script_of_another_user_is_killed_after_its_timeout() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("the node");
    let script = "[[script]]\nname = \"slow\"\ncommand = [\"/usr/bin/sleep\", \"600\"]\nuser = \"nobody\"\n\
                  interval = \"100ms\"\ntimeout = \"100ms\"\n";
    let track = "track = [{ script = \"slow\" }]";
    let agent = Running::start(node, false, &format!("{NO_GUARDIAN}{script}{}", instance("VI_1", 1, track)));
    // Each run is a new process, and starts only after the previous run has ended. The third
    // process therefore shows that the first two were killed.
    let pids = || {
        let children = format!("/proc/{0}/task/*/children", agent.child.id());
        let output = Command::new("sh").arg("-c").arg(format!("cat {children}")).output().expect("sh runs");
        String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let mut seen = BTreeSet::new();
    wait_until("the third run", TIMEOUT, || {
        seen.extend(pids());
        seen.len() >= 3
    })
    .expect("earlier runs have been killed");
    assert!(pids().len() <= 1, "{:?}", pids());
}

/// The process that has taken over from an agent; not a child of the test. It is killed on drop.
struct Successor(OwnedFd);

impl Successor {
    /// Opens the process named in `reply`, the output of `vipd upgrade`.
    fn new(reply: &str) -> Self {
        let id = reply.split("to process ").nth(1).and_then(|rest| rest.split(',').next());
        let id = id.and_then(|id| Pid::from_raw(id.parse().ok()?)).unwrap_or_else(|| panic!("{reply}"));
        Self(pidfd_open(id, PidfdFlags::empty()).expect("a process"))
    }

    fn signal(&self, signal: Signal) {
        // Fails if the process has already ended.
        let _ = pidfd_send_signal(&self.0, signal);
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// By default, the commands of an agent run as the agent's user, without the agent's capabilities.
/// The commands must not gain these capabilities through `vipd upgrade`.
#[test]
#[ignore = "needs root"]
fn only_root_may_choose_the_executable_of_an_upgrade() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("the node");
    let directory = Agent::runtime_dir().join("agent");
    let directory = directory.display();
    let script = format!(
        "[[script]]\nname = \"evil\"\ninterval = \"200ms\"\ncommand = [\"{directory}/vipd\", \"upgrade\", \
         \"--runtime-dir\", \"{directory}\", \"--exe\", \"/bin/true\"]\n"
    );
    let track = "track = [{ script = \"evil\", weight = 10 }]";
    let mut agent = Running::start(node, false, &format!("{script}{}", instance("VI_1", 1, track)));
    let detail = |agent: &Running| agent.instance("VI_1")["vipd:track"][0]["detail"].to_string();
    wait_until("the refusal", TIMEOUT, || detail(&agent).contains("only root may choose the executable"))
        .unwrap_or_else(|error| panic!("{error}: {}", detail(&agent)));
    agent.wait_for("VI_1", "master");

    let successor = Successor::new(&agent.change(&["upgrade"]));
    let is_ended = |agent: &mut Running| agent.child.try_wait().expect("a child").is_some();
    wait_until("the predecessor to end", TIMEOUT, || is_ended(&mut agent)).expect("ended");
    let status = agent.instance("VI_1");
    assert_eq!((&status["state"], &status["vipd:fence"]), (&"master".into(), &"full".into()), "{status}");
    successor.signal(Signal::TERM);
    let has_vip =
        || command::address_line(node, Ipv4Addr::new(10, 0, 1, 1).into()).expect("addresses").is_some();
    wait_until("the VIP to be removed", TIMEOUT, || !has_vip()).expect("removed");
    let (status, log) = agent.wait();
    assert!(status.success(), "{status}\n{log}");
}
