//! Messages to the service manager (sd_notify(3)), including those that `Type=notify` and
//! `WatchdogSec=` in the unit require.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd_binary;
use vipd_tests::frozen_thread::FrozenThread;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::wait::wait_until;

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(20);
const CONFIGURATION: &str = "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 1\n\
                             advert_interval = \"100ms\"\nvirtual_addresses = [\"10.0.1.1\"]\n";

/// The service manager's socket, and the agent that it has started.
struct Service {
    manager: UnixDatagram,
    agent: Child,
}

impl Service {
    /// Returns the next message.
    fn receive(&self) -> String {
        self.try_receive(TIMEOUT).expect("a message from the agent")
    }

    /// Returns the next message, or `None` if none arrives within `timeout`.
    fn try_receive(&self, timeout: Duration) -> Option<String> {
        let mut buffer = [0; 256];
        self.manager.set_read_timeout(Some(timeout)).expect("a timeout");
        let length = self.manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned())
    }

    /// Returns the next message other than `WATCHDOG=1`, which resets the watchdog.
    fn receive_other(&self) -> String {
        std::iter::repeat_with(|| self.receive()).find(|text| text != "WATCHDOG=1").expect("endless")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.agent), signal).expect("send the signal");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Kills the agent and its guardian. Fails if both have already exited.
        let _ = kill_process_group(Pid::from_child(&self.agent), Signal::KILL);
        let _ = self.agent.wait();
    }
}

/// Starts an agent whose watchdog expires after 100 ms, and waits until the watchdog is reset
/// regularly.
fn start(lab: &Lab, directory: &Path) -> Service {
    let path = directory.join("notify");
    let file = directory.join("vipd.toml");
    fs::write(&file, CONFIGURATION).expect("written");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let mut command = Command::new(vipd_binary().expect("vipd binary"));
    command.arg("run").arg("-c").arg(&file).arg("--runtime-dir").arg(Agent::runtime_dir().join("managed"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let node = lab.host(NODE).expect("the node");
    let agent = node.run(move || command.spawn()).expect("run the agent");
    let service = Service { manager, agent };
    assert_eq!(service.receive_other(), "READY=1");
    for _ in 0..3 {
        assert_eq!(service.receive(), "WATCHDOG=1", "the engine answers");
    }
    service
}

/// The service manager kills and restarts an agent that does not reset the watchdog in time.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"]
fn watchdog_is_not_reset_while_only_the_engine_hangs() {
    let lab = Lab::new(1).expect("create the lab");
    let directory = tempfile::tempdir().expect("a directory");
    let service = start(&lab, directory.path());
    let engine = FrozenThread::freeze(service.agent.id(), "engine").expect("freeze the engine");
    // The engine may have answered just before it was frozen, so a message may still arrive.
    let before = std::iter::from_fn(|| service.try_receive(Duration::from_secs(2))).take(3).count();
    assert!(before < 3, "the watchdog is still reset");
    drop(engine);
    assert_eq!(service.receive(), "WATCHDOG=1", "the engine answers again");
}

/// A message with `READY=1` also ends a reload, whether or not the file has errors.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn service_manager_receives_all_expected_messages() {
    let lab = Lab::new(1).expect("create the lab");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("vipd.toml");
    let mut service = start(&lab, directory.path());
    for text in [CONFIGURATION, "nonsense = 1\n"] {
        fs::write(&file, text).expect("written");
        service.signal(Signal::HUP);
        let reloading = service.receive_other();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert_eq!(service.receive_other(), "READY=1");
    }
    service.signal(Signal::TERM);
    assert_eq!(service.receive_other(), "STOPPING=1");
    let has_ended =
        || service.agent.try_wait().is_ok_and(|status| status.is_some_and(|status| status.success()));
    wait_until("the agent to exit", TIMEOUT, has_ended).expect("exited");
}
