//! Runs the configured commands: checks and notifications.
//!
//! A command starts in two steps. The agent starts its own executable with [`exec::VERB`] as the
//! first argument. The new process prepares itself (see [`exec`](super::exec)) and then executes
//! the command. The agent itself only calls `posix_spawn`, which does not copy its page tables.
//! `fork` would copy them, which is slow with locked memory and delays the engine's page faults.
//! The standard library uses `posix_spawn` only if the `Command` has neither a user nor a
//! `pre_exec` hook.
//!
//! stdout and stderr share one pipe. All output is read, but only the last line is kept.

use std::fmt;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{self, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::exec;
use super::launcher::{Privileges, launch, signal_group};
use super::orphans::Entry;
use super::output::{Tail, read_all, read_available};

/// Maximum time between SIGTERM and SIGKILL for a command that has timed out.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// `PATH` of commands.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Path of the executable and its arguments. No shell is involved.
    pub(crate) argv: Vec<String>,
    /// Environment, in addition to `PATH`, `HOME`, `USER` and `LOGNAME`. The agent's own
    /// environment is not passed on.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Name or numeric ID of the user; `None` for the agent's user. The new process looks up the
    /// user, so that a slow directory service does not block the agent.
    pub(crate) user: Option<String>,
}

/// Starts commands.
#[derive(Debug)]
pub(crate) struct Child;

impl Child {
    /// Starts a command in its own session and process group, with stdin from `/dev/null`. Must be
    /// called in a tokio runtime, in the thread that calls [`reap_orphans`](super::reap_orphans).
    /// The kernel sends the command SIGTERM when the agent ends.
    ///
    /// A command that cannot be executed is reported as exit status [`exec::CANNOT_RUN`], with the
    /// reason in the last line.
    ///
    /// # Errors
    /// Returns an error if `argv` is empty or if no process or file descriptor is available.
    pub(crate) fn spawn(spec: &Spec) -> io::Result<Running> {
        if spec.argv.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"));
        }
        let (reader, writer) = io::pipe()?;
        let flags = rustix::fs::fcntl_getfl(&reader)?;
        rustix::fs::fcntl_setfl(&reader, flags | OFlags::NONBLOCK)?;
        let output = register(reader)?;
        let mut command = command_line(spec);
        command
            .env_clear()
            .env("PATH", PATH)
            .envs(spec.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        // The agent's copies of the descriptors in `command` are closed before `launch` returns.
        let mut child = launch(command, privileges(spec.user.as_deref()))?;
        let entry = Entry::new(Pid::from_child(&child));
        match watch(&child) {
            Ok(exited) => Ok(Running { child, exited, output, tail: Tail::default(), _entry: entry }),
            Err(error) => {
                // The process still runs this agent's executable, so SIGKILL ends it without delay.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }
}

/// Builds the [`process::Command`] that starts the configured command.
fn command_line(spec: &Spec) -> process::Command {
    let mut command;
    if cfg!(test) {
        // Replaces `vipd exec`, which the executable of the unit tests lacks.
        command = process::Command::new("/usr/bin/setsid");
        command.args(&spec.argv);
    } else {
        command = process::Command::new(exec::EXECUTABLE);
        command.args(exec::arguments(spec.user.as_deref(), &spec.argv));
    }
    command
}

/// Returns the capabilities that the new process needs. A command that is configured to run as root
/// gets all the agent's capabilities, as it would if the agent ran as root.
fn privileges(user: Option<&str>) -> Privileges {
    match user {
        None => Privileges::None,
        Some("root" | "0") => Privileges::All,
        Some(_) => Privileges::SwitchUser,
    }
}

/// Registers a descriptor with the current tokio runtime.
pub(crate) fn register<T: AsFd + AsRawFd>(descriptor: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: AsyncFd owns the descriptor and keeps it open until it is dropped.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(io::Error::from)
}

/// Returns a descriptor that becomes readable when the process ends.
fn watch(child: &process::Child) -> io::Result<AsyncFd<OwnedFd>> {
    let descriptor = pidfd_open(Pid::from_child(child), PidfdFlags::NONBLOCK)?;
    register(descriptor)
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The command exited with this status.
    Exited(i32),
    /// The command was killed by the signal with this number.
    Signaled(i32),
    /// The command did not end in time, so the agent terminated its process group.
    TimedOut,
    /// The exit status is unknown: other code in this process reaped the command, or the command
    /// could not be started.
    Unknown,
}

impl End {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Signaled(signal),
            (None, None) => Self::Unknown,
        }
    }

    /// Returns whether the command exited with status 0.
    pub(crate) fn is_success(self) -> bool {
        self == Self::Exited(0)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit status {code}"),
            Self::Signaled(signal) => write!(f, "ended by signal {signal}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// The result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    /// Last nonblank line that the command wrote to stdout or stderr: its first 256 bytes, without
    /// leading and trailing white space. Each control character and each invalid UTF-8 sequence is
    /// then replaced by U+FFFD (3 bytes). Empty if there was no such line.
    pub(crate) last_line: String,
}

/// A command that has started. Dropping it kills its process group if the command is still running.
#[derive(Debug)]
pub(crate) struct Running {
    child: process::Child,
    exited: AsyncFd<OwnedFd>,
    output: AsyncFd<PipeReader>,
    tail: Tail,
    _entry: Entry,
}

impl Running {
    /// Waits until the command exits. After `timeout`, [ends](Self::terminate) it. Does not wait
    /// for background processes that the command has started.
    pub(crate) async fn wait_with_last_line(mut self, timeout: Duration) -> Outcome {
        match self.wait(timeout).await {
            Some(outcome) => outcome,
            None => self.terminate().await,
        }
    }

    /// Waits until the command exits. Returns `None` if it is still running after `timeout`.
    pub(crate) async fn wait(&mut self, timeout: Duration) -> Option<Outcome> {
        timeout_at(Instant::now() + timeout, self.exit()).await.ok()?;
        read_available(self.output.get_ref(), &mut self.tail);
        let end = match self.child.try_wait() {
            Ok(Some(status)) => End::of(status),
            Ok(None) | Err(_) => End::Unknown,
        };
        Some(Outcome { end, last_line: std::mem::take(&mut self.tail).into_line() })
    }

    /// Returns the last nonblank line of the output so far.
    pub(crate) fn last_line(&self) -> String {
        self.tail.clone().into_line()
    }

    /// Ends a command that has timed out. Sends SIGTERM to its process group, then SIGKILL once the
    /// command has ended or after [`GRACE`]. Waits until the command has ended. This may take a
    /// long time if the command is waiting for a device or a file server, because the kernel then
    /// delays even SIGKILL.
    pub(crate) async fn terminate(mut self) -> Outcome {
        self.signal(Signal::TERM);
        let _ = timeout_at(Instant::now() + GRACE, self.exit()).await;
        // The group is killed before the process is reaped, because the group's ID may be reused
        // afterwards.
        self.signal(Signal::KILL);
        self.exit().await;
        read_available(self.output.get_ref(), &mut self.tail);
        let _ = self.child.try_wait();
        Outcome { end: End::TimedOut, last_line: std::mem::take(&mut self.tail).into_line() }
    }

    /// Reads output until the process has exited. The process remains a zombie.
    async fn exit(&mut self) {
        let Self { exited, output, tail, .. } = self;
        tokio::select! {
            _ = exited.readable() => {}
            () = read_all(output, tail) => {
                // The command has closed its output. An error means that the runtime is ending.
                let _ = exited.readable().await;
            }
        }
    }

    /// Sends a signal to the process group. If the process has not called `setsid` yet, there is no
    /// such group, and only the process receives the signal.
    fn signal(&self, signal: Signal) {
        if signal_group(Pid::from_child(&self.child), signal).is_err() {
            // Before `setsid`, the process runs as the agent's user, so this thread needs no
            // capability. The call fails only if the process has been reaped.
            let _ = pidfd_send_signal(self.exited.get_ref(), signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.signal(Signal::KILL);
        // The process has usually not ended yet, so it is reaped later. Without a runtime, it
        // remains a zombie until the agent exits.
        if let (Ok(None), Ok(runtime)) = (self.child.try_wait(), tokio::runtime::Handle::try_current())
            && let (Ok(exited), Some(pid)) =
                (self.exited.get_ref().try_clone(), Pid::from_raw(id(&self.child)))
        {
            runtime.spawn(async move {
                if let Ok(exited) = register(exited) {
                    let _ = exited.readable().await;
                    let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
                }
            });
        }
    }
}

fn id(child: &process::Child) -> i32 {
    Pid::from_child(child).as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::thread;
    use std::time::Instant;

    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    /// Runs a shell command and waits for its outcome.
    fn run(script: &str, timeout: Duration) -> Outcome {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let environment = vec![("VIPD_STATE", "master".to_owned())];
        let spec = Spec { argv, environment, user: None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let running = Child::spawn(&spec).expect("started");
            running.wait_with_last_line(timeout).await
        })
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn outcome_contains_the_exit_status_and_the_last_line() {
        let outcome = |script| {
            let Outcome { end, last_line } = run(script, LONG);
            (end, last_line)
        };
        assert_eq!(outcome("true"), (End::Exited(0), String::new()));
        assert_eq!(outcome("echo one; echo two >&2; exit 3"), (End::Exited(3), "two".to_owned()));
        assert_eq!(outcome("echo one; echo; printf ' two '"), (End::Exited(0), "two".to_owned()));
        assert_eq!(outcome("echo one; kill -9 $$"), (End::Signaled(libc::SIGKILL), "one".to_owned()));
        assert_eq!(outcome("exec >&- 2>&-; exit 4"), (End::Exited(4), String::new()));
        assert_eq!(outcome("echo $VIPD_STATE; pwd | grep -qx /"), (End::Exited(0), "master".to_owned()));
    }

    #[test]
    fn flood_of_output_is_read_to_the_end() {
        let outcome = run("head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end", LONG);
        assert_eq!((outcome.end, outcome.last_line.as_str()), (End::Exited(0), "end"));
    }

    #[test]
    fn background_processes_are_not_waited_for() {
        assert_eq!(run("sleep 30 & echo $!", LONG).end, End::Exited(0));
    }

    #[test]
    fn whole_group_is_killed_after_the_timeout() {
        let directory = tempfile::tempdir().expect("a directory");
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("create a FIFO");
        let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&fifo);
        let mut reader = reader.expect("open the FIFO");
        // The shell and both sleeps ignore SIGTERM and keep the FIFO open for writing.
        let script = format!(
            "trap '' TERM; exec 3>{}; echo >&3; sleep 1000 & while :; do sleep 1000; done",
            fifo.display()
        );
        assert_eq!(run(&script, Duration::from_secs(2)).end, End::TimedOut);
        // The read reaches end of file once the last writer has been killed.
        let (mut text, begin) = (Vec::new(), Instant::now());
        while reader.read_to_end(&mut text).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "a process is still running");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(text, b"\n", "the shell was running");
    }

    /// The caller reports the timeout before it ends the command, because ending a command may be
    /// slow.
    #[test]
    fn timed_out_command_keeps_running_until_it_is_terminated() {
        let argv = ["/bin/sh", "-c", "echo started; exec sleep 1000"].map(str::to_owned).to_vec();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut running = Child::spawn(&Spec { argv, ..Spec::default() }).expect("started");
            while running.last_line().is_empty() {
                assert_eq!(running.wait(Duration::from_millis(10)).await, None);
            }
            assert_eq!(running.child.try_wait().expect("its status"), None);
            let outcome = running.terminate().await;
            assert_eq!(outcome, Outcome { end: End::TimedOut, last_line: "started".to_owned() });
        });
    }
}
