//! Sockets that send prepared adverts from any interface, for the guardian, which cannot keep a
//! socket for each interface and router.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::socket::{self, AT_ONCE, TC_PRIO_CONTROL, link_layer};
use super::unicast;

/// Longest time to wait while the send buffer is full.
const FULL: Duration = Duration::from_millis(5);

/// The sockets: one for Ethernet frames, and one per family for adverts to unicast peers.
#[derive(Debug)]
pub struct AnyInterface {
    frames: Socket,
    unicast4: Socket,
    /// `None` if the kernel does not support IPv6.
    unicast6: Option<Socket>,
}

impl AnyInterface {
    /// Opens the sockets, which receive no packets.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let frames = Socket::new(Domain::PACKET, Type::RAW, None)?;
        frames.set_priority(TC_PRIO_CONTROL)?;
        // The frames of all interfaces share the send buffer.
        frames.set_write_timeout(Some(FULL))?;
        let unicast6 = match unicast::socket(true) {
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            result => Some(result?),
        };
        Ok(Self { frames, unicast4: unicast::socket(false)?, unicast6 })
    }

    /// Takes over descriptors in the order of [`descriptors`](Self::descriptors). Returns `None` if
    /// there are fewer than two descriptors.
    pub fn from_descriptors(descriptors: impl IntoIterator<Item = OwnedFd>) -> Option<Self> {
        let mut sockets = descriptors.into_iter().map(Socket::from);
        Some(Self { frames: sockets.next()?, unicast4: sockets.next()?, unicast6: sockets.next() })
    }

    /// Returns the descriptors of the sockets.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.frames, &self.unicast4].into_iter().chain(&self.unicast6).map(Socket::as_fd)
    }

    /// Sends up to 64 Ethernet frames in one system call, each from the interface whose index is
    /// paired with the frame, without allocating. Returns how many frames were sent. If not all of
    /// them were sent, the kernel refused the first unsent frame.
    ///
    /// # Errors
    /// Returns an error if the first frame is refused: `ENETDOWN` if the interface is down, `ENXIO`
    /// if it does not exist, `ENOBUFS` if its queue is full, `EMSGSIZE` if the frame is longer than
    /// the interface's MTU allows, `EAGAIN` if the send buffer stays full.
    pub fn send_frames<'a>(&self, frames: impl Iterator<Item = (u32, &'a [u8])>) -> io::Result<usize> {
        let mut bytes: [&[u8]; AT_ONCE] = [&[]; AT_ONCE];
        let mut interfaces: [Option<SockAddr>; AT_ONCE] = [const { None }; AT_ONCE];
        let mut count = 0;
        for ((ifindex, frame), (part, interface)) in frames.zip(bytes.iter_mut().zip(&mut interfaces)) {
            (*part, *interface) = (frame, Some(link_layer(ifindex, 0)?));
            count += 1;
        }
        socket::send_many(&self.frames, bytes.iter().copied().zip(&interfaces).take(count))
    }

    /// Sends a VRRP message and its trailer from an address of the interface with this index to a
    /// unicast peer, without blocking or allocating.
    ///
    /// # Errors
    /// `Unsupported` without IPv6; otherwise the same errors as
    /// [`UnicastSocket::open`](super::UnicastSocket::open) and
    /// [`UnicastSocket::send_to`](super::UnicastSocket::send_to).
    pub fn send_to(&self, ifindex: u32, source: IpAddr, peer: IpAddr, message: [&[u8]; 2]) -> io::Result<()> {
        let index = Some(NonZeroU32::new(ifindex).ok_or(io::ErrorKind::InvalidInput)?);
        let socket = match (source, &self.unicast6) {
            (IpAddr::V4(_), _) => {
                self.unicast4.bind_device_by_index_v4(index)?;
                &self.unicast4
            }
            (IpAddr::V6(_), Some(socket)) => {
                socket.bind_device_by_index_v6(index)?;
                socket
            }
            (IpAddr::V6(_), None) => return Err(io::ErrorKind::Unsupported.into()),
        };
        socket.bind(&unicast::address(ifindex, source))?;
        let parts = message.map(IoSlice::new);
        socket.send_to_vectored(&parts, &unicast::address(ifindex, peer)).map(drop)
    }
}
