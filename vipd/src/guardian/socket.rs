//! The socket between the service and its guardian. Through this socket, the guardian receives all
//! descriptors other than its stdin (this socket), stdout and stderr. End of file on the socket
//! shows that the agent's process has ended.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::memory::Memory;
use crate::packet::AnyInterface;
use crate::xdp::GuardianLeases;

/// Sent by the guardian once it is watching the engine.
pub(super) const READY: u8 = b'R';
/// Sent by the agent when it crashes.
pub(super) const CRASH: u8 = b'C';

/// Maximum number of descriptors: the memory, the array of leases and the sockets.
const DESCRIPTORS: usize = 5;

/// The resources that the guardian receives when it starts.
pub(super) struct Received {
    pub(super) memory: Memory,
    pub(super) leases: GuardianLeases,
    pub(super) sockets: AnyInterface,
}

/// Creates the two ends of the socket.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends the descriptors to the guardian.
pub(super) fn send(
    socket: &OwnedFd,
    memory: &Memory,
    leases: &OwnedFd,
    sockets: &AnyInterface,
) -> io::Result<()> {
    let fixed = [memory.as_fd(), leases.as_fd()].into_iter();
    let descriptors: Vec<BorrowedFd<'_>> = fixed.chain(sockets.descriptors()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives the descriptors from the agent.
pub(super) fn receive(socket: BorrowedFd<'_>) -> io::Result<Received> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
        _ => Vec::new(),
    });
    let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let memory = Memory::map(descriptors.next().ok_or_else(missing)?)?;
    let leases = GuardianLeases::open(descriptors.next().ok_or_else(missing)?, memory.rows())?;
    let sockets = AnyInterface::from_descriptors(descriptors).ok_or_else(missing)?;
    Ok(Received { memory, leases, sockets })
}
