//! One rtnetlink request at a time, synchronously, in the namespace of the calling thread.
//!
//! `rtnetlink` builds the messages; its asynchronous connection is left out because a namespace is
//! a thread here, and a request is a function call on it.

use std::io;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

/// Changes something that exists and waits for the acknowledgement.
pub(crate) fn change(message: RouteNetlinkMessage) -> io::Result<()> {
    transact(message, NLM_F_ACK).map(drop)
}

/// Creates something that must not exist yet and waits for the acknowledgement.
pub(crate) fn create(message: RouteNetlinkMessage) -> io::Result<()> {
    transact(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(drop)
}

/// Lists everything of the message's kind.
pub(crate) fn dump(message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    transact(message, NLM_F_DUMP)
}

fn transact(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;

    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | flags;
    request.header.sequence_number = 1;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let answer =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = usize::try_from(answer.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
            match answer.payload {
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => answers.push(message),
                _ => {}
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}
