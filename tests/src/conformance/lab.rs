//! Plays a scenario with a real program. The router under test is node 2 of a lab. The scenario's
//! adverts are injected from nodes 1 and 3, and the client resolves and pings the VIPs.
//!
//! The program is observed only at the switch and, if it is vipd, through its counters. Time
//! windows are wide enough for a busy machine, and narrow enough to distinguish correct from
//! incorrect behavior. The lab tests the order of events; virtual time tests exact times.

mod client;

use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::received::{UNDER_TEST, frame};
use super::scenario::Moment;
use super::syntax::{ExpectedFrame, ReceivedAdvert, RouterSpec};
use super::{Program, Scenario, Step, native, sent};
use crate::agent::{Agent, AgentKind};
use crate::capture::Capture;
use crate::configuration::Family;
use crate::control;
use crate::inject::Injector;
use crate::lab::Lab;
use crate::station::Station;
use crate::time::{WallTime, millis};
use crate::wait::try_wait_until;

/// Tolerance for early frames, because FRR rounds to hundredths of a second.
const EARLY: Duration = Duration::from_millis(50);
/// Tolerance for late frames. A later frame belongs to a different event.
const LATE: Duration = Duration::from_millis(140);
/// Time from joining the group until a program is ready to receive adverts. FRR needs half a second
/// for IPv6.
const SETTLE: Duration = Duration::from_millis(500);
/// Maximum delay until a frame appears in the capture.
const CAPTURE_DELAY: Duration = Duration::from_millis(30);
/// Time limit for a frame without a deadline, in addition to ten intervals.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Marks an error that is due to the program's behavior rather than a failure of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the program does not behave as the scenario specifies")
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
    ($($words:tt)*) => { return Err(anyhow::anyhow!($($words)*).context($crate::conformance::lab::Mismatch)) };
}
use mismatch;

/// Plays a scenario to its end.
///
/// # Errors
/// Returns an error for the first step that does not match, with its line ([`At`]) and
/// [`Mismatch`]. An error without [`Mismatch`] means that the lab failed or the program exited.
pub fn play(scenario: &Scenario, program: Program, vipd: &AgentKind) -> Result<()> {
    let lab = Lab::new(3)?;
    let mut stage = Stage {
        routers: scenario.routers().cloned().collect(),
        program,
        agent: native::agent(&lab, scenario, program, vipd)?,
        capture: lab.capture()?,
        lower: Injector::open(lab.host(Station::Node(1))?)?,
        higher: Injector::open(lab.host(Station::Node(3))?)?,
        client: Injector::open(lab.host(Station::Client)?)?,
        cursor: WallTime::now(),
        mark: WallTime::now(),
        _lab: lab,
    };
    let mut lines = scenario.lines.iter();
    let result = lines.try_for_each(|line| stage.step(&line.step).context(At(line.number)));
    // A program that exited, or a capture that lost frames, must not be mistaken for silence.
    if stage.agent.is_running() && !stage.agent.is_alive()? {
        match result {
            Ok(()) => bail!("{program} exited during the scenario"),
            Err(error) => bail!("{program} exited during the scenario: {error:#}"),
        }
    }
    stage.capture.stop()?;
    result
}

struct Stage {
    routers: Vec<RouterSpec>,
    program: Program,
    agent: Agent,
    capture: Capture,
    /// Sends frames from node 1.
    lower: Injector,
    /// Sends frames from node 3.
    higher: Injector,
    client: Injector,
    /// Frames up to this time have already been matched or skipped.
    cursor: WallTime,
    /// The time that the scenario's delays are relative to.
    mark: WallTime,
    /// Dropped last: the agent runs in the lab.
    _lab: Lab,
}

impl Stage {
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Router(_) => Ok(()),
            Step::Start => {
                self.move_to(WallTime::now());
                self.agent.start()?;
                self.settle()?;
                self.mark = WallTime::now();
                Ok(())
            }
            Step::Stop => {
                self.move_to(WallTime::now());
                self.agent.stop().map(drop)
            }
            Step::Receive(received) => {
                self.move_to(WallTime::now());
                self.receive(received)
            }
            Step::KeepReceiving(received, length) => self.keep_receiving(received, *length),
            Step::Expect(expected, moment) => self.expect(expected, *moment),
            Step::Silence(family, length) => self.silence(*family, *length),
            Step::Address(wanted) => self.address(*wanted),
            Step::Echo(wanted) => self.echo(*wanted),
            Step::Counter(name, wanted) => self.counter(name, *wanted),
        }
    }

    /// Waits until the program is ready to receive adverts, according to vipd's status. For the
    /// other programs, waits for [`SETTLE`], which is shorter than the three intervals after which
    /// they send their first advert.
    fn settle(&self) -> Result<()> {
        if self.program == Program::Vipd {
            let timeout = Duration::from_secs(5);
            return control::wait_for(&self.agent, "its startup", timeout, |status| {
                !["initialize", "fault"].contains(&status.text("state"))
            })
            .map(drop);
        }
        thread::sleep(SETTLE);
        Ok(())
    }

    fn move_to(&mut self, time: WallTime) {
        self.cursor = time;
        self.mark = time;
    }

    fn spec(&self, family: Option<Family>) -> &RouterSpec {
        let named = |router: &&RouterSpec| family.is_none_or(|family| router.family == family);
        self.routers.iter().find(named).unwrap_or(&self.routers[0])
    }

    fn receive(&self, received: &ReceivedAdvert) -> Result<()> {
        let frame = frame(received, self.spec(received.family))?;
        // Frames `from itself`, with the router's own source address, are sent from node 3.
        let injector = if received.from == Station::Node(1) { &self.lower } else { &self.higher };
        injector.send(&frame)
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
        if expected.first && !expected.announcement {
            let announced = self.capture.filter_map(self.cursor, |frame| {
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
        self.capture.filter_map(self.cursor, |frame| {
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

    fn counter(&self, name: &str, wanted: u64) -> Result<()> {
        if self.program != Program::Vipd {
            return Ok(());
        }
        let mut last = None;
        let counted = try_wait_until(&format!("{name} to be {wanted}"), Duration::from_secs(2), || {
            let (global, instances) = control::stats(&self.agent)?;
            let of_instance = || instances.first().context("no instance")?.number(name);
            last = Some(global.number(name).or_else(|_| of_instance())?);
            Ok(last == Some(wanted))
        });
        match (counted, last) {
            (Err(error), Some(last)) => mismatch!("{error}; it is {last}"),
            (counted, _) => counted,
        }
    }

    fn since_mark(&self, time: WallTime) -> i64 {
        let (later, earlier) = (time.saturating_since(self.mark), self.mark.saturating_since(time));
        #[expect(clippy::cast_possible_truncation, reason = "a scenario takes seconds")]
        let milliseconds = (millis(later) - millis(earlier)) as i64;
        milliseconds
    }
}
