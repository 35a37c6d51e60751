//! The control thread's part in a succession: handing over to a successor, and taking over from a
//! predecessor.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::CapabilitySet;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking, yield_now};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Change, DiscardCounters, FromEngine, Supervisor};
use crate::control::runtime::RuntimeDir;
use crate::control::server::Source;
use crate::engine::command::Request;
use crate::engine::succession::{Recipient, Resumed};
use crate::handover::{self, Channel, Message};
use crate::process::capabilities::with;
use crate::process::{SignalStream, register};
use crate::service::line::Line;
use crate::service::order::{Author, Done, finish};
use crate::service::signals::Response;
use crate::service::successor::Heir;
use crate::service::systemd::Systemd;
use crate::service::systemd::store;
use crate::service::upgrade::{Departure, Process, SavedService, Successor};
use crate::service::worker::Worker;

/// The outcome of running the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum End {
    /// All routers have been shut down.
    Stopped,
    /// Another process runs the routers.
    HandedOver,
}

/// The outcome of [`serve`](Supervisor::serve).
pub(super) enum Served {
    Stopped,
    HandedOver {
        /// The channel to the successor. Closing the channel signals the end of this process.
        channel: Channel,
        /// Whether the routers run in no process until this one has ended, so that it must not wait for
        /// anything.
        is_suspended: bool,
    },
}

/// The agent's connections to its worker, its clients and its predecessor.
pub(super) struct Connections<'a> {
    pub(super) worker: &'a Worker,
    /// Whether the control socket accepts clients.
    pub(super) is_open: &'a watch::Sender<bool>,
    /// The predecessor, until it has ended.
    pub(super) predecessor: Option<AsyncFd<Channel>>,
    /// Whether this process is the main process of the service. A successor is reported as the main
    /// process after it has taken over.
    pub(super) is_main: bool,
}

/// A message from the predecessor after this process has taken over.
pub(super) enum FromPredecessor {
    /// Memory with a [`SavedService`], the state of the predecessor's service. The predecessor has
    /// already reported this process to systemd as the main process.
    Service(Option<OwnedFd>),
    /// The predecessor has ended.
    Ended,
}

/// An upgrade in progress.
pub(super) struct Upgrading {
    outcome: JoinHandle<Result<Successor, String>>,
    pub(super) author: Author,
    /// Set before the engine receives the command to hand over.
    is_handing_over: Arc<AtomicBool>,
}

/// A request that waits for a condition, at most until a deadline.
pub(super) struct Waiting<R> {
    pub(super) request: R,
    pub(super) author: Author,
    deadline: Instant,
}

/// An upgrade or a restart ([`Change::Upgrade`], [`Change::Restart`]) that waits until this process's
/// predecessor has ended, so that notification commands of the predecessor and of the new successor
/// do not run at the same time.
pub(super) type Postponed = Waiting<Change>;

/// A restart that waits until this process's notification commands have ended.
pub(super) type Quiescing = Waiting<()>;

impl Postponed {
    fn new(request: Change, author: Author) -> Self {
        Self { request, author, deadline: Instant::now() + MAX_WAIT }
    }
}

impl Quiescing {
    pub(super) fn new(author: Author) -> Self {
        Self { request: (), author, deadline: Instant::now() + COMMANDS_TIMEOUT }
    }
}

impl<S: Source + DiscardCounters> Supervisor<S> {
    /// Waits until the engine has taken over, and adopts the predecessor's states. Returns the
    /// channel, from which the caller must read the predecessor's last messages.
    pub(super) async fn take_over(
        &mut self,
        heir: Heir,
        runtime_dir: &RuntimeDir,
        worker: &Worker,
        signals: &mut SignalStream,
        from: &mut FromEngine,
    ) -> anyhow::Result<AsyncFd<Channel>> {
        let Heir { channel, resumed: mut awaited, is_stopping, lock, memberships, is_main, .. } = heir;
        let mut pending = None;
        let resumed = loop {
            tokio::select! {
                signal = signals.receive(), if pending.is_none() => {
                    let signal = signal.context("cannot wait for signals")?;
                    if let (Response::Stop, _) = Response::to(signal) {
                        is_stopping.store(true, Ordering::SeqCst);
                        pending = Some(signal);
                    }
                }
                Some(request) = from.requests.recv() => {
                    ensure!(worker.submit(request), "the worker thread panicked; this is a bug in vipd");
                }
                resumed = &mut awaited => break resumed.context("the engine has ended")?,
            }
        };
        drop(memberships);
        let mut states = Vec::new();
        for Resumed { router, state, reason } in resumed {
            let state = reason.map(|_| state);
            if let Some(state) = state {
                let source = &self.source;
                self.events.resume(router, state);
                self.log.resume(router, |row| source.row(row));
            }
            states.extend(self.log.instance(router).map(|instance| (Arc::clone(instance), state)));
        }
        self.notifications.resume(&states, self.administrator.groups());
        lock.take_over();
        if let Err(error) = runtime_dir.take_over() {
            tracing::warn!("{error}");
        }
        let (version, instances) = (env!("CARGO_PKG_VERSION"), states.len());
        if is_main {
            tracing::info!(version, instances, "continuing with the state of the previous process");
        } else {
            tracing::info!(version, instances, "took over from the predecessor");
        }
        // The engine may have taken over before the signal arrived.
        if let Some(signal) = pending {
            self.signal(signal);
        }
        Ok(register(channel)?)
    }

    /// Handles a message from the predecessor.
    pub(super) fn handle_predecessor(&mut self, message: FromPredecessor, systemd: &mut Systemd) {
        match message {
            FromPredecessor::Service(memory) => {
                let saved = memory.context("the message contains no state").and_then(|memory| {
                    Ok(serde_json::from_slice::<SavedService>(&handover::read(&memory)?)?)
                });
                match saved {
                    Ok(SavedService { events, notifications, fifo_dropped }) => {
                        self.events.log().resume(events);
                        self.notifications.counts().resume(&notifications, fifo_dropped);
                    }
                    Err(error) => tracing::warn!(%error, "events and counters of the predecessor are lost"),
                }
                systemd.ready();
            }
            FromPredecessor::Ended => self.notifications.release(),
        }
    }

    /// Waits until the predecessor, if any, has ended. Notifications held back in the meantime can
    /// then be delivered.
    pub(super) async fn outlive_predecessor(
        &mut self,
        predecessor: &mut Option<AsyncFd<Channel>>,
        systemd: &mut Systemd,
    ) {
        while predecessor.is_some() {
            let message = timeout(PREDECESSOR_TIMEOUT, next(predecessor)).await;
            if let Err(_) | Ok(FromPredecessor::Ended) = message {
                *predecessor = None;
            }
            self.handle_predecessor(message.unwrap_or(FromPredecessor::Ended), systemd);
        }
    }

    /// Starts a successor and begins the handover.
    pub(super) fn upgrade(
        &self,
        executable: Option<PathBuf>,
        author: Author,
        runtime_dir: &RuntimeDir,
        connections: &Connections<'_>,
    ) -> Upgrading {
        let (departure, is_handing_over) = self.departure(runtime_dir, connections, Recipient::Running);
        let estate = Arc::clone(&self.estate);
        let executable = executable.unwrap_or_else(|| estate.executable.clone());
        tracing::info!(executable = %executable.display(), "starting a successor");
        let outcome = spawn_blocking(move || departure.upgrade(&executable, &estate));
        Upgrading { outcome, author, is_handing_over }
    }

    /// Returns the parts of the agent that a handover uses, and a flag that is set when it begins.
    fn departure(
        &self,
        runtime_dir: &RuntimeDir,
        connections: &Connections<'_>,
        recipient: Recipient,
    ) -> (Departure, Arc<AtomicBool>) {
        let (reply, holdings) = oneshot::channel();
        // If the worker has ended, `holdings` is closed, and the upgrade fails.
        connections.worker.submit(Request::Share(recipient, reply));
        let is_handing_over = Arc::new(AtomicBool::new(false));
        let rows = self.log.rows().map(|(instance, row)| (instance.name.clone(), row.number()));
        let departure = Departure {
            offer: self.administrator.offer(runtime_dir.path(), rows.collect()),
            engine: self.engine.clone(),
            holdings,
            is_open: connections.is_open.clone(),
            is_handing_over: Arc::clone(&is_handing_over),
        };
        (departure, is_handing_over)
    }

    /// Postpones an upgrade or a restart until this process's predecessor has ended. `waiting` contains
    /// an earlier one, which is refused.
    pub(super) fn postpone(&mut self, request: Change, author: Author, waiting: &mut Option<Postponed>) {
        self.administrator.postpone();
        if let Some(earlier) = waiting.replace(Postponed::new(request, author)) {
            finish(
                earlier.author,
                Err("another upgrade has been requested in the meantime".to_owned().into()),
            );
        }
    }

    /// Begins to leave the state to the next process that systemd starts, once no notification command
    /// is running. Returns `None` if that is not possible; the reason has then been sent to the author.
    pub(super) fn restart(
        &mut self,
        author: Author,
        runtime_dir: &RuntimeDir,
        connections: &Connections<'_>,
    ) -> Option<Upgrading> {
        let refusal = if store::is_available() {
            // Enlarging the queue requires the capability, which the other threads do not have.
            match with(CapabilitySet::NET_ADMIN, Channel::store) {
                Ok(ends) => {
                    let (departure, is_handing_over) =
                        self.departure(runtime_dir, connections, Recipient::Later);
                    let estate = Arc::clone(&self.estate);
                    let outcome = spawn_blocking(move || departure.store(ends, &estate));
                    return Some(Upgrading { outcome, author, is_handing_over });
                }
                Err(_) => "no file descriptor or memory is available",
            }
        } else {
            "no service manager runs the agent"
        };
        self.administrator.upgrade_failed(author, refusal.to_owned());
        None
    }

    /// Continues in this process after a successor has failed.
    pub(super) fn upgrade_failed(&mut self, author: Author, reason: String, worker: &Worker) {
        // Does nothing if the worker has ended.
        worker.submit(Request::EndSharing);
        self.administrator.upgrade_failed(author, reason);
    }

    /// Completes an upgrade after a successor has taken over.
    pub(super) async fn leave(
        &mut self,
        successor: Successor,
        author: Author,
        runtime_dir: &RuntimeDir,
        worker: &Worker,
        systemd: &mut Systemd,
        from: &mut FromEngine,
    ) -> Served {
        let Successor { process, channel } = successor;
        runtime_dir.hand_over();
        // Does nothing if the worker has ended.
        worker.submit(Request::HandOver);
        let is_suspended = process.is_none();
        let done = match process {
            Some(Process { pid, version }) => {
                systemd.main_process(pid);
                if self.is_stopping {
                    stop(pid);
                }
                format!("handed over to process {pid}, vipd {version}")
            }
            None => "left the state to the next process that systemd starts".to_owned(),
        };
        self.log_lost_transitions(from);
        let counts = self.notifications.counts();
        let saved = SavedService {
            events: self.events.log().history(),
            notifications: counts.all(),
            fifo_dropped: counts.fifo_dropped(),
        };
        let sent = serde_json::to_vec(&saved)
            .map_err(io::Error::from)
            .and_then(|saved| handover::write(&saved))
            .and_then(|memory| channel.send(&Message::Service, Some(memory.as_fd())));
        if let Err(error) = sent {
            tracing::warn!(%error, "cannot pass events and counters to the successor; they are lost");
        }
        finish(author, Ok(Done { changes: vec![Line::agent(done)], ..Done::default() }));
        // Lets the client's task send the reply before the server is aborted. The reply fits into
        // the socket's buffer.
        for _ in 0..REPLY_STEPS {
            yield_now().await;
        }
        Served::HandedOver { channel, is_suspended }
    }
}

/// Stops a successor: a termination signal that arrived after the engine had handed over applies to the
/// successor.
fn stop(pid: u32) {
    let successor = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(Err(error)) = successor.map(|successor| kill_process(successor, Signal::TERM)) {
        tracing::error!(pid, %error, "cannot stop the successor; stop it with SIGTERM");
    }
}

/// Maximum time that a restart waits for notification commands.
const COMMANDS_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum time that a stopping process waits for each message from its predecessor, and then for
/// the predecessor to end, which the predecessor's notification commands may delay.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time that an upgrade waits for a predecessor to end. This time plus the time that a
/// successor may take to become ready must be less than the time that the client waits for the
/// reply.
const MAX_WAIT: Duration = Duration::from_secs(8);

/// Upper bound on the number of polls that a client's task needs to send its reply.
const REPLY_STEPS: usize = 16;

/// Waits until the upgrade ends, or forever if none is in progress.
pub(super) async fn outcome(upgrading: &mut Option<Upgrading>) -> Result<Successor, String> {
    match upgrading {
        Some(Upgrading { outcome, .. }) => match outcome.await {
            Ok(outcome) => outcome,
            Err(error) => Err(format!("the upgrade failed: {error}; this is a bug in vipd")),
        },
        None => std::future::pending().await,
    }
}

/// Returns the waiting request once its deadline has passed. Waits forever if no request is waiting.
pub(super) async fn overdue<R>(waiting: &mut Option<Waiting<R>>) -> Option<Waiting<R>> {
    match waiting {
        Some(Waiting { deadline, .. }) => {
            sleep_until(*deadline).await;
            waiting.take()
        }
        None => std::future::pending().await,
    }
}

/// Returns the error for an overdue [`Postponed`] request.
pub(super) fn predecessor_reason() -> String {
    format!(
        "the agent's predecessor has not ended within {MAX_WAIT:?}; wait until its notification commands have \
         ended, or kill it, and try again"
    )
}

/// Returns the error for an overdue [`Quiescing`] restart.
pub(super) fn commands_reason() -> String {
    format!("notification commands have not ended within {COMMANDS_TIMEOUT:?}")
}

/// Returns the successor if the engine handed over before it ended.
pub(super) async fn handed_over(upgrading: Option<Upgrading>) -> Option<(Successor, Author)> {
    let Upgrading { outcome, author, is_handing_over } = upgrading?;
    // Before the handover has begun, do not wait: the successor may need a long time to become
    // ready.
    if !is_handing_over.load(Ordering::SeqCst) {
        return None;
    }
    Some((outcome.await.ok()?.ok()?, author))
}

/// Waits for the next message from the predecessor, or forever if there is no predecessor.
pub(super) async fn next(predecessor: &mut Option<AsyncFd<Channel>>) -> FromPredecessor {
    let Some(channel) = predecessor else { return std::future::pending().await };
    loop {
        let Ok(mut ready) = channel.readable().await else { return FromPredecessor::Ended };
        match ready.try_io(|channel| channel.get_ref().try_receive()) {
            Ok(Ok((Message::Service, memory))) => return FromPredecessor::Service(memory),
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(_)) => return FromPredecessor::Ended,
        }
    }
}
