//! Metrics, health and a status page over HTTP: `/metrics`, `/healthz` and `/`.
//!
//! ```text
//!  control thread              thread `metrics`
//!  ┌───────────┐  settings   ┌──────────────────────────────────────────────────────┐
//!  │ Endpoint  ├────────────►│ server ─► respond ─► cache ─► Source (engine, maps)  │
//!  └───────────┘  watch      │              └─► stream ├────► metrics ─► exposition  │
//!                            │                        └────► page                   │
//!                            └──────────────────────────────────────────────────────┘
//! ```
//!
//! The server has its own thread without the control thread's capabilities, because it parses
//! requests from the network. Clients share snapshots of the engine. At most one snapshot is taken
//! per [`cache::MAX_AGE`], regardless of the number of requests.

mod cache;
pub(crate) mod exposition;
mod keepalived;
pub(crate) mod metrics;
#[cfg(test)]
mod packaging_tests;
mod page;
mod respond;
mod server;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use tokio::sync::watch;

use crate::config::operate::Metrics;
use crate::control::event::EventRecord;
use crate::control::model::{StatsReport, StatusReport};
use crate::engine::measure::Delays;
use crate::process::capabilities::{ThreadKind, confine};

pub(crate) use server::MAX_CONNECTIONS;

/// Provides the state of the agent.
pub(crate) trait Source: Send + Sync + 'static {
    /// Takes a snapshot of the engine. An `Err` is a message for the user.
    fn scrape(&self) -> impl Future<Output = Result<Scrape, String>> + Send;
}

/// The state of the agent at a point in time. All HTTP clients may read it, so it does not contain
/// the output of scripts, or the contents of files except the numbers in tracked files.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    pub(crate) status: StatusReport,
    pub(crate) stats: StatsReport,
    pub(crate) delays: Delays,
    /// Recent events, the latest first.
    pub(crate) events: Vec<Arc<EventRecord>>,
    /// Name of this host.
    pub(crate) host: String,
    /// Time of the snapshot in UTC (RFC 3339).
    pub(crate) time: String,
    /// The instances that are not in an expected state.
    pub(crate) problems: Vec<Problem>,
}

/// An instance that is not in an expected state, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Name of the instance.
    pub(crate) instance: String,
    /// Human-readable reason.
    pub(crate) reason: String,
}

/// The settings of a running server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    listen: SocketAddr,
    keepalived_names: bool,
}

/// Receives the server's settings, and whether the server may listen. The server ends when either
/// sender is dropped.
struct Controls {
    settings: watch::Receiver<Settings>,
    is_open: watch::Receiver<bool>,
}

/// Starts, changes and stops the server.
pub(crate) struct Endpoint {
    metrics: Metrics,
    spawn: Box<dyn Fn(Controls) -> io::Result<()>>,
    /// Whether this process serves clients; `None` until [`start`](Self::start).
    is_open: Option<watch::Receiver<bool>>,
    /// The settings of the running server, if there is one.
    running: Option<watch::Sender<Settings>>,
}

impl Endpoint {
    /// Creates an endpoint without starting the server.
    pub(crate) fn new(source: Arc<impl Source>, metrics: Metrics) -> Self {
        let spawn = move |controls| spawn(Arc::clone(&source), controls);
        Self { metrics, spawn: Box::new(spawn), is_open: None, running: None }
    }

    /// Starts the server if an address is configured. The server listens only while `is_open` is
    /// true, so that a successor can listen at the same address.
    pub(crate) fn start(&mut self, is_open: watch::Receiver<bool>) {
        self.is_open = Some(is_open);
        self.update();
    }

    /// Applies new settings. A running server then listens at the new address, or ends if no
    /// address is configured.
    pub(crate) fn apply(&mut self, metrics: Metrics) {
        self.metrics = metrics;
        self.update();
    }

    fn update(&mut self) {
        let Some(is_open) = &self.is_open else { return };
        let Metrics { listen, keepalived_names } = self.metrics;
        let Some(listen) = listen else {
            self.running = None;
            return;
        };
        let new = Settings { listen, keepalived_names };
        // If the server has panicked, the receiver no longer exists.
        if let Some(running) = self.running.as_ref().filter(|running| !running.is_closed()) {
            running.send_if_modified(|present| std::mem::replace(present, new) != new);
            return;
        }
        let (sender, settings) = watch::channel(new);
        match (self.spawn)(Controls { settings, is_open: is_open.clone() }) {
            Ok(()) => self.running = Some(sender),
            Err(error) => {
                tracing::error!(%listen, %error, "cannot start the thread that serves metrics; free memory, file descriptors or threads, and reload");
            }
        }
    }
}

/// Starts the server's thread.
fn spawn(source: Arc<impl Source>, controls: Controls) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        confine(ThreadKind::Metrics);
        runtime.block_on(server::run(source, controls));
    })?;
    Ok(())
}
