//! A service manager with a descriptor store, and the agent that it runs.

use std::fs::{self, File, Permissions};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Result;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use serde_json::json;
use tempfile::TempDir;
use vipd_tests::agent::Agent;
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::control::change;
use vipd_tests::hmac::hex;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::wait::wait_until;

use super::TIMEOUT;

/// A file with a key of signed adverts, in the directory of the configuration file.
pub(crate) const KEY_FILE: &str = "vrrp.key";

/// Runs the agent with the descriptor on standard input as the only one in its store.
const WITH_STORE: &str =
    r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=vipd-state exec "$@""#;

/// Runs the agent with a pending SIGTERM, which the agent handles once it receives signals.
const WITH_SIGNAL: &str = r#"exec env --block-signal=TERM sh -c 'kill -TERM $$; exec "$@"' sh "$@""#;

/// State that the service manager has received.
#[derive(Default)]
struct Received {
    stored: Option<OwnedFd>,
    /// Number of messages with `READY=1`.
    ready: usize,
    main_process: Option<Pid>,
    /// Process group to kill once a descriptor is stored.
    kill: Option<Pid>,
}

/// A service manager, and the processes of the agent that it has started.
pub(crate) struct Service {
    /// For requests to the control socket; never started.
    pub(crate) agent: Agent,
    directory: TempDir,
    received: Arc<Mutex<Received>>,
    /// Processes that the service manager has started. The main process is the last of them or,
    /// after `vipd upgrade`, a successor that is not in this list.
    processes: Vec<Child>,
}

impl Service {
    /// Starts the service, and waits until it is ready.
    pub(crate) fn start(lab: &Lab, station: Station, configuration: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let manager = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        let received = Arc::new(Mutex::new(Received::default()));
        thread::spawn({
            let received = Arc::clone(&received);
            move || while receive(&manager, &received) {}
        });
        let kind = vipd().expect("vipd binary");
        let agent =
            Agent::with_configuration(lab, station, kind, configuration.to_owned()).expect("an agent");
        let mut service = Self { agent, directory, received, processes: Vec::new() };
        service.configure(configuration);
        service.write_secret(KEY_FILE, &format!("hex:{}\n", hex(1)));
        service.resume();
        service
    }

    /// Rewrites the configuration file.
    pub(crate) fn configure(&self, configuration: &str) {
        self.write_secret("vipd.toml", configuration);
    }

    /// Writes a file that only this user can read.
    fn write_secret(&self, name: &str, content: &str) {
        let path = self.directory.path().join(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file of this user");
    }

    /// Requests that the agent leave its state in the descriptor store, as `ExecStop=` does. Waits
    /// until the main process has ended, or returns the agent's reason for refusing.
    pub(crate) fn leave(&mut self) -> Result<(), String> {
        self.request(self.main_process()).map_err(|error| format!("{error:#}"))?;
        assert!(self.lock().stored.is_some(), "the reply is sent once the descriptor is stored");
        self.wait_for_end();
        Ok(())
    }

    /// Requests that the agent leave its state in the descriptor store if the agent's process
    /// is `process`.
    pub(crate) fn request(&self, process: Pid) -> Result<Vec<String>> {
        change(&self.agent, &json!({ "command": "restart", "process": process.as_raw_nonzero() }))
    }

    /// Kills all processes of the service as soon as a descriptor is stored.
    pub(crate) fn kill_when_stored(&mut self) {
        let group = self.group();
        self.lock().kill = group;
        self.request(self.main_process()).expect_err("killed");
        self.wait_for_end();
        self.lock().kill = None;
    }

    /// Starts a process with the stored descriptor, if there is one, and waits until it is ready.
    pub(crate) fn resume(&mut self) {
        let before = self.lock().ready;
        self.spawn(&[]);
        wait_until("READY=1", TIMEOUT, || self.lock().ready > before)
            .unwrap_or_else(|error| panic!("{error}: {}", self.log()));
    }

    /// Starts a process with the stored descriptor, and waits until the process has failed.
    pub(crate) fn fail(&mut self) {
        self.spawn(&[]);
        self.wait_for_end();
        let has_failed =
            self.processes.last_mut().is_some_and(|child| !child.wait().expect("waited").success());
        assert!(has_failed, "{}", self.log());
    }

    /// Starts a process with the stored descriptor, and stops it with SIGTERM before it can resume
    /// the state. Returns whether it succeeded.
    pub(crate) fn resume_and_stop(&mut self) -> bool {
        self.spawn(&["sh", "-c", WITH_SIGNAL, "sh"]);
        self.processes.last_mut().is_some_and(|process| process.wait().expect("waited").success())
    }

    /// Runs `vipd upgrade`.
    pub(crate) fn upgrade(&self) {
        let before = self.lock().ready;
        change(&self.agent, &json!({ "command": "upgrade" })).expect("upgraded");
        wait_until("READY=1", TIMEOUT, || self.lock().ready > before).expect("ready");
    }

    /// Stops the service with SIGTERM.
    pub(crate) fn stop(&mut self) {
        kill_process(self.main_process(), Signal::TERM).expect("sent");
        self.wait_for_end();
    }

    /// Sends a signal that ends the agent to all processes of the service, and waits until the main
    /// process has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        kill_process_group(self.group().expect("running"), signal).expect("sent");
        self.wait_for_end();
    }

    /// Waits until the agent has removed the descriptor from the store.
    pub(crate) fn wait_for_empty_store(&self) {
        wait_until("FDSTOREREMOVE=1", TIMEOUT, || self.lock().stored.is_none())
            .unwrap_or_else(|error| panic!("{error}: {}", self.log()));
    }

    /// Takes the descriptor from the store.
    pub(crate) fn take_stored(&self) -> Option<OwnedFd> {
        self.lock().stored.take()
    }

    /// Replaces the descriptor in the store.
    pub(crate) fn set_stored(&self, descriptor: OwnedFd) {
        self.lock().stored = Some(descriptor);
    }

    /// Returns the log of all processes.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Waits until the log, from this offset on, contains a text, and returns that part of the log.
    /// The agent writes its log in a thread of its own.
    pub(crate) fn wait_for_log(&self, offset: usize, text: &str) -> String {
        let log = || self.log().split_off(offset);
        wait_until("the log line", TIMEOUT, || log().contains(text))
            .unwrap_or_else(|error| panic!("{text}: {error}: {}", log()));
        log()
    }

    /// Starts a process. `launcher` contains a program that executes the agent, and the program's
    /// arguments; if empty, the agent is executed directly.
    fn spawn(&mut self, launcher: &[&str]) {
        let path = self.directory.path();
        let mut command = Command::new("sh");
        let stored = self.lock().stored.as_ref().map(|stored| stored.try_clone().expect("duplicated"));
        let script = if stored.is_some() { WITH_STORE } else { r#"exec "$@""# };
        command.args(["-c", script, "sh"]).args(launcher).arg(vipd_binary().expect("vipd binary"));
        command.arg("run").arg("-c").arg(path.join("vipd.toml"));
        command.arg("--runtime-dir").arg(Agent::runtime_dir()).env("NOTIFY_SOCKET", path.join("notify"));
        command.stdin(stored.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::null()).process_group(0);
        let log = File::options().append(true).create(true).open(path.join("log")).expect("a log");
        command.stderr(log);
        let process = self.agent.host().run(move || command.spawn()).expect("run the agent");
        self.lock().main_process = Some(Pid::from_child(&process));
        self.processes.push(process);
    }

    /// Waits until the main process has ended.
    pub(crate) fn wait_for_end(&mut self) {
        let main = self.main_process();
        wait_until("the main process to end", TIMEOUT, || {
            // Reaps the process.
            let _ = self.processes.last_mut().map(Child::try_wait);
            test_kill_process(main).is_err()
        })
        .unwrap_or_else(|error| panic!("{error}: {}", self.log()));
    }

    pub(crate) fn main_process(&self) -> Pid {
        self.lock().main_process.expect("a process was started")
    }

    fn group(&self) -> Option<Pid> {
        self.processes.last().map(Pid::from_child)
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Kills the agent, its successor and its guardian. Fails if all have exited.
            let _ = kill_process_group(Pid::from_child(process), Signal::KILL);
            let _ = process.wait();
        }
    }
}

/// Handles one message. Returns whether the socket can still be read.
fn receive(manager: &UnixDatagram, received: &Mutex<Received>) -> bool {
    let mut buffer = [0; 512];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let Ok(message) = recvmsg(manager.as_fd(), &mut [IoSliceMut::new(&mut buffer)], &mut control, flags)
    else {
        return false;
    };
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let text = String::from_utf8_lossy(&buffer[..message.bytes]).into_owned();
    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
    for line in text.lines() {
        match line {
            "READY=1" => received.ready += 1,
            "FDSTORE=1" => {
                assert!(text.contains("FDNAME=vipd-state") && text.contains("FDPOLL=0"), "{text}");
                if let Some(group) = received.kill {
                    // Fails only if the test has ended.
                    let _ = kill_process_group(group, Signal::KILL);
                }
            }
            "FDSTOREREMOVE=1" => received.stored = None,
            line => {
                if let Some(pid) = line.strip_prefix("MAINPID=") {
                    received.main_process = pid.parse().ok().and_then(Pid::from_raw);
                }
            }
        }
    }
    if text.contains("FDSTORE=1") {
        received.stored = descriptor;
    }
    // Returning closes the descriptor of `BARRIER=1`.
    true
}
