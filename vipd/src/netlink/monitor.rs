//! Notifications of links and addresses.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::NetlinkMessage;
use netlink_sys::constants::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::message::Notice;

/// RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR (`include/uapi/linux/rtnetlink.h`).
const GROUPS: [u32; 3] = [1, 5, 9];
/// Receive buffer asked for, bytes: several thousand notifications. The kernel caps it at `net.core.rmem_max`.
const RECEIVE_BUFFER: i32 = 4 << 20;

/// A socket that hears of every change of links and addresses.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Subscribes. Do so before the first dump, so that nothing falls between them.
    ///
    /// # Errors
    /// When the kernel has no rtnetlink, or no more sockets.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
        socket.set_non_blocking(true)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Self { socket, buffer: Vec::with_capacity(64 << 10) })
    }

    /// Hands over all pending notices. Returns whether some were lost: then dump everything anew.
    ///
    /// # Errors
    /// Never for an overrun (`ENOBUFS`): that is the `true`.
    pub fn drain(&mut self, mut notice: impl FnMut(Notice)) -> io::Result<bool> {
        let mut overrun = false;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => for_each(&self.buffer, |message| {
                    if let Some(found) = Notice::read(message) {
                        notice(found);
                    }
                }),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(overrun),
                    Some(libc::ENOBUFS) => overrun = true,
                    Some(libc::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket lives as long as `self`, and so does its descriptor.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

/// Walks the messages of a datagram. One that cannot be read is left out: an attribute of a newer kernel must not
/// stop the rest.
pub(super) fn for_each(datagram: &[u8], mut message: impl FnMut(NetlinkMessage<RouteNetlinkMessage>)) {
    let mut rest = datagram;
    while let Some(length) = rest.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes) as usize) {
        // The header alone is 16 bytes; less would never end.
        let Some(bytes) = rest.get(..length).filter(|bytes| bytes.len() >= 16) else { return };
        if let Ok(found) = NetlinkMessage::deserialize(bytes) {
            message(found);
        }
        // Messages are aligned to 4 (NLMSG_ALIGN).
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}
