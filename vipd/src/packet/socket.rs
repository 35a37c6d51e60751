//! An AF_PACKET socket bound to one interface, for sending only.

use std::io;
use std::mem::size_of;

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

/// A socket that sends whole Ethernet frames out of one interface.
#[derive(Debug)]
pub struct PacketSocket(Socket);

impl PacketSocket {
    /// Opens a socket on the interface with this index.
    ///
    /// Its protocol is 0, so that the kernel never queues a received frame on it (packet(7)).
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `ENODEV` when the interface is gone.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.bind(&link_layer(ifindex)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Sends one frame without waiting.
    ///
    /// # Errors
    /// `ENETDOWN` when the interface is down, `ENOBUFS` or `EAGAIN` when its queue is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // A packet socket sends a frame whole or not at all.
        self.0.send(frame).map(drop)
    }
}

/// `struct sockaddr_ll` of an interface, with protocol 0.
fn link_layer(ifindex: u32) -> io::Result<SockAddr> {
    let index = i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?;
    let family = u16::try_from(libc::AF_PACKET).map_err(|_| io::ErrorKind::InvalidInput)?;
    let length =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is a socket address made of integers; the storage is larger, aligned and zeroed.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = family;
    address.sll_ifindex = index;
    // SAFETY: the storage holds a sockaddr_ll of that length and family, as just written.
    Ok(unsafe { SockAddr::new(storage, length) })
}
