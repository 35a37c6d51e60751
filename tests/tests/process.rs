//! The agent as a process: signals, its lock, stale VIPs, resource limits, and a blocked standard
//! error.

use std::fs;
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, kill_process_group, setrlimit};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd_binary;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::namespace::Namespace;
use vipd_tests::routers;
use vipd_tests::station::{INTERFACE, Station};
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(20);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);

fn configuration(extra: &str) -> String {
    format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"{INTERFACE}\"\nvrid = 1\n\
         advert_interval = \"100ms\"\nvirtual_addresses = [\"{VIP}\"]\n{extra}"
    )
}

fn directory(name: &str) -> PathBuf {
    Agent::runtime_dir().join(name)
}

/// Returns the command that runs vipd with the runtime directory `name` and a configuration file
/// outside it.
fn command(node: &Namespace, name: &str, extra: &str) -> Command {
    let (file, text) = (directory(&format!("{name}.toml")), configuration(extra));
    let path = file.clone();
    node.run(move || fs::write(path, text)).expect("write the configuration");
    let mut command = Command::new(vipd_binary().expect("vipd binary"));
    command.arg("run").arg("-c").arg(file).arg("--runtime-dir").arg(directory(name));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// An agent in the PID namespace of the test. In its own namespace, the agent would be PID 1, which
/// receives only SIGKILL, SIGSTOP and signals for which it has a handler (pid_namespaces(7)).
struct Plain {
    child: Child,
    node: Namespace,
    name: String,
}

impl Plain {
    fn start(node: &Namespace, name: &str, extra: &str) -> Self {
        Self::spawn(node, name, command(node, name, extra))
    }

    fn spawn(node: &Namespace, name: &str, mut command: Command) -> Self {
        command.process_group(0);
        let child = node.run(move || command.spawn()).expect("run the process");
        Self { child, node: node.clone(), name: name.to_owned() }
    }

    fn master(node: &Namespace, name: &str, extra: &str) -> Self {
        let agent = Self::start(node, name, extra);
        agent.wait_for_master();
        agent
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("send the signal");
    }

    fn state(&self) -> Option<String> {
        state(&self.node, &directory(&self.name))
    }

    fn wait_for_master(&self) {
        wait_until("the agent to be master", TIMEOUT, || self.state().as_deref() == Some("master"))
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.state()));
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the agent to exit", TIMEOUT, || {
            status = self.child.try_wait().expect("child process");
            status.is_some()
        })
        .expect("agent exits");
        status.expect("exit status")
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text).expect("read stderr");
        }
        text
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // Kills the agent and its guardian. Fails if both have already exited.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn state(node: &Namespace, directory: &Path) -> Option<String> {
    let mut command = Command::new(vipd_binary().expect("vipd binary"));
    command.args(["status", "--json", "--runtime-dir"]).arg(directory);
    let answer = node.run(move || command.output()).ok().filter(|answer| answer.status.success())?;
    let report: serde_json::Value = serde_json::from_slice(&answer.stdout).ok()?;
    Some(report["instances"][0]["state"].as_str()?.to_owned())
}

fn addresses(node: &Namespace) -> Vec<Ipv4Addr> {
    routers::addresses(node).expect("list the addresses")
}

fn run_to_end(node: &Namespace, mut command: Command) -> Output {
    node.run(move || command.output()).expect("run the process")
}

fn assert_rejected(answer: &Output, words: &[&str]) {
    let message = String::from_utf8_lossy(&answer.stderr);
    assert_eq!(answer.status.code(), Some(1), "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn signals_shut_down_cleanly_or_are_ignored() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let capture = lab.capture().expect("start the capture");
    let mut agent = Plain::master(node, "a", "");
    let ignored = [
        Signal::HUP,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::TSTP,
        Signal::TTIN,
        Signal::TTOU,
        Signal::PIPE,
        Signal::XFSZ,
    ];
    for signal in ignored {
        agent.signal(signal);
        let start = WallTime::now();
        wait_until(&format!("adverts after {signal:?}"), TIMEOUT, || {
            capture.has(start, |frame| frame.advert().is_some_and(|advert| advert.priority > 0))
        })
        .expect("adverts continue");
        assert_eq!(agent.state().as_deref(), Some("master"), "{signal:?}");
    }
    for number in ["-32", "-33", "-34", "-64"] {
        let sent = Command::new("/bin/kill").arg(number).arg(agent.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "{number}");
        let start = WallTime::now();
        wait_until(&format!("adverts after signal {number}"), TIMEOUT, || {
            capture.has(start, |frame| frame.advert().is_some_and(|advert| advert.priority > 0))
        })
        .expect("adverts continue");
    }
    for signal in [Signal::QUIT, Signal::XCPU, Signal::POWER, Signal::INT, Signal::TERM] {
        let start = WallTime::now();
        agent.signal(signal);
        let status = agent.wait();
        let log = agent.stderr();
        assert!(status.success(), "{signal:?}: {status}: {log}");
        assert!(
            capture.has(start, |frame| frame.advert().is_some_and(|advert| advert.priority == 0)),
            "{signal:?}: priority 0"
        );
        assert_eq!(addresses(node), [NODE.ipv4()], "{signal:?}");
        agent = Plain::master(node, "a", "");
    }
    // SIGHUP followed directly by SIGTERM: the agent may still be reloading.
    agent.signal(Signal::HUP);
    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    assert!(agent.stderr().contains("reloading the configuration"));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn second_agent_in_a_recreated_runtime_directory_is_rejected() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let first = Plain::master(node, "a", "virtual_mac = true\n");
    let before = node.run(links::names).expect("list interfaces");
    node.run(|| fs::remove_dir_all(directory("a"))).expect("remove");
    let answer = run_to_end(node, command(node, "a", "virtual_mac = true\n"));
    assert_rejected(&answer, &["another vipd", &format!("(pid {})", first.child.id()), "is already running"]);
    assert_eq!(node.run(links::names).expect("list interfaces"), before, "no macvlan was removed");
}

/// A change that makes the runtime directory unusable.
type Breakage = fn(&Path) -> io::Result<()>;

/// Starts a master and kills it, which leaves a stale VIP.
fn leave_stale_vip(node: &Namespace) {
    let mut agent = Plain::master(node, "a", "");
    agent.child.kill().expect("kill the agent");
    agent.wait();
    assert!(addresses(node).contains(&VIP), "the address of a killed agent remains");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn stale_vips_are_removed_before_startup_errors() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    // A read-only runtime directory, a directory without free inodes, and a directory that belongs
    // to another user.
    let read_only = |path: &Path| {
        mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::RDONLY, None).map_err(io::Error::from)
    };
    let full = |path: &Path| {
        mount("tmpfs", path, "tmpfs", MountFlags::NOSUID, Some(c"nr_inodes=1")).map_err(io::Error::from)
    };
    let foreign = |path: &Path| std::os::unix::fs::chown(path, Some(1234), None);
    let breakages: [(Breakage, &str); 3] = [
        (read_only, "Read-only file system"),
        (full, "free some space there"),
        (foreign, "belongs to user 1234"),
    ];
    for (make_unusable, words) in breakages {
        leave_stale_vip(node);
        node.run(move || make_unusable(&directory("a"))).expect("break the runtime directory");
        assert_rejected(&run_to_end(node, command(node, "a", "")), &[words]);
        assert_eq!(addresses(node), [NODE.ipv4()], "{words}");
        node.run(|| {
            // Fails if no file system was mounted there.
            let _ = unmount(directory("a"), UnmountFlags::DETACH);
            fs::remove_dir_all(directory("a"))
        })
        .expect("remove");
    }
    leave_stale_vip(node);
    assert_rejected(
        &run_to_end(node, with_open_files(command(node, "a", ""), 24, 24)),
        &["the limit on open files is 24"],
    );
    assert_eq!(addresses(node), [NODE.ipv4()]);
    leave_stale_vip(node);
    let unprivileged = without_capabilities(command(node, "a", ""), CapabilitySet::NET_RAW);
    assert_rejected(&run_to_end(node, unprivileged), &["this process lacks CAP_NET_RAW"]);
    assert_eq!(addresses(node), [NODE.ipv4()]);
    leave_stale_vip(node);
    let mut wrong = command(node, "a", "");
    wrong.env("VIPD_LOG", "vipd=loud");
    assert_rejected(&run_to_end(node, wrong), &["VIPD_LOG is"]);
    assert_eq!(addresses(node), [NODE.ipv4()]);
}

/// A Perl script that binds a Unix socket to the abstract name in its first argument. With a second
/// argument, it also listens.
const HOLDER: &str = "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); \
    bind(S, pack_sockaddr_un(\"\\0$ARGV[0]\")) or die; listen(S, 1) if @ARGV > 1; print \"ready\\n\"; \
    close(STDOUT); sleep";

/// Starts an unprivileged process that binds an abstract socket name.
fn hold(node: &Namespace, name: &str, listens: bool) -> Child {
    let mut holder = Command::new("perl");
    holder.args(["-e", HOLDER, name]).args(listens.then_some("listen")).uid(1234).stdout(Stdio::piped());
    let mut holder = node.run(move || holder.spawn()).expect("run perl");
    let mut ready = String::new();
    holder.stdout.take().expect("piped").read_to_string(&mut ready).expect("read from perl");
    assert_eq!(ready, "ready\n");
    holder
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn lock_of_an_unprivileged_process_is_reported_and_stale_vips_are_removed() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    for listens in [true, false] {
        leave_stale_vip(node);
        let mut holder = hold(node, &format!("vipd {}", directory("a").display()), listens);
        let answer = run_to_end(node, command(node, "a", ""));
        holder.kill().expect("kill perl");
        holder.wait().expect("perl exits");
        assert_rejected(&answer, &["a process of user 1234", &format!("(pid {})", holder.id())]);
        assert_eq!(addresses(node), [NODE.ipv4()], "listens: {listens}");
    }
}

/// An unprivileged process cannot pass itself off as another agent. If it could, `vipd cleanup`
/// would remove nothing.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn lock_of_an_unprivileged_process_does_not_block_cleanup() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    leave_stale_vip(node);
    let mut holder = hold(node, "vipd /another", true);
    let mut cleanup = Command::new(vipd_binary().expect("vipd binary"));
    cleanup.arg("--runtime-dir").arg(directory("a")).arg("cleanup");
    let answer = run_to_end(node, cleanup);
    holder.kill().expect("kill perl");
    holder.wait().expect("perl exits");
    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(addresses(node), [NODE.ipv4()]);
}

/// An unprivileged process cannot keep the agent from serving an interface.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unprivileged_process_that_holds_the_claim_does_not_block_the_interface() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let ifindex = node.run(|| links::index(INTERFACE)).expect("the interface exists");
    let mut holder = hold(node, &format!("vipd-interface {ifindex}"), true);
    let mut agent = Plain::master(node, "a", "");
    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    holder.kill().expect("kill perl");
    holder.wait().expect("perl exits");
    let mut log = String::new();
    agent.child.stderr.take().expect("piped").read_to_string(&mut log).expect("read the log");
    assert!(log.contains("an unprivileged process holds") && log.contains("uid=1234"), "{log}");
}

/// A running agent keeps its VIPs, even if a second agent is configured with the same VIPs.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_of_a_running_agent_are_not_stale() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let first = Plain::master(node, "a", "");
    let answer = run_to_end(node, command(node, "b", ""));
    assert_rejected(&answer, &["another vipd", "already serves eth1"]);
    assert!(addresses(node).contains(&VIP));
    assert_eq!(first.state().as_deref(), Some("master"));
}

/// The interface of the second agent's instance does not exist, so the second agent cannot infer
/// from a refused claim that another agent serves the VIP.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vip_of_a_running_agent_is_not_stale_for_an_instance_without_interface() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let first = Plain::master(node, "a", "");
    let second = command(node, "b", "");
    let text = configuration("").replace(INTERFACE, "eth11");
    node.run(move || fs::write(directory("b.toml"), text)).expect("write the configuration");
    let mut second = Plain::spawn(node, "b", second);
    wait_until("the second agent to be in fault", TIMEOUT, || second.state().as_deref() == Some("fault"))
        .expect("fault");
    second.signal(Signal::TERM);
    assert!(second.wait().success());
    assert!(!second.stderr().contains("removed stale VIP"));
    assert!(addresses(node).contains(&VIP));
    assert_eq!(first.state().as_deref(), Some("master"));
}

fn with_open_files(mut command: Command, soft: u64, hard: u64) -> Command {
    let limit = Rlimit { current: Some(soft), maximum: Some(hard) };
    // SAFETY: between fork and exec, the closure makes only one system call and does not allocate.
    unsafe {
        command.pre_exec(move || Ok(setrlimit(Resource::Nofile, limit)?));
    }
    command
}

/// Removes capabilities from the bounding set, so that even root lacks them after `execve`.
fn without_capabilities(mut command: Command, missing: CapabilitySet) -> Command {
    // SAFETY: between fork and exec, the closure makes only one system call and does not allocate.
    unsafe {
        command.pre_exec(move || Ok(remove_capability_from_bounding_set(missing)?));
    }
    command
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn open_file_limit_is_raised_or_reported() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let agent = Plain::spawn(node, "a", with_open_files(command(node, "a", ""), 20, 1024));
    agent.wait_for_master();
    drop(agent);
    for limit in [5, 17, 24, 32] {
        let answer = run_to_end(node, with_open_files(command(node, "b", ""), limit, limit));
        assert_rejected(&answer, &[&format!("the limit on open files is {limit}"), "LimitNOFILE="]);
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn full_stderr_pipe_does_not_block_shutdown() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("lab host");
    let (_unread, writer) = io::pipe().expect("create a pipe");
    fill(&writer);
    let start_with_full_stderr = |mut command: Command| {
        command.stderr(writer.try_clone().expect("create a pipe"));
        Plain::spawn(node, "a", command)
    };
    let mut master = start_with_full_stderr(command(node, "a", ""));
    master.wait_for_master();
    master.signal(Signal::TERM);
    assert!(master.wait().success());
    assert_eq!(addresses(node), [NODE.ipv4()]);
    // A startup error: the runtime directory is a file.
    node.run(|| fs::write(directory("b"), "")).expect("write the file");
    assert_eq!(start_with_full_stderr(command(node, "b", "")).wait().code(), Some(1));
    // Another startup error: the limit on open files is too low.
    assert_eq!(
        start_with_full_stderr(with_open_files(command(node, "a", ""), 17, 17)).wait().code(),
        Some(1)
    );
}

/// Fills a pipe, leaving it in blocking mode.
fn fill(writer: &io::PipeWriter) {
    rustix::io::ioctl_fionbio(writer, true).expect("non-blocking");
    while rustix::io::write(writer, &[b'x'; 512]).is_ok() {}
    rustix::io::ioctl_fionbio(writer, false).expect("blocking");
}
