//! Plays the steps of a scenario with a real router: a program in a lab, or a device.
//!
//! The router is observed only on the wire and, if it is vipd, through its counters. Time windows
//! are wide enough for a busy machine, and narrow enough to distinguish correct from incorrect
//! behavior. With real routers, times are tested only within these windows; exact times are tested
//! in virtual time.

mod client;

use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::received::{UNDER_TEST, frame};
use super::scenario::Moment;
use super::syntax::{ExpectedFrame, ReceivedAdvert, RouterSpec};
use super::{Scenario, Step, sent, signed};
use crate::capture::Capture;
use crate::configuration::Family;
use crate::inject::Injector;
use crate::station::Station;
use crate::time::{WallTime, millis};

/// Tolerance for early frames, because FRR rounds to hundredths of a second.
const EARLY: Duration = Duration::from_millis(50);
/// Tolerance for late frames. A later frame belongs to a different event.
pub(super) const LATE: Duration = Duration::from_millis(140);
/// Maximum delay until a frame appears in the capture.
pub(super) const CAPTURE_DELAY: Duration = Duration::from_millis(30);
/// Time limit for a frame without a deadline, in addition to ten intervals.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Marks an error that is due to the router's behavior rather than a failure of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the router does not behave as the scenario specifies")
    }
}

/// Line number of the step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(pub usize);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.0)
    }
}

/// Returns from the enclosing function with an error marked as a [`Mismatch`].
macro_rules! mismatch {
    ($($words:tt)*) => { return Err(anyhow::anyhow!($($words)*).context($crate::conformance::stage::Mismatch)) };
}
pub(super) use mismatch;

/// The operations of a scenario on the router under test.
pub(super) trait Subject {
    /// Brings the router into the state after its startup: Backup, or Master if it is the owner.
    ///
    /// # Errors
    /// Returns an error if the router does not reach that state.
    fn start(&mut self, wire: &Wire, router: &RouterSpec) -> Result<Started>;

    /// Shuts the router down.
    ///
    /// # Errors
    /// Returns an error if the router does not stop, or cannot be stopped.
    fn stop(&mut self) -> Result<()>;

    /// Checks the value of a counter, if the router has the counters of vipd.
    ///
    /// # Errors
    /// Returns an error if the value differs, or cannot be read.
    fn counter(&self, name: &str, wanted: u64) -> Result<()>;
}

/// The times from which a started router is observed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    /// Only frames that the router sent after this time are matched.
    pub(super) cursor: WallTime,
    /// The time that the scenario's next delay is relative to.
    pub(super) mark: WallTime,
}

/// The capture and the senders of a scenario.
pub(super) struct Wire {
    pub(super) capture: Capture,
    /// Sends the frames of *lower*.
    pub(super) lower: Injector,
    /// Sends the frames of *higher*.
    pub(super) higher: Injector,
    pub(super) client: Injector,
}

impl Wire {
    /// Sends an advert to the router under test. Returns the frame.
    pub(super) fn receive(&self, received: &ReceivedAdvert, router: &RouterSpec) -> Result<Vec<u8>> {
        let frame = frame(received, router)?;
        // Frames `from itself`, with the router's own source address, are sent by *higher*.
        let injector = if received.from == Station::Node(1) { &self.lower } else { &self.higher };
        injector.send(&frame)?;
        Ok(frame)
    }
}

/// Plays a scenario to its end. `routers` are the routers under test, with the addresses that the
/// scenario uses.
///
/// # Errors
/// Returns an error for the first step that does not match, with its line ([`At`]) and
/// [`Mismatch`]. An error without [`Mismatch`] means that the scenario could not be played.
pub(super) fn play(
    scenario: &Scenario,
    routers: Vec<RouterSpec>,
    wire: Wire,
    subject: &mut dyn Subject,
) -> Result<()> {
    let now = WallTime::now();
    let mut stage =
        Stage { routers, subject, wire, cursor: now, mark: now, received: Vec::new(), sequence: 0 };
    let mut lines = scenario.lines.iter();
    let result = lines.try_for_each(|line| stage.step(&line.step).context(At(line.number)));
    // If the capture lost frames, the router may not have been silent.
    stage.wire.capture.stop()?;
    result
}

struct Stage<'a> {
    routers: Vec<RouterSpec>,
    subject: &'a mut dyn Subject,
    wire: Wire,
    /// Frames up to this time have already been matched or skipped.
    cursor: WallTime,
    /// The time that the scenario's delays are relative to.
    mark: WallTime,
    /// The last frame that the router received.
    received: Vec<u8>,
    /// Sequence of the last signed advert that was expected.
    sequence: u64,
}

impl Stage<'_> {
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Router(_) => Ok(()),
            Step::Start => {
                let started = self.subject.start(&self.wire, &self.routers[0])?;
                (self.cursor, self.mark) = (started.cursor, started.mark);
                Ok(())
            }
            Step::Stop => {
                self.move_to(WallTime::now());
                self.subject.stop()
            }
            Step::Receive(received) => {
                self.move_to(WallTime::now());
                self.receive(received)
            }
            Step::ReceiveAgain => {
                self.move_to(WallTime::now());
                self.wire.higher.send(&self.received)
            }
            Step::KeepReceiving(received, length) => self.keep_receiving(received, *length),
            Step::Expect(expected, moment) => self.expect(expected, *moment),
            Step::Silence(family, length) => self.silence(*family, *length),
            Step::Address(wanted) => self.address(*wanted),
            Step::Echo(wanted) => self.echo(*wanted),
            Step::Counter(name, wanted) => self.subject.counter(name, *wanted),
        }
    }

    fn move_to(&mut self, time: WallTime) {
        self.cursor = time;
        self.mark = time;
    }

    fn spec(&self, family: Option<Family>) -> &RouterSpec {
        let named = |router: &&RouterSpec| family.is_none_or(|family| router.family == family);
        self.routers.iter().find(named).unwrap_or(&self.routers[0])
    }

    fn receive(&mut self, received: &ReceivedAdvert) -> Result<()> {
        self.received = self.wire.receive(received, self.spec(received.family))?;
        Ok(())
    }

    fn keep_receiving(&mut self, received: &ReceivedAdvert, length: Duration) -> Result<()> {
        let interval = received.interval.unwrap_or(self.spec(received.family).interval);
        ensure!(!interval.is_zero(), "`keep receiving` needs an interval above 0");
        let start = WallTime::now();
        self.cursor = start;
        let mut due = start;
        loop {
            self.mark = WallTime::now();
            self.receive(received)?;
            due = due + interval;
            if due > start + length {
                return Ok(());
            }
            thread::sleep(due.saturating_since(WallTime::now()));
        }
    }

    fn expect(&mut self, expected: &ExpectedFrame, moment: Moment) -> Result<()> {
        let router = self.spec(expected.family).clone();
        let (earliest, latest) = match moment {
            // After its start, the program may send frames before the lab detects that it is ready.
            Moment::After(Duration::ZERO) => (self.cursor, self.mark + LATE),
            Moment::After(time) => (self.mark + time.saturating_sub(EARLY), self.mark + time + LATE),
            Moment::Eventually => (self.cursor, WallTime::now() + 10 * router.interval + TIMEOUT),
        };
        let what = if expected.announcement { "an announcement" } else { "an advert" };
        let found = loop {
            // Read the clock before the capture, so that the last search includes every frame sent
            // in time.
            let expired = WallTime::now() > latest + LATE;
            let found = self.next(&router, expected);
            if found.is_some() || expired {
                break found;
            }
            thread::sleep(Duration::from_millis(2));
        };
        let Some((time, sent)) = found else {
            mismatch!("expected {what}, but none was sent within {} ms", self.since_mark(latest));
        };
        let at = self.since_mark(time);
        if time < earliest || time > latest {
            let (earliest, latest) = (self.since_mark(earliest), self.since_mark(latest));
            mismatch!("expected {what} after {earliest} to {latest} ms, but it was sent after {at} ms");
        }
        sent::check(&sent, expected, &router)
            .with_context(|| format!("{what} sent after {at} ms"))
            .context(Mismatch)?;
        if let (Some(id @ 1..), sent::Sent::Advert(advert, _)) = (expected.signed, &sent) {
            let sequence = signed::check(advert, id).context(Mismatch)?;
            if sequence <= std::mem::replace(&mut self.sequence, sequence) {
                mismatch!("the sequence {sequence:x} is not after that of the last signed advert");
            }
        }
        if expected.first && !expected.announcement {
            let announced = self.wire.capture.filter_map(self.cursor, |frame| {
                let ours = frame.from == UNDER_TEST && frame.time > self.cursor && frame.time < time;
                (ours && matches!(sent::read(frame, &router), Some(sent::Sent::Announcement(..))))
                    .then_some(())
            });
            if !announced.is_empty() {
                mismatch!("an announcement was sent before the advert");
            }
        }
        self.move_to(time);
        Ok(())
    }

    /// Returns the next frame of the expected kind.
    fn next(&self, router: &RouterSpec, expected: &ExpectedFrame) -> Option<(WallTime, sent::Sent)> {
        let mut first = None;
        self.wire.capture.filter_map(self.cursor, |frame| {
            if first.is_none() && frame.from == UNDER_TEST && frame.time > self.cursor {
                let sent = sent::read(frame, router)?;
                if sent.matches(expected, router) {
                    first = Some((frame.time, sent));
                }
            }
            None::<()>
        });
        first
    }

    fn silence(&mut self, family: Option<Family>, length: Duration) -> Result<()> {
        let end = self.mark + length;
        thread::sleep(end.saturating_since(WallTime::now()) + CAPTURE_DELAY);
        let router = self.spec(family).clone();
        if let Some((time, sent)) = self.next(&router, &ExpectedFrame::default())
            && time <= end
        {
            mismatch!("expected no advert, but one was sent after {} ms: {sent:?}", self.since_mark(time));
        }
        self.move_to(end);
        Ok(())
    }

    fn since_mark(&self, time: WallTime) -> i64 {
        let (later, earlier) = (time.saturating_since(self.mark), self.mark.saturating_since(time));
        #[expect(clippy::cast_possible_truncation, reason = "a scenario takes seconds")]
        let milliseconds = (millis(later) - millis(earlier)) as i64;
        milliseconds
    }
}
