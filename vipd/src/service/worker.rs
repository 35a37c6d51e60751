//! The worker thread runs the jobs that may block, so that they do not delay the handling of
//! signals and `status` requests.
//!
//! Jobs run one at a time in the order of submission, except that reattaching a detached BPF
//! program takes precedence over jobs for other links. While a successor prepares to take over,
//! jobs that would change the links wait. A link that cannot be opened is retried after 1 s, with
//! the delay doubling up to [`RETRY_MAX`]. A failure is logged when it first occurs and when its
//! reason changes.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::oneshot;

use crate::engine::Handle;
use crate::engine::command::{Command, Request};
use crate::engine::id::LinkId;
use crate::engine::link_io::{Holdings, LinkIo};
use crate::engine::link_spec::{LinkSpec, XdpEntry};
use crate::engine::succession::Recipient;
use crate::process::capabilities::{ThreadKind, confine};
use crate::xdp::Row;

/// Delay before the first retry.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Maximum delay before a retry.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Interval of the checks for lost group memberships, for XDP programs of other applications, and
/// for detached fence programs.
const CHECK: Duration = Duration::from_secs(30);
/// Interval between attempts to join multicast groups after a failure.
const JOIN_RETRY: Duration = Duration::from_secs(5);

/// The operations of the worker thread. Most of them may block for seconds.
pub(crate) trait LinkWork: Send + 'static {
    /// Makes a link ready for its routers. Reopening a link does not interrupt its routers.
    fn open(&mut self, spec: &LinkSpec) -> anyhow::Result<LinkIo>;
    /// Restores multicast memberships that the kernel has dropped on open links. Returns the links
    /// that must be reopened because the list of groups that cannot be joined, or the reason for a
    /// failure, has changed.
    fn renew_groups<'a>(&mut self, specs: impl IntoIterator<Item = &'a LinkSpec>) -> Vec<LinkSpec>;
    /// Returns whether any multicast group could not be joined on an open link.
    fn has_unjoined(&self) -> bool;
    /// Reports XDP programs that run before vipd's program on open links, and restores fence
    /// programs that were detached. Returns the links that must be reopened because their fence
    /// level has changed.
    fn check<'a>(&mut self, specs: impl IntoIterator<Item = &'a LinkSpec>) -> Vec<LinkSpec>;
    /// Undoes [`open`](Self::open), but keeps the macvlans. The interface may already have been
    /// deleted.
    fn close(&mut self, ifindex: u32);
    /// Removes a router from the BPF program's maps and deletes its macvlan. `ifindex` is `None` if
    /// the interface no longer exists.
    fn forget(&mut self, ifindex: Option<u32>, entry: &XdpEntry);
    /// Clears the rows of removed routers in the BPF program's maps, so that other routers can use
    /// the rows.
    fn clear_rows(&mut self, rows: &[Row]);
    /// Returns duplicates of the descriptors that a successor needs. The memberships are included
    /// only if the successor starts later.
    fn holdings(&self, recipient: Recipient) -> io::Result<Holdings>;
    /// Leaves all links to a successor, and no longer detaches or deletes anything.
    fn hand_over(&mut self);
    /// Takes over the macvlans, claims and pins of a predecessor, and replaces its BPF programs on
    /// all links.
    fn take_over(&mut self);
    /// Brings a macvlan down, or up if `wanted_up` is set. Also honors a `wanted_up` that becomes
    /// set during the call.
    fn set_down(&mut self, ifindex: u32, wanted_up: &AtomicBool);
}

/// The control thread's handle to the worker.
pub(super) struct Worker {
    jobs: Sender<Request>,
    stopping: Arc<AtomicBool>,
    /// Disconnected once the thread has ended and, except after a handover, released all links.
    ended: Receiver<()>,
}

impl Worker {
    /// Starts the thread, which sends [`Command::Opened`] after each attempt to open a link.
    ///
    /// If `fatal` is open and the first attempt to open a link fails, the error is sent to `fatal`
    /// instead of the engine.
    ///
    /// # Errors
    /// Returns an error if the thread cannot be started.
    pub(super) fn start(
        work: impl LinkWork,
        engine: Handle,
        fatal: Option<oneshot::Sender<anyhow::Error>>,
    ) -> anyhow::Result<Self> {
        let (jobs, submitted) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let (running, ended) = mpsc::channel();
        let state = State {
            work,
            engine,
            fatal,
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            unused: Vec::new(),
            is_shared: false,
            stopping: Arc::clone(&stopping),
            _running: running,
        };
        thread::Builder::new()
            .name("link-io".to_owned())
            .spawn(move || {
                confine(ThreadKind::LinkIo);
                state.run(&submitted);
            })
            .context("cannot start the worker thread")?;
        Ok(Self { jobs, stopping, ended })
    }

    /// Queues a job. Returns whether the worker is still running.
    pub(super) fn submit(&self, request: Request) -> bool {
        self.jobs.send(request).is_ok()
    }

    /// Waits until the worker has handled [`Request::HandOver`] and ended.
    ///
    /// Returns whether the worker ended within `timeout`.
    pub(super) fn join(self, timeout: Duration) -> bool {
        drop(self.jobs);
        self.ended.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }

    /// Discards queued jobs, finishes the current one and releases all links.
    ///
    /// Returns whether the worker ended within `timeout`. If it did not, the kernel closes the
    /// sockets and detaches unpinned BPF links when the process exits. Macvlans, pinned BPF links
    /// and TC filters may remain until the next start or `vipd cleanup`.
    pub(super) fn stop(self, timeout: Duration) -> bool {
        self.stopping.store(true, Ordering::SeqCst);
        drop(self.jobs);
        self.ended.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }
}

/// A link that could not be opened, or that lacks macvlans.
struct Failure {
    spec: LinkSpec,
    reason: String,
    delay: Duration,
    retry_at: Instant,
}

struct State<W> {
    work: W,
    engine: Handle,
    fatal: Option<oneshot::Sender<anyhow::Error>>,
    /// Open links.
    open: BTreeMap<LinkId, LinkSpec>,
    failed: BTreeMap<LinkId, Failure>,
    /// Rows of removed routers, cleared together when no other job waits, because clearing takes
    /// tens of milliseconds.
    unused: Vec<Row>,
    /// Whether the descriptors of the links have been shared for an upgrade or a restart. Until it
    /// has ended, the links are not changed.
    is_shared: bool,
    stopping: Arc<AtomicBool>,
    /// Dropped last, after the links are released.
    _running: Sender<()>,
}

impl<W: LinkWork> State<W> {
    fn run(mut self, submitted: &Receiver<Request>) {
        let mut check_at = Instant::now() + CHECK;
        let mut queue = VecDeque::new();
        loop {
            let now = Instant::now();
            let next = self.failed.values().map(|failure| failure.retry_at).fold(check_at, Instant::min);
            let wait = match (self.is_shared, queue.is_empty()) {
                (true, _) if !queue.iter().any(is_allowed_meanwhile) => CHECK,
                (false, true) => next.saturating_duration_since(now),
                _ => Duration::ZERO,
            };
            let job = submitted.recv_timeout(wait);
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            match job {
                Ok(request) => queue.push_back(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            queue.extend(submitted.try_iter());
            if queue.iter().any(|request| matches!(request, Request::HandOver)) {
                return self.work.hand_over();
            }
            if self.is_shared {
                self.carry_out_meanwhile(&mut queue);
                continue;
            }
            if let Some(request) = take_next(&mut queue) {
                self.carry_out(request);
            }
            if queue.is_empty() {
                self.clear_rows();
            }
            let now = Instant::now();
            if now >= check_at {
                self.check();
                check_at = now + CHECK;
            }
            if self.work.has_unjoined() {
                check_at = check_at.min(now + JOIN_RETRY);
            }
            self.retry(now);
        }
    }

    /// Carries out the queued jobs that do not affect the links a successor has received, until the
    /// links are no longer shared. A later [`Request::EndSharing`] belongs to another upgrade.
    fn carry_out_meanwhile(&mut self, queue: &mut VecDeque<Request>) {
        while self.is_shared
            && let Some(found) = queue.iter().position(is_allowed_meanwhile)
            && let Some(request) = queue.remove(found)
        {
            self.carry_out(request);
        }
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Open(spec) | Request::Reattach(spec) => self.open(spec),
            Request::RenewGroups(spec) => {
                for changed in self.work.renew_groups([&spec]) {
                    self.open(changed);
                }
            }
            Request::Down { ifindex, wanted_up } => self.work.set_down(ifindex, &wanted_up),
            Request::Close { link, ifindex, io } => {
                drop(io);
                self.failed.remove(&link);
                self.open.remove(&link);
                self.work.close(ifindex);
            }
            Request::Drop(io) => drop(io),
            Request::Share(recipient, reply) => {
                self.is_shared = true;
                // Fails if the upgrade has already ended, in which case `EndSharing` follows.
                drop(reply.send(self.work.holdings(recipient)));
            }
            Request::EndSharing => self.is_shared = false,
            Request::TakeOver => {
                self.work.take_over();
                self.check_programs();
            }
            // Handled in `run`.
            Request::HandOver => {}
            Request::Forget { ifindex, entry, row } => {
                // The specs are updated, because the link may be reopened before the worker
                // receives a spec without the router.
                let failed = self.failed.values_mut().map(|failure| &mut failure.spec);
                for spec in self.open.values_mut().chain(failed) {
                    spec.routers.retain(|router| router.entry.slot.row != row.number());
                }
                self.work.forget(ifindex, &entry);
                self.unused.push(row);
            }
        }
    }

    fn clear_rows(&mut self) {
        let rows = std::mem::take(&mut self.unused);
        if !rows.is_empty() {
            self.work.clear_rows(&rows);
            for row in rows {
                self.engine.send(Command::RowReleased(row));
            }
        }
    }

    fn open(&mut self, spec: LinkSpec) {
        let (link, ifindex) = (spec.link, spec.ifindex);
        let io = match self.work.open(&spec) {
            Ok(io) => {
                self.open.insert(link, spec.clone());
                self.fatal = None;
                let reasons: Vec<_> = io.failed_macvlans.iter().map(|failed| &*failed.reason).collect();
                if reasons.is_empty() {
                    self.failed.remove(&link);
                } else {
                    self.record_failure(spec, &reasons.join("; "));
                }
                Ok(io)
            }
            Err(error) => {
                // `check` must not open the link with the former routers and keys.
                if let Some(open) = self.open.get_mut(&link) {
                    open.clone_from(&spec);
                }
                let sent = match self.fatal.take() {
                    Some(fatal) => fatal.send(error),
                    None => Err(error),
                };
                let Err(error) = sent else { return };
                let reason = format!("{error:#}");
                self.record_failure(spec, &reason);
                Err(reason)
            }
        };
        self.engine.send(Command::Opened { link, ifindex, io });
    }

    /// Schedules a retry, and logs the failure if it is new or its reason has changed.
    fn record_failure(&mut self, spec: LinkSpec, reason: &str) {
        let known = self.failed.get(&spec.link);
        let same = known.filter(|known| known.spec.ifindex == spec.ifindex && known.reason == reason);
        let delay = same.map_or(RETRY_MIN, |known| (known.delay * 2).min(RETRY_MAX));
        if same.is_none() {
            tracing::error!("{reason}");
        }
        let retry_at = Instant::now() + delay;
        self.failed.insert(spec.link, Failure { spec, reason: reason.to_owned(), delay, retry_at });
    }

    fn retry(&mut self, now: Instant) {
        let due = self.failed.values().filter(|failure| failure.retry_at <= now);
        for spec in due.map(|failure| failure.spec.clone()).collect::<Vec<_>>() {
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            self.open(spec);
        }
    }

    /// Restores multicast memberships that the kernel has dropped, restores detached fence
    /// programs, and reports XDP programs attached by other applications. The kernel does not
    /// always report these events.
    fn check(&mut self) {
        self.check_programs();
        for spec in self.work.renew_groups(self.open.values()) {
            self.open(spec);
        }
    }

    fn check_programs(&mut self) {
        for spec in self.work.check(self.open.values()) {
            self.open(spec);
        }
    }
}

/// Returns whether a job may be carried out while a successor has received the links.
fn is_allowed_meanwhile(request: &Request) -> bool {
    matches!(request, Request::Down { .. } | Request::Drop(_) | Request::EndSharing)
}

/// Takes the next job: the first [`Request::Reattach`] without an earlier job for the same link, or
/// else the oldest job.
fn take_next(queue: &mut VecDeque<Request>) -> Option<Request> {
    let is_first = |position: usize, request: &Request| {
        let Request::Reattach(spec) = request else { return false };
        !queue.iter().take(position).any(|earlier| concerns(earlier, spec))
    };
    let urgent = queue.iter().enumerate().find(|(position, request)| is_first(*position, request));
    let position = urgent.map_or(0, |(position, _)| position);
    queue.remove(position)
}

/// Returns whether a job concerns the link of `spec`.
fn concerns(request: &Request, spec: &LinkSpec) -> bool {
    match request {
        Request::Open(other) | Request::Reattach(other) | Request::RenewGroups(other) => {
            other.link == spec.link
        }
        Request::Close { link, ifindex, .. } => *link == spec.link || *ifindex == spec.ifindex,
        Request::Forget { ifindex, .. } => *ifindex == Some(spec.ifindex),
        Request::Down { .. }
        | Request::Drop(_)
        | Request::Share(..)
        | Request::EndSharing
        | Request::TakeOver
        | Request::HandOver => false,
    }
}

#[cfg(test)]
mod tests;
