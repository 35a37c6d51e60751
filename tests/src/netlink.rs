//! Sends rtnetlink requests synchronously, in the namespace of the calling thread.
//!
//! Uses only the message types of `rtnetlink`, not its asynchronous connection: a namespace is a
//! thread, and each request is a blocking call on that thread.

use std::io;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

/// Changes or deletes an existing object and waits for the acknowledgment.
pub(crate) fn change(message: RouteNetlinkMessage) -> io::Result<()> {
    transact(message, NLM_F_ACK).map(drop)
}

/// Creates an object, which must not exist yet, and waits for the acknowledgment.
pub(crate) fn create(message: RouteNetlinkMessage) -> io::Result<()> {
    transact(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(drop)
}

/// Returns all objects of the type that the message requests.
pub(crate) fn dump(message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    transact(message, NLM_F_DUMP)
}

/// Requests that create several objects, sent in one datagram. None of the objects may exist yet.
pub struct Batch {
    socket: Socket,
    bytes: Vec<u8>,
    count: usize,
}

impl Batch {
    /// Encodes the requests. [`Batch::send`] sends them.
    pub(crate) fn new(messages: Vec<RouteNetlinkMessage>) -> io::Result<Self> {
        let (socket, count) = (open()?, messages.len());
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        let bytes = messages.into_iter().flat_map(|message| request(message, flags)).collect();
        Ok(Self { socket, bytes, count })
    }

    /// Sends the requests and waits until all are acknowledged.
    ///
    /// # Errors
    /// Returns an error if an object already exists, or the kernel rejects it.
    pub fn send(&self) -> io::Result<()> {
        self.socket.send(&self.bytes, 0)?;
        let mut missing = self.count;
        while missing > 0 {
            let (datagram, _) = self.socket.recv_from_full()?;
            for answer in answers(&datagram) {
                match answer?.payload {
                    NetlinkPayload::Error(error) if error.code.is_none() => missing -= 1,
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn transact(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let socket = open()?;
    socket.send(&request(message, flags), 0)?;
    let mut found = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for answer in answers(&datagram) {
            match answer?.payload {
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(found),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => found.push(message),
                _ => {}
            }
        }
    }
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Encodes a request, padded to a multiple of 4 bytes (NLMSG_ALIGN) so that another request can
/// follow.
fn request(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | flags;
    request.header.sequence_number = 1;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Decodes the messages of a datagram.
fn answers(datagram: &[u8]) -> impl Iterator<Item = io::Result<NetlinkMessage<RouteNetlinkMessage>>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other);
        let length = answer.as_ref().map_or(usize::MAX, |answer| {
            usize::try_from(answer.header.length).unwrap_or(usize::MAX).next_multiple_of(4)
        });
        rest = rest.get(length..).unwrap_or_default();
        Some(answer)
    })
}
