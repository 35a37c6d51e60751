//! Privileges of each thread of the agent, an agent of an unprivileged user with exactly the
//! capabilities of the unit, and core dumps of processes that have read a password or a key.

mod core_dump;
mod threads;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd_binary;
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::station::{INTERFACE, Station};
use vipd_tests::wait::wait_until;

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(20);
const UNIT: &str = include_str!("../../../packaging/vipd.service");
/// Without a fence, there is no guardian: commands are the agent's only children, and no process
/// outlives the agent.
const NO_GUARDIAN: &str = "fence = \"off\"\n";
/// Executable of the tracked process. Exists only on the node.
const TRACKED: &str = "/dev/shm/tracked";
/// User ID and group ID of the agent. Neither has a name, so that the test does not depend on the
/// users of the machine.
const USER: u32 = 61_234;
/// Names and numbers of capabilities (`include/uapi/linux/capability.h`).
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

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> u64 {
    let bit = |name: &str| CAPABILITIES.iter().find(|(known, _)| *known == name).map(|(_, bit)| 1 << bit);
    names.into_iter().map(|name| bit(name).unwrap_or_else(|| panic!("no capability {name}"))).sum()
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
    /// Starts vipd as root, or as [`USER`] with the unit's capabilities. The configuration is in
    /// the working directory.
    fn start(node: &Namespace, is_root: bool, configuration: &str) -> Self {
        let directory = Agent::runtime_dir().join("agent");
        let binary = directory.join("vipd");
        let (folder, text) = (directory.clone(), configuration.to_owned());
        let from = vipd_binary().expect("vipd binary");
        let to = binary.clone();
        node.run(move || {
            fs::create_dir_all(&folder).expect("created");
            // The user may lack access to the build directory.
            fs::copy(from, &to).expect("copied");
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("executable");
            fs::write(folder.join("vipd.toml"), text).expect("written");
            if !is_root {
                chown(&folder, Some(USER), Some(USER)).expect("changed the owner");
                // Corresponds to the unit's ExecStartPre=.
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

    /// Runs a vipd command as root, and returns its exit status and its output.
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

    /// Waits until the agent has ended, and returns its exit status and log.
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

/// Returns the child processes of all threads of a process, or none if the process has ended.
fn children(process: u32) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists: Vec<_> =
        tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect();
    let numbers = lists.iter().flat_map(|list| list.split_whitespace());
    numbers.filter_map(|number| Pid::from_raw(number.parse().ok()?)).collect()
}

impl Drop for Running {
    /// Kills the agent, its commands, and its guardian, which would otherwise remain until another
    /// router has taken over.
    fn drop(&mut self) {
        let children = children(self.child.id());
        // A pidfd continues to refer to the same process when the process ID is reused.
        let children: Vec<_> = children
            .into_iter()
            .filter_map(|process| pidfd_open(process, PidfdFlags::empty()).ok())
            .collect();
        // A destructor cannot report an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for process in children {
            // Fails if the process has already ended.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }
}

/// A process that runs as root and is tracked by the agent.
struct Sleep(Child);

impl Sleep {
    /// Runs a copy of `sleep`, so that the agent does not track the `sleep` processes of other
    /// tests.
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
        // A destructor cannot report an error.
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

/// Returns a configuration that involves all threads except `kernel-log`: metrics, a macvlan, a VIP
/// with Accept_Mode false, routes, scripts, a tracked process, and notification commands. Some of
/// the scripts and commands run as other users.
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
    let metrics = "[metrics]\nlisten = \"127.0.0.1:9650\"\n";
    format!("{metrics}{checks}{first}{}", instance("VI_2", 2, "accept = false"))
}
