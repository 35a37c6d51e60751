//! The service's part of the guardian: starts the guardian's process, and restarts it when it ends.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::memory::{CRASH, Memory, Phase};
use super::socket;
use super::writer::Writer;
use crate::color;
use crate::packet::AnyInterface;
use crate::process::capabilities::{ThreadKind, confine};
use crate::process::{Privileges, crash, exec, launch};

/// Time within which a guardian must report that it is ready.
const READY_TIMEOUT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// Time for a guardian to end after the engine has ended. A guardian that takes longer is killed.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// Delay before another guardian is started after the first failure. The delay doubles with each
/// further failure.
const DELAY_MIN: Duration = Duration::from_secs(1);
/// Maximum delay before another guardian is started.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// A guardian that has run for at least this time is replaced at once when it ends, and the delay
/// starts again at [`DELAY_MIN`].
const STABLE: Duration = Duration::from_secs(10);

/// Parameters of a guardian.
pub(crate) struct Setup {
    /// The array of leases.
    pub(crate) leases: OwnedFd,
    /// Number of rows in the array of leases.
    pub(crate) rows: usize,
    /// Name of the agent ([`AgentLock::name`](crate::process::AgentLock::name)).
    pub(crate) agent: String,
    /// Whether the guardian uses real-time scheduling and locked memory.
    pub(crate) is_realtime: bool,
}

/// Starts and restarts the guardian.
pub(crate) struct Guardian {
    shared: Arc<Shared>,
    /// Dropped to end the thread while no guardian runs.
    stop: Sender<()>,
    /// Disconnected once the thread has ended.
    ended: Receiver<()>,
}

/// A handle for the state of the guardian.
#[derive(Clone)]
pub(crate) struct GuardianState(Arc<Shared>);

impl GuardianState {
    /// Returns whether a guardian watches the engine.
    pub(crate) fn is_running(&self) -> bool {
        self.0.is_running.load(Ordering::Acquire)
    }
}

struct Shared {
    setup: Setup,
    memory: Memory,
    is_running: AtomicBool,
    /// The guardian's process, while it runs.
    process: Mutex<Option<OwnedFd>>,
}

impl Guardian {
    /// Creates the memory and installs the crash handlers. Starts a guardian once the engine holds
    /// the mutex, and retries if the start fails.
    ///
    /// # Errors
    /// Returns an error if no file descriptor, address space or thread is available, or if the
    /// mutex or the crash handlers cannot be set up.
    pub(crate) fn start(setup: Setup) -> io::Result<(Self, Writer)> {
        let memory = Memory::create(setup.rows)?;
        let (started, starts) = sync_channel(1);
        let writer = Writer::new(memory.clone(), started);
        crash::install(memory.shared(), CRASH)?;
        let (is_running, process) = (AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { setup, memory, is_running, process });
        let (stop, stopped) = channel();
        let (running, ended) = channel::<()>();
        thread::Builder::new().name("guardian".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                let _running = running;
                confine(ThreadKind::Guardian);
                if starts.recv().is_ok() {
                    shared.run(&stopped);
                }
            }
        })?;
        Ok((Self { shared, stop, ended }, writer))
    }

    /// Returns a handle for the state of the guardian.
    pub(crate) fn state(&self) -> GuardianState {
        GuardianState(Arc::clone(&self.shared))
    }

    /// Makes the guardian end without further action, and kills it if it has not ended within
    /// [`END_TIMEOUT`]. Called after the engine has ended and its VIPs have been removed or handed
    /// over.
    pub(crate) fn dismiss(self) {
        self.shared.memory.set_phase(Phase::Ended);
        let Self { shared, stop, ended } = self;
        drop(stop);
        if ended.recv_timeout(END_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            // The guardian is stopped (SIGSTOP) or waiting for a slow driver.
            shared.kill();
        }
    }
}

impl Shared {
    /// Keeps a guardian running until the engine has ended.
    fn run(&self, stopped: &Receiver<()>) {
        let mut delay = DELAY_MIN;
        let mut reported = None;
        while self.memory.phase() == Phase::Running && !self.memory.is_answered() {
            let started = Instant::now();
            let reason = match self.run_one() {
                Ok(status) => describe(status),
                Err(error) => format!("cannot be started: {error}"),
            };
            if self.memory.phase() != Phase::Running || self.memory.is_answered() {
                return;
            }
            let wait = if started.elapsed() >= STABLE {
                (delay, reported) = (DELAY_MIN, None);
                Duration::ZERO
            } else {
                let next = (delay * 2).min(DELAY_MAX);
                std::mem::replace(&mut delay, next)
            };
            // A repeated failure with the same reason is reported once.
            if reported.as_ref() != Some(&reason) {
                tracing::error!(
                    reason,
                    "the guardian is not running: if this process dies, backups take over only after the \
                     Active_Down_Interval, and VIPs stay; starting another guardian in {wait:?}; after \
                     further failures, the delay increases to up to {DELAY_MAX:?}"
                );
            }
            reported = Some(reason);
            if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Starts a guardian and waits until it ends.
    fn run_one(&self) -> io::Result<Option<ExitStatus>> {
        let sockets = AnyInterface::open()?;
        let (own, other) = socket::pair()?;
        let mut child = launch(self.command(other), Privileges::Guardian)?;
        let result = self.watch(&child, &own, &sockets);
        self.is_running.store(false, Ordering::Release);
        crash::disarm();
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if result.is_err() {
            let _ = child.kill();
        }
        let status = child.wait();
        result?;
        // If this process is the init process of its PID namespace, it may already have reaped the
        // guardian along with orphans.
        Ok(status.ok())
    }

    fn watch(&self, child: &Child, own: &OwnedFd, sockets: &AnyInterface) -> io::Result<()> {
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process.try_clone()?);
        socket::send(own, &self.memory, &self.setup.leases, sockets)?;
        let mut byte = [0];
        let mut ready = [PollFd::new(own, PollFlags::IN)];
        if retry_on_intr(|| poll(&mut ready, Some(&READY_TIMEOUT)))? == 0 {
            return Err(io::Error::other("it did not become ready within 5 s"));
        }
        recv(own, &mut byte, RecvFlags::DONTWAIT)?;
        if byte == [socket::READY] {
            crash::arm(own.as_raw_fd());
            self.is_running.store(true, Ordering::Release);
            tracing::info!(pid = child.id(), "guardian started");
        }
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        retry_on_intr(|| poll(&mut ended, None))?;
        Ok(())
    }

    fn command(&self, socket: OwnedFd) -> Command {
        let mut command = Command::new(exec::EXECUTABLE);
        let scheduling = if self.setup.is_realtime { "realtime" } else { "ordinary" };
        command.args([super::VERB, &self.setup.agent, scheduling]);
        command.current_dir("/").stdin(socket).stdout(Stdio::null());
        color::pass_on(&mut command);
        command
    }

    fn kill(&self) {
        if let Some(process) = &*self.process.lock().unwrap_or_else(PoisonError::into_inner) {
            // Fails if the guardian has ended in the meantime.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }
}

fn describe(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("ended with exit status {code}"),
        Some((None, Some(signal))) => format!("ended by signal {signal}"),
        _ => "ended".to_owned(),
    }
}
