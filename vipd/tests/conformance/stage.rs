//! Runs a scenario in virtual time.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vipd::vrrp::{Input, Policy};
use vipd_common::Timestamp;
use vipd_tests::configuration::Family;
use vipd_tests::conformance::received::{UNDER_TEST, frame};
use vipd_tests::conformance::scenario::Moment;
use vipd_tests::conformance::sent::{self, Sent};
use vipd_tests::conformance::stage::At;
use vipd_tests::conformance::syntax::{ExpectedFrame, ReceivedAdvert, RouterSpec};
use vipd_tests::conformance::{Scenario, Step};
use vipd_tests::frame::Frame;
use vipd_tests::time::WallTime;

use crate::node::Node;
use crate::receive::{Counts, receive};

/// Tolerance in nanoseconds for the rounded times in scenarios.
const EXACT: u64 = 1_000;

/// Runs a scenario with this policy.
pub(crate) fn play(scenario: &Scenario, policy: Policy) -> Result<()> {
    let nodes = scenario.routers().map(|words| Node::new(words, &scenario.vipd_lines, policy)).collect();
    let start = Timestamp::from_nanos(1_000_000_000_000);
    let mut stage =
        Stage { nodes, now: start, sent: Vec::new(), cursor: 0, mark: start, counts: Counts::new() };
    let mut lines = scenario.lines.iter();
    lines.try_for_each(|line| stage.step(&line.step).context(At(line.number)))
}

struct Stage {
    nodes: Vec<Node>,
    now: Timestamp,
    /// All frames sent so far, with the times at which they were sent.
    sent: Vec<(Timestamp, Vec<u8>)>,
    /// Number of frames already matched or skipped.
    cursor: usize,
    /// Time to which relative times in the scenario refer.
    mark: Timestamp,
    counts: Counts,
}

impl Stage {
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Router(_) => {}
            Step::Start => {
                self.set_mark();
                for node in 0..self.nodes.len() {
                    let primary = self.nodes[node].primary();
                    self.handle(node, Input::PrimaryAddress(primary));
                }
            }
            Step::Stop => {
                self.set_mark();
                (0..self.nodes.len()).for_each(|node| self.handle(node, Input::Shutdown));
            }
            Step::Receive(received) => {
                self.set_mark();
                self.receive(received)?;
            }
            Step::ReceiveAgain => bail!("adverts are received again only in the lab"),
            Step::KeepReceiving(received, length) => self.keep_receiving(received, nanos(*length))?,
            Step::Expect(expected, moment) => self.expect(expected, *moment)?,
            Step::Silence(family, length) => {
                let end = self.mark + nanos(*length);
                self.run(end, |_| false);
                if let Some((index, _)) = self.next(&self.words(*family), &ExpectedFrame::default()) {
                    let after = self.sent[index].0.nanos_since(self.mark) / 1_000_000;
                    bail!("expected no advert, but one was sent after {after} ms");
                }
                self.mark = end;
            }
            Step::Address(wanted) => {
                let present = self.nodes[0].has_addresses;
                ensure!(present == *wanted, "the VIP is {}", if present { "present" } else { "missing" });
            }
            Step::Echo(_) => bail!("echo is supported only in the lab"),
            Step::Counter(name, wanted) => {
                let found = self.counter(name);
                ensure!(found == *wanted, "{name} is {found}, not {wanted}");
            }
        }
        Ok(())
    }

    fn set_mark(&mut self) {
        self.cursor = self.sent.len();
        self.mark = self.now;
    }

    fn handle(&mut self, node: usize, input: Input) {
        let frames = self.nodes[node].handle(self.now, input);
        self.sent.extend(frames.into_iter().map(|frame| (self.now, frame)));
    }

    fn words(&self, family: Option<Family>) -> RouterSpec {
        let named = |node: &&Node| family.is_none_or(|family| node.words.family == family);
        self.nodes.iter().find(named).unwrap_or(&self.nodes[0]).words.clone()
    }

    fn receive(&mut self, received: &ReceivedAdvert) -> Result<()> {
        let frame = frame(received, &self.words(received.family))?;
        for node in 0..self.nodes.len() {
            let words = &self.nodes[node].words;
            if let Some(received) = receive(&frame, words, self.now, &mut self.counts) {
                self.handle(node, Input::Advert(received));
            }
        }
        Ok(())
    }

    fn keep_receiving(&mut self, received: &ReceivedAdvert, length: u64) -> Result<()> {
        let interval = nanos(received.interval.unwrap_or(self.words(received.family).interval));
        self.set_mark();
        let end = self.now + length;
        loop {
            self.mark = self.now;
            self.receive(received)?;
            if self.now + interval > end {
                return Ok(());
            }
            self.run(self.now + interval, |_| false);
        }
    }

    /// Advances time until `enough` returns true, at most to `end`.
    fn run(&mut self, end: Timestamp, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            let timeouts = self.nodes.iter().enumerate();
            let next = timeouts.filter_map(|(node, one)| Some((one.router.next_timeout()?, node))).min();
            match next {
                Some((at, node)) if at <= end => {
                    self.now = self.now.max(at);
                    self.handle(node, Input::Timeout);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
    }

    fn expect(&mut self, expected: &ExpectedFrame, moment: Moment) -> Result<()> {
        let words = self.words(expected.family);
        let what = if expected.announcement { "an announcement" } else { "an advert" };
        let (earliest, latest) = match moment {
            Moment::After(time) => (self.mark + nanos(time), self.mark + nanos(time) + EXACT),
            Moment::Eventually => (Timestamp::ZERO, self.now + 10 * nanos(words.interval) + 5_000_000_000),
        };
        self.run(latest, |stage| stage.next(&words, expected).is_some());
        let Some((index, sent)) = self.next(&words, expected) else {
            bail!("expected {what}, but none was sent");
        };
        let at = self.sent[index].0;
        let (found, wanted) = (at.nanos_since(self.mark), latest.nanos_since(self.mark));
        ensure!(
            at + EXACT >= earliest && at <= latest,
            "expected {what} after about {wanted} ns, but it was sent after {found} ns"
        );
        sent::check(&sent, expected, &words)?;
        if expected.first {
            let before = self.sent[self.cursor..index].iter();
            let mut before = before.filter_map(|(_, bytes)| sent::read(&captured(bytes), &words));
            ensure!(
                !before.any(|sent| matches!(sent, Sent::Announcement(..))),
                "an announcement was sent first"
            );
        }
        self.cursor = index + 1;
        self.mark = at;
        Ok(())
    }

    /// Returns the next matching frame and its index.
    fn next(&self, words: &RouterSpec, expected: &ExpectedFrame) -> Option<(usize, Sent)> {
        (self.cursor..self.sent.len()).find_map(|index| {
            let sent = sent::read(&captured(&self.sent[index].1), words)?;
            sent.matches(expected, words).then_some((index, sent))
        })
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.nodes[0].router.snapshot().counters;
        match name {
            "interval-errors" => counters.interval_errors,
            "address-list-errors" => counters.address_list_errors,
            _ => self.counts.get(name).copied().unwrap_or(0),
        }
    }
}

/// Wraps a frame as if it had been captured from the router under test.
fn captured(bytes: &[u8]) -> Frame {
    Frame { time: WallTime::now(), from: UNDER_TEST, bytes: bytes.to_vec() }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a duration of seconds")
}
