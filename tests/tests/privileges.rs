//! The privileges of the agent: those of each thread, an agent that runs as an unprivileged user
//! with exactly the capabilities of the unit, and core dumps of an agent with a password.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd_binary;
use vipd_tests::command;
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::station::{INTERFACE, Station};
use vipd_tests::wait::wait_until;

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(20);
const UNIT: &str = include_str!("../../packaging/vipd.service");
const DOCUMENT: &str = include_str!("../../docs/design/privileges.md");
/// Without a fence, the agent has no other children than commands, and nothing outlives it.
const NO_GUARDIAN: &str = "fence = \"off\"\n";
/// Executable of the tracked process, on the node only.
const TRACKED: &str = "/dev/shm/tracked";
/// User and group of the agent. They have no name, so that nothing depends on the machine's users.
const USER: u32 = 61_234;
/// Capabilities of `include/uapi/linux/capability.h`.
const CAPABILITIES: [(&str, u32); 14] = [
    ("DAC_OVERRIDE", 1),
    ("DAC_READ_SEARCH", 2),
    ("KILL", 5),
    ("SETGID", 6),
    ("SETUID", 7),
    ("NET_ADMIN", 12),
    ("NET_RAW", 13),
    ("IPC_LOCK", 14),
    ("SYS_PTRACE", 19),
    ("SYS_ADMIN", 21),
    ("SYS_NICE", 23),
    ("SYS_RESOURCE", 24),
    ("PERFMON", 38),
    ("BPF", 39),
];
/// Kept by some threads of root, in addition to those in the table.
const FILES: [&str; 2] = ["DAC_OVERRIDE", "DAC_READ_SEARCH"];

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> u64 {
    let bit = |name: &str| CAPABILITIES.iter().find(|(known, _)| *known == name).map(|(_, bit)| 1 << bit);
    names.into_iter().map(|name| bit(name).unwrap_or_else(|| panic!("no capability {name}"))).sum()
}

/// The privileges of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Privileges {
    effective: u64,
    permitted: u64,
    /// Inheritable and ambient capabilities.
    passed_on: [u64; 2],
    has_filter: bool,
}

impl Privileges {
    fn of(status: &str) -> Self {
        let field = |name: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            found.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
        };
        let [effective, permitted, inheritable, ambient] = ["CapEff", "CapPrm", "CapInh", "CapAmb"]
            .map(|name| u64::from_str_radix(&field(name), 16).expect("a hexadecimal number"));
        Self { effective, permitted, passed_on: [inheritable, ambient], has_filter: field("Seccomp") == "2" }
    }
}

/// Returns the table of the document, by name of the thread.
fn documented() -> BTreeMap<String, Privileges> {
    let rows = DOCUMENT.lines().skip_while(|line| !line.starts_with("| thread |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names = |cell: &'static str| cell.split(", ").filter(|name| !name.is_empty());
        let (effective, raised) = (set(names(cells[2])), set(names(cells[3])));
        let has_filter = cells[4] == "yes" && cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
        let permitted = effective | raised;
        (cells[1].to_owned(), Privileges { effective, permitted, passed_on: [0, 0], has_filter })
    })
    .collect()
}

/// Returns the threads of a process. Threads of the pool have the same name and privileges.
fn threads(pid: u32) -> BTreeMap<String, Privileges> {
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process").flatten();
    let mut found = BTreeMap::new();
    for task in tasks {
        // A thread of the pool may end meanwhile.
        let (Some(name), Some(status)) = (read(task.path().join("comm")), read(task.path().join("status")))
        else {
            continue;
        };
        let (name, privileges) = (name.trim_end().to_owned(), Privileges::of(&status));
        let other = found.insert(name.clone(), privileges);
        assert!(other.is_none_or(|other| other == privileges), "{name}: {other:?} and {privileges:?}");
    }
    found
}

/// Returns the capabilities that the unit grants, such as `CAP_BPF`.
fn unit_capabilities() -> Vec<&'static str> {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("AmbientCapabilities="));
    line.expect("the unit grants capabilities").split(' ').collect()
}

/// An agent in the PID namespace of the test.
struct Running {
    child: Child,
    node: Namespace,
    directory: PathBuf,
}

impl Running {
    /// Starts vipd as root, or as [`USER`] with the unit's capabilities. The working directory is
    /// the one with the configuration.
    fn start(node: &Namespace, is_root: bool, configuration: &str) -> Self {
        let directory = Agent::runtime_dir().join("agent");
        let binary = directory.join("vipd");
        let (folder, text) = (directory.clone(), configuration.to_owned());
        let from = vipd_binary().expect("vipd binary");
        let to = binary.clone();
        node.run(move || {
            fs::create_dir_all(&folder).expect("created");
            // The user may have no access to the build directory.
            fs::copy(from, &to).expect("copied");
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("executable");
            fs::write(folder.join("vipd.toml"), text).expect("written");
            if !is_root {
                chown(&folder, Some(USER), Some(USER)).expect("changed the owner");
                // The unit's ExecStartPre=.
                let pins = Path::new("/sys/fs/bpf/vipd");
                fs::create_dir_all(pins).expect("a BPF file system");
                chown(pins, Some(USER), Some(USER)).expect("changed the owner");
            }
        });
        let mut command;
        if is_root {
            command = Command::new(&binary);
        } else {
            let granted =
                unit_capabilities().into_iter().map(|name| name.replace("CAP_", ",+").to_lowercase());
            let granted = format!("-all{}", granted.collect::<String>());
            command = Command::new("setpriv");
            command.args([format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()]);
            for set in ["inh-caps", "ambient-caps", "bounding-set"] {
                command.arg(format!("--{set}={granted}"));
            }
            command.arg("--no-new-privs").arg(&binary);
        }
        command.args(["run", "-c", "vipd.toml", "--runtime-dir"]).arg(&directory).current_dir(&directory);
        command.env("VIPD_LOG", "info").env_remove("NOTIFY_SOCKET");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = node.run(move || command.spawn()).expect("run the agent");
        Self { child, node: node.clone(), directory }
    }

    fn write(&self, configuration: &str) {
        let (file, text) = (self.directory.join("vipd.toml"), configuration.to_owned());
        self.node.run(move || fs::write(file, text)).expect("written");
    }

    /// Runs a command of vipd as root, and returns its status and its output.
    fn query(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let mut command = Command::new(vipd_binary().expect("vipd binary"));
        command.args(arguments);
        if arguments[0] == "check" {
            command.arg("-c").arg(self.directory.join("vipd.toml"));
        } else {
            command.arg("--runtime-dir").arg(&self.directory);
        }
        let output = self.node.run(move || command.output()).expect("run vipd");
        let text = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&text).into_owned())
    }

    fn change(&self, arguments: &[&str]) -> String {
        let (status, text) = self.query(arguments);
        assert!(status.success(), "{arguments:?}: {text}");
        text
    }

    fn instance(&self, name: &str) -> Value {
        let (_, text) = self.query(&["status", "--json"]);
        let report: Value = serde_json::from_str(&text).unwrap_or_default();
        let instances = report["instances"].as_array().cloned().unwrap_or_default();
        instances.into_iter().find(|instance| instance["name"] == name).unwrap_or_default()
    }

    fn wait_for(&self, name: &str, state: &str) -> Value {
        let described = format!("{name} to be {state}");
        let wait = wait_until(&described, TIMEOUT, || self.instance(name)["state"] == state);
        wait.unwrap_or_else(|error| panic!("{error}: {}", self.instance(name)));
        self.instance(name)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("send the signal");
    }

    /// Waits until the agent has ended, and returns its status and log.
    fn wait(mut self) -> (ExitStatus, String) {
        let mut status = None;
        let ended = wait_until("the agent to end", TIMEOUT, || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        ended.expect("ended");
        let mut log = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut log).expect("read");
        (status.expect("a status"), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process of root for the agent to track.
struct Sleep(Child);

impl Sleep {
    /// The executable is a copy, because other tests use sleep as well.
    fn start(node: &Namespace) -> Self {
        let child = node.run(|| {
            fs::copy("/usr/bin/sleep", TRACKED).expect("copied");
            Command::new(TRACKED).arg("600").spawn().expect("sleep runs")
        });
        Self(child)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // Fails if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn instance(name: &str, vrid: u8, extra: &str) -> String {
    format!(
        "[[instance]]\nname = \"{name}\"\ninterface = \"{INTERFACE}\"\nvrid = {vrid}\n\
         advert_interval = \"100ms\"\nvirtual_addresses = [\"10.0.1.{vrid}/24\"]\n{extra}\n"
    )
}

/// A configuration that uses all threads: a macvlan, a VIP that does not accept packets, routes,
/// checks and a process of other users, and notifications.
fn everything() -> String {
    let checks = "[[script]]\nname = \"other\"\ncommand = [\"/usr/bin/id\", \"-u\"]\nuser = \"nobody\"\n\
                  [[script]]\nname = \"own\"\ncommand = [\"/usr/bin/id\", \"-u\"]\n\
                  [[script]]\nname = \"none\"\ncommand = [\"/bin/grep\", \"CapPrm\", \"/proc/self/status\"]\nuser = \"nobody\"\n\
                  [[script]]\nname = \"root\"\ncommand = [\"/bin/grep\", \"CapPrm\", \"/proc/self/status\"]\nuser = \"root\"\n\
                  [[process]]\nname = \"sleep\"\nexecutable = \"/dev/shm/tracked\"\n";
    let track = "track = [{ script = \"other\" }, { script = \"own\" }, { script = \"none\" }, { script = \"root\" }, \
                 { process = \"sleep\" }]\nroutes = [{ to = \"10.9.0.0/16\", via = \"192.168.122.100\" }]\n\
                 [instance.notify]\nmaster = [\"/bin/echo\", \"master\"]\nuser = \"nobody\"\n";
    let first = instance("VI_1", 1, &format!("virtual_mac = true\n{track}"));
    format!("{checks}{first}{}", instance("VI_2", 2, "accept = false"))
}

/// Waits until the checks have run, and returns the last line of each by name.
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

/// Returns the threads once all of them run and have dropped their privileges.
fn settled(agent: &Running, expected: &BTreeSet<String>) -> BTreeMap<String, Privileges> {
    let pid = agent.child.id();
    wait_until("all threads to run", TIMEOUT, || expected.is_subset(&threads(pid).into_keys().collect()))
        .unwrap_or_else(|error| panic!("{error}: {:?}", threads(pid)));
    threads(pid)
}

#[test]
#[ignore = "needs root"]
fn threads_have_the_documented_privileges() {
    for is_root in [false, true] {
        let lab = Lab::new(1).expect("create the lab");
        let node = lab.host(NODE).expect("the node");
        let agent = Running::start(node, is_root, &everything());
        let sleep = Sleep::start(node);
        agent.wait_for("VI_1", "master");
        let mut expected = documented();
        // Runs only while packets are logged.
        expected.remove("kernel-log");
        let found = settled(&agent, &expected.keys().cloned().collect());
        if is_root {
            let all = Privileges::of(&fs::read_to_string("/proc/self/status").expect("readable")).permitted;
            for name in ["vipd", "pool"] {
                let thread = expected.get_mut(name).expect("in the table");
                thread.effective |= set(FILES);
                thread.permitted |= set(FILES);
            }
            expected.get_mut("launcher").expect("in the table").permitted = all;
        }
        drop(sleep);
        for (name, privileges) in &found {
            assert_eq!(Some(privileges), expected.get(name), "{name}, root: {is_root}");
        }
    }
}

/// Everything that needs a capability or another user works without root.
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

    // Adds an instance with a macvlan and changes one.
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

/// Kills a script of another user, for which the agent needs CAP_KILL.
#[test]
#[ignore = "needs root"]
fn script_of_another_user_is_killed_after_its_timeout() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("the node");
    let script = "[[script]]\nname = \"slow\"\ncommand = [\"/usr/bin/sleep\", \"600\"]\nuser = \"nobody\"\n\
                  interval = \"100ms\"\ntimeout = \"100ms\"\n";
    let track = "track = [{ script = \"slow\" }]";
    let agent = Running::start(node, false, &format!("{NO_GUARDIAN}{script}{}", instance("VI_1", 1, track)));
    // Reported when the command has timed out, and again by the next run, which starts only after
    // the previous command has ended.
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

/// Returns the core dump of a process that was killed with its memory in `directory`, if any.
fn core_dump(node: &Namespace, directory: &Path) -> Option<Vec<u8>> {
    let directory = directory.to_owned();
    node.run(move || {
        let files = fs::read_dir(directory).expect("a directory").flatten();
        let core = files
            .map(|file| file.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")));
        core.map(|path| fs::read(path).expect("readable"))
    })
}

/// Starts an agent, gives it another configuration, crashes it, and returns its core dump and
/// everything that it has printed.
fn crash(configuration: &str) -> (Option<Vec<u8>>, String) {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("the node");
    let agent = Running::start(node, true, &format!("{NO_GUARDIAN}{}", instance("VI_1", 1, "")));
    let process = format!("--pid={}", agent.child.id());
    let limit = Command::new("prlimit").args(["--core=unlimited:unlimited", &process]).status();
    assert!(limit.expect("prlimit runs").success(), "cannot raise the limit on core dumps");
    agent.wait_for("VI_1", "master");
    let file = agent.directory.join("password");
    node.run(move || {
        fs::write(&file, PASSWORD).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("private");
    });
    agent.write(&format!("{NO_GUARDIAN}{configuration}"));
    let mut printed = String::new();
    for arguments in [&["check"][..], &["reload"], &["status", "--json"], &["status", "VI_1"], &["stats"]] {
        printed += &agent.change(arguments);
    }
    agent.signal(Signal::ABORT);
    let directory = agent.directory.clone();
    let (status, log) = agent.wait();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{log}");
    (core_dump(node, &directory), printed + &log)
}

const PASSWORD: &str = "Hx7_wp2Q";

#[test]
#[ignore = "needs root"]
fn password_is_in_no_core_dump_and_no_output() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("readable");
    if !pattern.starts_with("core") {
        eprintln!("skipped: core dumps do not go to the working directory ({})", pattern.trim());
        return;
    }
    // Shows that the search finds text of the configuration.
    let (core, printed) =
        crash(&instance("VI_1", 1, "[[file]]\nname = \"Hx7_wp2Q\"\npath = \"/dev/shm/weight\"\n"));
    let core = core.expect("a crash without a password dumps core");
    assert!(core.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()), "{printed}");
    for setting in ["auth_pass = \"Hx7_wp2Q\"", "auth_pass_file = \"password\""] {
        let text = instance("VI_1", 1, &format!("version = 2\n{setting}")).replace("100ms", "1s");
        let (core, printed) = crash(&text);
        assert!(core.is_none(), "{setting}: {} bytes", core.map_or(0, |core| core.len()));
        assert!(!printed.contains(PASSWORD), "{setting}: {printed}");
    }
}
