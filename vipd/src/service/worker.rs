//! The worker: a thread for what may block, so that signals and `status` are served meanwhile.
//!
//! Jobs run one at a time in the order submitted, except that a detached XDP program is attached
//! again before jobs for other links. A link that cannot be opened is tried again, after 1 s first
//! and then after twice as long each time, up to [`RETRY_MAX`]. A failure is logged when it first
//! occurs and when its reason changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
use crate::engine::link_io::LinkIo;
use crate::engine::link_spec::{LinkSpec, XdpEntry};
use crate::xdp::Row;

/// Delay of the first retry.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest delay between two retries.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often XDP attachments and group memberships are checked.
const CHECK: Duration = Duration::from_secs(5);

/// The work of the worker thread. Each call may block for seconds.
pub(crate) trait LinkWork: Send + 'static {
    /// Makes a link ready for its routers; repeating it does not interrupt them.
    fn open(&mut self, spec: &LinkSpec) -> anyhow::Result<LinkIo>;
    /// Rejoins the groups of an open link that the kernel has left. Returns whether the set of
    /// groups that cannot be joined has changed; if so, open the link again.
    fn renew_groups(&mut self, spec: &LinkSpec) -> bool;
    /// Undoes [`open`](Self::open); the interface may be gone.
    fn close(&mut self, ifindex: u32);
    /// Removes a router from the XDP program and clears its row.
    fn forget(&mut self, ifindex: Option<u32>, entry: &XdpEntry, row: Row);
    /// Sets a macvlan down unless it is wanted up, and sets it up again if that changes in the
    /// meantime.
    fn set_down(&mut self, ifindex: u32, wanted_up: &AtomicBool);
    /// Indices of open interfaces from which another process has detached the XDP program.
    fn detached(&mut self) -> BTreeSet<u32>;
}

/// The control thread's end.
pub(super) struct Worker {
    jobs: Sender<Request>,
    stopping: Arc<AtomicBool>,
    /// Disconnected when the thread has released everything.
    ended: Receiver<()>,
}

impl Worker {
    /// Starts the thread, which answers [`Request::Open`] with [`Command::Opened`].
    ///
    /// With `fatal`, the first attempt to open the first link must succeed; the error of a failed
    /// attempt is sent to `fatal` instead.
    ///
    /// # Errors
    /// When no thread can be started.
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
            stopping: Arc::clone(&stopping),
            _running: running,
        };
        thread::Builder::new()
            .name("link-io".to_owned())
            .spawn(move || state.run(&submitted))
            .context("cannot start the thread that opens links")?;
        Ok(Self { jobs, stopping, ended })
    }

    /// Adds a job. Returns whether the worker is alive.
    pub(super) fn submit(&self, request: Request) -> bool {
        self.jobs.send(request).is_ok()
    }

    /// Drops the jobs that are left, lets the current one end and releases all links.
    ///
    /// Returns whether it has ended within `timeout`; otherwise the end of the process releases
    /// them.
    pub(super) fn stop(self, timeout: Duration) -> bool {
        self.stopping.store(true, Ordering::SeqCst);
        drop(self.jobs);
        self.ended.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }
}

/// A link that could not be opened.
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
    /// Links that are open.
    open: BTreeMap<LinkId, LinkSpec>,
    failed: BTreeMap<LinkId, Failure>,
    stopping: Arc<AtomicBool>,
    /// Dropped last, after the interfaces are released.
    _running: Sender<()>,
}

impl<W: LinkWork> State<W> {
    fn run(mut self, submitted: &Receiver<Request>) {
        let mut check_at = Instant::now() + CHECK;
        let mut queue = VecDeque::new();
        loop {
            let now = Instant::now();
            let next = self.failed.values().map(|failure| failure.retry_at).fold(check_at, Instant::min);
            let wait = if queue.is_empty() { next.saturating_duration_since(now) } else { Duration::ZERO };
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
            if let Some(request) = take_next(&mut queue) {
                self.carry_out(request);
            }
            let now = Instant::now();
            if now >= check_at {
                self.check();
                check_at = now + CHECK;
            }
            self.retry(now);
        }
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Open(spec) | Request::Reattach(spec) => self.open(spec),
            Request::RenewGroups(spec) => self.renew_groups(spec),
            Request::Down { ifindex, wanted_up } => self.work.set_down(ifindex, &wanted_up),
            Request::Close { link, ifindex, io } => {
                drop(io);
                self.failed.remove(&link);
                self.open.remove(&link);
                self.work.close(ifindex);
            }
            Request::Drop(io) => drop(io),
            Request::Forget { ifindex, entry, row } => {
                self.work.forget(ifindex, &entry, row);
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
                    self.note_failure(spec, &reasons.join("; "));
                }
                Ok(io)
            }
            Err(error) => {
                if let Some(fatal) = self.fatal.take() {
                    // The receiver is gone when the agent is stopping anyway.
                    let _ = fatal.send(error);
                    return;
                }
                let reason = format!("{error:#}");
                self.note_failure(spec, &reason);
                Err(reason)
            }
        };
        self.engine.send(Command::Opened { link, ifindex, io });
    }

    /// Logs a new failure and schedules its retry.
    fn note_failure(&mut self, spec: LinkSpec, reason: &str) {
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

    fn renew_groups(&mut self, spec: LinkSpec) {
        if self.work.renew_groups(&spec) {
            self.open(spec);
        }
    }

    /// Attaches the XDP program again where another process has detached it, and rejoins groups
    /// that the kernel has left.
    fn check(&mut self) {
        let detached = self.work.detached();
        let lost = self.open.values().filter(|spec| detached.contains(&spec.ifindex));
        for spec in lost.cloned().collect::<Vec<_>>() {
            if !self.failed.contains_key(&spec.link) {
                self.open(spec);
            }
        }
        for spec in self.open.values().cloned().collect::<Vec<_>>() {
            self.renew_groups(spec);
        }
    }
}

/// Takes the next job: the first [`Request::Reattach`] without an earlier job for the same link,
/// else the first of all.
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
        Request::Down { .. } | Request::Drop(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::id::Id as _;
    use crate::xdp::{Framing, Preference};

    struct Refusing;

    impl LinkWork for Refusing {
        fn open(&mut self, spec: &LinkSpec) -> anyhow::Result<LinkIo> {
            anyhow::bail!("{} refuses", spec.name)
        }

        fn renew_groups(&mut self, _spec: &LinkSpec) -> bool {
            false
        }

        fn close(&mut self, _ifindex: u32) {}

        fn forget(&mut self, _ifindex: Option<u32>, _entry: &XdpEntry, _row: Row) {}

        fn set_down(&mut self, _ifindex: u32, _wanted_up: &AtomicBool) {}

        fn detached(&mut self) -> BTreeSet<u32> {
            BTreeSet::new()
        }
    }

    fn spec(ifindex: u32) -> LinkSpec {
        LinkSpec {
            link: LinkId::new(0, 0),
            ifindex,
            name: "eth0".to_owned(),
            xdp: Preference::Auto,
            framing: Framing::Ethernet,
            routers: Vec::new(),
        }
    }

    #[test]
    fn retries_back_off_until_the_reason_or_the_interface_is_another() {
        let (engine, _commands) = Handle::without_engine().expect("a handle");
        let mut state = State {
            work: Refusing,
            engine,
            fatal: None,
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            stopping: Arc::default(),
            _running: mpsc::channel().0,
        };
        let delay = |state: &State<Refusing>| {
            state.failed.values().map(|failure| failure.delay.as_secs()).sum::<u64>()
        };
        let mut delays = Vec::new();
        for _ in 0..7 {
            state.open(spec(1));
            delays.push(delay(&state));
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        state.note_failure(spec(1), "another reason");
        assert_eq!(delay(&state), 1);
        state.open(spec(2));
        assert_eq!(delay(&state), 1);
        state.carry_out(Request::Close { link: LinkId::new(0, 0), ifindex: 2, io: None });
        assert!(state.failed.is_empty());
    }

    #[test]
    fn a_detached_program_is_attached_again_before_jobs_for_other_links() {
        let of = |slot, ifindex| LinkSpec { link: LinkId::new(slot, 0), ..spec(ifindex) };
        let mut queue = VecDeque::from([
            Request::Open(of(1, 1)),
            Request::Close { link: LinkId::new(2, 0), ifindex: 2, io: None },
            Request::Reattach(of(2, 2)),
            Request::Reattach(of(3, 3)),
        ]);
        let order = std::iter::from_fn(|| take_next(&mut queue)).map(|request| match request {
            Request::Open(spec) => ("open", spec.ifindex),
            Request::Reattach(spec) => ("reattach", spec.ifindex),
            Request::Close { ifindex, .. } => ("close", ifindex),
            _ => ("other", 0),
        });
        assert_eq!(order.collect::<Vec<_>>(), [("reattach", 3), ("open", 1), ("close", 2), ("reattach", 2)],);
    }

    #[test]
    fn the_first_failure_of_the_only_link_is_handed_over() {
        let (engine, commands) = Handle::without_engine().expect("a handle");
        let (fatal, mut failed) = oneshot::channel();
        let worker = Worker::start(Refusing, engine, Some(fatal)).expect("a worker");
        assert!(worker.submit(Request::Open(spec(1))));
        // The second fails as usual.
        assert!(worker.submit(Request::Open(spec(1))));
        let opened = commands.recv().expect("an answer");
        assert!(matches!(opened, Command::Opened { io: Err(reason), .. } if reason == "eth0 refuses"));
        assert_eq!(failed.try_recv().expect("the first failure").to_string(), "eth0 refuses");
        assert!(worker.stop(Duration::from_secs(60)));
    }
}
