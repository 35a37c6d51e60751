//! The control thread: handles signals, writes log lines, serves the control socket, and passes the
//! engine's requests to the worker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval};
use vipd_common::counters::CounterRow;

use super::administrator::{Administrator, Reloaded, Step};
use super::bus::Transitions;
use super::events::Recorder;
use super::log::Log;
use super::notify::Notifications;
use super::order::{Author, Order, Orders};
use super::signals::Response;
use super::systemd::Systemd;
use super::track::{Readings, SharedTracker};
use super::worker::{LinkWork, Worker};
use crate::control::access::Access;
use crate::control::protocol::Request as Change;
use crate::control::runtime::RuntimeDir;
use crate::control::server::{self, Source};
use crate::engine::Handle;
use crate::engine::command::{Command, Report, Request};
use crate::process::{Received, SignalStream, Signals};
use crate::xdp::Row;

/// Interval at which the counters of discarded adverts are read for the log.
const DISCARD_CHECK: Duration = Duration::from_secs(5);
/// Maximum time that the engine's start waits for the first readings of tracked objects. They
/// usually take milliseconds.
const FIRST_READINGS: Duration = Duration::from_secs(1);
/// Maximum number of reports to keep until their routers are known. If there are more, the bus
/// still has the latest state of each.
const MAX_EARLY: usize = 16_384;
/// Maximum time to wait for the worker at shutdown; it may be waiting for a slow driver.
const WORKER_TIMEOUT: Duration = Duration::from_secs(10);

/// Provides the counters of discarded adverts for the log.
pub(super) trait DiscardCounters {
    /// Returns whether adverts were discarded since the last call.
    fn take_discarded(&self) -> bool;
    /// Returns the counters of a row.
    fn row(&self, row: Row) -> CounterRow;
}

/// The receiving ends of the engine's channels.
pub(super) struct FromEngine {
    /// Work that may block.
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    /// Events to log. The channel closes when the engine ends.
    pub(super) reports: mpsc::Receiver<Report>,
    /// State changes.
    pub(super) transitions: Transitions,
}

/// The control thread's state.
pub(super) struct Supervisor<S> {
    pub(super) engine: Handle,
    pub(super) source: Arc<S>,
    /// Carries out changes to the running agent.
    pub(super) administrator: Administrator,
    /// Requests changes, on behalf of a signal.
    pub(super) orders: Orders,
    /// Access to the control socket.
    pub(super) access: Access,
    pub(super) events: Recorder,
    pub(super) notifications: Notifications,
    pub(super) tracker: SharedTracker,
    pub(super) readings: Readings,
    pub(super) log: Log,
    /// Reports of routers that a reload is adding, at most [`MAX_EARLY`].
    pub(super) early: Vec<Report>,
    /// Whether the configuration has only one interface. If so, the agent exits if the interface
    /// cannot be opened at startup.
    pub(super) has_single_link: bool,
}

impl<S: Source + DiscardCounters> Supervisor<S> {
    /// Starts the worker and the engine, and runs until the engine ends, either after a signal or
    /// because it failed. After a signal, all masters have by then sent priority-0 adverts and
    /// removed their addresses.
    ///
    /// # Errors
    /// Returns an error if the control socket cannot be opened, a thread cannot be started, the
    /// only interface cannot be opened, signals cannot be received, or the worker panics.
    pub(super) fn run(
        mut self,
        signals: Signals,
        runtime_dir: &RuntimeDir,
        work: impl LinkWork,
        mut from_engine: FromEngine,
        start_engine: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the control thread's runtime")?;
        let (fatal, mut failed) = oneshot::channel();
        let fatal = self.has_single_link.then_some(fatal);
        let result = runtime.block_on(async {
            let mut signals = signals.into_stream().context("cannot wait for signals")?;
            let server = tokio::spawn(server::serve(
                runtime_dir.listen(&self.access)?,
                Arc::clone(&self.source),
                self.access.clone(),
            ));
            let worker = Worker::start(work, self.engine.clone(), fatal)?;
            self.tracker.start();
            self.events.objects(self.readings.settle(&self.tracker, FIRST_READINGS).await);
            start_engine()?;
            let result = self.serve(runtime_dir, &mut signals, &worker, &mut failed, &mut from_engine).await;
            server.abort();
            if !worker.stop(WORKER_TIMEOUT) {
                tracing::warn!(
                    "an interface is still being opened or closed; exiting without waiting for it"
                );
            }
            result
        });
        // Does not wait for a client that is still being served.
        runtime.shutdown_background();
        result
    }

    async fn serve(
        &mut self,
        runtime_dir: &RuntimeDir,
        signals: &mut SignalStream,
        worker: &Worker,
        failed: &mut oneshot::Receiver<anyhow::Error>,
        from: &mut FromEngine,
    ) -> anyhow::Result<()> {
        let mut discard_check = interval(DISCARD_CHECK);
        discard_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut systemd = Systemd::new();
        let mut watchdog = Systemd::watchdog_period().map(interval);
        // The agent is ready once the engine answers. Interfaces may appear much later.
        let mut pong = Some(self.ping());
        let mut is_ready = false;
        let mut result = Ok(());
        let mut may_fail = true;
        loop {
            tokio::select! {
                // In this order, so that a flood of reports delays neither jobs nor the watchdog.
                biased;
                step = self.administrator.next() => match step {
                    Step::ReloadBegun => systemd.reloading(),
                    Step::ReloadRejected => systemd.ready(),
                    Step::Reloaded(reloaded) => {
                        self.reloaded(&reloaded, runtime_dir, from);
                        systemd.ready();
                        // The interface that could not be opened may no longer be the only one.
                        may_fail = false;
                    }
                },
                signal = signals.receive() => match signal {
                    Ok(signal) => self.signal(signal),
                    Err(error) => {
                        self.stop();
                        result = Err(error).context("cannot wait for signals");
                    }
                },
                changes = self.readings.next(&self.tracker) => self.events.objects(changes),
                () = self.notifications.next() => {}
                Some(request) = from.requests.recv() => {
                    if !worker.submit(request) && result.is_ok() {
                        self.stop();
                        result = Err(anyhow::anyhow!("the worker thread panicked; this is a bug in vipd"));
                    }
                }
                error = &mut *failed, if may_fail => {
                    // Dropped without an error: the only link is open, or there are several links.
                    may_fail = false;
                    if let Ok(error) = error {
                        self.stop();
                        result = Err(error);
                    }
                }
                // systemd is notified only after the engine has answered, so that the watchdog also
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
                report = from.reports.recv() => match report {
                    Some(report) => self.write(report),
                    // The engine has ended, and its last reports have been logged.
                    None => break,
                },
                () = from.transitions.changed() => self.log_lost_transitions(from),
                _ = discard_check.tick() => {
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
        systemd.stopping();
        self.log_lost_transitions(from);
        // The engine has removed all addresses by now.
        self.notifications.stop().await;
        result
    }

    /// Logs the last events of removed routers, which are in the channel by now, and from now on
    /// those of added routers.
    fn reloaded(&mut self, reloaded: &Reloaded, runtime_dir: &RuntimeDir, from: &mut FromEngine) {
        let new: BTreeSet<_> = reloaded.added.iter().map(|added| added.router).collect();
        let mut of_new = Vec::new();
        while let Ok(report) = from.reports.try_recv() {
            match report {
                // Written once the commands of the instance are known.
                Report::Router { router, .. } if new.contains(&router) => of_new.push(report),
                _ => self.write(report),
            }
        }
        let removed = reloaded.removed.iter().filter_map(|router| self.log.instance(*router));
        let removed: Vec<_> = removed.cloned().collect();
        let added = reloaded.added.iter().map(|added| Arc::clone(&added.settings));
        let changed = reloaded.changed.iter().map(|(_, settings)| Arc::clone(settings));
        let added: Vec<_> = added.chain(changed).collect();
        self.notifications.reload(&removed, &added, &reloaded.groups);
        self.notifications.set_fifo(reloaded.notifications.fifo.as_deref());
        self.log.change(&reloaded.changed);
        self.log.remove(&reloaded.removed);
        self.log.add(&reloaded.added);
        self.events.forget(&reloaded.removed);
        let early = std::mem::take(&mut self.early).into_iter();
        let early =
            early.filter(|report| matches!(report, Report::Router { router, .. } if new.contains(router)));
        for report in early.chain(of_new) {
            self.write(report);
        }
        // Changes of added routers whose reports arrived before this.
        self.log_lost_transitions(from);
        if let Err(error) = runtime_dir.set_access(&self.access, super::rules(&reloaded.control)) {
            tracing::warn!(%error, "cannot apply the new access rules");
        }
    }

    fn signal(&self, signal: Received) {
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

    /// Sends a ping to the engine, which answers it unless it hangs.
    fn ping(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.engine.send(Command::Ping(sender));
        receiver
    }

    /// Records and logs a report, and delivers its notification.
    fn write(&mut self, report: Report) {
        if let Report::Router { router, .. } = &report
            && self.log.instance(*router).is_none()
        {
            // A reload is adding it, and its commands are not known yet.
            if self.early.len() < MAX_EARLY {
                self.early.push(report);
            }
            return;
        }
        if let Some((change, instance)) = self.events.report(&report, |router| self.log.instance(router)) {
            let priority = self.tracker.priority(&instance.name);
            if let Some(change) = self.notifications.change(&change, instance, priority) {
                self.events.group(&change);
            }
        }
        self.log.write(report);
    }

    /// Requests that the engine shut down all routers and end. Further calls have no effect.
    fn stop(&self) {
        self.engine.send(Command::Stop);
    }

    /// Logs state changes whose reports were dropped or suppressed.
    fn log_lost_transitions(&mut self, from: &mut FromEngine) {
        // The order matters: the engine sends the report of a change before it publishes the
        // change. The report of every change taken here is therefore already in the channel, unless
        // it was dropped.
        let published = from.transitions.take();
        while let Ok(report) = from.reports.try_recv() {
            self.write(report);
        }
        for (change, instance) in self.events.published(&published, |router| self.log.instance(router)) {
            let priority = self.tracker.priority(&instance.name);
            if let Some(change) = self.notifications.change(&change, instance, priority) {
                self.events.group(&change);
            }
        }
        self.log.lost_transitions(&published);
    }
}

/// Waits for the next tick, or forever if there is no interval.
async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Waits for the engine's answer. Returns whether there was one.
async fn answer(pong: &mut Option<oneshot::Receiver<()>>) -> bool {
    match pong {
        Some(pong) => pong.await.is_ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;
    use crate::config::Config;
    use crate::control::access::Credentials;
    use crate::control::client::Client;
    use crate::control::model::{ChangeReport, StatsReport, StatusReport};

    use crate::engine::id::{Id as _, LinkId};
    use crate::engine::link_io::LinkIo;
    use crate::engine::link_spec::{LinkSpec, XdpEntry};
    use crate::process::raise;
    use crate::service::administrator::Agent;
    use crate::service::bus::bus;
    use crate::service::configured::Configured;
    use crate::service::drained::Drained;
    use crate::service::events::EventLog;
    use crate::xdp::{Framing, Preference, Sizes};

    /// Answers `status` requests, and sends SIGTERM to the control thread while doing so.
    struct Terminating;

    impl Source for Terminating {
        async fn status(&self) -> Result<StatusReport, String> {
            raise(libc::SIGTERM);
            Ok(StatusReport { instances: Vec::new() })
        }

        async fn stats(&self) -> Result<StatsReport, String> {
            Err("unexpected request".to_owned())
        }

        async fn change(&self, _request: Change, _by: Credentials) -> Result<ChangeReport, String> {
            Err("unexpected request".to_owned())
        }
    }

    impl DiscardCounters for Terminating {
        fn take_discarded(&self) -> bool {
            false
        }

        fn row(&self, _row: Row) -> CounterRow {
            CounterRow::default()
        }
    }

    /// Simulates a driver whose attach call blocks until the test releases it.
    struct Slow {
        opening: Sender<()>,
        attached: Receiver<()>,
    }

    impl LinkWork for Slow {
        fn open(&mut self, _spec: &LinkSpec) -> anyhow::Result<LinkIo> {
            self.opening.send(()).expect("the test is waiting");
            self.attached.recv().expect("the test releases it");
            anyhow::bail!("the driver refused")
        }

        fn renew_groups<'a>(&mut self, _specs: impl IntoIterator<Item = &'a LinkSpec>) -> Vec<LinkSpec> {
            Vec::new()
        }

        fn has_unjoined(&self) -> bool {
            false
        }

        fn check<'a>(&mut self, _specs: impl IntoIterator<Item = &'a LinkSpec>) {}

        fn close(&mut self, _ifindex: u32) {}

        fn forget(&mut self, _ifindex: Option<u32>, _entry: &XdpEntry) {}

        fn clear_rows(&mut self, _rows: &[Row]) {}

        fn set_down(&mut self, _ifindex: u32, _wanted_up: &AtomicBool) {}
    }

    #[test]
    fn slow_driver_delays_neither_status_nor_shutdown() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let runtime_dir = RuntimeDir::open(directory.path()).expect("a runtime directory");
        let (engine, commands) = Handle::without_engine().expect("a handle");
        let (requests, requested) = mpsc::unbounded_channel();
        let (reports, reported) = mpsc::channel(1);
        let (_publisher, transitions) = bus(1);
        let (opening, is_opening) = channel();
        let (attach, attached) = channel();
        let spec = LinkSpec {
            link: LinkId::new(0, 0),
            ifindex: 1,
            name: "eth0".to_owned(),
            xdp: Preference::Auto,
            framing: Framing::Ethernet,
            routers: Vec::new(),
        };
        assert!(requests.send(Request::Open(spec)).is_ok());

        let client = Client::new(directory.path());
        let test = thread::spawn(move || {
            is_opening.recv().expect("the driver is attaching");
            client.status().expect("status is served while the driver attaches");
            let Ok(Command::Ping(_)) = commands.recv() else { panic!("the agent checks the engine first") };
            assert!(matches!(commands.recv(), Ok(Command::Stop)), "shutdown does not wait for the driver");
            // The engine ends before the driver's attach returns.
            drop(reports);
            attach.send(()).expect("the worker is waiting");
        });
        let configuration = "[[instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvrid = 1\nvirtual_addresses = [\"10.0.0.1\"]\n";
        let config = Config::parse(configuration, "vipd.toml").expect("a valid configuration");
        let sizes = Sizes { routers: 1, peers: 0, closed: 0, senders: 1, burst: 1 };
        let drained = Drained::load(directory.path());
        let path = directory.path().join("vipd.toml");
        let (tracker, readings) = SharedTracker::new(engine.clone());
        let agent = Agent {
            sizes,
            engine: engine.clone(),
            drained,
            latest: transitions.latest(),
            tracker: tracker.clone(),
            configured: Configured::default(),
        };
        let (administrator, orders) = Administrator::new(path, config, std::iter::empty(), agent);
        let supervisor = Supervisor {
            engine,
            source: Arc::new(Terminating),
            administrator,
            orders,
            notifications: Notifications::new([], &[]),
            access: Access::default(),
            tracker,
            readings,
            early: Vec::new(),
            events: Recorder::new(EventLog::new(), transitions.latest()),
            log: Log::new(&[]),
            has_single_link: false,
        };
        let from_engine = FromEngine { requests: requested, reports: reported, transitions };
        let signals = Signals::block().expect("signals");
        let work = Slow { opening, attached };
        supervisor.run(signals, &runtime_dir, work, from_engine, || Ok(())).expect("clean shutdown");
        test.join().expect("no panic");
    }
}
