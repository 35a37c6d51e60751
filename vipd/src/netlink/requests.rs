//! A request socket for rtnetlink: batches of changes, and single requests.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP_INTR};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::change::Change;
use super::message::{Notice, PROTO_VIPD};
use super::wire::{Message, acknowledged, append, errno, explanation, messages};
use super::worker::{AddressWorker, Batch, receive};

/// Number of changes per system call. The kernel takes the rtnl lock for each change, and needs 5
/// to 15 µs for an IPv4 address, mostly for its route. A batch is large enough to make the cost of
/// the system call and of a wake-up negligible, and small enough for the engine to announce
/// addresses between batches.
pub const BATCH: usize = 16;
/// Maximum size of a datagram of a dump in bytes (`netlink_dump` in `net/netlink/af_netlink.c`).
const DATAGRAM: usize = 32 << 10;

/// Counters of messages exchanged with the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests sent.
    pub requests: u64,
    /// Dumps requested; included in `requests`.
    pub dumps: u64,
    /// Messages received, except answers to batches of changes.
    pub received: u64,
}

/// A batch that was submitted and whose result is pending.
#[derive(Debug)]
enum Pending {
    /// The worker thread runs the batch.
    Submitted,
    /// The batch runs when the caller waits for it.
    Deferred(Batch),
}

/// A socket for requests. By the time a send returns, the kernel has queued its answers, but only
/// the first datagram of a dump.
#[derive(Debug)]
pub struct Requests {
    pub(super) socket: Arc<Socket>,
    pending: VecDeque<Pending>,
    worker: Option<AddressWorker>,
    /// Completed batches, kept to reuse their buffers.
    spare: Vec<Batch>,
    pub(super) sequence: u32,
    pub(super) outgoing: Vec<u8>,
    pub(super) incoming: Vec<u8>,
    pub(super) traffic: Traffic,
}

impl Requests {
    /// Opens the socket.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` if the kernel lacks rtnetlink, `EMFILE` or `ENFILE` if no file descriptor
    /// is available.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Makes the kernel omit the payload of the request from errors.
        socket.set_cap_ack(true)?;
        // Makes the kernel add its explanation to errors (Linux 4.12).
        let _ = socket.set_ext_ack(true);
        // Makes the kernel filter dumps (Linux 4.20). Otherwise, the kernel dumps everything, and
        // the reader must filter.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self {
            socket: Arc::new(socket),
            pending: VecDeque::new(),
            worker: None,
            spare: Vec::new(),
            sequence: 0,
            outgoing: Vec::new(),
            incoming: Vec::with_capacity(DATAGRAM),
            traffic: Traffic::default(),
        })
    }

    /// Returns the message counts since the socket was opened.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Starts a thread that runs batches in the background. The thread inherits the caller's
    /// scheduling policy.
    ///
    /// # Errors
    /// `EAGAIN` if the thread cannot be started. [`wait`](Self::wait) then runs the batches.
    pub fn start_worker(&mut self) -> io::Result<()> {
        self.worker = Some(AddressWorker::start(Arc::clone(&self.socket))?);
        Ok(())
    }

    /// Submits changes, which are applied in order. The caller must then call [`wait`](Self::wait)
    /// once for each chunk of [`BATCH`] changes.
    pub fn submit(&mut self, changes: &[Change]) {
        for group in changes.chunks(BATCH) {
            let mut batch = self.spare.pop().unwrap_or_default();
            batch.requests.clear();
            batch.first = self.sequence.wrapping_add(1);
            for (index, change) in group.iter().enumerate() {
                self.sequence = self.sequence.wrapping_add(1);
                let (request, flags) = change.request();
                // The kernel reports failures even without NLM_F_ACK, and in order. Only the last
                // request needs an acknowledgment, which marks the end of the batch.
                let ack = if index + 1 == group.len() { NLM_F_ACK } else { 0 };
                append(&mut batch.requests, request, flags | ack, self.sequence);
            }
            batch.last = self.sequence;
            self.traffic.requests += group.len() as u64;
            // Running a single batch takes less time than waking another thread.
            self.pending.push_back(match &self.worker {
                Some(worker) if changes.len() > BATCH => {
                    worker.submit(batch);
                    Pending::Submitted
                }
                _ => Pending::Deferred(batch),
            });
        }
    }

    /// Waits for the oldest pending batch, which consists of `changes`, and passes each failed
    /// change to `failed`. Sends the batch first if it was deferred.
    ///
    /// # Errors
    /// Returns an error if the socket fails, or `BrokenPipe` if the worker has ended. In both
    /// cases, it is unknown which of the changes were applied.
    pub fn wait(&mut self, changes: &[Change], mut failed: impl FnMut(&Change, io::Error)) -> io::Result<()> {
        self.wait_explained(changes, |change, error, _| failed(change, error))
    }

    /// Like [`wait`](Self::wait), but also passes the kernel's explanation of each failure, if
    /// there is one (extended acknowledgment).
    ///
    /// # Errors
    /// See [`wait`](Self::wait).
    pub fn wait_explained(
        &mut self,
        changes: &[Change],
        mut failed: impl FnMut(&Change, io::Error, Option<&str>),
    ) -> io::Result<()> {
        let (batch, result) = match (self.pending.pop_front(), &self.worker) {
            (None, _) => return Ok(()),
            (Some(Pending::Deferred(mut batch)), _) => {
                let result = batch.run(&self.socket);
                (batch, result)
            }
            (Some(Pending::Submitted), Some(worker)) => match worker.wait() {
                Ok(outcome) => outcome,
                Err(error) => {
                    // The thread has ended and its batches are lost. Later batches run on this
                    // thread.
                    self.worker = None;
                    return Err(error);
                }
            },
            (Some(Pending::Submitted), None) => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        if result.is_ok() {
            for answer in messages(&batch.answers) {
                let Some(errno) = errno(&answer) else { continue };
                let index = answer.sequence_number().wrapping_sub(batch.first) as usize;
                // Skips answers to requests sent before this batch.
                let Some(change) = changes.get(index) else { continue };
                if let Err(error) = change.outcome(errno) {
                    failed(change, error, explanation(&answer));
                }
            }
        }
        self.spare.push(batch);
        result
    }

    /// Applies the changes in order and passes each failed change to `failed`.
    ///
    /// # Errors
    /// Returns an error if the socket fails. It is then unknown which of the changes were applied.
    pub fn apply(
        &mut self,
        changes: &[Change],
        mut failed: impl FnMut(&Change, io::Error),
    ) -> io::Result<()> {
        self.submit(changes);
        let mut result = Ok(());
        // Waits for all batches even after an error. Otherwise, the next wait would receive the
        // result of a batch that was skipped here.
        for batch in changes.chunks(BATCH) {
            result = result.and(self.wait(batch, &mut failed));
        }
        result
    }

    /// Removes from the named interfaces the addresses in `vips` that have vipd's mark. Other
    /// addresses with the mark stay, because they may belong to another agent.
    ///
    /// # Errors
    /// Returns an error if the dump fails, and then removes nothing. Also returns an error if a
    /// removal fails; all other removals are still carried out.
    pub fn withdraw(&mut self, interfaces: &[String], vips: &[IpAddr]) -> io::Result<()> {
        let mut indices = Vec::new();
        let mut changes = Vec::new();
        self.dump(|notice| match notice {
            Notice::Link(link) if interfaces.contains(&link.name) => indices.push(link.ifindex),
            Notice::Address(found)
                if found.protocol == PROTO_VIPD
                    && indices.contains(&found.ifindex)
                    && vips.contains(&found.address) =>
            {
                changes.push(Change::Remove(found));
            }
            _ => {}
        })?;
        let mut refused = Ok(());
        self.apply(&changes, |change, error| {
            refused = Err(io::Error::new(error.kind(), format!("cannot remove {change}: {error}")));
        })?;
        refused
    }

    /// Sends one request and waits for its acknowledgment.
    ///
    /// # Errors
    /// The error returned by the kernel.
    pub(super) fn request(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let sequence = self.send(request, flags | NLM_F_ACK)?;
        self.answers(sequence, |_| {}).map(drop)
    }

    /// Sends one request and returns its sequence number.
    pub(super) fn send(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        self.outgoing.clear();
        append(&mut self.outgoing, request, flags, self.sequence);
        self.traffic.requests += 1;
        self.socket.send(&self.outgoing, 0)?;
        Ok(self.sequence)
    }

    /// Receives the answers to a request until its acknowledgment, an error or the end of the dump.
    /// Returns whether a change interrupted the dump (`NLM_F_DUMP_INTR`), in which case entries may
    /// be missing.
    pub(super) fn answers(&mut self, sequence: u32, mut each: impl FnMut(&Message<'_>)) -> io::Result<bool> {
        let mut interrupted = false;
        loop {
            self.incoming.clear();
            receive(&self.socket, &mut self.incoming, DATAGRAM)?;
            for answer in messages(&self.incoming) {
                // Skips remaining answers to an earlier request whose dump was abandoned.
                if answer.sequence_number() != sequence {
                    continue;
                }
                self.traffic.received += 1;
                interrupted |= answer.flags() & NLM_F_DUMP_INTR != 0;
                match errno(&answer) {
                    Some(errno) => return acknowledged(errno).map(|()| interrupted),
                    None => each(&answer),
                }
            }
        }
    }
}
