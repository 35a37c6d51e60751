//! Batches of changes, and single requests.

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
use super::wire::{Message, acknowledged, append, errno, messages};
use super::worker::{AddressWorker, Batch, receive};

/// Number of changes per system call. The kernel needs 5 to 15 µs for an IPv4 address, most of it
/// for its route, and takes the rtnl lock once per call. The batch is large enough that the system
/// call and a wake-up are negligible, and small enough that the engine can announce addresses
/// between batches.
pub const BATCH: usize = 16;
/// Room for a datagram of a dump, bytes: the kernel fills no more (`net/netlink/af_netlink.c`,
/// `netlink_dump`).
const DATAGRAM: usize = 32 << 10;

/// Counters of messages exchanged with the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests sent.
    pub requests: u64,
    /// Dumps among them.
    pub dumps: u64,
    /// Messages received, except answers to address batches.
    pub received: u64,
}

/// A batch that was submitted and not yet waited for.
#[derive(Debug)]
enum Pending {
    /// The worker runs it.
    Submitted,
    /// The batch runs when the caller waits for it.
    Deferred(Batch),
}

/// A socket for requests. The kernel answers within the call that sends.
#[derive(Debug)]
pub struct Requests {
    pub(super) socket: Arc<Socket>,
    pending: VecDeque<Pending>,
    worker: Option<AddressWorker>,
    /// Spare batches, whose buffers are reused.
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
    /// `EPROTONOSUPPORT` without rtnetlink, `EMFILE` or `ENFILE` without file descriptors.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Acknowledgements need not quote the request.
        socket.set_cap_ack(true)?;
        // Linux 4.20: dumps honor their filters. Without it they are complete, and filtered by
        // their reader.
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

    /// Returns the traffic since the socket was opened.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Starts a thread that runs batches from now on while the caller does something else. The
    /// thread inherits the caller's scheduling policy.
    ///
    /// # Errors
    /// `EAGAIN` when no thread can be started; batches are then run by [`wait`](Self::wait).
    pub fn start_worker(&mut self) -> io::Result<()> {
        self.worker = Some(AddressWorker::start(Arc::clone(&self.socket))?);
        Ok(())
    }

    /// Submits changes, to be made in order. Call [`wait`](Self::wait) for each [`BATCH`] of them.
    pub fn submit(&mut self, changes: &[Change]) {
        for group in changes.chunks(BATCH) {
            let mut batch = self.spare.pop().unwrap_or_default();
            batch.requests.clear();
            batch.first = self.sequence.wrapping_add(1);
            for (index, change) in group.iter().enumerate() {
                self.sequence = self.sequence.wrapping_add(1);
                let (request, flags) = change.request();
                // The kernel always answers failures, in order, so only the last request needs an
                // acknowledgement: it ends the batch.
                let ack = if index + 1 == group.len() { NLM_F_ACK } else { 0 };
                append(&mut batch.requests, request, flags | ack, self.sequence);
            }
            batch.last = self.sequence;
            self.traffic.requests += group.len() as u64;
            // A single batch takes less time than waking another thread.
            self.pending.push_back(match &self.worker {
                Some(worker) if changes.len() > BATCH => {
                    worker.submit(batch);
                    Pending::Submitted
                }
                _ => Pending::Deferred(batch),
            });
        }
    }

    /// Waits for the oldest pending batch, and reports each change in it that failed.
    ///
    /// # Errors
    /// When the socket fails; the result of these changes is then unknown.
    pub fn wait(&mut self, changes: &[Change], mut failed: impl FnMut(&Change, io::Error)) -> io::Result<()> {
        let (batch, result) = match (self.pending.pop_front(), &self.worker) {
            (None, _) => return Ok(()),
            (Some(Pending::Deferred(mut batch)), _) => {
                let result = batch.run(&self.socket);
                (batch, result)
            }
            (Some(Pending::Submitted), Some(worker)) => match worker.wait() {
                Ok(outcome) => outcome,
                Err(error) => {
                    // The thread has ended with its batches; later ones are run here.
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
                // An answer to an earlier request is not part of this batch.
                let Some(change) = changes.get(index) else { continue };
                if let Err(error) = change.outcome(errno) {
                    failed(change, error);
                }
            }
        }
        self.spare.push(batch);
        result
    }

    /// Makes the changes in order and reports each one that failed.
    ///
    /// # Errors
    /// When the socket fails; the result of some changes is then unknown.
    pub fn apply(
        &mut self,
        changes: &[Change],
        mut failed: impl FnMut(&Change, io::Error),
    ) -> io::Result<()> {
        self.submit(changes);
        let mut result = Ok(());
        // Waits for every batch: the result of a skipped batch would be taken for the result of the
        // next batch.
        for batch in changes.chunks(BATCH) {
            result = result.and(self.wait(batch, &mut failed));
        }
        result
    }

    /// Removes these addresses from the named interfaces where they have vipd's mark. Other
    /// addresses with the mark may belong to another agent.
    ///
    /// # Errors
    /// When the dump or one of the removals fails; the other removals are still made.
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
            let sentence = format!("cannot remove {change}: {error}");
            refused = Err(io::Error::new(error.kind(), sentence));
        })?;
        refused
    }

    /// Makes one request and waits for its acknowledgement.
    ///
    /// # Errors
    /// The kernel's answer.
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

    /// Receives the answers to a request, up to its acknowledgement, its error or the end of the
    /// dump. Returns whether a change has interrupted the dump, so that an entry may be missing
    /// (`NLM_F_DUMP_INTR`).
    pub(super) fn answers(&mut self, sequence: u32, mut each: impl FnMut(&Message<'_>)) -> io::Result<bool> {
        let mut interrupted = false;
        loop {
            self.incoming.clear();
            receive(&self.socket, &mut self.incoming, DATAGRAM)?;
            for answer in messages(&self.incoming) {
                // An answer to an earlier request, which failed before all its answers were
                // received.
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
