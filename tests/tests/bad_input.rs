//! Invalid configurations and environments are reported, and do not affect other instances.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use vipd_tests::agent::Agent;
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::foreign_program::{ForeignProgram, Kind};
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::namespace::Namespace;
use vipd_tests::process::{Process, output};
use vipd_tests::routers::addresses;
use vipd_tests::station::{INTERFACE, PREFIX, Station};
use vipd_tests::wait::wait_until;

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(20);

fn configuration(instances: &[(&str, u8)]) -> String {
    let tables = instances.iter().map(|(interface, vrid)| {
        format!(
            "[[instance]]\nname = \"VI_{vrid}\"\ninterface = \"{interface}\"\nvrid = {vrid}\n\
             advert_interval = \"100ms\"\nvirtual_addresses = [\"10.0.{vrid}.1\"]\n"
        )
    });
    tables.collect()
}

/// Writes a configuration in the node's private directory, and returns the command that runs vipd
/// with it.
fn command(node: &Namespace, name: &str, configuration: &str) -> Command {
    let directory = Agent::runtime_dir().join(name);
    let file = directory.join("vipd.toml");
    let (text, path, folder) = (configuration.to_owned(), file.clone(), directory.clone());
    node.run(move || -> std::io::Result<()> {
        fs::create_dir_all(&folder)?;
        fs::write(path, text)
    })
    .expect("write the configuration");
    let mut command = Command::new(vipd_binary().expect("vipd binary"));
    command.arg("run").arg("-c").arg(file).arg("--runtime-dir").arg(directory);
    command
}

/// Returns the state and the fault reason of a VRID from `vipd status --json`, or `None` if the
/// agent does not answer or has no instance with this VRID.
fn state(node: &Namespace, directory: &Path, vrid: u8) -> Option<(String, String)> {
    let mut status = Command::new(vipd_binary().expect("vipd binary"));
    status.args(["status", "--json", "--runtime-dir"]).arg(directory);
    let answer = output(node, status).ok().filter(|answer| answer.status.success())?;
    let report: serde_json::Value = serde_json::from_slice(&answer.stdout).ok()?;
    let found = report["instances"].as_array()?.iter().find(|instance| instance["vrid"] == vrid)?;
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    Some((text("state"), text("vipd:fault-reason")))
}

struct Running {
    process: Process,
    node: Namespace,
    directory: PathBuf,
}

impl Running {
    fn start(lab: &Lab, name: &str, configuration: &str) -> Self {
        let node = lab.host(NODE).expect("lab host").clone();
        let process = Process::spawn(&node, command(&node, name, configuration)).expect("run the process");
        Self { process, node, directory: Agent::runtime_dir().join(name) }
    }

    fn expect(&self, vrid: u8, wanted: &str, reason: &str) {
        let seen = || state(&self.node, &self.directory, vrid);
        wait_until(&format!("VRID {vrid} to be {wanted}"), TIMEOUT, || {
            seen().is_some_and(|(state, why)| state == wanted && why.contains(reason))
        })
        .unwrap_or_else(|error| panic!("{error}: {:?} {:#?}", seen(), self.process.log()));
    }

    /// Waits for a log line that contains `text` and the BPF program ID `program`.
    fn wait_for_log(&self, text: &str, program: u32) {
        let program = format!("program={program}");
        let is_wanted = |line: &str| line.contains(text) && line.contains(&program);
        wait_until(&format!("the log to contain {text:?} and {program}"), 2 * TIMEOUT, || {
            self.process.log().iter().any(|line| is_wanted(&line.text))
        })
        .unwrap_or_else(|error| panic!("{error}: {:#?}", self.process.log()));
    }

    fn stop(mut self) {
        let status = self.process.terminate(TIMEOUT).expect("agent exits");
        assert!(status.success(), "{status}: {:#?}", self.process.log());
    }
}

/// Checks that the program exited with code 1 and a one-line error that contains all `words`. Log
/// lines of level INFO may precede the error.
fn assert_rejected(answer: &Output, words: &[&str]) {
    let message = String::from_utf8_lossy(&answer.stderr);
    assert_eq!(answer.status.code(), Some(1), "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    let errors = message.trim().lines().filter(|line| !line.contains(" INFO "));
    assert_eq!(errors.count(), 1, "not exactly one line: {message}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn missing_interface_is_a_fault_until_it_appears() {
    let lab = Lab::new(1).expect("create the lab");
    let agent = Running::start(&lab, "a", &configuration(&[(INTERFACE, 1), ("eth9", 2)]));
    agent.expect(1, "master", "");
    agent.expect(2, "fault", "interface eth9 does not exist");
    agent.stop();

    lab.unplug(NODE).expect("unplug");
    let agent = Running::start(&lab, "a", &configuration(&[(INTERFACE, 1)]));
    agent.expect(1, "fault", "interface eth1 does not exist");
    lab.plug(NODE).expect("plug in");
    agent.expect(1, "master", "");
    agent.stop();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn interface_without_address_is_a_fault_until_one_is_added() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    node.run(|| links::remove_address(INTERFACE, NODE.ipv4(), PREFIX)).expect("remove");
    let agent = Running::start(&lab, "a", &configuration(&[(INTERFACE, 1)]));
    agent.expect(1, "fault", "interface eth1 has no IPv4 address of its own");
    node.run(|| links::add_address(INTERFACE, NODE.ipv4(), PREFIX)).expect("add");
    agent.expect(1, "master", "");
    agent.stop();
}

/// Adds an interface on which a virtual router can become master.
fn add_second_interface(node: &Namespace) {
    let added = node.run(|| {
        links::add_bridge("eth2")?;
        links::set_up("eth2")?;
        links::add_address("eth2", Ipv4Addr::new(192, 0, 2, 1), 24)
    });
    added.expect("add an interface");
}

/// Attaches an XDP program of another application to [`INTERFACE`].
fn foreign_xdp(node: &Namespace) -> ForeignProgram {
    ForeignProgram::attach(node, INTERFACE, Kind::PassingXdp).expect("attach the program")
}

/// Returns whether a foreign XDP program is still attached to [`INTERFACE`].
fn is_attached(foreign: &ForeignProgram, node: &Namespace) -> bool {
    let mut link = Command::new("ip");
    link.args(["-j", "-d", "link", "show", "dev", INTERFACE]);
    let links = output(node, link).expect("run ip").stdout;
    let links: serde_json::Value = serde_json::from_slice(&links).expect("JSON");
    links[0]["xdp"]["prog"]["id"] == foreign.id()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn foreign_xdp_program_is_reported_and_kept() {
    let generic = |routers: &[(&str, u8)]| format!("xdp = \"generic\"\n\n{}", configuration(routers));
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let foreign = foreign_xdp(node);

    let alone = output(node, command(node, "alone", &generic(&[(INTERFACE, 2)]))).expect("run the process");
    assert_rejected(&alone, &["another XDP program is attached to eth1", "ip link set dev eth1 xdp off"]);

    node.run(|| links::add_bridge("eth2").and_then(|()| links::set_up("eth2"))).expect("add");
    let both = Running::start(&lab, "both", &generic(&[(INTERFACE, 2), ("eth2", 3)]));
    both.expect(2, "fault", "another XDP program is attached to eth1");
    assert!(is_attached(&foreign, node));
    // Once the other program is gone, vipd attaches its own program without a restart.
    drop(foreign);
    both.expect(2, "master", "");
    both.stop();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn tc_ingress_is_used_next_to_a_foreign_xdp_program() {
    let lab = Lab::new(2).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let foreign = foreign_xdp(node);
    let native = format!("xdp = \"native\"\n\n{}", configuration(&[(INTERFACE, 1)]));
    let agent = Running::start(&lab, "agent", &native);
    agent.expect(1, "master", "");
    let stronger = format!("{}priority = 200\n", configuration(&[(INTERFACE, 1)]));
    let mut stronger =
        Agent::with_configuration(&lab, Station::Node(2), vipd().expect("vipd"), stronger).expect("an agent");
    stronger.start().expect("start the second node");
    // At TC ingress, vipd receives the second node's adverts.
    agent.expect(1, "backup", "");
    assert!(is_attached(&foreign, node));
    agent.wait_for_log("another XDP program runs before", foreign.id());

    drop(foreign);
    let later = foreign_xdp(node);
    agent.wait_for_log("another XDP program runs before", later.id());
    agent.stop();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn second_agent_on_an_interface_is_rejected_until_the_first_ends() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let first = Running::start(&lab, "first", &configuration(&[(INTERFACE, 1)]));
    first.expect(1, "master", "");
    // The error contains no process ID: the lab runs the agents in separate PID namespaces.
    let refusal = "another vipd already serves eth1";

    let alone =
        output(node, command(node, "alone", &configuration(&[(INTERFACE, 1)]))).expect("run the process");
    assert_rejected(&alone, &[refusal]);

    add_second_interface(node);
    let same = configuration(&[(INTERFACE, 1), ("eth2", 3)]);
    let both = Running::start(&lab, "both", &same);
    both.expect(1, "fault", refusal);
    both.expect(3, "master", "");
    both.stop();
    first.expect(1, "master", "");
    let log = first.process.log();
    assert!(
        !log.iter().any(|line| line.text.contains("removed externally")),
        "the first agent's VIP was removed: {log:#?}"
    );

    let both = Running::start(&lab, "both", &same);
    both.expect(1, "fault", refusal);
    first.stop();
    both.expect(1, "master", "");
    both.stop();
}

/// Returns the number of macvlans on an interface.
fn macvlans(node: &Namespace, interface: &str) -> usize {
    let mut list = Command::new("ip");
    list.args(["-j", "link", "show", "type", "macvlan"]);
    let list = output(node, list).expect("run ip").stdout;
    let list: serde_json::Value = serde_json::from_slice(&list).expect("JSON");
    list.as_array().expect("an array").iter().filter(|macvlan| macvlan["link"] == interface).count()
}

/// The first agent changes sysctls of the interface and restores them on shutdown. A second agent
/// must not record the changed values as the original values.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn rejected_agent_creates_no_macvlan_and_keeps_the_original_sysctls() {
    let with_mac =
        |routers: &[(&str, u8)]| configuration(routers).replace("vrid =", "virtual_mac = true\nvrid =");
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let sysctl = || {
        let path = format!("/proc/sys/net/ipv4/conf/{INTERFACE}/arp_ignore");
        node.run(|| fs::read_to_string(path)).expect("read the sysctl").trim().to_owned()
    };
    let original = sysctl();
    let first = Running::start(&lab, "first", &with_mac(&[(INTERFACE, 1)]));
    first.expect(1, "master", "");
    assert_ne!(sysctl(), original, "the first agent changes arp_ignore");
    add_second_interface(node);
    let second = Running::start(&lab, "second", &with_mac(&[(INTERFACE, 1), ("eth2", 3)]));
    second.expect(1, "fault", "another vipd already serves eth1");
    second.expect(3, "master", "");
    assert_eq!(macvlans(node, INTERFACE), 1, "only the first agent has a macvlan on {INTERFACE}");
    first.stop();
    second.expect(1, "master", "");
    second.stop();
    assert_eq!(sysctl(), original);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn missing_capabilities_are_reported_with_a_remedy() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let mut unprivileged = command(node, "a", &configuration(&[(INTERFACE, 1)]));
    // The directory belongs to an ordinary user, as with `RuntimeDirectory=` and `User=` in a
    // systemd unit.
    node.run(|| std::os::unix::fs::chown(Agent::runtime_dir().join("a"), Some(65_534), None))
        .expect("change the owner");
    unprivileged.uid(65_534).gid(65_534);
    let answer = output(node, unprivileged).expect("run the process");
    assert_rejected(&answer, &["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_NET_RAW", "run it as root"]);
    let addresses = addresses(node).expect("list the addresses");
    assert_eq!(addresses, [NODE.ipv4()], "the addresses are unchanged");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn capabilities_of_the_systemd_unit_suffice() {
    let unit = include_str!("../../packaging/vipd.service");
    let granted =
        unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("capability set");
    let known = [
        ("CAP_BPF", CapabilitySet::BPF),
        ("CAP_PERFMON", CapabilitySet::PERFMON),
        ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
        ("CAP_NET_RAW", CapabilitySet::NET_RAW),
        ("CAP_SYS_NICE", CapabilitySet::SYS_NICE),
        ("CAP_IPC_LOCK", CapabilitySet::IPC_LOCK),
        ("CAP_SETUID", CapabilitySet::SETUID),
        ("CAP_SETGID", CapabilitySet::SETGID),
        ("CAP_KILL", CapabilitySet::KILL),
        ("CAP_SYS_PTRACE", CapabilitySet::SYS_PTRACE),
    ];
    let kept = granted.split_whitespace().fold(CapabilitySet::empty(), |kept, name| {
        kept | known
            .iter()
            .find(|(found, _)| *found == name)
            .unwrap_or_else(|| panic!("unknown capability {name}"))
            .1
    });
    let dropped: Vec<_> = CapabilitySet::all().difference(kept).iter().collect();

    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host").clone();
    // The tracked program runs as another user, as most servers do.
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("daemon");
    fs::copy("/usr/bin/sleep", &program).expect("copy the program");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("give other users access");
    let mut daemon = Command::new(&program);
    daemon.arg("1000").uid(65_534);
    let daemon = Process::spawn(&node, daemon).expect("start the program");
    let text = format!(
        "{}track = [{{ process = \"daemon\" }}]\n[[process]]\nname = \"daemon\"\nexecutable = \"{}\"\n",
        configuration(&[(INTERFACE, 1)]),
        program.display()
    );
    let mut limited = command(&node, "a", &text);
    // SAFETY: between fork and exec, the closure makes only system calls and does not allocate.
    unsafe {
        limited.pre_exec(move || {
            for capability in &dropped {
                // Fails only for capabilities that this kernel does not support.
                let _ = remove_capability_from_bounding_set(*capability);
            }
            Ok(())
        });
    }
    let process = Process::spawn(&node, limited).expect("run the process");
    let agent = Running { process, node, directory: Agent::runtime_dir().join("a") };
    agent.expect(1, "master", "");
    let log = agent.process.log();
    // The instance is in Fault until the program is found.
    let is_problem =
        |text: &str| text.contains("WARN") && !text.contains("state changed") || text.contains("ERROR");
    assert!(!log.iter().any(|line| is_problem(&line.text)), "{log:#?}");
    drop(daemon);
    agent.expect(1, "fault", "process daemon is down: 0 found, 1 required");
    agent.stop();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn invalid_configuration_changes_nothing() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let wrong = configuration(&[(INTERFACE, 1)]).replace("100ms", "15ms") + "preemt = true\n";
    let answer = output(node, command(node, "a", &wrong)).expect("run the process");
    let message = String::from_utf8_lossy(&answer.stderr);
    assert_eq!(answer.status.code(), Some(1), "{message}");
    for words in [
        "vipd.toml:5:19: advert_interval is \"15ms\"",
        "vipd.toml:7:1: unknown key `preemt`",
        "did you mean `preempt`",
    ] {
        assert!(message.contains(words), "no {words:?} in: {message}");
    }
    let left =
        node.run(|| fs::exists(Agent::runtime_dir().join("a/vipd.lock"))).expect("check the lock file");
    assert!(!left, "the runtime directory is untouched");
}
