//! rtnetlink's encoding: reading messages in place, and writing requests into one buffer.
//!
//! ```text
//!  0        4      6       8          12        16
//!  +--------+------+-------+----------+---------+--------------------+---------------
//!  | length | type | flags | sequence | port    | ifinfomsg, …       | attributes …
//!  +--------+------+-------+----------+---------+--------------------+---------------
//! ```
//!
//! Everything is in host byte order and aligned to 4 bytes (`include/uapi/linux/netlink.h`). The engine's thread reads
//! and writes these messages, so neither allocates: the types of the `rtnetlink` crate own a vector for each message.

use std::io;

/// Length of `struct nlmsghdr`, bytes.
const HEADER_LEN: usize = 16;
/// Length of the header of an attribute, bytes.
const ATTRIBUTE_LEN: usize = 4;
/// Type bits of an attribute that are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const ATTRIBUTE_FLAGS: u16 = 0xc000;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// `NLMSG_ERROR` and `NLMSG_DONE`, of which libc has an `i32`.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// A message in a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// `RTM_*` or `NLMSG_*`.
    pub(super) kind: u16,
    /// `NLM_F_*`.
    pub(super) flags: u16,
    /// Sequence number: the request's, and 0 in a notification.
    pub(super) sequence: u32,
    /// What follows the header.
    pub(super) body: &'a [u8],
}

impl Message<'_> {
    /// The errno of a message that ends the answers to a request: an error, an acknowledgement (0), or the end of a dump,
    /// which may have failed on its way.
    pub(super) fn errno(&self) -> Option<i32> {
        let ends = self.kind == NLMSG_ERROR || self.kind == NLMSG_DONE;
        let error = ends.then(|| self.body.first_chunk::<4>())??;
        Some(-i32::from_ne_bytes(*error))
    }
}

/// The messages of a datagram. A length that does not fit ends them.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok()?;
        let message = rest.get(..length).filter(|message| message.len() >= HEADER_LEN)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            body: message.get(HEADER_LEN..)?,
        })
    })
}

/// The attributes in these bytes, as type and value. A length that does not fit ends them.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & !ATTRIBUTE_FLAGS;
        let value = rest.get(ATTRIBUTE_LEN..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// A string attribute, without its terminating NUL. Interface names and aliases that are not UTF-8 read as `None`: the
/// configuration cannot name them.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}

/// Writes one request at the end of a buffer. [`Request::end`] completes its length.
pub(super) struct Request<'a> {
    buffer: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Request<'a> {
    /// Writes the header. `flags` are added to `NLM_F_REQUEST`.
    pub(super) fn begin(buffer: &'a mut Vec<u8>, kind: u16, flags: i32, sequence: u32) -> Self {
        let start = buffer.len();
        let flags = u16::try_from(libc::NLM_F_REQUEST | flags).unwrap_or_default();
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&kind.to_ne_bytes());
        buffer.extend_from_slice(&flags.to_ne_bytes());
        buffer.extend_from_slice(&sequence.to_ne_bytes());
        buffer.extend_from_slice(&[0; 4]);
        Self { buffer, start }
    }

    /// Writes a fixed part: a multiple of 4 bytes.
    pub(super) fn fixed(self, bytes: &[u8]) -> Self {
        self.buffer.extend_from_slice(bytes);
        self
    }

    /// Writes an attribute.
    pub(super) fn attribute(self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE_LEN + value.len()).unwrap_or(u16::MAX);
        self.buffer.extend_from_slice(&length.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(value);
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
        self
    }

    /// Writes a string attribute with its terminating NUL.
    pub(super) fn string(self, kind: u16, value: &str) -> Self {
        let length = u16::try_from(ATTRIBUTE_LEN + value.len() + 1).unwrap_or(u16::MAX);
        self.buffer.extend_from_slice(&length.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(value.as_bytes());
        self.buffer.push(0);
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
        self
    }

    /// Writes an attribute that contains attributes.
    pub(super) fn nested(self, kind: u16, content: impl FnOnce(Self) -> Self) -> Self {
        let at = self.buffer.len();
        let start = self.start;
        let inner = content(self.attribute(kind | NESTED, &[]));
        let length = u16::try_from(inner.buffer.len() - at).unwrap_or(u16::MAX);
        inner.buffer[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        Self { buffer: inner.buffer, start }
    }

    /// Completes the request.
    pub(super) fn end(self) {
        let length = u32::try_from(self.buffer.len() - self.start).unwrap_or(u32::MAX);
        self.buffer[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// `struct ifinfomsg` (`include/uapi/linux/rtnetlink.h`): family AF_UNSPEC, the index, and flags with their mask.
pub(super) fn ifinfomsg(ifindex: u32, flags: i32, change: i32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// `struct ifaddrmsg` (`include/uapi/linux/if_addr.h`).
pub(super) fn ifaddrmsg(family: i32, prefix: u8, scope: u8, ifindex: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[0] = u8::try_from(family).unwrap_or_default();
    bytes[1] = prefix;
    bytes[3] = scope;
    bytes[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    bytes
}

/// `struct ndmsg` (`include/uapi/linux/neighbour.h`).
pub(super) fn ndmsg(family: i32, ifindex: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = u8::try_from(family).unwrap_or_default();
    bytes[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    bytes
}

/// The error of an acknowledgement; 0 is success.
pub(super) fn acknowledged(errno: i32) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_back_as_written() {
        let mut buffer = Vec::new();
        Request::begin(&mut buffer, libc::RTM_NEWLINK, libc::NLM_F_ACK, 7)
            .fixed(&ifinfomsg(3, libc::IFF_UP, libc::IFF_UP))
            .string(libc::IFLA_IFNAME, "vrrp4-51")
            .nested(libc::IFLA_LINKINFO, |inner| {
                inner.string(1, "macvlan").nested(2, |data| data.attribute(1, &1_u32.to_ne_bytes()))
            })
            .end();
        Request::begin(&mut buffer, libc::RTM_GETADDR, 0, 8).fixed(&ifaddrmsg(2, 0, 0, 3)).end();
        let found: Vec<_> = messages(&buffer).map(|message| (message.kind, message.sequence)).collect();
        assert_eq!(found, [(libc::RTM_NEWLINK, 7), (libc::RTM_GETADDR, 8)]);
        let first = messages(&buffer).next().expect("two messages");
        assert_eq!(u32_at(first.body, 4), Some(3));
        let all: Vec<_> = attributes(&first.body[16..]).collect();
        assert_eq!(all[0], (libc::IFLA_IFNAME, &b"vrrp4-51\0"[..]));
        let info: Vec<_> = attributes(all[1].1).collect();
        assert_eq!(info[0], (1, &b"macvlan\0"[..]));
        assert_eq!(attributes(info[1].1).next(), Some((1, &1_u32.to_ne_bytes()[..])));
        assert_eq!(text(all[0].1), Some("vrrp4-51"));
    }

    #[test]
    fn truncated_and_inconsistent_lengths_end_the_iteration() {
        let mut buffer = Vec::new();
        Request::begin(&mut buffer, libc::RTM_NEWLINK, 0, 1).fixed(&[0; 16]).string(3, "lo").end();
        for length in 0..buffer.len() {
            assert_eq!(messages(&buffer[..length]).count(), 0, "cut at {length}");
        }
        for length in [0_u32, 1, 15, u32::MAX] {
            buffer[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&buffer).count(), 0, "length {length}");
        }
        for length in [0_u16, 3, 100] {
            let mut attribute = [0; 8];
            attribute[..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(attributes(&attribute).count(), 0, "length {length}");
        }
    }
}
