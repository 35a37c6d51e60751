//! The predecessor's part of a succession: starts a successor or leaves the state to a later
//! process.

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::CapabilitySet;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking, yield_now};
use tokio::time::{Instant, sleep_until};

use super::super::{Change, DiscardCounters, FromEngine, Supervisor};
use super::{Connections, Served};
use crate::control::runtime::RuntimeDir;
use crate::control::server::Source;
use crate::engine::command::Request;
use crate::engine::succession::Recipient;
use crate::handover::{self, Channel, Message};
use crate::process::capabilities::with;
use crate::service::line::Line;
use crate::service::order::{Author, Done, finish};
use crate::service::systemd::{Systemd, store};
use crate::service::upgrade::{Departure, Process, SavedService, Successor};
use crate::service::worker::Worker;

/// Maximum time that a restart waits for notification commands.
const COMMANDS_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum time that an upgrade or a restart waits for a predecessor to end. This time plus the
/// time that a successor may take to become ready must be less than the time that the client waits
/// for the reply.
const MAX_WAIT: Duration = Duration::from_secs(8);

/// Upper bound on the number of polls that a client's task needs to send its reply.
const REPLY_STEPS: usize = 16;

/// An upgrade or a restart in progress.
pub(in crate::service::supervisor) struct Upgrading {
    outcome: JoinHandle<Result<Successor, String>>,
    pub(in crate::service::supervisor) author: Author,
    /// Set before the engine receives the command to hand over.
    is_handing_over: Arc<AtomicBool>,
}

/// A request that waits for a condition, at most until a deadline.
pub(in crate::service::supervisor) struct Waiting<R> {
    pub(in crate::service::supervisor) request: R,
    pub(in crate::service::supervisor) author: Author,
    deadline: Instant,
}

/// An upgrade or a restart ([`Change::Upgrade`], [`Change::Restart`]) that waits until this
/// process's predecessor has ended, so that notification commands of the predecessor and of the new
/// successor do not run at the same time.
pub(in crate::service::supervisor) type Postponed = Waiting<Change>;

/// A restart that waits until this process's notification commands have ended.
pub(in crate::service::supervisor) type Quiescing = Waiting<()>;

impl Postponed {
    fn new(request: Change, author: Author) -> Self {
        Self { request, author, deadline: Instant::now() + MAX_WAIT }
    }
}

impl Quiescing {
    pub(in crate::service::supervisor) fn new(author: Author) -> Self {
        Self { request: (), author, deadline: Instant::now() + COMMANDS_TIMEOUT }
    }
}

impl<S: Source + DiscardCounters> Supervisor<S> {
    /// Starts a successor and begins the handover.
    pub(in crate::service::supervisor) fn upgrade(
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

    /// Postpones an upgrade or a restart until this process's predecessor has ended. An earlier one
    /// in `waiting` is refused.
    pub(in crate::service::supervisor) fn postpone(
        &mut self,
        request: Change,
        author: Author,
        waiting: &mut Option<Postponed>,
    ) {
        self.administrator.postpone();
        if let Some(earlier) = waiting.replace(Postponed::new(request, author)) {
            finish(
                earlier.author,
                Err("another upgrade or restart has been requested in the meantime".to_owned().into()),
            );
        }
    }

    /// Begins to leave the state to the next process that systemd starts. No notification command
    /// may be running. Returns `None` if that is not possible; the reason has then been sent to the
    /// author.
    pub(in crate::service::supervisor) fn restart(
        &mut self,
        author: Author,
        runtime_dir: &RuntimeDir,
        connections: &Connections<'_>,
    ) -> Option<Upgrading> {
        let refusal = if store::is_available() {
            // Enlarging the queue requires the capability, which the pool thread that fills the
            // queue does not have.
            match with(CapabilitySet::NET_ADMIN, Channel::store) {
                Ok(ends) => {
                    let (departure, is_handing_over) =
                        self.departure(runtime_dir, connections, Recipient::Later);
                    let estate = Arc::clone(&self.estate);
                    let outcome = spawn_blocking(move || departure.store(ends, &estate));
                    return Some(Upgrading { outcome, author, is_handing_over });
                }
                Err(error) => format!("cannot create a socket for the state: {error}"),
            }
        } else {
            "no service manager runs the agent".to_owned()
        };
        self.administrator.upgrade_failed(author, refusal);
        None
    }

    /// Continues in this process after an upgrade or a restart has failed.
    pub(in crate::service::supervisor) fn upgrade_failed(
        &mut self,
        author: Author,
        reason: String,
        worker: &Worker,
    ) {
        // Does nothing if the worker has ended.
        worker.submit(Request::EndSharing);
        self.administrator.upgrade_failed(author, reason);
    }

    /// Completes an upgrade after a successor has taken over, or a restart after the state has been
    /// left to the next process that systemd starts.
    pub(in crate::service::supervisor) async fn leave(
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
            tracing::warn!(%error, "cannot pass events and notification counters to the successor; they are lost");
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

/// Stops a successor: a termination signal that arrived after the engine had handed over applies to
/// the successor.
fn stop(pid: u32) {
    let successor = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(Err(error)) = successor.map(|successor| kill_process(successor, Signal::TERM)) {
        tracing::error!(pid, %error, "cannot stop the successor; stop it with SIGTERM");
    }
}

/// Waits until the upgrade or restart ends, or forever if none is in progress.
pub(in crate::service::supervisor) async fn outcome(
    upgrading: &mut Option<Upgrading>,
) -> Result<Successor, String> {
    match upgrading {
        Some(Upgrading { outcome, .. }) => match outcome.await {
            Ok(outcome) => outcome,
            Err(error) => Err(format!("the upgrade or restart failed: {error}; this is a bug in vipd")),
        },
        None => std::future::pending().await,
    }
}

/// Returns the waiting request once its deadline has passed. Waits forever if no request is
/// waiting.
pub(in crate::service::supervisor) async fn overdue<R>(
    waiting: &mut Option<Waiting<R>>,
) -> Option<Waiting<R>> {
    match waiting {
        Some(Waiting { deadline, .. }) => {
            sleep_until(*deadline).await;
            waiting.take()
        }
        None => std::future::pending().await,
    }
}

/// Returns the error for an overdue [`Postponed`] request.
pub(in crate::service::supervisor) fn predecessor_reason() -> String {
    format!(
        "the agent's predecessor did not end within {MAX_WAIT:?}; wait until its notification commands have \
         ended, or kill the predecessor, and try again"
    )
}

/// Returns the error for an overdue [`Quiescing`] restart.
pub(in crate::service::supervisor) fn commands_reason() -> String {
    format!("notification commands did not end within {COMMANDS_TIMEOUT:?}")
}

/// Returns the successor if the engine handed over before it ended.
pub(in crate::service::supervisor) async fn handed_over(
    upgrading: Option<Upgrading>,
) -> Option<(Successor, Author)> {
    let Upgrading { outcome, author, is_handing_over } = upgrading?;
    // Before the handover has begun, do not wait: the successor may need a long time to become
    // ready.
    if !is_handing_over.load(Ordering::SeqCst) {
        return None;
    }
    Some((outcome.await.ok()?.ok()?, author))
}
