//! The agent lock, which allows one agent per runtime directory in a network namespace.
//!
//! The lock is a name rather than a file: if the directory of a lock file were deleted or mounted
//! over while the agent runs, a second agent would find no lock file and remove the first agent's
//! macvlans.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::name_lock::{Holder, MAX_LEN, NameLock};

/// Prefix of the socket name; the agent's name follows.
const PREFIX: &str = "vipd ";
/// Maximum time that a new process waits for the lock's holder to end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between attempts.
const RETRY: Duration = Duration::from_millis(10);

/// The reason why the lock cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent with this runtime directory runs in this network namespace, or the holder of
    /// the lock cannot be determined.
    #[error(
        "another vipd{} is already running with the runtime directory {name}; stop it first, or choose another \
         directory with --runtime-dir DIR",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Taken {
        /// The runtime directory.
        name: String,
        /// Process ID of the agent, if it is visible in this PID namespace.
        pid: Option<u32>,
    },
    /// A process of an unprivileged user holds the lock.
    #[error(
        "a process of user {uid}{} holds the lock for the runtime directory {name} (the abstract unix socket \
         \"{PREFIX}{name}\"); stop it, or choose another directory with --runtime-dir \
         DIR",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    OtherUser {
        /// The runtime directory.
        name: String,
        /// User ID of the process.
        uid: u32,
        /// Process ID, if it is visible in this PID namespace.
        pid: Option<u32>,
    },
    /// The path of the runtime directory is too long for a socket name.
    #[error(
        "the path of the runtime directory {} is {} bytes long; the maximum is {}; choose a directory with a shorter \
         path (--runtime-dir DIR)",
        .0,
        .0.len(),
        MAX_LEN - PREFIX.len()
    )]
    TooLong(String),
    /// The socket could not be created.
    #[error("cannot lock the runtime directory {name}: {cause}")]
    System {
        /// The runtime directory.
        name: String,
        /// The error from the kernel.
        cause: io::Error,
    },
}

/// The held agent lock. The lock is released when it is dropped or the process ends, unless a
/// successor has inherited it.
#[derive(Debug)]
pub struct AgentLock {
    name: String,
    held: NameLock,
}

impl AgentLock {
    /// Takes the lock for a runtime directory. The directory need not exist.
    ///
    /// # Errors
    /// Returns an error if another process holds the lock, the path is too long, or the socket
    /// cannot be created.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        Self::acquire_name(agent_name(directory), || false)
    }

    /// Takes the lock of the agent with this [name](Self::name). `wait` is called after each failed
    /// attempt and returns whether to retry.
    fn acquire_name(name: String, mut wait: impl FnMut() -> bool) -> Result<Self, LockError> {
        let socket_name = format!("{PREFIX}{name}");
        if socket_name.len() > MAX_LEN {
            return Err(LockError::TooLong(name));
        }
        loop {
            match NameLock::acquire(&socket_name) {
                Ok(held) => return Ok(Self { name, held }),
                Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => {
                    if !wait() {
                        // The holder is determined only after the last attempt, because each search
                        // leaves a connection in the backlog of the holder's socket.
                        return Err(taken(name, &socket_name));
                    }
                }
                Err(cause) => return Err(LockError::System { name, cause }),
            }
        }
    }

    /// Takes the lock like [`acquire`](Self::acquire), but retries for up to a second, because the
    /// holder may be ending: the kernel releases the lock of a killed agent only when it closes the
    /// agent's descriptors.
    ///
    /// # Errors
    /// See [`acquire`](Self::acquire).
    pub fn acquire_patiently(directory: &Path) -> Result<Self, LockError> {
        Self::acquire_name_patiently(&agent_name(directory))
    }

    /// Takes the lock of the agent with this [name](Self::name), like
    /// [`acquire_patiently`](Self::acquire_patiently).
    ///
    /// # Errors
    /// See [`acquire`](Self::acquire).
    pub(crate) fn acquire_name_patiently(name: &str) -> Result<Self, LockError> {
        let deadline = Instant::now() + PATIENCE;
        Self::acquire_name(name.to_owned(), || {
            let is_early = Instant::now() < deadline;
            if is_early {
                thread::sleep(RETRY);
            }
            is_early
        })
    }

    /// Creates the lock from the descriptor of a predecessor's lock for the same runtime directory.
    pub fn inherit(directory: &Path, descriptor: OwnedFd) -> Self {
        Self { name: agent_name(directory), held: NameLock::inherit(descriptor) }
    }

    /// Returns the descriptor to pass to a successor.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.held.as_fd()
    }

    /// Records this process as the holder of an inherited lock. Error messages of other agents then
    /// name this process, and the predecessor's guardian recognizes that another agent runs.
    pub fn take_over(&self) {
        self.held.take_over();
    }

    /// Returns the agent's name, which is unique in the network namespace: the absolute path of its
    /// runtime directory with symbolic links resolved, and with `_` in place of spaces, control
    /// characters and non-ASCII characters.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Returns whether an agent other than the process `except` holds the agent lock with this name.
/// Returns false if the holder cannot be determined.
pub(crate) fn another_agent_runs(name: &str, except: Option<Pid>) -> bool {
    Holder::find(&format!("{PREFIX}{name}")).is_some_and(|holder| {
        let pid = holder.pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        holder.is_trusted() && (pid.is_none() || pid != except)
    })
}

/// Returns whether an agent that is not about to end holds the agent lock with this name. Returns
/// false if the holder cannot be determined.
pub(crate) fn agent_stays(name: &str) -> bool {
    Holder::find(&format!("{PREFIX}{name}")).is_some_and(|holder| holder.is_trusted() && !holder.is_ending())
}

/// Returns whether more than one agent runs in this thread's network namespace, or false if /proc
/// cannot be read. A lock whose holder cannot be determined counts as an agent's.
pub fn several_agents_run() -> bool {
    possible_agents().len() > 1
}

/// Returns whether any agent with a name not in `except` runs in this thread's network namespace,
/// or false if /proc cannot be read. A lock whose holder cannot be determined counts as an agent's.
pub(crate) fn other_agents_run(except: &[&str]) -> bool {
    possible_agents().iter().any(|agent| !except.contains(&agent.as_str()))
}

/// Returns the [names](AgentLock::name) of the agents in this thread's network namespace. Returns
/// an empty set if /proc cannot be read.
pub(crate) fn agents_here() -> BTreeSet<String> {
    agents_with(|holder| holder.is_some_and(Holder::is_trusted))
}

/// Like [`agents_here`], but includes the names of locks whose holder cannot be determined.
pub(crate) fn possible_agents() -> BTreeSet<String> {
    agents_with(|holder| holder.is_none_or(Holder::is_trusted))
}

/// Returns the names of the locks in this thread's network namespace whose holder is accepted.
fn agents_with(accepts: impl Fn(Option<Holder>) -> bool) -> BTreeSet<String> {
    let sockets = fs::read_to_string("/proc/thread-self/net/unix").unwrap_or_default();
    // Any user can bind a name with this prefix. Because the names are displayed, only absolute
    // paths of printable ASCII characters are kept.
    let is_path = |name: &str| name.starts_with('/') && name.bytes().all(|byte| byte.is_ascii_graphic());
    let is_accepted = |name: &str| accepts(Holder::find(&format!("{PREFIX}{name}")));
    let named = agents(&sockets).into_iter().filter(|name| is_path(name) && is_accepted(name));
    named.map(str::to_owned).collect()
}

/// Returns the names of the agents in the contents of /proc/net/unix (proc_net_unix(5)). The result
/// is a set, because a connection to a lock is listed under the same name as the lock.
fn agents(sockets: &str) -> BTreeSet<&str> {
    let names =
        sockets.lines().filter_map(|line| Some(line.split_once(" @")?.1.strip_prefix(PREFIX)?.trim_end()));
    names.collect()
}

/// Returns the [name](AgentLock::name) of the agent with this runtime directory.
pub(crate) fn agent_name(directory: &Path) -> String {
    let path = resolve(&std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()));
    path.to_string_lossy().chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}

/// Resolves the symbolic links in the part of the path that exists.
fn resolve(path: &Path) -> PathBuf {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Ok(resolved), ..) => resolved,
        (Err(_), Some(parent), Some(name)) => resolve(parent).join(name),
        (Err(_), ..) => path.to_owned(),
    }
}

fn taken(name: String, socket_name: &str) -> LockError {
    match Holder::find(socket_name) {
        Some(holder) if !holder.is_trusted() => {
            LockError::OtherUser { name, uid: holder.uid, pid: holder.pid }
        }
        holder => LockError::Taken { name, pid: holder.and_then(|holder| holder.pid) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_kept_when_its_directory_is_deleted() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let directory = parent.path().join("agent");
        fs::create_dir(&directory).expect("created");
        let first = AgentLock::acquire(&directory).expect("the lock is free");
        fs::remove_dir(&directory).expect("removed");
        let refused = AgentLock::acquire(&directory).expect_err("taken");
        let expected = Some(std::process::id());
        assert!(matches!(&refused, LockError::Taken { pid, .. } if *pid == expected), "{refused}");
        // Recreating the directory does not release the lock.
        fs::create_dir(&directory).expect("created again");
        assert!(matches!(AgentLock::acquire(&directory), Err(LockError::Taken { .. })));
        drop(first);
        AgentLock::acquire(&directory).expect("free again");
    }

    #[test]
    fn lock_of_an_exiting_holder_is_taken_by_a_later_attempt() {
        let name = format!("/test/ending-{}", std::process::id());
        let mut holder = Some(AgentLock::acquire_name(name.clone(), || false).expect("the lock is free"));
        let mut attempts = 0;
        let taken = AgentLock::acquire_name(name, || {
            attempts += 1;
            if attempts == 2 {
                holder = None;
            }
            true
        });
        taken.expect("free again");
        assert_eq!(attempts, 2);
    }

    #[test]
    fn each_agent_is_listed_once() {
        let sockets = "Num       RefCount Protocol Flags    Type St Inode Path\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 100 @vipd /run/vipd\n\
             0000000000000000: 00000002 00000000 00000000 0001 02 101 @vipd /run/vipd\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 102 /run/vipd/vipd.sock\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 103\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 104 @vipd /run/other\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 105 @/tmp/.X11-unix/X0\n";
        assert_eq!(agents(sockets).into_iter().collect::<Vec<_>>(), ["/run/other", "/run/vipd"]);
    }

    #[test]
    fn symbolic_link_to_the_directory_shares_its_lock() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let real = parent.path().join("real");
        fs::create_dir(&real).expect("created");
        std::os::unix::fs::symlink(&real, parent.path().join("link")).expect("linked");
        // Neither directory exists yet.
        let _first = AgentLock::acquire(&real.join("agent")).expect("the lock is free");
        let refused = AgentLock::acquire(&parent.path().join("link/agent")).expect_err("taken");
        assert!(matches!(refused, LockError::Taken { .. }), "{refused}");
    }

    #[test]
    fn path_too_long_for_a_socket_name_is_rejected() {
        let refused = AgentLock::acquire(Path::new(&format!("/{}", "x".repeat(110)))).expect_err("too long");
        assert!(matches!(refused, LockError::TooLong(_)), "{refused}");
    }
}
