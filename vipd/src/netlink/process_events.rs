//! Process events from the kernel's connector (`Documentation/driver-api/connector.rst`,
//! `drivers/connector/cn_proc.c`).
//!
//! Events are available only in the initial network, PID and user namespaces; many kernels also
//! require CAP_NET_ADMIN. Events may be lost: the kernel drops an event without an error if it
//! cannot allocate memory for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rtnetlink::sys::protocols::NETLINK_CONNECTOR;
use rtnetlink::sys::{Socket, SocketAddr};
use socket2::SockRef;

use super::process_filter::{Selection, program};
use super::receive::{Batch, drain};

/// `CN_IDX_PROC`: the multicast group, and the first half of the connector's ID.
const GROUP: u32 = 1;
/// `CN_VAL_PROC`: the second half of the connector's ID.
const VALUE: u32 = 1;
/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;
/// `PROC_CN_MCAST_IGNORE`.
const IGNORE: u32 = 2;
// Values of `what`: `PROC_EVENT_NONE` (the reply to a request), `PROC_EVENT_FORK`,
// `PROC_EVENT_EXEC` and `PROC_EVENT_COMM`.
pub(super) const NONE: u32 = 0;
pub(super) const FORK: u32 = 1;
pub(super) const EXEC: u32 = 2;
pub(super) const COMM: u32 = 0x200;

/// Offset of `ack` in a datagram: `struct nlmsghdr` has 16 bytes, and `ack` is the fourth word of
/// `struct cn_msg`.
const ACK: usize = 28;
/// Offset of `what`, the first field of `struct proc_event`, after the 20 bytes of `struct cn_msg`.
pub(super) const WHAT: u32 = 36;
/// Offset of the error in the reply to a request.
const ERROR: usize = 52;
/// Offset of the process ID; in a fork event, the ID of the parent.
pub(super) const PROCESS: u32 = 56;
/// Offset of the child's thread ID in a fork event.
const CHILD_THREAD: usize = 60;
/// Offset of the child's process ID in a fork event.
const CHILD: usize = 64;
/// Length of a request in bytes.
const REQUEST: u32 = 40;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// Maximum size of a datagram in bytes; an event takes 76.
const DATAGRAM: usize = 256;

/// A socket that receives process events.
#[derive(Debug)]
pub struct ProcessEvents {
    socket: Socket,
    buffer: Vec<u8>,
}

impl ProcessEvents {
    /// Opens the socket and subscribes. Until [`select`](Self::select) is called, no events are
    /// received.
    ///
    /// # Errors
    /// `ECONNREFUSED` outside the initial network namespace, `ENOTSUP` if the kernel does not reply
    /// (for example in another PID namespace), otherwise the error of a system call or the error in
    /// the kernel's reply.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_CONNECTOR)?;
        socket.set_non_blocking(true)?;
        let mut events = Self { socket, buffer: Vec::with_capacity(DATAGRAM) };
        events.select(Selection::Replies)?;
        events.socket.bind(&SocketAddr::new(0, GROUP))?;
        let cookie = std::process::id();
        events.request(LISTEN, cookie)?;
        // The kernel has queued the reply by the time the send returns. Replies to requests of
        // other programs may also be queued.
        loop {
            events.buffer.clear();
            match events.socket.recv(&mut events.buffer, 0) {
                Ok(_) if events.word(ACK) == Some(cookie.wrapping_add(1)) => break,
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR | libc::ENOBUFS) => {}
                    Some(libc::EAGAIN) => return Err(io::Error::from_raw_os_error(libc::ENOTSUP)),
                    _ => return Err(error),
                },
            }
        }
        match events.word(ERROR).map(u32::cast_signed) {
            Some(0) => Ok(events),
            error => Err(io::Error::from_raw_os_error(error.unwrap_or(libc::EPROTO))),
        }
    }

    /// Selects which events the kernel queues after this call. Events that are already queued
    /// remain.
    ///
    /// # Errors
    /// `ENOMEM` if the kernel cannot install the socket filter.
    pub fn select(&self, selection: Selection<'_>) -> io::Result<()> {
        let program: Vec<_> = program(selection).into_iter().map(Into::into).collect();
        SockRef::from(self).attach_filter(&program)
    }

    /// Reads at most `budget` events. Passes to `on_process` the ID of each process that, in a
    /// [selected](Self::select) event, has executed a program, changed its name or been started.
    /// Sets [`Batch::overrun`] if events were lost because the receive buffer was full.
    ///
    /// # Errors
    /// Any socket error except `ENOBUFS`.
    pub fn drain(&mut self, budget: usize, mut on_process: impl FnMut(u32)) -> io::Result<Batch> {
        drain(&self.socket, &mut self.buffer, budget, |datagram| {
            if let Some(process) = process(datagram) {
                on_process(process);
            }
        })
    }

    fn request(&self, operation: u32, cookie: u32) -> io::Result<()> {
        let mut message = Vec::new();
        message.extend(REQUEST.to_ne_bytes());
        message.extend(DONE.to_ne_bytes());
        // Flags, sequence number and port ID.
        message.extend([0; 10]);
        // The connector's ID, sequence number and acknowledgment, then length and flags.
        for word in [GROUP, VALUE, 0, cookie] {
            message.extend(word.to_ne_bytes());
        }
        message.extend(4_u16.to_ne_bytes());
        message.extend(0_u16.to_ne_bytes());
        message.extend(operation.to_ne_bytes());
        self.socket.send(&message, 0).map(drop)
    }

    fn word(&self, offset: usize) -> Option<u32> {
        word(&self.buffer, offset)
    }
}

impl Drop for ProcessEvents {
    fn drop(&mut self) {
        // Before Linux 6.6, the kernel continues to generate events after the socket is closed.
        let _ = self.request(IGNORE, 0);
    }
}

/// Returns the process ID in an event; `None` for new threads, and if the event is of a type that
/// vipd does not use.
///
/// The parent in the event for a new thread is the parent of the thread's process (`copy_process`
/// in `kernel/fork.c`), so only the child's IDs show that it is a thread.
fn process(datagram: &[u8]) -> Option<u32> {
    let process = word(datagram, PROCESS as usize)?;
    match word(datagram, WHAT as usize)? {
        EXEC | COMM => Some(process),
        FORK => word(datagram, CHILD).filter(|child| word(datagram, CHILD_THREAD) == Some(*child)),
        _ => None,
    }
}

fn word(datagram: &[u8], offset: usize) -> Option<u32> {
    datagram.get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

impl AsRawFd for ProcessEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for ProcessEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `self` owns the socket, so the descriptor stays open for the borrow.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::process::Command;

    use super::*;

    /// Builds a datagram with an event.
    pub(in crate::netlink) fn event(what: u32, ack: u32, process: u32, child: u32) -> Vec<u8> {
        let mut words = [0_u32; 19];
        (words[7], words[9], words[13], words[14]) = (ack, what, process, process);
        (words[15], words[16]) = (child, child);
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn process_of_an_event_is_found() {
        assert_eq!(process(&event(EXEC, 0, 7, 0)), Some(7));
        assert_eq!(process(&event(COMM, 0, 7, 0)), Some(7));
        assert_eq!(process(&event(FORK, 0, 7, 8)), Some(8));
        let mut thread = event(FORK, 0, 7, 8);
        thread[CHILD_THREAD] = 9;
        assert_eq!(process(&thread), None, "a thread");
        assert_eq!(process(&event(NONE, 1, 0, 0)), None);
        assert_eq!(process(&event(EXEC, 0, 7, 0)[..59]), None, "truncated");
    }

    /// `PROC_PID_INIT_INO` identifies the initial PID namespace; `kthreadd`, which has the process
    /// ID 2 there, is in the initial network namespace.
    fn is_in_initial_namespaces() -> bool {
        let link = |path: &str| std::fs::read_link(path).expect("a namespace");
        link("/proc/self/ns/pid").as_os_str() == "pid:[4026531836]"
            && link("/proc/self/ns/net") == link("/proc/2/ns/net")
    }

    /// In containers, the kernel reports nothing, and opening fails.
    #[test]
    #[ignore = "needs CAP_NET_ADMIN"]
    fn program_that_a_process_executes_is_reported() {
        let mut events = match ProcessEvents::open() {
            Ok(events) => events,
            Err(error) => {
                assert!(!is_in_initial_namespaces(), "{error}");
                return;
            }
        };
        let mut found = Vec::new();
        let child = || {
            let mut child = Command::new("/bin/true").spawn().expect("started");
            child.wait().expect("ended");
            child.id()
        };
        child();
        events.drain(1000, |process| found.push(process)).expect("read");
        assert_eq!(found, [0; 0], "nothing is selected yet");
        events.select(Selection::Starts(&[])).expect("selected");
        let expected = child();
        // The events of this process's child were queued before the child ended.
        events.drain(100_000, |process| found.push(process)).expect("read");
        assert!(found.contains(&expected), "{expected} in {found:?}");
        events.select(Selection::Changes(&[1])).expect("selected");
        events.drain(100_000, drop).expect("read");
        found.clear();
        child();
        events.drain(1000, |process| found.push(process)).expect("read");
        assert_eq!(found, [0; 0], "other processes are not selected");
    }
}
