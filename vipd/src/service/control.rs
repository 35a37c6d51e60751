//! The control thread: ports, log lines, the control socket, signals.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::link_io::LinkOpener;
use super::log::Log;
use super::report::Reporter;
use crate::config::Instance;
use crate::control::runtime::RuntimeDir;
use crate::control::server;
use crate::engine::Handle;
use crate::engine::command::{Command, Report, Request};
use crate::engine::id::{LinkId, RouterId};
use crate::engine::link_spec::LinkSpec;
use crate::xdp::{KernelLog, Row};

/// How often an interface that could not be opened is tried again, and the discards of the kernel side looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// The control thread's state.
pub(super) struct Control {
    opener: LinkOpener,
    engine: Handle,
    reporter: Arc<Reporter>,
    runtime: RuntimeDir,
    log: Log,
    /// Links that could not be opened.
    failed: BTreeMap<LinkId, LinkSpec>,
}

impl Control {
    pub(super) fn new(
        roster: &[(RouterId, Row, Arc<Instance>)],
        opener: LinkOpener,
        failed: BTreeMap<LinkId, LinkSpec>,
        engine: Handle,
        reporter: Reporter,
        runtime: RuntimeDir,
    ) -> Self {
        Self { opener, engine, reporter: Arc::new(reporter), runtime, log: Log::new(roster), failed }
    }

    /// Starts the engine and runs until SIGTERM or SIGINT, or until the engine ends. Afterwards the routers have left.
    ///
    /// The engine is started last: a signal before that ends a process that has not touched anything, and one after it
    /// is caught.
    pub(super) fn run<E>(
        &mut self,
        requests: mpsc::UnboundedReceiver<Request>,
        reports: mpsc::Receiver<Report>,
        log: Option<KernelLog>,
        start: impl FnOnce() -> anyhow::Result<E>,
    ) -> anyhow::Result<E> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the control thread's runtime")?;
        runtime.block_on(async {
            let terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
            let interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
            let server = tokio::spawn(server::serve(self.runtime.listen()?, Arc::clone(&self.reporter)));
            if let Some(log) = log {
                log.forward().context("cannot start the thread for the XDP program's log")?;
            }
            let engine = start()?;
            self.serve([terminate, interrupt], requests, reports).await;
            server.abort();
            Ok(engine)
        })
    }

    async fn serve(
        &mut self,
        [mut terminate, mut interrupt]: [Signal; 2],
        mut requests: mpsc::UnboundedReceiver<Request>,
        mut reports: mpsc::Receiver<Report>,
    ) {
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = terminate.recv() => self.stop("SIGTERM"),
                _ = interrupt.recv() => self.stop("SIGINT"),
                report = reports.recv() => match report {
                    Some(report) => self.log.write(report),
                    // The engine has ended, and its last lines are written.
                    None => return,
                },
                Some(request) = requests.recv() => self.request(request),
                _ = housekeeping.tick() => {
                    self.retry();
                    if self.reporter.take_discarded() {
                        self.log.discards(|row| self.reporter.row(row));
                    }
                }
            }
        }
    }

    /// Has the engine leave all routers and end. Asking twice does no harm.
    fn stop(&self, signal: &str) {
        tracing::info!("{signal}: leaving all virtual routers");
        self.engine.send(Command::Stop);
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Open(spec) => self.open(spec, true),
            Request::Down { ifindex, wanted_up } => self.opener.set_down(ifindex, &wanted_up),
            Request::Close { link, ifindex, io } => {
                drop(io);
                self.failed.remove(&link);
                self.opener.close(ifindex);
            }
            Request::Drop(io) => drop(io),
            Request::Forget { ifindex, entry, row } => {
                self.opener.forget(ifindex, &entry, row);
                self.engine.send(Command::RowReleased(row));
            }
        }
    }

    fn open(&mut self, spec: LinkSpec, log: bool) {
        let (link, ifindex) = (spec.link, spec.ifindex);
        let io = match self.opener.open(&spec) {
            Ok(io) => {
                self.failed.remove(&link);
                Ok(io)
            }
            Err(error) => {
                let error = format!("{error:#}");
                if log {
                    tracing::error!("{error}");
                }
                self.failed.insert(link, spec);
                Err(error)
            }
        };
        self.engine.send(Command::Opened { link, ifindex, io });
    }

    fn retry(&mut self) {
        for spec in self.failed.values().cloned().collect::<Vec<_>>() {
            self.open(spec, false);
        }
    }
}
