//! A name that can be bound only once in a network namespace: an abstract Unix socket (unix(7)).
//!
//! Like addresses and macvlans, the socket belongs to the network namespace. The kernel removes the
//! socket once all its descriptors are closed, for example when the process ends. A successor
//! inherits the descriptor.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::linux::fs::MetadataExt as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

/// Maximum length of an abstract socket's name in bytes: `sun_path` without the leading NUL.
pub(super) const MAX_LEN: usize = 107;
/// The bit of CAP_NET_ADMIN in a capability set (capabilities(7)).
const CAP_NET_ADMIN: u64 = 1 << 12;

/// A held name. The name is released when this value is dropped or the process ends, unless another
/// process has inherited the socket.
#[derive(Debug)]
pub(crate) struct NameLock {
    // Connections are never accepted: other processes connect only to read the credentials of the
    // process that holds the socket.
    socket: UnixListener,
}

impl AsFd for NameLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Length of the queue of pending connections, as in the standard library: `net.core.somaxconn`.
/// Connections, with which other processes find the holder, stay in the queue.
const BACKLOG: i32 = -1;

impl NameLock {
    /// Acquires a name of at most [`MAX_LEN`] bytes.
    ///
    /// # Errors
    /// Returns an error of the kind `AddrInUse` if a process already holds the name, or another
    /// error from the kernel.
    pub(crate) fn acquire(name: &str) -> io::Result<Self> {
        let address = SocketAddr::from_abstract_name(name)?;
        Ok(Self { socket: UnixListener::bind_addr(&address)? })
    }

    /// Creates a lock from the socket that another process has passed to this one.
    pub(super) fn inherit(socket: OwnedFd) -> Self {
        Self { socket: socket.into() }
    }

    /// Records this process as the holder. Has no effect on the lock itself.
    pub(super) fn take_over(&self) {
        // The kernel records the credentials of the process that called listen(2) last. If the call
        // fails, other processes continue to find the previous holder.
        let _ = rustix::net::listen(&self.socket, BACKLOG);
    }
}

/// The process that holds a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// User ID of the process.
    pub(crate) uid: u32,
    /// Process ID, if it is visible in this PID namespace.
    pub(crate) pid: Option<u32>,
}

impl Holder {
    /// Returns the process that holds a name, or `None` if no process holds it or the holder cannot
    /// be determined.
    pub(crate) fn find(name: &str) -> Option<Self> {
        listener(name).or_else(|| owner(name))
    }

    /// Returns whether the process may be an agent: it runs as root or as this process's user, it
    /// has CAP_NET_ADMIN in its permitted set, or its capabilities cannot be read. The name alone
    /// proves nothing, because any user who can enter the network namespace can bind the name.
    pub(crate) fn is_trusted(self) -> bool {
        self.uid == 0
            || self.uid == rustix::process::geteuid().as_raw()
            || self.pid.and_then(permitted_capabilities).is_none_or(|set| set & CAP_NET_ADMIN != 0)
    }

    /// Returns whether the process is exiting or has been killed, so that the kernel will soon
    /// release the name. Also returns true if the process's files in /proc cannot be read, usually
    /// because it no longer exists. Returns false if the process is not visible in this PID
    /// namespace.
    pub(super) fn is_ending(self) -> bool {
        self.pid.is_some_and(|pid| is_ending(pid).unwrap_or(true))
    }
}

/// Flags of a task that is exiting or writing a core dump (`PF_EXITING`, `PF_DUMPCORE` and
/// `PF_SIGNALED` in the kernel's include/linux/sched.h).
const ENDING: u64 = 0x4 | 0x200 | 0x400;
/// SIGKILL in a mask of pending signals.
const KILL: u64 = 1 << (libc::SIGKILL - 1);

/// Returns whether the main thread of a process is exiting, or will exit because of a pending
/// SIGKILL (proc_pid_stat(5), proc_pid_status(5)). Returns `None` if the process does not exist or
/// its files in /proc cannot be read.
fn is_ending(pid: u32) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let pending = status.lines().filter_map(|line| {
        let set = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    });
    let is_killed = pending.into_iter().any(|set| set & KILL != 0);
    // The name in parentheses may contain spaces and parentheses.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.rsplit_once(") ")?.1;
    let flags: u64 = fields.split(' ').nth(6)?.parse().ok()?;
    Some(is_killed || flags & ENDING != 0)
}

/// Returns the permitted capabilities of a process's main thread (proc_pid_status(5)). The
/// effective set would not suffice: an agent's main thread makes CAP_NET_ADMIN effective only
/// during certain calls.
fn permitted_capabilities(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// Returns the process that listens on an abstract socket.
fn listener(name: &str) -> Option<Holder> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).ok()?;
    // With a full backlog, a blocking connect would wait forever.
    socket.set_nonblocking(true).ok()?;
    socket.connect(&SockAddr::unix(format!("\0{name}")).ok()?).ok()?;
    let mut found = MaybeUninit::<libc::ucred>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).ok()?;
    // SAFETY: the kernel writes at most `length` bytes, the size of `found`.
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
    // SAFETY: `found` was zeroed, and all fields of `ucred` are integers.
    let found = unsafe { found.assume_init() };
    // The pid is 0 if the process is not visible in this PID namespace.
    Some(Holder { uid: found.uid, pid: u32::try_from(found.pid).ok().filter(|pid| *pid != 0) })
}

/// Returns the process that has bound an abstract socket, even if it does not listen. Finds only
/// processes whose file descriptors this process may list.
fn owner(name: &str) -> Option<Holder> {
    let sockets = fs::read_to_string("/proc/thread-self/net/unix").ok()?;
    let link = format!("socket:[{}]", inode(&sockets, name)?);
    let mut processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes.find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut descriptors = fs::read_dir(process.path().join("fd")).ok()?.filter_map(Result::ok);
        descriptors
            .find(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|to| to == Path::new(&link)))?;
        Some(Holder { uid: process.metadata().ok()?.st_uid(), pid: Some(pid) })
    })
}

/// Returns the inode of an abstract socket in the contents of /proc/net/unix (proc_net_unix(5)).
fn inode<'a>(sockets: &'a str, name: &str) -> Option<&'a str> {
    sockets.lines().find_map(|line| {
        let (fields, found) = line.split_once(" @")?;
        // Connections that wait to be accepted have the same name, and no inode.
        fields.split_whitespace().next_back().filter(|inode| found == name && *inode != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_held_until_the_lock_is_dropped() {
        let name = format!("vipd-test {}", std::process::id());
        assert_eq!(Holder::find(&name), None);
        let first = NameLock::acquire(&name).expect("the name is free");
        assert_eq!(NameLock::acquire(&name).expect_err("held").kind(), io::ErrorKind::AddrInUse);
        let holder = Holder::find(&name).expect("this process");
        assert!(holder.pid == Some(std::process::id()) && holder.is_trusted(), "{holder:?}");
        drop(first);
        assert_eq!(Holder::find(&name), None);
        NameLock::acquire(&name).expect("free again");
    }

    #[test]
    fn socket_that_does_not_listen_is_found_by_its_inode() {
        let name = format!("vipd-test bound {}", std::process::id());
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        socket.bind(&SockAddr::unix(format!("\0{name}")).expect("an address")).expect("bound");
        assert_eq!(Holder::find(&name).and_then(|holder| holder.pid), Some(std::process::id()));
    }

    #[test]
    fn holder_is_found_while_its_backlog_is_full() {
        let name = format!("vipd-test backlog {}", std::process::id());
        let address = SockAddr::unix(format!("\0{name}")).expect("an address");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        socket.bind(&address).and_then(|()| socket.listen(1)).expect("listening");
        let mut connections = Vec::new();
        while listener(&name).is_some() {
            let connection = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
            connection.set_nonblocking(true).expect("set");
            if connection.connect(&address).is_ok() {
                connections.push(connection);
            }
        }
        assert!(!connections.is_empty());
        assert_eq!(Holder::find(&name).and_then(|holder| holder.pid), Some(std::process::id()));
    }
}
