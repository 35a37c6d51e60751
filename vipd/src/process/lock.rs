//! The lock of an agent: one of its name in each network namespace.
//!
//! It is an abstract unix socket (unix(7)), which belongs to the network namespace, as the
//! addresses and macvlans of the agent do, and ends with the process. A lock file would not do: its
//! directory may be deleted, or mounted over, while the agent runs, and a second agent would find
//! no lock and remove the first one's macvlans.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Prefix of the socket name, before the name of the agent.
const PREFIX: &str = "vipd ";
/// Bytes of an abstract socket's name: `sun_path` without its leading NUL.
const MAX_NAME: usize = 107;

/// Why the lock cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent of this name runs in this network namespace.
    #[error(
        "another vipd{} already runs with the runtime directory {name}; stop it first, or give this one a \
         directory of its own with --runtime-dir DIR",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Taken {
        /// The name: its runtime directory.
        name: String,
        /// Process id of the agent, if it is in this process namespace.
        pid: Option<u32>,
    },
    /// A process of another user has taken the name. Any user may, in a network namespace that it
    /// can enter.
    #[error(
        "a process of user {uid}{} holds the lock of the runtime directory {name} (the abstract unix socket \
         \"{PREFIX}{name}\"); stop it, or use another directory with --runtime-dir DIR",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    OtherUser {
        /// The name: the runtime directory.
        name: String,
        /// User id of the process.
        uid: u32,
        /// Process id of the agent, if it is in this process namespace.
        pid: Option<u32>,
    },
    /// The path of the runtime directory does not fit into the name of a socket.
    #[error(
        "the path of the runtime directory {} has {} bytes, and {} is the maximum; use another with --runtime-dir DIR",
        .0,
        .0.len(),
        MAX_NAME - PREFIX.len()
    )]
    TooLong(String),
    /// The system refused.
    #[error("cannot lock the runtime directory {name}: {cause}")]
    System {
        /// The name: the runtime directory.
        name: String,
        /// The system's error.
        cause: io::Error,
    },
}

/// The lock, which is released when it is dropped or the process ends.
#[derive(Debug)]
pub struct AgentLock {
    name: String,
    // Connections to the socket are never accepted: a connecting agent only looks up the process
    // that holds the socket.
    _socket: UnixListener,
}

impl AgentLock {
    /// Takes the lock of the agent with this runtime directory, which need not exist.
    ///
    /// # Errors
    /// When another process holds it, or the path is too long.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let name = name(directory);
        let socket_name = format!("{PREFIX}{name}");
        if socket_name.len() > MAX_NAME {
            return Err(LockError::TooLong(name));
        }
        match SocketAddr::from_abstract_name(&socket_name)
            .and_then(|address| UnixListener::bind_addr(&address))
        {
            Ok(socket) => Ok(Self { name, _socket: socket }),
            Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => Err(taken(name, &socket_name)),
            Err(cause) => Err(LockError::System { name, cause }),
        }
    }

    /// Returns the name of the agent, one word: its runtime directory as an absolute path without
    /// symbolic links, spaces and non-ASCII characters replaced. No other agent of this network
    /// namespace has it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Returns whether several agents run in the network namespace of this thread. Without /proc, one
/// is assumed.
pub fn several_agents_run() -> bool {
    let sockets = fs::read_to_string("/proc/thread-self/net/unix").unwrap_or_default();
    agents(&sockets).len() > 1
}

/// Returns the names of the agents in a list of unix sockets (proc_net_unix(5)); a connection to a
/// lock is listed like the lock itself.
fn agents(sockets: &str) -> BTreeSet<&str> {
    let names =
        sockets.lines().filter_map(|line| Some(line.split_once(" @")?.1.strip_prefix(PREFIX)?.trim_end()));
    names.collect()
}

fn name(directory: &Path) -> String {
    let path = resolve(&std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()));
    path.to_string_lossy().chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}

/// Returns the path without symbolic links, as far as it exists.
fn resolve(path: &Path) -> PathBuf {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Ok(resolved), ..) => resolved,
        (Err(_), Some(parent), Some(name)) => resolve(parent).join(name),
        (Err(_), ..) => path.to_owned(),
    }
}

fn taken(name: String, socket_name: &str) -> LockError {
    let Some((uid, pid)) = holder(socket_name) else { return LockError::Taken { name, pid: None } };
    let own = rustix::process::geteuid().as_raw();
    if uid == 0 || uid == own {
        LockError::Taken { name, pid }
    } else {
        LockError::OtherUser { name, uid, pid }
    }
}

/// Returns the user and process id of the process that listens on an abstract socket.
fn holder(socket_name: &str) -> Option<(u32, Option<u32>)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).ok()?;
    // A full queue of connections would make it wait for ever.
    socket.set_nonblocking(true).ok()?;
    socket.connect(&SockAddr::unix(format!("\0{socket_name}")).ok()?).ok()?;
    let mut found = MaybeUninit::<libc::ucred>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).ok()?;
    // SAFETY: the kernel writes at most `length` bytes, the size of the structure behind the pointer.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            found.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return None;
    }
    // SAFETY: it was zeroed, and all of its fields are integers.
    let found = unsafe { found.assume_init() };
    // 0 for a process of another process namespace.
    Some((found.uid, u32::try_from(found.pid).ok().filter(|pid| *pid != 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_outlives_its_directory() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let directory = parent.path().join("agent");
        fs::create_dir(&directory).expect("created");
        let first = AgentLock::acquire(&directory).expect("the first");
        fs::remove_dir(&directory).expect("removed");
        let refused = AgentLock::acquire(&directory).expect_err("taken");
        let expected = Some(std::process::id());
        assert!(matches!(&refused, LockError::Taken { pid, .. } if *pid == expected), "{refused}");
        // Another directory in its place has the same name.
        fs::create_dir(&directory).expect("created again");
        assert!(matches!(AgentLock::acquire(&directory), Err(LockError::Taken { .. })));
        drop(first);
        AgentLock::acquire(&directory).expect("free again");
    }

    #[test]
    fn agents_are_listed_once_each() {
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
    fn a_symbolic_link_names_the_same_agent() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let real = parent.path().join("real");
        fs::create_dir(&real).expect("created");
        std::os::unix::fs::symlink(&real, parent.path().join("link")).expect("linked");
        // Neither directory exists yet.
        let _first = AgentLock::acquire(&real.join("agent")).expect("the first");
        let refused = AgentLock::acquire(&parent.path().join("link/agent")).expect_err("taken");
        assert!(matches!(refused, LockError::Taken { .. }), "{refused}");
    }

    #[test]
    fn a_path_that_is_too_long_is_refused() {
        let refused = AgentLock::acquire(Path::new(&format!("/{}", "x".repeat(110)))).expect_err("too long");
        assert!(matches!(refused, LockError::TooLong(_)), "{refused}");
    }
}
