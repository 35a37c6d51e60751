//! Invalid configurations and environments are reported, and do not affect other instances.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd_binary;
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
        std::fs::create_dir_all(&folder)?;
        std::fs::write(path, text)
    })
    .expect("write the configuration");
    let mut command = Command::new(vipd_binary().expect("vipd binary"));
    command.arg("run").arg("-c").arg(file).arg("--runtime-dir").arg(directory);
    command
}

/// Returns the state and the fault reason of a VRID from `vipd status --json`, or `None` if the
/// agent does not answer.
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

    fn stop(mut self) {
        let status = self.process.terminate(TIMEOUT).expect("agent exits");
        assert!(status.success(), "{status}: {:#?}", self.process.log());
    }
}

/// Checks that the program exited with code 1 and a one-line error that contains all `words`.
fn assert_rejected(answer: &Output, words: &[&str]) {
    let message = String::from_utf8_lossy(&answer.stderr);
    assert_eq!(answer.status.code(), Some(1), "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    assert_eq!(message.trim().lines().count(), 1, "more than one line: {message}");
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

/// A configuration for the generic hook, which takes one program only.
fn generic(routers: &[(&str, u8)]) -> String {
    format!("xdp = \"generic\"\n\n{}", configuration(routers))
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn foreign_xdp_program_is_reported_and_kept() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    // The foreign XDP program belongs to another vipd.
    let holder = Running::start(&lab, "holder", &generic(&[(INTERFACE, 1)]));
    holder.expect(1, "master", "");

    let alone = output(node, command(node, "alone", &generic(&[(INTERFACE, 2)]))).expect("run the process");
    assert_rejected(&alone, &["another XDP program is attached to eth1", "ip link set dev eth1 xdp off"]);

    node.run(|| links::add_bridge("eth2").and_then(|()| links::set_up("eth2"))).expect("add");
    let both = Running::start(&lab, "both", &generic(&[(INTERFACE, 2), ("eth2", 3)]));
    both.expect(2, "fault", "another XDP program is attached to eth1");
    // Once the other program is gone, vipd attaches its own without a restart.
    holder.expect(1, "master", "");
    holder.stop();
    both.expect(2, "master", "");
    both.stop();
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
    let mut limited = command(&node, "a", &configuration(&[(INTERFACE, 1)]));
    // SAFETY: between fork and exec the closure makes only system calls and does not allocate.
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
    assert!(!log.iter().any(|line| line.text.contains("WARN") || line.text.contains("ERROR")), "{log:#?}");
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
        node.run(|| std::fs::exists(Agent::runtime_dir().join("a/vipd.lock"))).expect("check the lock file");
    assert!(!left, "the runtime directory is untouched");
}
