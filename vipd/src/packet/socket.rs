//! An AF_PACKET socket for sending on one interface.

use std::mem::{self, size_of};
use std::os::fd::AsRawFd as _;
use std::{io, ptr};

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

/// Maximum number of frames per system call.
pub(super) const AT_ONCE: usize = 64;
/// Value of `SO_PRIORITY` for adverts, announcements and solicitations
/// (`include/uapi/linux/pkt_sched.h`).
/// Priority-aware queueing disciplines send these frames before other traffic, so that a saturated
/// uplink does not delay or drop them. AF_PACKET does not derive the priority from the DSCP.
pub(super) const TC_PRIO_CONTROL: u32 = 7;

/// A socket that sends complete Ethernet frames from one interface.
#[derive(Debug)]
pub struct PacketSocket(Socket);

impl PacketSocket {
    /// Opens a socket on the interface with this index. The protocol of the socket is 0, so the
    /// socket receives no packets (packet(7)).
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `ENODEV` if the interface does not exist.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.bind(&link_layer(ifindex, 0)?)?;
        socket.set_priority(TC_PRIO_CONTROL)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Sends up to [`AT_ONCE`] frames in one system call, without blocking. Returns the number of
    /// frames sent. If fewer than [`AT_ONCE`] frames were sent and some remain, the kernel refused
    /// the next frame. A packet socket sends a frame completely or not at all.
    ///
    /// # Errors
    /// Returns an error if the first frame is refused: `ENETDOWN` if the interface is down, `ENXIO`
    /// if it no longer exists, `ENOBUFS` if its queue is full, `EMSGSIZE` if the frame is longer
    /// than the interface's MTU allows, `EAGAIN` if the send buffer is full.
    pub(super) fn send_many<'a>(&self, frames: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
        send_many(&self.0, frames.map(|frame| (frame, &None)))
    }
}

/// Sends up to [`AT_ONCE`] frames in one system call. A frame without an interface address is sent
/// from the interface to which the socket is bound. Returns the number of frames sent. Does not
/// allocate.
pub(super) fn send_many<'a>(
    socket: &Socket,
    frames: impl Iterator<Item = (&'a [u8], &'a Option<SockAddr>)>,
) -> io::Result<usize> {
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; AT_ONCE];
    // SAFETY: all fields of mmsghdr are integers and pointers, for which zero is a valid value.
    let mut messages: [libc::mmsghdr; AT_ONCE] = unsafe { mem::zeroed() };
    let mut count = 0;
    for ((part, message), (frame, interface)) in parts.iter_mut().zip(&mut messages).zip(frames) {
        *part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        message.msg_hdr.msg_iov = part;
        message.msg_hdr.msg_iovlen = 1;
        if let Some(interface) = interface {
            message.msg_hdr.msg_name = interface.as_ptr().cast_mut().cast();
            message.msg_hdr.msg_namelen = interface.len();
        }
        count += 1;
    }
    // SAFETY: each of the first `count` messages has one part, which points into a frame, and may
    // have an interface address. The frame and the address are borrowed until this function
    // returns. sendmmsg(2) writes only the lengths in `messages`.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Builds a `struct sockaddr_ll` for an interface. `protocol` is in network byte order.
pub(super) fn link_layer(ifindex: u32, protocol: u16) -> io::Result<SockAddr> {
    let index = i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?;
    let family = u16::try_from(libc::AF_PACKET).map_err(|_| io::ErrorKind::InvalidInput)?;
    let length =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll consists of integers, and the storage is large enough, aligned and
    // zeroed.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = family;
    address.sll_protocol = protocol;
    address.sll_ifindex = index;
    // SAFETY: the storage contains a valid sockaddr_ll of this length.
    Ok(unsafe { SockAddr::new(storage, length) })
}
