//! Snapshots that clients share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::exposition::Format;
use super::metrics::render;
use super::page::Frame;
use super::{Problem, Scrape, Source};

/// Maximum age of a snapshot. A snapshot takes time on the engine's thread, so the number of
/// requests must not affect the number of snapshots.
pub(super) const MAX_AGE: Duration = Duration::from_millis(100);
/// Maximum time for the engine to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A snapshot. The metrics in each format and the page are rendered from it on first use.
pub(super) struct Page {
    scrape: Scrape,
    keepalived_names: bool,
    prometheus: OnceLock<Bytes>,
    open_metrics: OnceLock<Bytes>,
    frame: OnceLock<Arc<Frame>>,
    document: OnceLock<Bytes>,
    /// The first event of a stream.
    everything: OnceLock<Bytes>,
}

impl Page {
    /// Returns the metrics in this format, which are rendered on the first call.
    pub(super) fn text(&self, format: Format) -> Bytes {
        let text = match format {
            Format::Prometheus => &self.prometheus,
            Format::OpenMetrics => &self.open_metrics,
        };
        text.get_or_init(|| render(&self.scrape, format, self.keepalived_names).into()).clone()
    }

    /// Returns the contents of the status page.
    pub(super) fn frame(&self) -> Arc<Frame> {
        Arc::clone(self.frame.get_or_init(|| Frame::new(&self.scrape).into()))
    }

    /// Returns the changes of the status page since `former` as a server-sent event. Without
    /// `former`, returns everything. All clients share that event, because it is by far the largest
    /// one.
    pub(super) fn event(&self, former: Option<&Frame>) -> Bytes {
        let event = || format!("data: {}\n\n", self.frame().update(former)).into();
        if former.is_some() { event() } else { self.everything.get_or_init(event).clone() }
    }

    /// Returns the status page, which is rendered on the first call.
    pub(super) fn document(&self) -> Bytes {
        self.document.get_or_init(|| self.frame().document().into()).clone()
    }

    /// Returns the instances that are not in an expected state.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.scrape.problems
    }
}

/// A snapshot, or the reason why the engine did not provide one.
type Outcome = Result<Arc<Page>, String>;

/// The latest outcome and the time at which it was obtained.
type Latest = Option<(Instant, Outcome)>;

/// Takes snapshots, and keeps the latest one.
pub(super) struct Cache<S> {
    source: Arc<S>,
    keepalived_names: bool,
    latest: Arc<Mutex<Latest>>,
}

impl<S: Source> Cache<S> {
    pub(super) fn new(source: Arc<S>, keepalived_names: bool) -> Self {
        Self { source, keepalived_names, latest: Arc::default() }
    }

    /// Returns a snapshot no older than [`MAX_AGE`]. Requests that arrive while a snapshot is being
    /// taken share that snapshot.
    ///
    /// # Errors
    /// Returns a message for the client if the engine does not answer.
    pub(super) async fn page(&self) -> Outcome {
        let mut latest = Arc::clone(&self.latest).lock_owned().await;
        if let Some((taken, outcome)) = &*latest
            && taken.elapsed() < MAX_AGE
        {
            return outcome.clone();
        }
        let taking = take(Arc::clone(&self.source), self.keepalived_names);
        // A separate task completes and keeps the snapshot even if the client disconnects.
        // Otherwise, each client that disconnects early would cause another snapshot.
        let taken = tokio::spawn(async move {
            let outcome = taking.await;
            *latest = Some((Instant::now(), outcome.clone()));
            outcome
        });
        taken.await.unwrap_or_else(|error| Err(format!("no snapshot: {error}; this is a bug in vipd")))
    }
}

async fn take<S: Source>(source: Arc<S>, keepalived_names: bool) -> Outcome {
    let scrape = match timeout(ANSWER_TIMEOUT, source.scrape()).await {
        Ok(scrape) => scrape?,
        Err(_) => return Err(format!("the engine did not answer within {} s", ANSWER_TIMEOUT.as_secs())),
    };
    let (prometheus, open_metrics) = (OnceLock::new(), OnceLock::new());
    let (frame, document, everything) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
    Ok(Arc::new(Page { scrape, keepalived_names, prometheus, open_metrics, frame, document, everything }))
}
