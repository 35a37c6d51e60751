//! Updates from the agent, the keyboard and signals, in one queue. Each source has its own thread,
//! because all sources block.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SendError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};

use super::model::{Notice, Report};
use super::verb::Change;
use crate::control::client::{Client, ClientError};
use crate::control::event::EventRecord;
use crate::process::{Received, Signals};

/// Shortest interval between requests for reports.
const PERIOD: Duration = Duration::from_secs(1);
/// The interval is at least `SHARE` times as long as the last request took, up to
/// [`LONGEST_PERIOD`], because an agent with thousands of instances needs a while to answer each
/// request.
const SHARE: u32 = 10;
/// Longest interval between requests, so that a single slow answer does not freeze the view.
const LONGEST_PERIOD: Duration = Duration::from_secs(5);
/// Pause before events are requested again after the connection ends.
const RETRY: Duration = Duration::from_secs(1);
/// Time limit for the main thread to exit before the process is killed. The thread blocks if the
/// terminal accepts no output, for example over a stalled connection.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between attempts to add to a full queue.
const FULL_PAUSE: Duration = Duration::from_millis(10);
/// Capacity of the queue. Sources wait while it is full.
const QUEUE: usize = 256;

/// An update for the main loop.
#[derive(Debug)]
pub(super) enum Update {
    Report(Box<Report>),
    /// A request for a report failed.
    Disconnected {
        at: Instant,
        error: String,
    },
    Event(Box<EventRecord>),
    /// The events cannot be read.
    NoEvents(String),
    /// The agent's answer to a requested change, or the error.
    Changed(Notice),
    Key(KeyEvent),
    /// The size of the terminal has changed.
    Resized,
    /// The program must end with this result.
    End(anyhow::Result<()>),
}

/// The queue, with the sender and the client that new sources use.
#[derive(Debug)]
pub(super) struct Feed {
    sender: SyncSender<Update>,
    pub(super) updates: Receiver<Update>,
    client: Client,
}

impl Feed {
    /// Starts all sources. `signals` must have been blocked before any thread was started, and the
    /// terminal must be in raw mode.
    ///
    /// # Errors
    /// Returns an error if a thread cannot be started.
    pub(super) fn start(client: Client, signals: Signals) -> anyhow::Result<Self> {
        let (sender, updates) = sync_channel(QUEUE);
        let feed = Self { sender, updates, client };
        feed.spawn("signals", move |sender| watch(&signals, sender))?;
        feed.spawn("keys", read_keys)?;
        let client = feed.client.clone();
        feed.spawn("reports", move |sender| poll_reports(&client, sender))?;
        let client = feed.client.clone();
        feed.spawn("events", move |sender| follow_events(&client, sender))?;
        Ok(feed)
    }

    /// Requests a change from the agent. The answer follows as an update.
    ///
    /// # Errors
    /// Returns an error if a thread cannot be started.
    pub(super) fn request(&self, change: &Change) -> anyhow::Result<()> {
        let (client, request) = (self.client.clone(), change.request());
        self.spawn("change", move |sender| {
            let notice = match client.change(&request) {
                Ok(report) => {
                    let text: Vec<_> = report.changes.into_iter().chain(report.warnings.clone()).collect();
                    Notice { text: text.join("; "), is_error: !report.warnings.is_empty() }
                }
                Err(error) => Notice { text: error.to_string(), is_error: true },
            };
            let _ = sender.send(Update::Changed(notice));
        })
    }

    /// Starts a thread. If the thread panics, the program ends, because the panic hook has already
    /// left the alternate screen.
    fn spawn(
        &self,
        name: &'static str,
        source: impl FnOnce(&SyncSender<Update>) + Send + 'static,
    ) -> anyhow::Result<()> {
        let sender = self.sender.clone();
        let body = move || {
            if catch_unwind(AssertUnwindSafe(|| source(&sender))).is_err() {
                let _ = sender.send(Update::End(Err(anyhow::anyhow!("the thread `{name}` has panicked"))));
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(body);
        thread.with_context(|| format!("cannot start the thread `{name}`"))?;
        Ok(())
    }
}

/// Requests reports until the queue is closed.
fn poll_reports(client: &Client, sender: &SyncSender<Update>) {
    loop {
        let start = Instant::now();
        let report = client.status().and_then(|status| {
            let stats = client.stats()?;
            Ok(Report { at: Instant::now(), status, stats })
        });
        let (update, pause) = match report {
            Ok(report) => (Update::Report(Box::new(report)), period(start.elapsed())),
            Err(error) => (Update::Disconnected { at: Instant::now(), error: error.to_string() }, PERIOD),
        };
        if sender.send(update).is_err() {
            return;
        }
        thread::sleep(pause.saturating_sub(start.elapsed()));
    }
}

/// Returns the time from one request for a report to the next, if the first one took `duration`.
fn period(duration: Duration) -> Duration {
    (SHARE * duration).clamp(PERIOD, LONGEST_PERIOD)
}

/// Follows the agent's events until the queue is closed. Requests the events again whenever the
/// connection has ended.
fn follow_events(client: &Client, sender: &SyncSender<Update>) {
    loop {
        let followed = client.events(true, |line| {
            let event = serde_json::from_str(line)?;
            Ok(sender.send(Update::Event(Box::new(event)))?)
        });
        let update = match followed {
            Ok(()) => None,
            Err(error) if error.is::<SendError<Update>>() => return,
            // The next request for a report fails for the same reason, and that error is shown.
            Err(error) if matches!(error.downcast_ref(), Some(ClientError::NoAgent(_))) => None,
            Err(error) => Some(Update::NoEvents(format!("no events: {error:#}"))),
        };
        if update.is_some_and(|update| sender.send(update).is_err()) {
            return;
        }
        thread::sleep(RETRY);
    }
}

/// Reads keys until the terminal cannot be read or the queue is closed.
fn read_keys(sender: &SyncSender<Update>) {
    loop {
        let update = match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Update::Key(key),
            Ok(Event::Resize(..)) => Update::Resized,
            Ok(_) => continue,
            Err(error) => Update::End(Err(error).context("cannot read from the terminal")),
        };
        let ends = matches!(update, Update::End(_));
        if sender.send(update).is_err() || ends {
            return;
        }
    }
}

/// Waits until a termination signal arrives or the terminal is closed. Then ends the program
/// without an error, or with SIGKILL if the main thread has not exited after [`EXIT_TIMEOUT`].
fn watch(signals: &Signals, sender: &SyncSender<Update>) {
    let stdin = io::stdin();
    loop {
        // crossterm does not detect a closed terminal. poll(2) reports POLLHUP and POLLERR even
        // without a request for them.
        let mut ready = [PollFd::new(signals, PollFlags::IN), PollFd::new(&stdin, PollFlags::empty())];
        if poll(&mut ready, None).is_err() {
            continue;
        }
        let is_closed = ready[1].revents().intersects(PollFlags::HUP | PollFlags::ERR);
        if is_closed || signals.take().is_some_and(Received::ends_command) {
            break;
        }
    }
    let deadline = Instant::now() + EXIT_TIMEOUT;
    // The queue may be full if the main thread is blocked.
    while matches!(sender.try_send(Update::End(Ok(()))), Err(TrySendError::Full(_)))
        && Instant::now() < deadline
    {
        thread::sleep(FULL_PAUSE);
    }
    thread::sleep(deadline.saturating_duration_since(Instant::now()));
    let _ = ratatui::crossterm::terminal::disable_raw_mode();
    let _ = kill_process(getpid(), Signal::KILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_answers_lengthen_the_period_to_a_limit() {
        for (duration, expected) in [(0, 1000), (100, 1000), (250, 2500), (3000, 5000)] {
            assert_eq!(period(Duration::from_millis(duration)), Duration::from_millis(expected));
        }
    }
}
