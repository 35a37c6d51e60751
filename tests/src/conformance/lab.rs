//! Plays a scenario with a real program: the router under test is node 2 of a lab, nodes 1 and 3 are impersonated, the
//! client asks for the addresses.
//!
//! Nothing is known of the program but what the switch sees, and vipd's own counters. Times are held against windows
//! that a busy machine does not miss, but a router that does something else does: order is what is tested here, the
//! exact times are tested in virtual time.

mod ask;

use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::heard::{UNDER_TEST, frame};
use super::scenario::Moment;
use super::words::{Heard, RouterWords, Said};
use super::{Program, Scenario, Step, native, said};
use crate::agent::{Agent, AgentKind};
use crate::ask as stats;
use crate::capture::Capture;
use crate::configuration::Family;
use crate::inject::Injector;
use crate::lab::Lab;
use crate::station::Station;
use crate::time::{WallTime, millis};
use crate::wait::try_wait_until;

/// How much earlier than its time something may come: FRR rounds to hundredths of a second.
const EARLY: Duration = Duration::from_millis(50);
/// How much later: more than this, and it is something else that came.
const LATE: Duration = Duration::from_millis(140);
/// How long a program may need from joining the group to hearing: FRR in IPv6 half a second.
const SETTLE: Duration = Duration::from_millis(500);
/// How long a frame may be on its way into the capture.
const IN_CAPTURE: Duration = Duration::from_millis(30);
/// How long something is waited for that may come at any time, besides ten intervals.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an error bears that says what a program did, and not that the lab failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unlike;

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not as the scenario says")
    }
}

/// The line of the scenario at which an error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(pub usize);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.0)
    }
}

/// Ends a step because of what the program did.
macro_rules! unlike {
    ($($words:tt)*) => { return Err(anyhow::anyhow!($($words)*).context($crate::conformance::lab::Unlike)) };
}
use unlike;

/// Plays a scenario to its end.
///
/// # Errors
/// The first step that is not as expected, with its line ([`At`]) and what was seen: it bears [`Unlike`]. Without that it
/// is the lab that failed, or the program that did not live to the end.
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
    // A dead router sends nothing either, and what was not captured was not seen.
    if stage.agent.is_running() && !stage.agent.is_alive()? {
        bail!("{program} has ended by itself: {result:?}");
    }
    stage.capture.stop()?;
    result
}

struct Stage {
    routers: Vec<RouterWords>,
    program: Program,
    agent: Agent,
    capture: Capture,
    /// Raw sockets of nodes 1 and 3.
    lower: Injector,
    higher: Injector,
    client: Injector,
    /// What came until then has been looked at.
    cursor: WallTime,
    /// What times are counted from.
    mark: WallTime,
    /// Dropped last: the agent runs in it.
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
            Step::Hear(heard) => {
                self.move_to(WallTime::now());
                self.hear(heard)
            }
            Step::KeepHearing(heard, length) => self.keep_hearing(heard, *length),
            Step::Expect(said, moment) => self.expect(said, *moment),
            Step::Silence(family, length) => self.silence(*family, *length),
            Step::Address(wanted) => self.address(*wanted),
            Step::Echo(wanted) => self.echo(*wanted),
            Step::Counter(name, wanted) => self.counter(name, *wanted),
        }
    }

    /// Waits until the program hears: vipd says so, the others are given time, of which they have three intervals
    /// before they say anything themselves.
    fn settle(&self) -> Result<()> {
        if self.program == Program::Vipd {
            let patience = Duration::from_secs(5);
            return stats::until(&self.agent, "its start", patience, |status| {
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

    fn router(&self, family: Option<Family>) -> &RouterWords {
        let named = |router: &&RouterWords| family.is_none_or(|family| router.family == family);
        self.routers.iter().find(named).unwrap_or(&self.routers[0])
    }

    fn hear(&self, heard: &Heard) -> Result<()> {
        let frame = frame(heard, self.router(heard.family))?;
        // What seems to come from the router itself has to come in from elsewhere.
        let voice = if heard.from == Station::Node(1) { &self.lower } else { &self.higher };
        voice.send(&frame)
    }

    fn keep_hearing(&mut self, heard: &Heard, length: Duration) -> Result<()> {
        let interval = heard.interval.unwrap_or(self.router(heard.family).interval);
        ensure!(!interval.is_zero(), "an interval of 0 is no pace");
        let start = WallTime::now();
        self.cursor = start;
        let mut due = start;
        loop {
            self.mark = WallTime::now();
            self.hear(heard)?;
            due = due + interval;
            if due > start + length {
                return Ok(());
            }
            thread::sleep(due.saturating_since(WallTime::now()));
        }
    }

    fn expect(&mut self, said: &Said, moment: Moment) -> Result<()> {
        let router = self.router(said.family).clone();
        let (earliest, latest) = match moment {
            // After a start the program may have been faster than its sign that it listens.
            Moment::After(Duration::ZERO) => (self.cursor, self.mark + LATE),
            Moment::After(time) => (self.mark + time.saturating_sub(EARLY), self.mark + time + LATE),
            Moment::Eventually => (self.cursor, WallTime::now() + 10 * router.interval + PATIENCE),
        };
        let what = if said.announcement { "an announcement" } else { "an advert" };
        let found = loop {
            // Looked at the clock before the capture: what was sent in time is seen in the last look.
            let over = WallTime::now() > latest + LATE;
            let found = self.next(&router, said);
            if found.is_some() || over {
                break found;
            }
            thread::sleep(Duration::from_millis(2));
        };
        let Some((time, sent)) = found else {
            unlike!("{what} was expected, and nothing came until {} ms later", self.since_mark(latest));
        };
        let at = self.since_mark(time);
        if time < earliest || time > latest {
            let (earliest, latest) = (self.since_mark(earliest), self.since_mark(latest));
            unlike!("{what} was expected between {earliest} and {latest} ms later, and came after {at} ms");
        }
        said::check(&sent, said, &router).with_context(|| format!("{what} after {at} ms")).context(Unlike)?;
        if said.first && !said.announcement {
            let announced = self.capture.search(self.cursor, |frame| {
                let ours = frame.from == UNDER_TEST && frame.time > self.cursor && frame.time < time;
                (ours && matches!(said::read(frame, &router), Some(said::Sent::Announcement(..))))
                    .then_some(())
            });
            if !announced.is_empty() {
                unlike!("an announcement came before the advert");
            }
        }
        self.move_to(time);
        Ok(())
    }

    /// What came next of this kind.
    fn next(&self, router: &RouterWords, said: &Said) -> Option<(WallTime, said::Sent)> {
        let mut first = None;
        self.capture.search(self.cursor, |frame| {
            if first.is_none() && frame.from == UNDER_TEST && frame.time > self.cursor {
                let sent = said::read(frame, router)?;
                if sent.is_a(said, router) {
                    first = Some((frame.time, sent));
                }
            }
            None::<()>
        });
        first
    }

    fn silence(&mut self, family: Option<Family>, length: Duration) -> Result<()> {
        let end = self.mark + length;
        thread::sleep(end.saturating_since(WallTime::now()) + IN_CAPTURE);
        let router = self.router(family).clone();
        if let Some((time, sent)) = self.next(&router, &Said::default())
            && time <= end
        {
            unlike!("no advert was expected, and one came {} ms later: {sent:?}", self.since_mark(time));
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
            let (global, instances) = stats::stats(&self.agent)?;
            let of_instance = || instances.first().context("there is no instance")?.number(name);
            last = Some(global.number(name).or_else(|_| of_instance())?);
            Ok(last == Some(wanted))
        });
        match (counted, last) {
            (Err(error), Some(last)) => unlike!("{error}: it is {last}"),
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
