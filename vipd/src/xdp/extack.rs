//! Retrieves the driver's message about a refused attachment.
//!
//! `BPF_LINK_CREATE` returns only an errno; the driver's message goes to a tracepoint. An
//! equivalent netlink request (`IFLA_XDP`) fails for the same reason and returns the message in the
//! extended ack.

use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

const RTM_SETLINK: u16 = 19;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Attribute type 43 with the flag `NLA_F_NESTED`.
const IFLA_XDP: u16 = 0x802b;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1;
/// Length of `struct nlmsghdr` in bytes.
const HEADER: usize = 16;

/// Tries to attach the program through netlink and returns the message of the extended ack, or
/// `None` if the ack has no message. If the attempt succeeds, detaches the program.
pub(super) fn reason(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> Option<String> {
    let mut socket = Socket::new(NETLINK_ROUTE).ok()?;
    socket.bind_auto().ok()?;
    socket.connect(&SocketAddr::new(0, 0)).ok()?;
    socket.set_ext_ack(true).ok()?;
    let answer =
        exchange(&socket, &request(ifindex, program.as_raw_fd(), flags | XDP_FLAGS_UPDATE_IF_NOEXIST))?;
    if error_of(&answer)? == 0 {
        exchange(&socket, &request(ifindex, -1, flags));
        return None;
    }
    text_of(&answer)
}

fn exchange(socket: &Socket, request: &[u8]) -> Option<Vec<u8>> {
    socket.send(request, 0).ok()?;
    socket.recv_from_full().ok().map(|(answer, _)| answer)
}

/// Builds an `RTM_SETLINK` request with `IFLA_XDP`. A `program` of -1 detaches.
fn request(ifindex: u32, program: i32, flags: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(52);
    bytes.extend(52u32.to_ne_bytes());
    for half in [RTM_SETLINK, NLM_F_REQUEST_ACK] {
        bytes.extend(half.to_ne_bytes());
    }
    // The header's sequence number and port ID, then `struct ifinfomsg`: family and type, index,
    // flags, change mask.
    for word in [1, 0, 0, ifindex, 0, 0] {
        bytes.extend(u32::to_ne_bytes(word));
    }
    for half in [20, IFLA_XDP, 8, IFLA_XDP_FD] {
        bytes.extend(u16::to_ne_bytes(half));
    }
    bytes.extend(program.to_ne_bytes());
    for half in [8, IFLA_XDP_FLAGS] {
        bytes.extend(u16::to_ne_bytes(half));
    }
    bytes.extend(flags.to_ne_bytes());
    bytes
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// Returns the negated errno in an `NLMSG_ERROR` message; 0 is an acknowledgment.
fn error_of(answer: &[u8]) -> Option<i32> {
    (half(answer, 4)? == NLMSG_ERROR).then_some(())?;
    word(answer, HEADER).map(u32::cast_signed)
}

fn text_of(answer: &[u8]) -> Option<String> {
    let flags = half(answer, 6)?;
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    // The error is followed by the whole request, or by only its header if the answer is capped.
    let request = if flags & NLM_F_CAPPED == 0 { word(answer, HEADER + 4)? as usize } else { HEADER };
    let mut rest = answer.get(HEADER + 4 + request.next_multiple_of(4)..)?;
    loop {
        let length = usize::from(half(rest, 0)?);
        let value = rest.get(4..length)?;
        if half(rest, 2)? == NLMSGERR_ATTR_MSG {
            let text = String::from_utf8_lossy(value);
            return Some(text.trim_end_matches(['\0', '\n', '.']).to_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_length_matches_its_header() {
        let request = request(7, 3, 4);
        assert_eq!(word(&request, 0), u32::try_from(request.len()).ok());
        assert_eq!(word(&request, 20), Some(7), "ifindex");
    }

    #[test]
    fn truncated_ack_has_no_message() {
        let mut answer = vec![0; 36];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        answer[6..8].copy_from_slice(&(NLM_F_CAPPED | NLM_F_ACK_TLVS).to_ne_bytes());
        answer[16..20].copy_from_slice(&(-22i32).to_ne_bytes());
        assert_eq!((error_of(&answer), text_of(&answer)), (Some(-22), None));
        for attribute in
            [[8, 0, 1, 0, b'n', b'o', b'\n', 0].as_slice(), &[4, 0, 9, 0, 8, 0, 1, 0, b'n', b'o', 0, 0]]
        {
            let whole = [&answer[..], attribute].concat();
            assert_eq!(text_of(&whole).as_deref(), Some("no"));
            for length in 0..whole.len() {
                assert_eq!(text_of(&whole[..length]), None, "cut to {length}");
            }
        }
    }
}
