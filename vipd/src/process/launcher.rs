//! The thread that starts and signals other programs. No other thread keeps the privileges required
//! for that.
//!
//! An agent that does not run as root passes capabilities to a program through the thread's ambient
//! set (capabilities(7)). The launcher fills this set for one program at a time, and has no
//! effective capability except CAP_KILL and CAP_IPC_LOCK. Root needs no ambient set: the kernel
//! grants a program that runs as root the bounding set.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, set_capabilities,
};

use super::capabilities::{ThreadKind, confine};

/// Stack size of the launcher thread in bytes. Small, because the process's memory is locked.
const STACK: usize = 128 * 1024;

type Job = Box<dyn FnOnce() + Send>;

static LAUNCHER: OnceLock<Sender<Job>> = OnceLock::new();

/// The capabilities that a program starts with, if the agent has them. A program that runs as root
/// always has the capabilities of the bounding set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privileges {
    /// No capabilities.
    None,
    /// The capabilities for switching to another user.
    SwitchUser,
    /// The capabilities of the guardian: for removing VIPs, routes, rules and macvlans, for
    /// selecting the interface of each unicast advert, and for real-time scheduling and locked
    /// memory.
    Guardian,
    /// All capabilities that the agent was started with.
    All,
}

impl Privileges {
    fn set(self) -> CapabilitySet {
        match self {
            Self::None => CapabilitySet::empty(),
            Self::SwitchUser => CapabilitySet::SETUID | CapabilitySet::SETGID,
            Self::Guardian => {
                CapabilitySet::NET_ADMIN
                    | CapabilitySet::NET_RAW
                    | CapabilitySet::SYS_NICE
                    | CapabilitySet::IPC_LOCK
            }
            Self::All => CapabilitySet::all(),
        }
    }
}

/// Starts the launcher thread. Must be called while the calling thread has all capabilities. If the
/// launcher has not been started, as in unit tests, [`launch`] and [`signal_group`] run in the
/// calling thread.
///
/// # Errors
/// `EAGAIN` if the thread cannot be started.
pub(crate) fn start_launcher() -> io::Result<()> {
    let (jobs, submitted) = channel::<Job>();
    thread::Builder::new().name("launcher".to_owned()).stack_size(STACK).spawn(move || {
        confine(ThreadKind::Launcher);
        for job in submitted {
            job();
        }
    })?;
    // Fails only if called a second time; the new thread then ends.
    let _ = LAUNCHER.set(jobs);
    Ok(())
}

/// Starts a program. The launcher lives as long as the agent, so a program that sets
/// `PR_SET_PDEATHSIG` receives the signal only when the agent ends.
///
/// # Errors
/// Returns an error if no process or descriptor is available, or if the program cannot be executed.
pub(crate) fn launch(mut command: Command, privileges: Privileges) -> io::Result<Child> {
    run(move || {
        pass_on(privileges.set())?;
        let child = command.spawn();
        // A failure is not expected, and would be harmless, because the next program gets its own
        // set.
        let _ = pass_on(CapabilitySet::empty());
        child
    })?
}

/// Sends a signal to a process group, which may belong to another user.
///
/// # Errors
/// `ESRCH` if there is no such group.
pub(super) fn signal_group(group: Pid, signal: Signal) -> io::Result<()> {
    run(move || kill_process_group(group, signal).map_err(io::Error::from))?
}

/// Runs a job in the launcher and waits for its result.
fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let Some(jobs) = LAUNCHER.get() else { return Ok(job()) };
    let (sender, result) = channel();
    let job = move || drop(sender.send(job()));
    jobs.send(Box::new(job)).ok().and_then(|()| result.recv().ok()).ok_or(io::ErrorKind::BrokenPipe.into())
}

/// Sets the capabilities that a program inherits from this thread.
fn pass_on(set: CapabilitySet) -> io::Result<()> {
    clear_ambient_capability_set()?;
    let present = capabilities(None)?;
    let inheritable = set & present.permitted;
    set_capabilities(None, CapabilitySets { inheritable, ..present })?;
    for capability in inheritable.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// Returns `CapInh` and `CapAmb` of a program started with these privileges.
    fn inherited(privileges: Privileges) -> [u64; 2] {
        let mut command = Command::new("/bin/cat");
        command.arg("/proc/self/status").stdout(Stdio::piped());
        let output = launch(command, privileges).and_then(Child::wait_with_output).expect("cat runs");
        let status = String::from_utf8(output.stdout).expect("text");
        ["CapInh:", "CapAmb:"].map(|name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a set");
            u64::from_str_radix(line.trim(), 16).expect("hexadecimal")
        })
    }

    #[test]
    fn program_inherits_only_the_capabilities_passed_to_it() {
        let permitted = capabilities(None).expect("capabilities").permitted;
        for privileges in [Privileges::None, Privileges::SwitchUser, Privileges::All, Privileges::None] {
            let expected = (permitted & privileges.set()).bits();
            let [inheritable, ambient] = inherited(privileges);
            assert_eq!(inheritable, expected, "{privileges:?}");
            assert!(ambient == expected || rustix::process::geteuid().is_root(), "{privileges:?}");
        }
    }
}
