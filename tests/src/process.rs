//! A program inside a namespace, which the lab can stop, freeze and kill as a whole.
//!
//! Each program is the first process of a process namespace of its own. Killing it kills all it has
//! started, in one step and by the kernel, so "SIGKILL of the whole agent" leaves no moment in which
//! a supervisor restarts its worker. And it asks the kernel for SIGKILL on the death of the thread
//! that started it ([`Namespace`]'s own), so nothing survives the lab.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::namespace::Namespace;
use crate::time::WallTime;
use crate::wait::try_wait_until;

/// A line a program has written to its standard output or error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When the lab received it.
    pub time: WallTime,
    /// The line without its end.
    pub text: String,
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<Vec<LogLine>>>,
    readers: Vec<JoinHandle<()>>,
    /// The program dies with the namespace's thread: not before this handle is gone.
    _namespace: Namespace,
}

impl Process {
    /// Starts a program in a namespace, with its output collected line by line.
    ///
    /// # Errors
    /// When the program cannot be started; the message names it.
    pub fn spawn(namespace: &Namespace, command: Command) -> Result<Self> {
        Self::spawn_with(namespace, command, Stdio::piped())
    }

    /// As [`Process::spawn`], with its standard error going where the caller says.
    ///
    /// # Errors
    /// When the program cannot be started; the message names it.
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

    /// Process id on the host.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the program has written so far.
    pub fn log(&self) -> Vec<LogLine> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has not exited.
    ///
    /// # Errors
    /// When the kernel cannot say.
    pub fn is_running(&mut self) -> Result<bool> {
        let status = self.child.try_wait().with_context(|| format!("asking whether {} runs", self.name))?;
        Ok(status.is_none())
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it is still there after `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        kill_process(self.pid(), Signal::TERM).with_context(|| format!("SIGTERM to {}", self.name))?;
        let mut status = None;
        try_wait_until(&format!("{} to stop after SIGTERM", self.name), timeout, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        self.join_readers();
        status.context("a stopped program has a status")
    }

    /// Kills it and everything it has started (SIGKILL) and waits until all of it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        // SIGKILL to the first process of a process namespace takes the namespace with it.
        self.child.kill().with_context(|| format!("SIGKILL to {}", self.name))?;
        self.child.wait().with_context(|| format!("waiting for {} to be gone", self.name))?;
        self.join_readers();
        Ok(())
    }

    /// Freezes it and its workers (SIGSTOP).
    ///
    /// # Errors
    /// When it is gone.
    pub fn pause(&self) -> Result<()> {
        kill_process_group(self.pid(), Signal::STOP).with_context(|| format!("SIGSTOP to {}", self.name))
    }

    /// Thaws it and its workers (SIGCONT).
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume(&self) -> Result<()> {
        kill_process_group(self.pid(), Signal::CONT).with_context(|| format!("SIGCONT to {}", self.name))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the last lines: the pipes are closed once every writer is gone.
    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader cannot panic: it holds no lock while it reads.
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it is gone already, which is what is wanted.
        let _ = self.kill();
    }
}

/// Runs a program in a namespace to its end and returns what it wrote.
///
/// # Errors
/// When it cannot be started. Its own failure is in the output's status.
pub fn output(namespace: &Namespace, mut command: Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    start(namespace, command)?.wait_with_output().with_context(|| format!("waiting for {name}"))
}

fn start(namespace: &Namespace, mut command: Command) -> Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    // A group of its own: Ctrl-C on the terminal reaches the lab alone, and the lab can freeze the
    // program together with its workers.
    command.process_group(0);
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    namespace
        .run(move || {
            let own = File::open("/proc/thread-self/ns/pid").context("opening /proc/thread-self/ns/pid")?;
            // SAFETY: the flag changes in which process namespace this thread's children are born,
            // nothing that other threads share.
            unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.context("making a process namespace")?;
            let child = command.spawn().context("executing it");
            // Back again: a thread whose children are born elsewhere may not start threads.
            move_into_link_name_space(own.as_fd(), None)
                .context("returning to the lab's process namespace")?;
            child
        })
        .with_context(|| format!("starting {name} on {}", namespace.name()))
}

fn collect(output: impl Read + Send + 'static, log: Arc<Mutex<Vec<LogLine>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        // Log lines are text for people: a byte that is not UTF-8 is no reason to lose the line.
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = LogLine { time: WallTime::now(), text: String::from_utf8_lossy(&line).into_owned() };
            log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}
