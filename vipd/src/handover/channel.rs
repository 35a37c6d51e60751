//! The socket between predecessor and successor.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{
    Timeout, set_socket_send_buffer_size, set_socket_send_buffer_size_force, set_socket_timeout,
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::message::Message;

/// Maximum length of an encoded message in bytes. Longer contents are passed in
/// [memory](super::memory).
const MAX_MESSAGE: usize = 16 * 1024;

/// Size of the queue of stored messages in bytes: enough for thousands of descriptors, because the
/// kernel counts less than 1 KB for each message.
const QUEUE: usize = 8 << 20;
/// Maximum number of messages that a process receives from a queue. More than [`QUEUE`] has room
/// for.
pub(crate) const MAX_QUEUED: usize = 1 << 16;
/// Time after which sending to a full queue fails.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// One end of the socket. The socket preserves message boundaries (SOCK_SEQPACKET), and each
/// message may carry one descriptor.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Creates a socket pair: this process's end, and the descriptor to pass to the other process.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (own, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(own), other))
    }

    /// Creates a socket pair for messages that are received after this process has ended: this
    /// process's end, and the descriptor to store. Without CAP_NET_ADMIN, the queue is limited to
    /// `net.core.wmem_max`.
    pub(crate) fn store() -> io::Result<(Self, OwnedFd)> {
        let (own, other) = Self::pair()?;
        if set_socket_send_buffer_size_force(&own, QUEUE).is_err() {
            set_socket_send_buffer_size(&own, QUEUE)?;
        }
        set_socket_timeout(&own, Timeout::Send, Some(SEND_TIMEOUT))?;
        Ok((own, other))
    }

    /// Creates a channel from the end that another process has passed to this one.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Duplicates the descriptor of this end.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Returns an error if the other process has ended, or the kernel refuses the message.
    pub(crate) fn send(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.as_slice();
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for the next message, for at most `timeout`, or without a limit if `timeout` is
    /// `None`.
    ///
    /// # Errors
    /// `TimedOut` if no message arrives in time; `UnexpectedEof` or `ConnectionReset` if the other
    /// process has ended; `InvalidData` if the message cannot be decoded.
    pub(crate) fn receive(&self, timeout: Option<Duration>) -> io::Result<(Message, Option<OwnedFd>)> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            match self.try_receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            let mut ends = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut ends, left.as_ref()) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the next message without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if no message has arrived; otherwise the same errors as
    /// [`receive`](Self::receive).
    pub(crate) fn try_receive(&self) -> io::Result<(Message, Option<OwnedFd>)> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let message = bytes.get(..received.bytes).unwrap_or_default();
        let message = serde_json::from_slice(message)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok((message, descriptor))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::{Token, read, write};

    #[test]
    fn messages_carry_descriptors() {
        let (one, other) = Channel::pair().expect("a socket pair");
        let other = Channel::from_descriptor(other);
        let memory = write(b"text").expect("memory");
        one.send(&Message::Ready, None).expect("sent");
        one.send(&Message::State, Some(memory.as_fd())).expect("sent");
        let (message, none) = other.receive(None).expect("received");
        assert!(matches!(message, Message::Ready) && none.is_none());
        let (message, memory) = other.receive(None).expect("received");
        assert!(matches!(message, Message::State));
        assert_eq!(read(&memory.expect("a descriptor")).expect("read"), b"text");
        let timeout = other.receive(Some(Duration::from_millis(1))).expect_err("no message");
        assert_eq!(timeout.kind(), io::ErrorKind::TimedOut);
        drop(one);
        assert_eq!(other.receive(None).expect_err("closed").kind(), io::ErrorKind::UnexpectedEof);
    }

    /// systemd keeps only the receiving end.
    #[test]
    fn stored_messages_are_received_after_the_sender_has_ended() {
        const MESSAGES: usize = 400;
        let (channel, stored) = Channel::store().expect("a socket pair");
        let token = Token::new().expect("a token");
        for _ in 0..MESSAGES {
            channel.send(&Message::Token, Some(token.as_fd())).expect("sent");
        }
        drop((channel, token));
        let stored = Channel::from_descriptor(stored);
        let tokens: Vec<Token> = std::iter::from_fn(|| stored.try_receive().ok())
            .map(|(_, descriptor)| Token::from_descriptor(descriptor.expect("a descriptor")))
            .collect();
        assert_eq!(tokens.iter().filter(|token| token.take()).count(), 1);
        assert_eq!(tokens.len(), MESSAGES);
    }

    #[test]
    fn token_is_taken_once() {
        let token = Token::new().expect("a token");
        let passed = Token::from_descriptor(token.as_fd().try_clone_to_owned().expect("duplicated"));
        assert!(passed.take());
        assert!(!token.take() && !passed.take());
    }
}
