//! The token. Of two processes, the one that takes it runs the virtual routers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd with the value 1. Only one read succeeds, in either process.
#[derive(Debug)]
pub(crate) struct Token(OwnedFd);

impl Token {
    /// Creates a token that has not been taken.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Creates a token from a descriptor that another process has passed to this one.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Takes the token. Returns `false` if it has already been taken.
    pub(crate) fn take(&self) -> bool {
        let mut count = [0; size_of::<u64>()];
        rustix::io::read(&self.0, &mut count).is_ok()
    }
}

impl AsFd for Token {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
