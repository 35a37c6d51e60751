//! `vipd exec`: prepares a process and executes a configured command in it.
//!
//! The command `vipd exec` is not meant for users and does not appear in the help. It must not
//! depend on anything that the agent has set up. The configured command does not inherit the
//! agent's descriptors, signal mask, scheduling priority or negative OOM score adjustment. Only a
//! command that runs as root has capabilities.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::fs::Mode;
use rustix::process::{Resource, Signal, getrlimit, setrlimit, setsid, umask};
use rustix::process::{
    getpid, getppid, getpriority_process, set_parent_process_death_signal, setpriority_process,
};

use super::accounts::User;
use super::signals::set_reserved;
use super::{capabilities, executable, policy};

/// First argument with which vipd's executable runs a configured command.
pub(crate) const VERB: &str = "exec";
/// The executable of this process, even if its file has been replaced or deleted.
pub(crate) const EXECUTABLE: &str = "/proc/self/exe";
/// Exit status if the command cannot be executed, whatever the reason. A shell returns 127, not
/// 126, if the file does not exist.
pub(crate) const CANNOT_RUN: u8 = 126;
/// File with this process's OOM score adjustment (proc_pid_oom_score_adj(5)).
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
/// Soft limit on open files, the usual default. The agent raises its own limit, which commands must
/// not inherit.
const OPEN_FILES: u64 = 1024;

/// Returns the arguments with which vipd's executable runs `argv` as `user`.
pub(crate) fn arguments(user: Option<&str>, argv: &[String]) -> impl Iterator<Item = String> {
    let parent = getpid().as_raw_nonzero().to_string();
    [VERB.to_owned(), parent, user.unwrap_or_default().to_owned()].into_iter().chain(argv.iter().cloned())
}

/// Replaces this process with the command, or reports on stderr why this is not possible.
/// `arguments` are the arguments that follow [`VERB`].
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let [parent, user, program, rest @ ..] = arguments else {
        eprintln!("`vipd exec` is for internal use only");
        return ExitCode::from(2);
    };
    if let Some(defect) = executable::defect(Path::new(program)) {
        eprintln!("{} {defect}", program.display());
        return ExitCode::from(CANNOT_RUN);
    }
    let failure = match prepare(parent, user) {
        Ok(home) => {
            let mut command = Command::new(program);
            command.args(rest).envs(home.iter().flat_map(User::environment));
            format!("cannot run {}: {}", program.display(), command.exec())
        }
        Err(failure) => failure,
    };
    eprintln!("{failure}");
    ExitCode::from(CANNOT_RUN)
}

/// Prepares this process for the command. Returns the user that the command will run as; `None` if
/// `user` is empty and the current user is not in the user database.
fn prepare(parent: &OsStr, user: &OsStr) -> Result<Option<User>, String> {
    let cannot = |what: &'static str| move |error: io::Error| format!("cannot {what}: {error}");
    setsid().map_err(|error| cannot("start a session")(error.into()))?;
    reset_signals().map_err(cannot("reset signals"))?;
    reset_scheduling().map_err(cannot("reset the scheduling policy and nice value"))?;
    reset_oom_score().map_err(cannot("reset the score for the out-of-memory killer"))?;
    umask(Mode::from_raw_mode(0o022));
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(limit.current.map_or(OPEN_FILES, |current| current.min(OPEN_FILES)));
    setrlimit(Resource::Nofile, limit).map_err(|error| cannot("limit open files")(error.into()))?;
    let found = User::find(user)?;
    if let Some(user) = found.as_ref().filter(|found| found.is_other()) {
        user.switch()
            .map_err(|error| format!("cannot switch to user {}: {error}", user.name.to_string_lossy()))?;
    }
    capabilities::drop_all().map_err(cannot("drop capabilities"))?;
    close_descriptors().map_err(cannot("close file descriptors"))?;
    // The signal is set after the user is switched, because switching clears it.
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| cannot("set the signal to receive when the agent ends")(error.into()))?;
    let agent = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if agent.as_deref().map(OsStr::new) != Some(parent) {
        return Err("the agent has ended".to_owned());
    }
    Ok(found)
}

/// Sets all signals to their default action and unblocks them.
fn reset_signals() -> io::Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the default action runs no code. For SIGKILL, SIGSTOP and the signals of the C
        // library, the call fails without effect.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    set_reserved(libc::SIG_DFL)?;
    let mut none = std::mem::MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initializes the set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: as above.
    let none: libc::sigset_t = unsafe { none.assume_init() };
    // SAFETY: the set is initialized, and a null pointer discards the previous mask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
    Ok(())
}

/// Switches to ordinary scheduling with nice value 0. Without the privilege to do so, keeps a
/// policy or nice value that gives the command less CPU time.
fn reset_scheduling() -> io::Result<()> {
    let current = policy::get()?;
    if current != libc::SCHED_OTHER
        && let Err(error) = policy::set(libc::SCHED_OTHER, 0)
        && matches!(current, libc::SCHED_FIFO | libc::SCHED_RR)
    {
        return Err(error);
    }
    match setpriority_process(None, 0) {
        Err(error) if getpriority_process(None)? < 0 => Err(error.into()),
        _ => Ok(()),
    }
}

/// Resets the OOM score adjustment to 0, so that the out-of-memory killer does not spare a command
/// that leaks memory. Without the privilege to do so, keeps a positive adjustment.
fn reset_oom_score() -> io::Result<()> {
    let is_spared = || fs::read_to_string(OOM_SCORE).is_ok_and(|score| score.starts_with('-'));
    match fs::write(OOM_SCORE, "0") {
        Err(error) if is_spared() => Err(error),
        _ => Ok(()),
    }
}

/// Closes all descriptors except stdin, stdout and stderr.
pub(crate) fn close_descriptors() -> io::Result<()> {
    // SAFETY: no code of this process owns a descriptor yet, and the process has no other thread.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
