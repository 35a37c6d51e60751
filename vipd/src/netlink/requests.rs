//! Changing addresses, in batches, and dumping links and addresses.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_sys::constants::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;

use super::ahead::{Ahead, Exchange, receive};
use super::change::Change;
use super::message::{Notice, PROTO_VIPD};
use super::monitor::for_each;

/// A dump was interrupted by a change (`include/uapi/linux/netlink.h`).
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Dumps in a row that may be interrupted by changes.
const DUMP_ATTEMPTS: u32 = 32;
/// Changes that are made together. The kernel takes 5 to 15 µs for an IPv4 address, most of it for its route, and one lock
/// for all: so many that a system call and a wake-up do not matter, and few enough that something can be done meanwhile.
pub const BATCH: usize = 16;

/// A socket for requests. The kernel answers within the call that sends.
#[derive(Debug)]
pub struct Requests {
    socket: Arc<Socket>,
    /// Batches that were asked for: their first sequence number, and what is to be sent, if it is not on its way.
    asked: VecDeque<(u32, Option<Exchange>)>,
    ahead: Option<Ahead>,
    sequence: u32,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Requests {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the kernel has no rtnetlink, or no more sockets.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Acknowledgements need not quote the request.
        socket.set_cap_ack(true)?;
        let socket = Arc::new(socket);
        Ok(Self {
            socket,
            asked: VecDeque::new(),
            ahead: None,
            sequence: 0,
            outgoing: Vec::new(),
            incoming: Vec::with_capacity(64 << 10),
        })
    }

    /// Has a thread make the changes of large batches from now on, while [`answer`](Self::answer) is not yet called for them. It
    /// has the caller's priority.
    ///
    /// # Errors
    /// When there can be no more threads; then all goes on without.
    pub fn make_ahead(&mut self) -> io::Result<()> {
        self.ahead = Some(Ahead::start(Arc::clone(&self.socket))?);
        Ok(())
    }

    /// Asks for changes, to be made in order. Call [`answer`](Self::answer) for each [`BATCH`] of them.
    pub fn ask(&mut self, changes: &[Change]) {
        let ahead = self.ahead.take();
        for batch in changes.chunks(BATCH) {
            let first = self.sequence.wrapping_add(1);
            let mut requests = Vec::with_capacity(batch.len() * 64);
            for (index, change) in batch.iter().enumerate() {
                self.sequence = self.sequence.wrapping_add(1);
                let mut message = change.message(self.sequence);
                // Failures are answered anyway and in order, so the last answer says that there are no more.
                if index + 1 < batch.len() {
                    message.header.flags &= !NLM_F_ACK;
                }
                append(&mut requests, &message);
            }
            let exchange = Exchange { requests, last: self.sequence };
            // A few are made sooner than another thread is woken.
            self.asked.push_back((
                first,
                match &ahead {
                    Some(ahead) if changes.len() > BATCH => {
                        ahead.give(exchange);
                        None
                    }
                    _ => Some(exchange),
                },
            ));
        }
        self.ahead = ahead;
    }

    /// Reports each change of the next batch that was asked for and failed, when all of it is made.
    ///
    /// # Errors
    /// When the socket itself fails; then nothing is known of these changes.
    pub fn answer(
        &mut self,
        batch: &[Change],
        mut failed: impl FnMut(&Change, &io::Error),
    ) -> io::Result<()> {
        let Some((first, exchange)) = self.asked.pop_front() else { return Ok(()) };
        let answers = match (exchange, &self.ahead) {
            (Some(exchange), _) => exchange.make(&self.socket)?,
            (None, Some(ahead)) => match ahead.take() {
                Ok(answers) => answers,
                Err(error) => {
                    // It has ended: what it was given is lost, and from now on all is made here.
                    if error.kind() == io::ErrorKind::BrokenPipe {
                        self.ahead = None;
                    }
                    return Err(error);
                }
            },
            (None, None) => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        for_each(&answers, |answer| {
            let NetlinkPayload::Error(error) = &answer.payload else { return };
            let index = answer.header.sequence_number.wrapping_sub(first) as usize;
            // A stale answer to an earlier request is not of this batch.
            let Some(change) = batch.get(index) else { return };
            if let Err(error) = change.outcome(-error.raw_code()) {
                failed(change, &error);
            }
        });
        Ok(())
    }

    /// Makes the changes in order and reports each one that failed.
    ///
    /// # Errors
    /// When the socket itself fails; then nothing is known of some changes.
    pub fn apply(
        &mut self,
        changes: &[Change],
        mut failed: impl FnMut(&Change, &io::Error),
    ) -> io::Result<()> {
        self.ask(changes);
        let mut result = Ok(());
        // To the end: an answer that is not taken would be the next one's.
        for batch in changes.chunks(BATCH) {
            result = result.and(self.answer(batch, &mut failed));
        }
        result
    }

    /// Hands over every link, then every address.
    ///
    /// # Errors
    /// When the kernel refuses a dump; [`io::ErrorKind::Interrupted`] when something changed meanwhile, so that an entry
    /// may be missing.
    pub fn dump(&mut self, mut notice: impl FnMut(Notice)) -> io::Result<()> {
        let mut each = |message| {
            if let Some(found) = Notice::read(message) {
                notice(found);
            }
        };
        self.dump_one(RouteNetlinkMessage::GetLink(LinkMessage::default()), &mut each)?;
        // Of all families.
        self.dump_one(RouteNetlinkMessage::GetAddress(AddressMessage::default()), &mut each)
    }

    /// Removes every address with vipd's mark from the named interfaces.
    ///
    /// # Errors
    /// When the kernel refuses the dump, or one of the removals; the others are made all the same.
    pub fn withdraw(&mut self, interfaces: &[String]) -> io::Result<()> {
        let mut indices = Vec::new();
        let mut changes = Vec::new();
        self.dump(|notice| match notice {
            Notice::Link(link) if interfaces.contains(&link.name) => indices.push(link.ifindex),
            Notice::Address(found) if found.protocol == PROTO_VIPD && indices.contains(&found.ifindex) => {
                changes.push(Change::Remove(found));
            }
            _ => {}
        })?;
        let mut refused = Ok(());
        self.apply(&changes, |change, error| {
            let sentence = format!("{change}: {error}");
            refused = Err(io::Error::new(error.kind(), sentence));
        })?;
        refused
    }

    /// Makes one request and waits for its answer.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(super) fn request(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.header.sequence_number = sequence;
        message.finalize();
        self.outgoing.clear();
        append(&mut self.outgoing, &message);
        self.socket.send(&self.outgoing, 0)?;
        let mut answer = None;
        while answer.is_none() {
            receive(&self.socket, &mut self.incoming)?;
            for_each(&self.incoming, |message| {
                if let NetlinkPayload::Error(error) = &message.payload
                    && message.header.sequence_number == sequence
                {
                    answer = Some(-error.raw_code());
                }
            });
        }
        match answer {
            None | Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Every link, as the kernel tells of it.
    ///
    /// # Errors
    /// As [`dump`](Self::dump), but for some interruptions.
    pub(super) fn links(&mut self) -> io::Result<Vec<LinkMessage>> {
        let mut attempts = 0;
        loop {
            let mut links = Vec::new();
            let result =
                self.dump_one(RouteNetlinkMessage::GetLink(LinkMessage::default()), &mut |message| {
                    if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = message.payload
                    {
                        links.push(link);
                    }
                });
            attempts += 1;
            match result {
                Ok(()) => return Ok(links),
                // Something changed meanwhile, and a link may be missing.
                Err(error) if error.kind() == io::ErrorKind::Interrupted && attempts < DUMP_ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn dump_one(
        &mut self,
        request: RouteNetlinkMessage,
        each: &mut impl FnMut(NetlinkMessage<RouteNetlinkMessage>),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        message.header.sequence_number = sequence;
        message.finalize();
        self.outgoing.clear();
        append(&mut self.outgoing, &message);
        self.socket.send(&self.outgoing, 0)?;
        let mut end = None;
        let mut interrupted = false;
        while end.is_none() {
            receive(&self.socket, &mut self.incoming)?;
            for_each(&self.incoming, |answer| {
                if answer.header.sequence_number != sequence {
                    return;
                }
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match &answer.payload {
                    NetlinkPayload::Done(_) if interrupted => {
                        end = Some(Err(io::ErrorKind::Interrupted.into()));
                    }
                    NetlinkPayload::Done(_) => end = Some(Ok(())),
                    NetlinkPayload::Error(error) => {
                        end = Some(Err(io::Error::from_raw_os_error(-error.raw_code())));
                    }
                    _ => each(answer),
                }
            });
        }
        end.unwrap_or(Ok(()))
    }
}

fn append(buffer: &mut Vec<u8>, message: &NetlinkMessage<RouteNetlinkMessage>) {
    let start = buffer.len();
    buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut buffer[start..start + message.buffer_len()]);
}
