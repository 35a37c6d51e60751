//! systemd's descriptor store: systemd keeps a descriptor while the service restarts, and passes it
//! to the next main process (`FileDescriptorStoreMax=`, sd_pid_notify_with_fds(3)).

use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};

/// Name of the agent's descriptor in the store.
pub(in crate::service) const STORED: &str = "vipd-state";
/// Environment variable with the path of systemd's socket.
const SOCKET: &str = "NOTIFY_SOCKET";
/// Maximum time to wait until systemd has processed a message.
const TIMEOUT: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Returns whether a service manager runs this process.
pub(in crate::service) fn is_available() -> bool {
    env::var_os(SOCKET).is_some()
}

/// Stores a descriptor, and waits until systemd has processed the message. systemd does not report
/// whether the store had room.
///
/// # Errors
/// Returns an error if no service manager runs this process, if a message cannot be sent or the
/// pipe cannot be created, or if systemd does not answer in time.
pub(in crate::service) fn store(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    // Without `FDPOLL=0`, systemd would discard a socket whose other end has been closed.
    send(&format!("FDSTORE=1\nFDNAME={STORED}\nFDPOLL=0"), descriptor)?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    send("BARRIER=1", writer.as_fd())?;
    drop(writer);
    // systemd closes its copy of the writing end once it has processed all earlier messages.
    let mut processed = [PollFd::new(&reader, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut processed, Some(&TIMEOUT)))? {
        0 => {
            let seconds = TIMEOUT.tv_sec;
            let reason = format!(
                "systemd did not confirm within {seconds} s that it has processed the state's descriptor"
            );
            Err(io::Error::new(io::ErrorKind::TimedOut, reason))
        }
        _ => Ok(()),
    }
}

/// Removes the descriptor from the store, so that no later process resumes its state.
///
/// # Errors
/// Returns an error if the message cannot be sent.
pub(in crate::service) fn clear() -> io::Result<()> {
    sd_notify::notify(&[
        sd_notify::NotifyState::Custom("FDSTOREREMOVE=1"),
        sd_notify::NotifyState::Custom(&format!("FDNAME={STORED}")),
    ])
}

/// Sends a message with a descriptor.
fn send(message: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let path = env::var_os(SOCKET).ok_or_else(|| io::Error::other("no service manager runs this process"))?;
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(&socket, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
