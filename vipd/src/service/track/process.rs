//! Tracked processes.
//!
//! Pidfds report when a process exits. The kernel's process events connector ([`ProcessEvents`])
//! reports when a process starts or executes another program. `/proc` is authoritative: it is
//! searched when the check starts, whenever an event shows that the result may have changed, and
//! periodically while there are too few processes. Without the connector (outside the initial
//! network and PID namespaces), the periodic searches are more frequent. Searches also continue
//! while `/proc` shows processes of another PID namespace, for which no pidfd can be opened.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::CapabilitySet;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until};

use super::object::{ObjectId, Reading, Update, Updates};
use super::proc::{Search, find, is_found};
use crate::config::track::{Process, ProcessMatch};
use crate::netlink::{ProcessEvents, Selection};
use crate::process::capabilities::with;
use crate::process::register;

/// Interval of searches while there are too few processes and no connector, or while there are
/// enough processes but one of them has no pidfd.
const SEARCH: Duration = Duration::from_millis(500);
/// Interval of searches while there are too few processes, with the connector. Searches remain
/// necessary because the kernel drops an event if it cannot allocate memory for it.
const SEARCH_WITH_EVENTS: Duration = Duration::from_secs(10);
/// Maximum number of events handled before other tasks run.
const BUDGET: usize = 64;
/// Pause after events, to limit wake-ups on a host that starts many processes.
const PAUSE: Duration = Duration::from_millis(20);

/// Until the task is aborted, watches the processes that run a program. `former` is the state under
/// the previous settings or in a predecessor, if any.
pub(super) async fn watch(
    object: ObjectId,
    process: Arc<Process>,
    former: Option<Reading>,
    updates: Updates,
) {
    let quorum = usize::from(process.quorum);
    let delay = Duration::from_nanos(process.terminate_delay);
    let mut events = Events::open();
    let mut known = HashSet::new();
    let mut last = None;
    // Time since which there have been too few processes. The delay does not apply to the first
    // reading, unless `former` is up.
    let mut missing_since: Option<Instant> = None;
    loop {
        // Selected before the search, so that no process that starts during the search is missed.
        events.select(&known, Events::starts);
        let started = Instant::now();
        let Search { found, unreadable } = find(&process).await;
        let duration = started.elapsed();
        let is_complete = found.is_subset(&known);
        known = found;
        let mut ends = JoinSet::new();
        let mut unwatched = 0;
        for pid in known.iter().copied() {
            match pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(Into::into).and_then(register) {
                Ok(descriptor) => drop(ends.spawn(async move { drop(descriptor.readable().await) })),
                // The process has exited or is in another PID namespace, or no descriptor is
                // available.
                Err(_) => unwatched += usize::from(is_found(pid, &process.matches)),
            }
        }
        let count = ends.len() + unwatched;
        let is_up = count >= quorum;
        missing_since = if is_up { None } else { missing_since.or_else(|| Some(Instant::now())) };
        let is_first = last.is_none() && former != Some(Reading::Up);
        let is_within_delay = missing_since.is_some_and(|since| since.elapsed() < delay) && !is_first;
        if !is_within_delay {
            let reading = if is_up { Reading::Up } else { Reading::Down };
            let detail = (!is_up).then(|| describe(count, quorum, unreadable));
            let update = Update { object, reading, detail };
            if last.as_ref() != Some(&update) {
                last = Some(update.clone());
                let _ = updates.send(update).await;
            }
        }
        if is_up {
            events.select(&known, Events::changes);
            let too_few = async {
                // Completes once fewer than `quorum` processes remain.
                while ends.len() >= quorum && ends.join_next().await.is_some() {}
            };
            tokio::select! {
                () = events.changed(&process.matches, &known) => {}
                () = too_few, if unwatched == 0 => {}
                () = sleep(SEARCH), if unwatched > 0 => {}
            }
            continue;
        }
        // With the connector, a search that found new processes is repeated without waiting for an
        // event: a new process may have forked before the events of its forks were selected.
        if is_complete || !events.are_available() {
            let end = missing_since.map_or_else(Instant::now, |since| since + delay);
            let interval = if events.are_available() { SEARCH_WITH_EVENTS } else { SEARCH };
            tokio::select! {
                () = events.changed(&process.matches, &known) => {}
                Some(_) = ends.join_next() => {}
                () = sleep(interval) => {}
                () = sleep_until(end), if is_within_delay => {}
            }
        }
        // Limits searches to half of a CPU when processes constantly start and end.
        sleep(PAUSE.max(duration)).await;
    }
}

fn describe(count: usize, quorum: usize, unreadable: usize) -> String {
    let found = format!("{count} found, {quorum} required");
    if unreadable == 0 {
        return found;
    }
    let processes = if unreadable == 1 { "process" } else { "processes" };
    format!(
        "{found}; cannot read the executable of {unreadable} more {processes} with this name; vipd needs CAP_SYS_PTRACE"
    )
}

/// The process events connector; `None` if it is not available.
struct Events(Option<AsyncFd<ProcessEvents>>);

impl Events {
    fn open() -> Self {
        Self::of(with(CapabilitySet::NET_ADMIN, ProcessEvents::open).and_then(register))
    }

    /// Wraps the result of opening the connector. If the connector is not available, logs this once
    /// in the agent's lifetime.
    fn of(opened: io::Result<AsyncFd<ProcessEvents>>) -> Self {
        static IS_LOGGED: AtomicBool = AtomicBool::new(false);
        if let Err(error) = &opened
            && !IS_LOGGED.swap(true, Ordering::Relaxed)
        {
            tracing::info!(
                %error,
                "no process events from the kernel, which reports them only in the initial network and PID \
                 namespaces; searching /proc every {} ms for missing processes",
                SEARCH.as_millis()
            );
        }
        Self(opened.ok())
    }

    fn are_available(&self) -> bool {
        self.0.is_some()
    }

    fn starts(processes: &[u32]) -> Selection<'_> {
        Selection::Starts(processes)
    }

    fn changes(processes: &[u32]) -> Selection<'_> {
        Selection::Changes(processes)
    }

    fn select(&mut self, known: &HashSet<Pid>, selection: impl FnOnce(&[u32]) -> Selection<'_>) {
        let Some(events) = &self.0 else { return };
        let known: Vec<u32> = known.iter().map(|pid| pid.as_raw_nonzero().get().cast_unsigned()).collect();
        if let Err(error) = events.get_ref().select(selection(&known)) {
            *self = Self::of(Err(error));
        }
    }

    /// Waits until another process runs the program, a known process may no longer run it, events
    /// were lost, or the connector has failed. Waits forever without the connector. Safe to cancel,
    /// because a search always follows.
    async fn changed(&mut self, matches: &ProcessMatch, known: &HashSet<Pid>) {
        let Some(events) = &mut self.0 else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = events.readable_mut().await else { return std::future::pending().await };
            let mut is_changed = false;
            let drained = ready.get_inner_mut().drain(BUDGET, |process| {
                let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
                is_changed |= pid.is_some_and(|pid| is_found(pid, matches) != known.contains(&pid));
            });
            match drained {
                Ok(drained) => {
                    if !drained.more {
                        ready.clear_ready();
                    }
                    if is_changed || drained.overrun {
                        return;
                    }
                    if drained.more { yield_now().await } else { sleep(PAUSE).await }
                }
                Err(error) => {
                    *self = Self::of(Err(error));
                    return;
                }
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // Closing the connector sends the kernel a request that needs CAP_NET_ADMIN.
        with(CapabilitySet::NET_ADMIN, || drop(self.0.take()));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;

    use super::*;

    /// Starts watching a program. Returns the task and a function that waits for the next update.
    fn start_watch(
        program: &Path,
        quorum: usize,
        terminate_delay: Duration,
    ) -> (JoinHandle<()>, impl AsyncFnMut() -> (Reading, String) + use<>) {
        let (updates, mut received) = mpsc::channel(16);
        let process = Process {
            name: "daemon".to_owned(),
            matches: ProcessMatch::Executable(program.to_owned()),
            quorum: quorum.try_into().expect("small"),
            terminate_delay: terminate_delay.as_nanos().try_into().expect("short"),
        };
        let task = tokio::spawn(watch(ObjectId(1), Arc::new(process), None, updates));
        let next = async move || {
            let update = received.recv().await.expect("an update");
            (update.reading, update.detail.unwrap_or_default())
        };
        (task, next)
    }

    #[test]
    fn exit_and_restart_of_a_process_are_detected() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("daemon");
        fs::copy("/usr/bin/sleep", &program).expect("copied");
        let start = || -> Child { Command::new(&program).arg("1000").spawn().expect("started") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (task, mut next) = start_watch(&program, 2, Duration::ZERO);
            assert_eq!(next().await, (Reading::Down, "0 found, 2 required".to_owned()));
            let mut running = [start(), start()];
            while next().await.0 != Reading::Up {}
            running[0].kill().expect("killed");
            running[0].wait().expect("ended");
            assert_eq!(next().await, (Reading::Down, "1 found, 2 required".to_owned()));
            running[0] = start();
            assert_eq!(next().await.0, Reading::Up);
            task.abort();
            for mut one in running {
                one.kill().expect("killed");
                one.wait().expect("ended");
            }
        });
    }

    /// A process that runs the copied shell counts until it executes `sleep`.
    #[test]
    fn process_that_executes_another_program_no_longer_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("daemon");
        fs::copy("/bin/sh", &program).expect("copied");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let has_events = Events::open().are_available();
            let (task, mut next) = start_watch(&program, 1, Duration::ZERO);
            assert_eq!(next().await.0, Reading::Down);
            let mut child = Command::new(&program)
                .args(["-c", "read line; exec sleep 1000"])
                .stdin(Stdio::piped())
                .spawn()
                .expect("started");
            assert_eq!(next().await.0, Reading::Up);
            if has_events {
                drop(child.stdin.take());
                assert_eq!(next().await.0, Reading::Down, "the process has executed another program");
            }
            task.abort();
            child.kill().expect("killed");
            child.wait().expect("ended");
        });
    }

    #[test]
    fn missing_process_counts_until_the_delay_has_passed() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("daemon");
        fs::copy("/usr/bin/sleep", &program).expect("copied");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (task, mut next) = start_watch(&program, 1, Duration::from_secs(3600));
            assert_eq!(next().await.0, Reading::Down, "the first reading is not delayed");
            task.abort();
            let mut child = Command::new(&program).arg("1000").spawn().expect("started");
            let delay = Duration::from_millis(300);
            let (task, mut next) = start_watch(&program, 1, delay);
            assert_eq!(next().await.0, Reading::Up);
            let ended = Instant::now();
            child.kill().expect("killed");
            child.wait().expect("ended");
            assert_eq!(next().await.0, Reading::Down);
            assert!(ended.elapsed() >= delay, "{:?}", ended.elapsed());
            task.abort();
        });
    }

    /// A child forked by a known process counts, although it does not call `execve`.
    #[test]
    fn forked_process_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let [program, fifo] = ["daemon", "fifo"].map(|name| directory.path().join(name));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("created");
        fs::copy("/bin/sh", &program).expect("copied");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (task, mut next) = start_watch(&program, 2, Duration::ZERO);
            assert_eq!(next().await, (Reading::Down, "0 found, 2 required".to_owned()));
            let mut child = Command::new(&program)
                .args(["-c", "read line; (read line <\"$0\") & wait"])
                .arg(&fifo)
                .stdin(Stdio::piped())
                .spawn()
                .expect("started");
            assert_eq!(next().await, (Reading::Down, "1 found, 2 required".to_owned()));
            drop(child.stdin.take());
            while next().await.0 != Reading::Up {}
            task.abort();
            drop(OpenOptions::new().write(true).open(&fifo).expect("the child reads the line"));
            child.wait().expect("ended");
        });
    }
}
