//! Succession: a running agent hands over to a process of another executable (`vipd upgrade`).
//!
//! ```text
//!  predecessor (running)                         successor (started by it)
//!    │  Hello ◄────────────────────────────────────  the versions of the state that it reads
//!    │  Offer, descriptors ────────────────────────► loads the configuration and the BPF program,
//!    │                                               opens sockets
//!    │  Ready, or Failed ◄─────────────────────────
//!    │  engine completes its pending work
//!    │  State ─────────────────────────────────────► resumes its routers, takes the token
//!    │  Taken ◄────────────────────────────────────  sends and receives adverts from then on
//!    │  Service ───────────────────────────────────► events and counters of the service
//!    ▼  ends; the socket closes ───────────────────► starts notification commands
//! ```
//!
//! In a restart by systemd, the predecessor ends before the successor starts. The predecessor
//! therefore sends `Hello` itself, and also sends `Origin` and `Membership`, which an upgrade does
//! not need. systemd keeps the other end of the channel with the messages in its queue:
//!
//! ```text
//!  Hello, Origin, Offer, descriptors (with Membership), Token, State, Service, end
//! ```
//!
//! In an upgrade, until the successor has taken the [`Token`], the predecessor can take the token
//! back and continue as if nothing had happened. Only one process can take the token, so the
//! routers never run in both.
//!
//! This module contains the messages and the channel, and does not depend on the engine.

mod channel;
mod memory;
mod message;
mod token;

use std::os::fd::{AsFd as _, OwnedFd};

pub(crate) use channel::{Channel, MAX_QUEUED};
pub(crate) use memory::{read, write};
pub(crate) use message::{FORMAT, Message, Offer, Origin, READABLE, Reading};
pub(crate) use token::Token;

/// The only command-line argument of a successor that a running agent starts. The successor's
/// standard input is the channel.
pub(crate) const VERB: &str = "succeed";

/// Reports to the predecessor the reason why this process gives up.
pub(crate) fn fail(channel: &Channel, reason: &str) {
    // Fails if the predecessor has ended or the memory cannot be created. In the latter case, the
    // predecessor detects only that this process has ended.
    let _ = write(reason.as_bytes()).and_then(|memory| channel.send(&Message::Failed, Some(memory.as_fd())));
}

/// Returns the reason why a successor has given up, from the memory that it sent with
/// [`Message::Failed`].
pub(crate) fn reason(memory: Option<OwnedFd>) -> String {
    let bytes = memory.and_then(|memory| read(&memory).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
