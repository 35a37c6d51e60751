//! The control thread: handles signals, writes log lines, serves the control socket, and passes the
//! engine's requests to the worker.

mod reports;
mod succession;
#[cfg(test)]
mod tests;

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use vipd_common::counters::CounterRow;

use super::administrator::{Administrator, Step};
use super::bus::Transitions;
use super::events::Recorder;
use super::log::Log;
use super::notify::Notifications;
use super::order::{Author, Order, Orders, finish};
use super::signals::Response;
use super::successor::Heir;
use super::systemd::Systemd;
use super::track::{Readings, SharedTracker};
use super::upgrade::Estate;
use super::worker::{LinkWork, Worker};
use crate::control::access::Access;
use crate::control::protocol::Request as Change;
use crate::control::runtime::RuntimeDir;
use crate::control::server::{self, Source};
use crate::engine::Handle;
use crate::engine::command::{Command, Report, Request};
use crate::process::capabilities::{ThreadKind, confine};
use crate::process::{Received, SignalStream, Signals, reap_orphans};
use crate::web::Endpoint;
use crate::xdp::Row;

pub(super) use succession::End;
use succession::hand_over::{self, Postponed, Quiescing, Upgrading, Waiting};
use succession::{Connections, FromPredecessor, Served};

/// Interval at which the agent logs newly discarded adverts and the state changes that the rate
/// limit suppressed, and reaps orphaned processes of commands.
const REGULAR_CHECK: Duration = Duration::from_secs(5);
/// Maximum time that the start of the engine, or a reload that adds instances, waits for the first
/// readings of tracked objects, which usually take milliseconds.
pub(super) const FIRST_READINGS: Duration = Duration::from_secs(1);
/// Maximum time to wait, at shutdown or after a successor has taken over, for the worker, which may
/// be waiting for a slow driver.
const WORKER_TIMEOUT: Duration = Duration::from_secs(10);

/// Provides the counters of discarded adverts to the log.
pub(super) trait DiscardCounters {
    /// Returns whether adverts were discarded since the last call.
    fn take_discarded(&self) -> bool;
    /// Returns the counters of a row.
    fn row(&self, row: Row) -> CounterRow;
}

/// Starts and ends the engine's thread.
pub(super) trait EngineControl {
    /// Starts the thread.
    fn start(&mut self) -> anyhow::Result<()>;
    /// Called when the engine has closed its channels, so that its thread is about to end. Removes
    /// the VIPs that a failed engine has left, before the control thread waits for notification
    /// commands, which may take a minute.
    fn ended(&mut self);
}

/// The receiving ends of the engine's channels.
pub(super) struct FromEngine {
    /// Requests for the worker, which may block.
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    /// Reports to log and to record as events. The channel closes when the engine ends.
    pub(super) reports: mpsc::Receiver<Report>,
    /// The latest state changes, which are available even if their reports were dropped.
    pub(super) transitions: Transitions,
}

/// The control thread's state.
pub(super) struct Supervisor<S> {
    pub(super) engine: Handle,
    pub(super) source: Arc<S>,
    /// The HTTP server of the metrics.
    pub(super) web: Endpoint,
    /// Carries out changes to the running agent.
    pub(super) administrator: Administrator,
    /// Passes reload requests to the administrator.
    pub(super) orders: Orders,
    /// Access rules of the control socket.
    pub(super) access: Access,
    pub(super) events: Recorder,
    pub(super) notifications: Notifications,
    pub(super) tracker: SharedTracker,
    pub(super) readings: Readings,
    pub(super) log: Log,
    /// Reports of routers that a reload is adding, at most [`MAX_EARLY`](reports::MAX_EARLY).
    pub(super) early: Vec<Report>,
    /// The control socket.
    pub(super) listener: UnixListener,
    /// The descriptors and the executable for a successor.
    pub(super) estate: Arc<Estate>,
    /// Whether [`Command::Stop`] has been sent to the engine.
    pub(super) is_stopping: bool,
    /// Whether virtual routers and VIPs use a single interface. The agent then exits if the first
    /// attempt to open this interface fails, even long after startup, unless a reload has been
    /// completed before. Always false in a successor.
    pub(super) has_single_link: bool,
}

impl<S: Source + DiscardCounters> Supervisor<S> {
    /// Starts the worker and the engine, and runs until the engine ends, a successor takes over,
    /// the state has been left to the next process, or an error occurs. If this function returns
    /// [`End::Stopped`] and the engine has not failed, all masters have sent priority-0 adverts and
    /// removed their VIPs. The exceptions are VIPs that the kernel refused to remove, and an
    /// address owner's VIPs that vipd did not add.
    ///
    /// # Errors
    /// Returns an error if the control socket cannot be used, a thread cannot be started, the first
    /// attempt to open the only interface fails, signals cannot be received, the worker panics, or
    /// this process cannot take over from its predecessor. A failure of the engine is returned by
    /// the engine's thread instead.
    pub(super) fn run(
        mut self,
        signals: Signals,
        runtime_dir: &RuntimeDir,
        work: impl LinkWork,
        mut from_engine: FromEngine,
        heir: Option<Heir>,
        engine: &mut impl EngineControl,
    ) -> anyhow::Result<End> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("pool")
            .on_thread_start(|| confine(ThreadKind::Pool))
            .build()
            .context("cannot start the control thread's runtime")?;
        let (fatal, mut failed) = oneshot::channel();
        let fatal = self.has_single_link.then_some(fatal);
        let result = runtime.block_on(async {
            let mut signals = signals.into_stream().context("cannot wait for signals")?;
            let listener = self.listener.try_clone().context("cannot use the control socket")?;
            let (is_open, open) = watch::channel(heir.is_none());
            let server = tokio::spawn(server::serve_while(
                listener,
                Arc::clone(&self.source),
                self.access.clone(),
                open.clone(),
            ));
            let worker = Worker::start(work, self.engine.clone(), fatal)?;
            self.tracker.start();
            self.events.objects(self.readings.settle(&self.tracker, FIRST_READINGS).await);
            engine.start()?;
            let is_main = heir.as_ref().is_none_or(|heir| heir.is_main);
            let predecessor = if let Some(heir) = heir {
                Some(self.take_over(heir, runtime_dir, &worker, &mut signals, &mut from_engine).await?)
            } else {
                self.administrator.check_commands();
                None
            };
            is_open.send_replace(true);
            self.web.start(open);
            let connections = Connections { worker: &worker, is_open: &is_open, predecessor, is_main };
            let result = self
                .serve(runtime_dir, &mut signals, connections, &mut failed, &mut from_engine, engine)
                .await;
            server.abort();
            if let Ok(Served::HandedOver { channel, is_suspended }) = result {
                // Waits for this process's running notification commands. The successor starts its
                // own commands once this process has ended.
                if !is_suspended {
                    self.notifications.stop().await;
                } else if !self.notifications.is_idle() {
                    tracing::warn!(
                        "the restart ends notification commands that were started after the restart had begun"
                    );
                }
                drop(channel);
                // After this timeout, the process ends even if a driver has not returned.
                worker.join(if is_suspended { Duration::ZERO } else { WORKER_TIMEOUT });
                return Ok(End::HandedOver);
            }
            let result = result.map(|_| End::Stopped);
            if !worker.stop(WORKER_TIMEOUT) {
                tracing::warn!(
                    "an interface is still being opened or closed; exiting without waiting for it"
                );
            }
            result
        });
        // Does not wait for clients that are still being served.
        runtime.shutdown_background();
        result
    }

    #[expect(
        clippy::too_many_lines,
        reason = "all events of the control thread, in the order of their priority"
    )]
    async fn serve(
        &mut self,
        runtime_dir: &RuntimeDir,
        signals: &mut SignalStream,
        mut connections: Connections<'_>,
        failed: &mut oneshot::Receiver<anyhow::Error>,
        from: &mut FromEngine,
        engine: &mut impl EngineControl,
    ) -> anyhow::Result<Served> {
        let mut regular_check = interval(REGULAR_CHECK);
        regular_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut systemd = Systemd::new();
        let mut watchdog = Systemd::watchdog_period().map(interval);
        // The agent is ready once the engine answers, even if interfaces are still missing.
        let mut pong = Some(self.ping());
        // The successor of a running agent reports READY=1 later, once it is the main process of
        // the service. After a restart, this process is the main process from the start.
        let mut is_main = connections.is_main;
        let mut is_ready = !is_main;
        let mut upgrading = None;
        // An upgrade or restart that is waiting for this process's predecessor to end.
        let mut waiting: Option<Postponed> = None;
        // A restart that is waiting for notification commands to end.
        let mut quiescing: Option<Quiescing> = None;
        let mut result = Ok(());
        let mut may_fail = true;
        loop {
            let is_quiet = self.notifications.is_idle() && !self.is_stopping;
            if let Some(Waiting { author, .. }) = quiescing.take_if(|_| is_quiet) {
                upgrading = self.restart(author, runtime_dir, &connections);
            }
            tokio::select! {
                // Branches are polled in order, so that a flood of reports delays neither jobs nor
                // the watchdog.
                biased;
                message = succession::next(&mut connections.predecessor) => {
                    is_main = true;
                    if let FromPredecessor::Ended = message {
                        connections.predecessor = None;
                        if !self.is_stopping
                            && let Some(Waiting { request, author, .. }) = waiting.take()
                        {
                            self.administrator.resume(request, author);
                        }
                    }
                    self.handle_predecessor(message, &mut systemd);
                }
                Some(Waiting { author, .. }) = hand_over::overdue(&mut waiting) => {
                    finish(author, Err(hand_over::predecessor_reason().into()));
                }
                Some(Waiting { author, .. }) = hand_over::overdue(&mut quiescing) => {
                    self.administrator.upgrade_failed(author, hand_over::commands_reason());
                }
                outcome = hand_over::outcome(&mut upgrading), if upgrading.is_some() => {
                    let Some(Upgrading { author, .. }) = upgrading.take() else { continue };
                    let (worker, systemd) = (connections.worker, &mut systemd);
                    match outcome {
                        Ok(new) => return Ok(self.leave(new, author, runtime_dir, worker, systemd, from).await),
                        Err(reason) => self.upgrade_failed(author, reason, worker),
                    }
                }
                step = self.administrator.next(), if is_main => match step {
                    // Postponed, because notification commands of the predecessor and of the new
                    // successor could otherwise run at the same time.
                    Step::Upgrade { executable, author } if connections.predecessor.is_some() => {
                        self.postpone(Change::Upgrade { executable }, author, &mut waiting);
                    }
                    Step::Restart { author } if connections.predecessor.is_some() => {
                        let request = Change::Restart { process: std::process::id() };
                        self.postpone(request, author, &mut waiting);
                    }
                    Step::Upgrade { executable, author } => {
                        upgrading = Some(self.upgrade(executable, author, runtime_dir, &connections));
                    }
                    Step::Restart { author } => quiescing = Some(Quiescing::new(author)),
                    Step::ReloadBegun => systemd.reloading(),
                    Step::ReloadRejected => systemd.ready(),
                    Step::Reloaded(reloaded) => {
                        self.reloaded(&reloaded, runtime_dir, from);
                        self.tracker.release();
                        systemd.ready();
                        // The reload may have added interfaces, so the agent no longer exits if the
                        // first interface cannot be opened. The worker then tries again.
                        failed.close();
                    }
                },
                // This branch is disabled after an error, because the next call would return the
                // same error.
                signal = signals.receive(), if result.is_ok() => match signal {
                    Ok(signal) => self.signal(signal),
                    Err(error) => {
                        self.stop();
                        result = Err(error).context("cannot wait for signals");
                    }
                },
                changes = self.readings.next(&self.tracker) => self.events.objects(changes),
                () = self.notifications.next() => {}
                Some(request) = from.requests.recv() => {
                    if !connections.worker.submit(request) && result.is_ok() {
                        self.stop();
                        result = Err(anyhow::anyhow!("the worker thread panicked; this is a bug in vipd"));
                    }
                }
                error = &mut *failed, if may_fail => {
                    // There is no error if the only link is open, if there are several links, after
                    // a reload, or in a successor.
                    may_fail = false;
                    if let Ok(error) = error {
                        self.stop();
                        result = Err(error);
                    }
                }
                // systemd's watchdog is reset only after the engine has answered, so that it also
                // detects a hung engine.
                () = tick(&mut watchdog), if pong.is_none() => {
                    pong = Some(self.ping());
                }
                answer = answer(&mut pong), if pong.is_some() => {
                    pong = None;
                    if answer && !std::mem::replace(&mut is_ready, true) {
                        systemd.ready();
                    }
                    if answer {
                        systemd.alive();
                    }
                }
                report = from.reports.recv() => {
                    // The engine has ended, and its last reports have been logged.
                    let Some(report) = report else { break };
                    self.write(report);
                }
                () = from.transitions.changed() => self.log_lost_transitions(from),
                _ = regular_check.tick() => {
                    reap_orphans();
                    if self.source.take_discarded() {
                        self.log.discards(|row| self.source.row(row));
                    }
                    // Logs state changes that the rate limit suppressed earlier.
                    if self.log.has_unlogged_transitions() {
                        self.log_lost_transitions(from);
                    }
                }
            }
        }
        // The engine may have handed over before it received the command to stop.
        if let Some((new, author)) = hand_over::handed_over(upgrading).await {
            let worker = connections.worker;
            return Ok(self.leave(new, author, runtime_dir, worker, &mut systemd, from).await);
        }
        let waiting = waiting.map(|Waiting { author, .. }| author);
        for author in waiting.into_iter().chain(quiescing.map(|Waiting { author, .. }| author)) {
            finish(author, Err("the agent is stopping".to_owned().into()));
        }
        systemd.stopping();
        self.log_lost_transitions(from);
        engine.ended();
        self.outlive_predecessor(&mut connections.predecessor, &mut systemd).await;
        self.notifications.stop().await;
        result.map(|()| Served::Stopped)
    }

    fn signal(&mut self, signal: Received) {
        let (response, name) = Response::to(signal);
        let sender = signal.sender;
        match response {
            Response::Stop => {
                tracing::info!(sender, "{name}: shutting down");
                self.stop();
            }
            Response::Reload => {
                tracing::info!(sender, "{name}: reloading the configuration");
                let order = Order { request: Change::Reload, by: Author::Signal(sender) };
                if self.orders.try_send(order).is_err() {
                    tracing::warn!(sender, "too many changes are waiting; send SIGHUP again later");
                }
            }
            Response::Ignore => tracing::debug!(sender, number = signal.number, "signal ignored"),
        }
    }

    /// Pings the engine. Returns the receiver of the answer. If the engine hangs, no answer
    /// arrives.
    fn ping(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.engine.send(Command::Ping(sender));
        receiver
    }

    /// Requests that the engine shut down all routers and end. Further calls have no effect.
    fn stop(&mut self) {
        self.is_stopping = true;
        self.engine.send(Command::Stop);
    }
}

/// Waits for the next tick, or forever if there is no interval.
async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Waits for the engine's answer. Returns `false` if the engine ended without an answer.
async fn answer(pong: &mut Option<oneshot::Receiver<()>>) -> bool {
    match pong {
        Some(pong) => pong.await.is_ok(),
        None => std::future::pending().await,
    }
}
