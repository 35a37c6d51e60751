//! The ID and the groups of the process at the other end of a Unix socket.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Maximum number of supplementary groups of a process (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

/// Returns the ID of the process that connected or listened (`SO_PEERCRED`); `None` if the process
/// is not visible in this PID namespace.
pub(crate) fn peer_process(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).ok()?;
    // SAFETY: the kernel writes at most `length` bytes, the size of the structure.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    u32::try_from(credentials.pid).ok().filter(|pid| result == 0 && *pid != 0)
}

/// Returns the supplementary groups that the peer process had when it connected (`SO_PEERGROUPS`).
///
/// # Errors
/// Returns an error if the socket is not a connected Unix socket.
pub(crate) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    loop {
        let capacity =
            libc::socklen_t::try_from(groups.len() * size_of::<u32>()).map_err(io::Error::other)?;
        let mut length = capacity;
        // SAFETY: `groups` has `length` bytes, and the kernel writes no more than `length` bytes.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let needed = usize::try_from(length).map_err(io::Error::other)? / size_of::<u32>();
        match result {
            0 => {
                groups.truncate(needed);
                return Ok(groups);
            }
            // The kernel has stored the required length.
            _ if io::Error::last_os_error().raw_os_error() == Some(libc::ERANGE) && needed <= MAX_GROUPS => {
                groups.resize(needed.max(groups.len() * 2), 0);
            }
            _ => return Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use rustix::process::getgroups;

    use super::*;

    #[test]
    fn groups_of_this_process_are_found_through_a_socket() {
        let (one, _other) = UnixStream::pair().expect("a socket pair");
        let mut found = peer_groups(one.as_fd()).expect("groups");
        let mut own: Vec<u32> = getgroups().expect("groups").iter().map(|group| group.as_raw()).collect();
        found.sort_unstable();
        own.sort_unstable();
        assert_eq!(found, own);
    }
}
