//! Runs notification commands.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::notice::{Kind, Notice, Subject, Target, commands};
use super::queue::{Job, Queue};
use crate::config::Instance;
use crate::process::child::{Child, Outcome, Spec};
use crate::service::log::limit::{Limit, Scope};

/// Number of subjects whose commands may run at the same time, per CPU. Greater than 1, because
/// commands spend most of their time waiting.
const PER_CPU: usize = 4;
/// Pause between attempts to start a command while no process, memory or descriptor is available.
const RETRY: Duration = Duration::from_millis(100);
/// Maximum time that a stopping agent waits for all commands to end. Each command's own timeout
/// also applies.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Counts of one subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Changes that caused no notification because a later change replaced them.
    pub(crate) coalesced: u64,
    /// Commands that failed, timed out or could not be started.
    pub(crate) errors: u64,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self { coalesced: self.coalesced + other.coalesced, errors: self.errors + other.errors }
    }
}

/// Returns the key of a subject in the counts that are passed to a successor.
fn key(subject: &Subject) -> String {
    format!("{} {}", subject.upper_case(), subject.name())
}

/// The counts of all subjects, shared with the code that reports them.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedCounts(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    subjects: BTreeMap<Subject, Counts>,
    /// The predecessor's counts, by subject.
    former: BTreeMap<String, Counts>,
    fifo_dropped: u64,
    former_fifo_dropped: u64,
}

impl SharedCounts {
    /// Returns the counts of an instance.
    pub(crate) fn of(&self, instance: &Instance) -> Counts {
        self.get(&Subject::Instance(instance.name.as_str().into()))
    }

    /// Returns the number of lines that were not written to the FIFO.
    pub(crate) fn fifo_dropped(&self) -> u64 {
        let shared = self.lock();
        shared.former_fifo_dropped + shared.fifo_dropped
    }

    /// Returns the nonzero counts by subject, including the predecessor's counts.
    pub(crate) fn all(&self) -> BTreeMap<String, Counts> {
        let shared = self.lock();
        let mut all = shared.former.clone();
        for (subject, counts) in &shared.subjects {
            let sum = all.entry(key(subject)).or_default();
            *sum = sum.plus(*counts);
        }
        all
    }

    /// Sets the predecessor's counts, to which this process's counts are added.
    pub(crate) fn resume(&self, former: &BTreeMap<String, Counts>, fifo_dropped: u64) {
        let mut shared = self.lock();
        shared.former_fifo_dropped = fifo_dropped;
        shared.former.clone_from(former);
    }

    pub(super) fn set_fifo_dropped(&self, dropped: u64) {
        self.lock().fifo_dropped = dropped;
    }

    fn get(&self, subject: &Subject) -> Counts {
        let shared = self.lock();
        let own = shared.subjects.get(subject).copied().unwrap_or_default();
        own.plus(shared.former.get(&key(subject)).copied().unwrap_or_default())
    }

    fn update(&self, subject: &Subject, change: impl FnOnce(&mut Counts)) {
        change(self.lock().subjects.entry(subject.clone()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the commands in the order determined by the queue.
pub(super) struct Runner {
    queue: Queue<Subject, Arc<Target>>,
    running: JoinSet<Finished>,
    counts: SharedCounts,
    /// The last logged failure of each command that has not succeeded since, by subject and
    /// command.
    failing: BTreeMap<(Subject, &'static str), String>,
    log_limit: Limit,
    /// Whether commands are held back because the predecessor's commands may still be running.
    is_held: bool,
}

/// The result of a job.
struct Finished {
    subject: Subject,
    results: Vec<(&'static str, io::Result<Outcome>)>,
}

impl Runner {
    pub(super) fn new() -> Self {
        Self::with_counts(SharedCounts::default())
    }

    pub(super) fn with_counts(counts: SharedCounts) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            queue: Queue::new(cpus * PER_CPU),
            running: JoinSet::new(),
            counts,
            failing: BTreeMap::new(),
            log_limit: Limit::new(),
            is_held: false,
        }
    }

    /// Holds back all commands until [`release`](Self::release).
    pub(super) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Starts the commands that were held back. Must be called in a tokio runtime.
    pub(super) fn release(&mut self) {
        self.is_held = false;
        self.start();
    }

    pub(super) fn counts(&self) -> SharedCounts {
        self.counts.clone()
    }

    /// Adds a subject in the state `present`, or replaces the commands of a known subject.
    pub(super) fn configure(&mut self, subject: Subject, target: Arc<Target>, present: Option<Kind>) {
        self.queue.configure(subject, target, present);
    }

    /// Removes a subject once the notification of its latest change has been delivered.
    pub(super) fn remove(&mut self, subject: &Subject) {
        self.queue.remove(subject);
    }

    /// Queues the notification of a change. Its commands start immediately, unless commands are
    /// held back, earlier commands of the subject are running, or too many commands are running.
    /// `changes` is the number of changes since the last call for the subject. Must be called in a
    /// tokio runtime.
    pub(super) fn push(&mut self, subject: &Subject, notice: Notice, changes: u64) {
        self.queue.push(subject, notice, changes);
        let coalesced = self.queue.coalesced(subject);
        if coalesced > 0 {
            self.counts.update(subject, |counts| counts.coalesced = coalesced);
        }
        self.start();
    }

    fn start(&mut self) {
        while !self.is_held
            && let Some(job) = self.queue.start()
        {
            self.running.spawn(deliver(job));
        }
    }

    /// Returns whether no command is running and none is pending.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_idle()
    }

    /// Waits until the commands of any one subject have ended, and then starts pending commands.
    /// Waits forever if no command is running. Safe to cancel.
    pub(super) async fn next(&mut self) {
        match self.running.join_next().await {
            Some(Ok(finished)) => {
                self.queue.finish(&finished.subject);
                self.report(finished);
                self.start();
            }
            // Tasks are never aborted, and do not panic.
            Some(Err(error)) => tracing::error!(%error, "a notification task failed; this is a bug in vipd"),
            None => std::future::pending().await,
        }
    }

    /// Waits until all commands have ended, but at most for `timeout`. Commands still running after
    /// the timeout are killed when the runner is dropped, and pending commands are not started.
    pub(super) async fn stop(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while !self.queue.is_idle() {
            if timeout_at(deadline, self.next()).await.is_err() {
                let (killed, skipped) = (self.running.len(), self.queue.waiting());
                tracing::warn!(
                    killed,
                    skipped,
                    "notification commands did not end within {} s; exiting without waiting for them",
                    timeout.as_secs()
                );
                return;
            }
        }
    }

    /// Counts failures. Logs a failure when it first occurs and when it differs from the previous
    /// failure.
    fn report(&mut self, finished: Finished) {
        let Finished { subject, results } = finished;
        let (instance, group) = subject.fields();
        for (command, result) in results {
            let (failure, last_line) = match result {
                Ok(Outcome { end, .. }) if end.is_success() => (None, String::new()),
                Ok(Outcome { end, last_line }) => (Some(end.to_string()), last_line),
                Err(error) => (Some(format!("cannot start it: {error}")), String::new()),
            };
            let key = (subject.clone(), command);
            let Some(failure) = failure else {
                if self.failing.remove(&key).is_some() && self.log_limit.permits(Scope::Agent) {
                    tracing::info!(instance, group, "notification command `{command}` succeeds again");
                }
                continue;
            };
            self.counts.update(&subject, |counts| counts.errors += 1);
            if self.failing.get(&key) == Some(&failure) || !self.log_limit.permits(Scope::Agent) {
                continue;
            }
            tracing::warn!(
                instance,
                group,
                last_line,
                "notification command `{command}` failed: {failure}; repetitions are not logged"
            );
            self.failing.insert(key, failure);
        }
    }
}

/// Runs the commands of a job, one after the other.
async fn deliver(job: Job<Subject, Arc<Target>>) -> Finished {
    let timeout = job.commands.timeout;
    let mut results = Vec::new();
    for (command, spec) in commands(&job) {
        results.push((command, run(&spec, timeout).await));
    }
    Finished { subject: job.subject, results }
}

/// Runs a command. If no process, memory or descriptor is available, retries for up to `timeout`.
async fn run(spec: &Spec, timeout: Duration) -> io::Result<Outcome> {
    let deadline = Instant::now() + timeout;
    loop {
        match Child::spawn(spec) {
            Ok(running) => return Ok(running.wait_with_last_line(timeout).await),
            Err(error) if is_permanent(&error) || Instant::now() >= deadline => return Err(error),
            Err(_) => sleep(RETRY).await,
        }
    }
}

fn is_permanent(error: &io::Error) -> bool {
    let shortage = [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE];
    error.raw_os_error().is_none_or(|errno| !shortage.contains(&errno))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn target(script: &str, timeout: Duration) -> Arc<Target> {
        let argv = ["/bin/sh", "-c", script, "any"].map(str::to_owned).to_vec();
        Arc::new(Target { any: Some(argv), timeout, ..Target::default() })
    }

    fn notice(kind: Kind) -> Notice {
        Notice { kind, reason: "startup".to_owned(), priority: 100 }
    }

    fn instance(number: u32) -> Subject {
        Subject::Instance(format!("VI_{number}").into())
    }

    fn on_runtime(job: impl AsyncFnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(job());
    }

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn first_and_last_notifications_of_many_subjects_run_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = format!("echo $3 >>{}/$2", directory.path().display());
        on_runtime(async || {
            let mut runner = Runner::new();
            for number in 0..40 {
                runner.configure(instance(number), target(&script, LONG), None);
                runner.push(&instance(number), notice(Kind::Backup), 1);
            }
            while !runner.queue.is_idle() {
                runner.next().await;
            }
            for number in 0..40 {
                runner.push(&instance(number), notice(Kind::Master), 1);
                runner.push(&instance(number), notice(Kind::Stop), 1);
            }
            runner.stop(LONG).await;
            assert!((0..40).all(|number| runner.counts().get(&instance(number)).errors == 0));
        });
        for number in 0..40 {
            let states = lines(&directory.path().join(format!("VI_{number}")));
            assert_eq!(states.first().map(String::as_str), Some("BACKUP"));
            assert_eq!(states.last().map(String::as_str), Some("STOP"));
        }
    }

    #[test]
    fn failures_are_counted_and_the_next_notification_still_runs() {
        let directory = tempfile::tempdir().expect("a directory");
        let out = directory.path().join("out");
        let script = format!("echo $3 >>{}; test $3 != MASTER || sleep 1000; exit 1", out.display());
        on_runtime(async || {
            let mut runner = Runner::new();
            runner.configure(instance(1), target(&script, Duration::from_secs(1)), None);
            runner.push(&instance(1), notice(Kind::Master), 1);
            runner.push(&instance(1), notice(Kind::Backup), 1);
            runner.push(&instance(1), notice(Kind::Fault), 1);
            runner.stop(LONG).await;
            assert_eq!(runner.counts().get(&instance(1)), Counts { coalesced: 1, errors: 2 });
        });
        assert_eq!(lines(&out), ["MASTER", "FAULT"]);
    }
}
