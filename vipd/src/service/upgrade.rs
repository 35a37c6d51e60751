//! The part of `vipd upgrade` that runs in the process being replaced.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::notify::Counts;
use crate::color;
use crate::engine::Handle;
use crate::engine::clock;
use crate::engine::command::Command;
use crate::engine::link_io::Holdings;
use crate::engine::succession::{HandOver, Recipient};
use crate::handover::{self, Channel, FORMAT, Message, Offer, Token, VERB};
use crate::process::{Privileges, defect, launch};
use crate::xdp::MapDescriptors;

/// Maximum time to wait until a new process identifies itself as vipd.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time to wait until the new process has loaded the BPF program and opened the links in
/// use.
const READY_TIMEOUT: Duration = Duration::from_secs(40);
/// Maximum time to wait until the engine has no pending work, in nanoseconds.
const QUIET_TIMEOUT: u64 = 5_000_000_000;
/// Maximum time to wait for the exit status of a process that has closed the channel.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The resources passed to a successor, except those of the worker.
pub(super) struct Estate {
    /// Path of the agent's own executable when the agent started.
    pub(super) executable: PathBuf,
    pub(super) maps: MapDescriptors,
    pub(super) lock: OwnedFd,
    pub(super) lock_file: OwnedFd,
    pub(super) control_socket: OwnedFd,
}

/// The state of the service, which a successor resumes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SavedService {
    /// The kept events, as lines of JSON.
    pub(super) events: Vec<String>,
    /// Numbers of coalesced and failed notifications, by subject.
    pub(super) notifications: BTreeMap<String, Counts>,
    pub(super) fifo_dropped: u64,
}

/// The receiver of this process's state.
pub(super) struct Successor {
    /// The process that has taken over; `None` if systemd starts it once this process has ended.
    pub(super) process: Option<Process>,
    pub(super) channel: Channel,
}

/// A process that has taken over.
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) version: String,
}

/// The reason why a process cannot take over.
pub(super) enum Failure {
    /// The process has ended or closed the channel.
    Ended,
    Reason(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                Self::Ended
            }
            _ => Self::Reason(error.to_string()),
        }
    }
}

/// The parts of the agent that an upgrade and a restart use.
pub(super) struct Departure {
    pub(super) offer: Offer,
    pub(super) engine: Handle,
    /// Receives the descriptors of the worker.
    pub(super) holdings: oneshot::Receiver<io::Result<Holdings>>,
    /// Whether the control socket accepts clients.
    pub(super) is_open: watch::Sender<bool>,
    /// Set before the engine receives the command to hand over.
    pub(super) is_handing_over: Arc<AtomicBool>,
}

impl Departure {
    /// Starts a process that runs `executable`, and hands over to it. Blocks.
    ///
    /// # Errors
    /// Returns a message for the user. No new process then runs, and the agent continues unchanged.
    pub(super) fn upgrade(self, executable: &Path, estate: &Estate) -> Result<Successor, String> {
        if rustix::process::getpid().is_init() {
            return Err(
                "the agent is the init process of its PID namespace, and when it ends, the kernel also kills the \
                 successor; restart the container instead"
                    .to_owned(),
            );
        }
        let name = executable.display();
        if let Some(defect) = defect(executable) {
            return Err(format!("{name} {defect}"));
        }
        let started = Channel::pair().and_then(|(channel, end)| Ok((channel, start(executable, end)?)));
        let (channel, mut child) = started.map_err(|error| format!("cannot start {name}: {error}"))?;
        match self.converse(&channel, estate) {
            Ok(version) => Ok(Successor { process: Some(Process { pid: child.id(), version }), channel }),
            Err(Failure::Reason(reason)) => {
                end(&mut child, Duration::ZERO);
                Err(format!("{name} cannot take over, so nothing has changed: {reason}"))
            }
            Err(Failure::Ended) => {
                let status = end(&mut child, EXIT_TIMEOUT);
                Err(format!(
                    "{name} cannot take over, so nothing has changed: it ended ({status}) before it was ready; see the \
                     log, and check that it is a version of vipd that supports `vipd upgrade`"
                ))
            }
        }
    }

    /// Hands over to the process at the other end of the channel. Returns its version.
    fn converse(self, channel: &Channel, estate: &Estate) -> Result<String, Failure> {
        let (Message::Hello { formats, version }, _) = receive(channel, HELLO_TIMEOUT)? else {
            return Err(unexpected());
        };
        if !formats.contains(&FORMAT) {
            return Err(Failure::Reason(format!(
                "vipd {version} reads state in the formats {formats:?}, but this agent writes format {FORMAT}; restart \
                 the agent instead"
            )));
        }
        let token = Token::new()?;
        let (offer, holdings, engine) = self.split()?;
        pass(channel, &offer, estate, holdings, &token)?;
        match receive(channel, READY_TIMEOUT)? {
            (Message::Ready, _) => {}
            (Message::Failed, reason) => return Err(Failure::Reason(handover::reason(reason))),
            _ => return Err(unexpected()),
        }
        engine.hand_over(channel, token, Recipient::Running)?;
        Ok(version)
    }

    /// Waits for the descriptors of the worker.
    pub(super) fn split(self) -> Result<(Offer, Holdings, Departing), Failure> {
        let Self { offer, engine, holdings, is_open, is_handing_over } = self;
        let stopping = || Failure::Reason("the agent is stopping".to_owned());
        let holdings = holdings.blocking_recv().map_err(|_| stopping())??;
        Ok((offer, holdings, Departing { engine, is_open, is_handing_over }))
    }
}

/// The engine and the control socket of an agent that is ready to hand over.
pub(super) struct Departing {
    engine: Handle,
    is_open: watch::Sender<bool>,
    is_handing_over: Arc<AtomicBool>,
}

impl Departing {
    /// Makes the engine pass its state through the channel. Waits until the recipient has taken
    /// over or, if it starts later, until the state has been sent.
    pub(super) fn hand_over(
        self,
        channel: &Channel,
        token: Token,
        recipient: Recipient,
    ) -> Result<(), Failure> {
        let (reply, outcome) = oneshot::channel();
        let until = clock::now() + QUIET_TIMEOUT;
        let channel = channel.try_clone()?;
        // From this point on, new clients wait for the successor.
        let _ = self.is_open.send(false);
        self.is_handing_over.store(true, Ordering::SeqCst);
        self.engine.send(Command::HandOver(HandOver { channel, token, until, recipient, reply }));
        let outcome = outcome.blocking_recv();
        let outcome = outcome.unwrap_or_else(|_| Err("the agent is stopping".to_owned()));
        if outcome.is_err() {
            let _ = self.is_open.send(true);
        }
        outcome.map_err(Failure::Reason)
    }
}

/// Passes the offer, all descriptors and, last, the token.
pub(super) fn pass(
    channel: &Channel,
    offer: &Offer,
    estate: &Estate,
    holdings: Holdings,
    token: &Token,
) -> Result<(), Failure> {
    let offer = serde_json::to_vec(offer).map_err(io::Error::from)?;
    channel.send(&Message::Offer, Some(handover::write(&offer)?.as_fd()))?;
    for (name, map) in &estate.maps {
        channel.send(&Message::Map { name: name.clone() }, Some(map.as_fd()))?;
    }
    for (info, link) in holdings.links.adverts {
        channel.send(&Message::Link(info), Some(link.as_fd()))?;
    }
    for (info, link) in holdings.links.fences {
        channel.send(&Message::Fence(info), link.as_ref().map(|link| link.as_fd()))?;
    }
    for (ifindex, claim) in holdings.claims {
        channel.send(&Message::Claim { ifindex }, Some(claim.as_fd()))?;
    }
    for membership in holdings.memberships {
        channel.send(&Message::Membership, Some(membership.as_fd()))?;
    }
    channel.send(&Message::Lock, Some(estate.lock.as_fd()))?;
    channel.send(&Message::LockFile, Some(estate.lock_file.as_fd()))?;
    channel.send(&Message::ControlSocket, Some(estate.control_socket.as_fd()))?;
    Ok(channel.send(&Message::Token, Some(token.as_fd()))?)
}

fn receive(channel: &Channel, timeout: Duration) -> Result<(Message, Option<OwnedFd>), Failure> {
    channel.receive(Some(timeout)).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => {
            Failure::Reason(format!("it did not answer within {} s", timeout.as_secs()))
        }
        _ => error.into(),
    })
}

fn unexpected() -> Failure {
    Failure::Reason("it sent an unexpected message".to_owned())
}

/// Starts a successor. `end`, the other end of the channel, becomes its standard input.
fn start(executable: &Path, end: OwnedFd) -> io::Result<Child> {
    // `WATCHDOG_PID` names this process. A successor that inherited this variable would disable its
    // own watchdog.
    let mut command = process::Command::new(executable);
    command.arg(VERB).stdin(Stdio::from(end)).env_remove("WATCHDOG_PID");
    color::pass_on(&mut command);
    launch(command, Privileges::All)
}

/// Waits up to `patience` for a process to end, then kills it. Returns its exit status as text.
fn end(child: &mut Child, patience: Duration) -> String {
    const PAUSE: Duration = Duration::from_millis(5);
    let until = Instant::now() + patience;
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(PAUSE);
    }
    // Does nothing if the process has already ended.
    let _ = child.kill();
    child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
}
