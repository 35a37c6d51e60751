//! The label of an agent's programs: a map with the agent's name.
//!
//! The programs do not use the map. It is bound to them (`BPF_PROG_BIND_MAP`, Linux 5.10), so it
//! exists as long as one of them does, and is found among their maps by its name.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::syscall;

/// Name of the map.
pub(super) const MAP: &str = "VIPD_AGENT";
/// Size of the map's only value, the agent's name, padded with NUL.
const SIZE: usize = 128;

/// The map with the agent's name.
#[derive(Debug)]
pub(super) struct Label(OwnedFd);

impl Label {
    /// Creates the map.
    pub(super) fn new(agent: &str) -> io::Result<Self> {
        let mut value = [0; SIZE];
        // A longer name could not be locked either.
        let room = value.get_mut(..agent.len()).ok_or(io::ErrorKind::InvalidInput)?;
        room.copy_from_slice(agent.as_bytes());
        let map = syscall::create_array(MAP, SIZE)?;
        syscall::write_element(map.as_fd(), &value)?;
        Ok(Self(map))
    }

    /// Binds the map to a loaded program.
    pub(super) fn bind(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        syscall::bind_map(program, self.0.as_fd())
    }

    /// Returns the agent's name in a map named [`MAP`].
    pub(super) fn read(map: BorrowedFd<'_>) -> io::Result<String> {
        let mut value = [0; SIZE];
        syscall::read_element(map, &mut value)?;
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(SIZE);
        Ok(String::from_utf8_lossy(&value[..end]).into_owned())
    }
}
