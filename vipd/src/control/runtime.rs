//! The runtime directory, which contains the control socket of one agent.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::access::{Access, Rules};
use crate::process::{agent_name, agents_here};

/// Runtime directory of an agent that is started without `--runtime-dir`.
pub const DEFAULT_DIRECTORY: &str = "/run/vipd";
const LOCK: &str = "vipd.lock";
const SOCKET: &str = "control.sock";

/// Returns the path of the control socket in a runtime directory.
pub fn socket_path(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}

/// Returns the runtime directories of running agents, except `directory`. Finds all agents in this
/// network namespace and, in other network namespaces, agents whose directory is `/run/vipd`
/// followed by any characters. Leaves out directories that do not exist in this mount namespace,
/// and directories whose path has spaces or non-ASCII characters. Also leaves out each agent that
/// is in another network namespace and that this process may not connect to.
pub fn running_agents(directory: &Path) -> Vec<String> {
    // In the name of an agent, `_` may stand for another character of the path, so not every name
    // is an existing path.
    let here = agents_here().into_iter().filter(|name| Path::new(name).is_dir());
    let mut found: BTreeMap<String, String> = here.map(|name| (name.clone(), name)).collect();
    let default = Path::new(DEFAULT_DIRECTORY);
    let beside = default.parent().and_then(|parent| fs::read_dir(parent).ok()).into_iter().flatten();
    let prefix = default.file_name().unwrap_or_default().as_encoded_bytes();
    for entry in beside.filter_map(Result::ok) {
        let path = entry.path();
        let Some(text) = path.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic())) else {
            continue;
        };
        if entry.file_name().as_encoded_bytes().starts_with(prefix) && accepts_connections(&path) {
            found.entry(agent_name(&path)).or_insert_with(|| text.to_owned());
        }
    }
    found.remove(&agent_name(directory));
    found.into_values().collect()
}

/// Returns whether this process can connect to the control socket in a directory.
fn accepts_connections(directory: &Path) -> bool {
    let connect = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A blocking connect would wait for an agent that has stopped accepting connections.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(socket_path(directory))?)
    };
    connect().is_ok()
}

/// The reason why a runtime directory cannot be used, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// An agent in another network namespace uses the directory.
    #[error(
        "another vipd{} is already running with the runtime directory {}; stop it first, or choose another directory \
         with --runtime-dir DIR",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(),
        .directory.display()
    )]
    Taken {
        /// The runtime directory.
        directory: PathBuf,
        /// Process ID of the other agent, from the lock file.
        pid: Option<u32>,
    },
    /// The directory or its lock file is owned by a user other than root and this process's user,
    /// who could replace the control socket or hold the lock.
    #[error(
        "{} belongs to user {found}, not to root or to the user of this process ({expected}); change its owner, or \
         choose another directory with --runtime-dir DIR",
        .path.display()
    )]
    OtherUser {
        /// The directory or its lock file.
        path: PathBuf,
        /// User ID of its owner.
        found: u32,
        /// User ID of this process.
        expected: u32,
    },
    /// A system call failed.
    #[error("cannot {action} {}: {cause}; {}", .path.display(), remedy(cause))]
    System {
        /// The failed action, as a verb.
        action: &'static str,
        /// The path on which the action failed.
        path: PathBuf,
        /// The underlying error.
        cause: io::Error,
    },
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space there, or choose another directory with --runtime-dir DIR"
        }
        io::ErrorKind::PermissionDenied => {
            "run as root or as the owner of the directory, or choose another with --runtime-dir DIR"
        }
        _ if cause.raw_os_error() == Some(libc::EMFILE) => "raise the limit on open files (LimitNOFILE=)",
        _ => "choose another directory with --runtime-dir DIR",
    }
}

/// A runtime directory that this process uses until the value is dropped.
///
/// Within a network namespace, [`AgentLock`](crate::process::AgentLock) keeps out a second agent
/// without depending on a file. The `flock` on the lock file prevents agents in different network
/// namespaces from sharing a control socket. The kernel releases this lock when the process ends;
/// the file remains.
#[derive(Debug)]
pub struct RuntimeDir {
    directory: PathBuf,
    // Opened with O_CLOEXEC, so that child processes do not keep the lock.
    lock: File,
    /// Whether the control socket is removed on drop. False before this process has taken over from
    /// a running predecessor, and once it has left its state to a successor or, in a restart, to
    /// the next process.
    owns_socket: AtomicBool,
}

impl RuntimeDir {
    /// Opens the directory, creating it with mode 0755 if it does not exist, and removes a stale
    /// control socket.
    ///
    /// # Errors
    /// Returns an error if another agent uses the directory, if a user other than root and this
    /// process's user owns the directory or its lock file, or if a system call fails.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        let directory = directory.as_ref().to_owned();
        create(&directory)?;
        check_owner(&directory, fs::metadata(&directory))?;
        let path = directory.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // Any process that can open the file can lock it and keep the agent from starting.
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(|cause| RuntimeError::System { action: "open", path: path.clone(), cause })?;
        check_owner(&path, lock.metadata())?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(RuntimeError::Taken { pid: read_pid(&mut lock), directory });
            }
            Err(errno) => {
                return Err(RuntimeError::System { action: "lock", path, cause: errno.into() });
            }
        }
        write_pid(&lock).map_err(|cause| RuntimeError::System { action: "write", path, cause })?;
        let opened = Self { directory, lock, owns_socket: AtomicBool::new(true) };
        opened.remove_socket()?;
        Ok(opened)
    }

    /// Uses the lock file that a predecessor has opened and locked.
    pub fn inherit(directory: PathBuf, lock: OwnedFd) -> Self {
        Self { directory, lock: lock.into(), owns_socket: AtomicBool::new(false) }
    }

    /// Returns the lock file, to pass it to a successor.
    pub fn lock_file(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Leaves the control socket in place on drop: for a successor or, in a restart, for the next
    /// process, which replaces it.
    pub fn hand_over(&self) {
        self.owns_socket.store(false, Ordering::Relaxed);
    }

    /// Takes the control socket over from a predecessor, and writes the ID of this process to the
    /// lock file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn take_over(&self) -> Result<(), RuntimeError> {
        self.owns_socket.store(true, Ordering::Relaxed);
        let path = self.directory.join(LOCK);
        write_pid(&self.lock).map_err(|cause| RuntimeError::System { action: "write", path, cause })
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Binds the control socket, which is non-blocking. If groups are configured, all users can
    /// connect, and the agent checks their groups. Otherwise, only the socket's owner and group can
    /// connect.
    ///
    /// # Errors
    /// Returns an error if a system call fails, for example because the path does not fit in a
    /// socket address (107 bytes).
    pub fn listen(&self, access: &Access) -> Result<UnixListener, RuntimeError> {
        let path = socket_path(&self.directory);
        let bind = || {
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, mode(access.is_by_group()))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        bind().map_err(|cause| RuntimeError::System { action: "listen on", path: path.clone(), cause })
    }

    /// Replaces the access rules, and adapts the mode of the control socket to them. If the rules
    /// have not changed, keeps the mode, which an administrator may have changed.
    ///
    /// # Errors
    /// Returns an error if a system call fails. Rules without groups are then not applied.
    pub fn set_access(&self, access: &Access, rules: Rules) -> Result<(), RuntimeError> {
        if access.has(&rules) {
            return Ok(());
        }
        // The socket must never be open to all users while no groups are configured, because then
        // only its mode restricts access.
        let is_by_group = rules != Rules::default();
        if is_by_group {
            access.replace(rules.clone());
        }
        let path = socket_path(&self.directory);
        fs::set_permissions(&path, mode(is_by_group)).map_err(|cause| RuntimeError::System {
            action: "change the mode of",
            path,
            cause,
        })?;
        access.replace(rules);
        Ok(())
    }

    fn remove_socket(&self) -> Result<(), RuntimeError> {
        let path = socket_path(&self.directory);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(RuntimeError::System { action: "remove", path, cause })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        if self.owns_socket.load(Ordering::Relaxed) {
            // If this fails, the next start removes the socket.
            let _ = self.remove_socket();
        }
    }
}

fn mode(is_by_group: bool) -> Permissions {
    Permissions::from_mode(if is_by_group { 0o666 } else { 0o660 })
}

fn create(directory: &Path) -> Result<(), RuntimeError> {
    if directory.is_dir() {
        return Ok(());
    }
    let failed = |cause| RuntimeError::System { action: "create", path: directory.to_owned(), cause };
    DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
    // Otherwise, with a restrictive umask, other members of the socket's group could not reach the
    // socket.
    fs::set_permissions(directory, Permissions::from_mode(0o755)).map_err(failed)
}

fn check_owner(path: &Path, metadata: io::Result<fs::Metadata>) -> Result<(), RuntimeError> {
    let found = metadata
        .map_err(|cause| RuntimeError::System { action: "inspect", path: path.to_owned(), cause })?
        .uid();
    let expected = geteuid().as_raw();
    if found == 0 || found == expected {
        Ok(())
    } else {
        Err(RuntimeError::OtherUser { path: path.to_owned(), found, expected })
    }
}

fn write_pid(lock: &File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::AgentLock;

    #[test]
    fn only_agents_whose_directory_is_known_are_listed() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let [plain, spaced] = ["plain", "with space"].map(|name| parent.path().join(name));
        let mut locks = Vec::new();
        for directory in [&plain, &spaced] {
            fs::create_dir(directory).expect("created");
            locks.push(AgentLock::acquire(directory).expect("the lock is free"));
        }
        let below = |name: &String| name.starts_with(&agent_name(parent.path()));
        let found: Vec<String> =
            running_agents(Path::new("/nonexistent")).into_iter().filter(below).collect();
        assert_eq!(found, [agent_name(&plain)]);
        assert!(!running_agents(&plain).iter().any(below));
    }
}
