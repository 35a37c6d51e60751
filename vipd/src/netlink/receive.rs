//! Receives pending datagrams, within a budget.

use std::io;

use rtnetlink::sys::Socket;

/// Result of receiving pending datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Whether datagrams were lost because the receive buffer was full (`ENOBUFS`).
    pub overrun: bool,
    /// Whether the budget was used up, in which case more datagrams may be pending.
    pub more: bool,
}

/// Receives at most `budget` datagrams from a nonblocking socket and passes each to `datagram`.
/// Makes one system call per datagram and, unless the budget is used up, another call that finds no
/// datagram.
///
/// # Errors
/// Any socket error except `ENOBUFS`, which sets [`Batch::overrun`].
pub(super) fn drain(
    socket: &Socket,
    buffer: &mut Vec<u8>,
    budget: usize,
    mut datagram: impl FnMut(&[u8]),
) -> io::Result<Batch> {
    let mut batch = Batch::default();
    for _ in 0..budget {
        buffer.clear();
        match socket.recv(buffer, 0) {
            Ok(_) => datagram(buffer),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(batch),
                Some(libc::ENOBUFS) => batch.overrun = true,
                Some(libc::EINTR) => {}
                _ => return Err(error),
            },
        }
    }
    batch.more = true;
    Ok(batch)
}
