//! Runs programs in a namespace. The lab can terminate a program, and can suspend or kill it
//! together with its child processes.
//!
//! Each program is the init process of its own PID namespace: when it is killed, the kernel kills
//! all its child processes, so no supervisor survives to restart a worker. A program also receives
//! SIGKILL when the [`Namespace`] thread that started it exits, so it cannot outlive the lab.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::namespace::Namespace;
use crate::time::WallTime;
use crate::wait::try_wait_until;

/// A shell script for an init process. The script runs a program and forwards SIGTERM and SIGHUP to
/// the program or, once the program has ended, to all remaining processes, such as a successor
/// after an upgrade. The script exits with the program's status once all processes in the PID
/// namespace have ended. The shell reaps orphans while the script waits.
const INIT: &str = r#"
ulimit -c 0
"$@" & child=$!
trap 'kill -TERM $child' TERM
trap 'kill -HUP $child' HUP
wait $child; status=$?
while kill -0 $child 2>/dev/null; do wait $child; status=$?; done
trap 'kill -s TERM -- -1' TERM
trap 'kill -s HUP -- -1' HUP
while kill -0 -1 2>/dev/null; do sleep 0.05; done
exit $status
"#;

/// A line of a program's standard output or standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Time at which the lab read the line.
    pub time: WallTime,
    /// The line, without its newline.
    pub text: String,
}

/// A running program. It is killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<Vec<LogLine>>>,
    readers: Vec<JoinHandle<()>>,
    /// Keeps the namespace's thread alive: the program is killed when that thread exits.
    _namespace: Namespace,
}

impl Process {
    /// Starts a program in a namespace and collects its output line by line.
    ///
    /// # Errors
    /// Returns an error if the program cannot be started.
    pub fn spawn(namespace: &Namespace, command: Command) -> Result<Self> {
        Self::spawn_with(namespace, command, Stdio::piped())
    }

    /// Like [`Process::spawn`], but redirects standard error to `stderr`.
    ///
    /// # Errors
    /// Returns an error if the program cannot be started.
    pub fn spawn_with(namespace: &Namespace, mut command: Command, stderr: Stdio) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = start(namespace, command)?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut readers = Vec::new();
        if let Some(output) = child.stdout.take() {
            readers.push(collect(output, Arc::clone(&log)));
        }
        if let Some(output) = child.stderr.take() {
            readers.push(collect(output, Arc::clone(&log)));
        }
        Ok(Self { name, child, log, readers, _namespace: namespace.clone() })
    }

    /// Returns the process ID, as seen outside the program's PID namespace.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the output so far.
    pub fn log(&self) -> Vec<LogLine> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether the process is still running.
    ///
    /// # Errors
    /// Returns an error if waitpid(2) fails.
    pub fn is_running(&mut self) -> Result<bool> {
        let status =
            self.child.try_wait().with_context(|| format!("checking whether {} is running", self.name))?;
        Ok(status.is_none())
    }

    /// Sends SIGTERM and waits for the process to exit.
    ///
    /// # Errors
    /// Returns an error if the process is still running after `timeout`, or if
    /// [`Process::is_running`] has already found that it has exited.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        kill_process(self.rustix_pid(), Signal::TERM)
            .with_context(|| format!("sending SIGTERM to {}", self.name))?;
        let mut status = None;
        try_wait_until(&format!("{} to stop after SIGTERM", self.name), timeout, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        self.join_readers();
        status.context("no exit status")
    }

    /// Kills the process and all its child processes with SIGKILL, and waits until all have exited.
    /// All processes of its group receive the signal at the same time, as when a service manager
    /// kills a control group.
    ///
    /// # Errors
    /// Returns an error if the kernel rejects the request.
    pub fn kill(&mut self) -> Result<()> {
        match kill_process_group(self.rustix_pid(), Signal::KILL) {
            // All processes of the group have ended.
            Err(Errno::SRCH) => {}
            result => result.with_context(|| format!("sending SIGKILL to {}", self.name))?,
        }
        // Killing the init process of a PID namespace kills all processes in it.
        self.child.wait().with_context(|| format!("waiting for {} to exit", self.name))?;
        self.join_readers();
        Ok(())
    }

    /// Suspends the process and the child processes in its process group with SIGSTOP.
    ///
    /// # Errors
    /// Returns an error if the process group no longer exists.
    pub fn pause(&self) -> Result<()> {
        kill_process_group(self.rustix_pid(), Signal::STOP)
            .with_context(|| format!("sending SIGSTOP to {}", self.name))
    }

    /// Resumes the process and the child processes in its process group with SIGCONT.
    ///
    /// # Errors
    /// Returns an error if the process group no longer exists.
    pub fn resume(&self) -> Result<()> {
        kill_process_group(self.rustix_pid(), Signal::CONT)
            .with_context(|| format!("sending SIGCONT to {}", self.name))
    }

    /// Returns the process IDs of all descendants, parents before their children.
    pub fn descendants(&self) -> Vec<u32> {
        let mut found = children(self.pid());
        let mut next = 0;
        while let Some(process) = found.get(next) {
            found.extend(children(*process));
            next += 1;
        }
        found
    }

    fn rustix_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until all output has been read. The pipes close when their last writer exits.
    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            // The reader threads do not panic.
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that the process no longer exists.
        let _ = self.kill();
    }
}

/// Runs a program in a namespace and returns its output.
///
/// # Errors
/// Returns an error if the program cannot be started. If the program itself fails, its exit status
/// is in the output.
pub fn output(namespace: &Namespace, mut command: Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    start(namespace, command)?.wait_with_output().with_context(|| format!("waiting for {name}"))
}

/// Starts a program in a namespace with pipes as standard input and output. Its standard error is
/// discarded. Killing the program also kills its child processes.
///
/// # Errors
/// Returns an error if the program cannot be started.
pub fn piped(namespace: &Namespace, mut command: Command) -> Result<Child> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    start(namespace, command)
}

/// Returns a command that runs a program under its own init process, so that the program's child
/// processes survive the program's death. The init process exits once the program and all its child
/// processes have ended.
pub(crate) fn below_init(command: &Command) -> Command {
    let mut init = Command::new("sh");
    init.args(["-c", INIT, "init"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => init.env(name, value),
            None => init.env_remove(name),
        };
    }
    init
}

/// Returns the process IDs of the children of all threads of a process; empty if the process has
/// ended.
fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().filter_map(Result::ok);
    let text = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    text.flat_map(|text| text.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn start(namespace: &Namespace, mut command: Command) -> Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    // Use a separate process group, so that Ctrl-C does not reach the program, and the lab can
    // suspend the program together with its child processes.
    command.process_group(0);
    // SAFETY: between fork and exec, the closure makes only one system call and does not allocate.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    namespace
        .run(move || {
            let own = File::open("/proc/thread-self/ns/pid").context("opening /proc/thread-self/ns/pid")?;
            // SAFETY: the flag affects only the PID namespace of this thread's future children, and
            // threads do not share this setting.
            unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.context("creating a PID namespace")?;
            let child = command.spawn().context("executing the program");
            // Switch back: a thread whose children are created in another PID namespace cannot
            // start threads.
            move_into_link_name_space(own.as_fd(), None).context("returning to the lab's PID namespace")?;
            child
        })
        .with_context(|| format!("starting {name} on {}", namespace.name()))
}

fn collect(output: impl Read + Send + 'static, log: Arc<Mutex<Vec<LogLine>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        // Splits bytes instead of reading strings, to keep lines with invalid UTF-8.
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = LogLine { time: WallTime::now(), text: String::from_utf8_lossy(&line).into_owned() };
            log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}
