//! Splits datagrams into messages, and reads the fields that decide whether a notification is worth
//! decoding.
//!
//! Only relevant notifications are decoded into rtnetlink's types, which allocate a vector per
//! message. All other notifications cost only a few loads.

use std::io;
use std::net::IpAddr;

use rtnetlink::packet_core::{
    DoneBuffer, ErrorBuffer, NLA_HEADER_SIZE, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NetlinkBuffer, NetlinkMessage, NlaBuffer, NlasIterator,
};
use rtnetlink::packet_route::RouteNetlinkMessage;

/// Length of `struct ifinfomsg` in bytes.
const IFINFOMSG_LEN: usize = 16;
/// Length of `struct ndmsg` in bytes.
const NDMSG_LEN: usize = 12;

/// A message in a datagram.
pub(super) type Message<'a> = NetlinkBuffer<&'a [u8]>;

/// Iterates over the messages of a datagram, up to the first message with an invalid length.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        let length = usize::try_from(message.length()).ok()?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Appends a request with the given flags and `NLM_F_REQUEST`.
pub(super) fn append(buffer: &mut Vec<u8>, request: RouteNetlinkMessage, flags: u16, sequence: u32) {
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let start = buffer.len();
    buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut buffer[start..]);
}

/// Returns the errno of the message that ends the answer to a request: an error, an acknowledgment
/// (0) or the end of a dump. Returns `None` for other messages.
pub(super) fn errno(message: &Message<'_>) -> Option<i32> {
    let body = message.payload();
    match message.message_type() {
        NLMSG_ERROR => Some(ErrorBuffer::new_checked(body).ok()?.code().map_or(0, |code| -code.get())),
        NLMSG_DONE => Some(DoneBuffer::new_checked(body).map_or(0, |done| -done.code())),
        _ => None,
    }
}

/// Returns the kernel's explanation of an error (`NLMSGERR_ATTR_MSG`), if there is one.
pub(super) fn explanation<'a>(message: &Message<'a>) -> Option<&'a str> {
    /// Length of `struct nlmsgerr` in bytes: the errno and the header of the request.
    const NLMSGERR_LEN: usize = 20;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    // Without NLM_F_CAPPED, the payload of the request would come first.
    if message.flags() & (NLM_F_ACK_TLVS | NLM_F_CAPPED) != NLM_F_ACK_TLVS | NLM_F_CAPPED {
        return None;
    }
    let text = attribute(message.payload().get(NLMSGERR_LEN..)?, NLMSGERR_ATTR_MSG)?;
    std::str::from_utf8(text.strip_suffix(&[0]).unwrap_or(text)).ok()
}

/// Converts the errno of an acknowledgment to a result; 0 means success.
pub(super) fn acknowledged(errno: i32) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

/// Returns the interface index of a link, address or neighbor message, which is at the same offset
/// in all three.
pub(super) fn ifindex(message: &Message<'_>) -> Option<u32> {
    Some(u32::from_ne_bytes(*message.payload().get(4..)?.first_chunk()?))
}

/// Returns the interface name in a link message; `None` if there is no name, or if the name is not
/// UTF-8: the configuration cannot contain such a name.
pub(super) fn link_name<'a>(message: &Message<'a>) -> Option<&'a str> {
    let name = attribute(message.payload().get(IFINFOMSG_LEN..)?, libc::IFLA_IFNAME)?;
    std::str::from_utf8(name.strip_suffix(&[0]).unwrap_or(name)).ok()
}

/// Returns the address in a neighbor message.
pub(super) fn neighbor_address(message: &Message<'_>) -> Option<IpAddr> {
    address(attribute(message.payload().get(NDMSG_LEN..)?, libc::NDA_DST)?)
}

/// Decodes an address of 4 or 16 bytes.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Decodes a 32-bit number in host byte order.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Iterates over the attributes of a link message, up to the first attribute with an invalid
/// length.
pub(super) fn link_attributes<'a>(message: &Message<'a>) -> impl Iterator<Item = NlaBuffer<&'a [u8]>> {
    NlasIterator::new(message.payload().get(IFINFOMSG_LEN..).unwrap_or_default()).map_while(Result::ok)
}

pub(super) fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut attributes = NlasIterator::new(attributes).map_while(Result::ok);
    let found = attributes.find(|attribute| attribute.kind() == kind)?;
    let length = found.length().into();
    found.into_inner().get(NLA_HEADER_SIZE..length)
}

#[cfg(test)]
mod tests {
    use rtnetlink::LinkUnspec;

    use super::*;

    fn request() -> RouteNetlinkMessage {
        RouteNetlinkMessage::NewLink(LinkUnspec::new_with_index(3).name("vrrp4-51").alias("a").build())
    }

    #[test]
    fn appended_requests_are_parsed_in_order() {
        let mut buffer = Vec::new();
        append(&mut buffer, request(), 0, 7);
        append(&mut buffer, request(), 0, 8);
        let found: Vec<_> = messages(&buffer)
            .map(|message| (message.message_type(), message.flags(), message.sequence_number()))
            .collect();
        assert_eq!(found, [(libc::RTM_NEWLINK, NLM_F_REQUEST, 7), (libc::RTM_NEWLINK, NLM_F_REQUEST, 8)]);
        for message in messages(&buffer) {
            assert_eq!((ifindex(&message), link_name(&message)), (Some(3), Some("vrrp4-51")));
        }
    }

    #[test]
    fn iteration_ends_at_truncated_messages_and_invalid_lengths() {
        let mut buffer = Vec::new();
        append(&mut buffer, request(), 0, 1);
        for length in 0..buffer.len() {
            assert_eq!(messages(&buffer[..length]).count(), 0, "cut at {length}");
        }
        let attribute_length = 16 + IFINFOMSG_LEN;
        for length in [0_u16, 3, 100] {
            buffer[attribute_length..][..2].copy_from_slice(&length.to_ne_bytes());
            let message = messages(&buffer).next().expect("a message");
            assert_eq!(link_name(&message), None, "length {length}");
        }
        for length in [0_u32, 1, 15, u32::MAX] {
            buffer[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&buffer).count(), 0, "length {length}");
        }
    }
}
