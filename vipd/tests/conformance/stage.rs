//! Plays a scenario in virtual time.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vipd::vrrp::{Input, Policy};
use vipd_common::Timestamp;
use vipd_tests::configuration::Family;
use vipd_tests::conformance::heard::{UNDER_TEST, frame};
use vipd_tests::conformance::lab::At;
use vipd_tests::conformance::said::{self, Sent};
use vipd_tests::conformance::scenario::Moment;
use vipd_tests::conformance::words::{Heard, RouterWords, Said};
use vipd_tests::conformance::{Scenario, Step};
use vipd_tests::frame::Frame;
use vipd_tests::time::WallTime;

use crate::node::Node;
use crate::receive::{Counts, receive};

/// Rounding of the numbers in scenarios, nanoseconds.
const EXACT: u64 = 1_000;

/// Plays a scenario to its end, with these departures from the RFC.
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
    /// All frames sent, and when.
    sent: Vec<(Timestamp, Vec<u8>)>,
    /// Number of frames that were matched or skipped.
    cursor: usize,
    /// Times in the scenario count from here.
    mark: Timestamp,
    counts: Counts,
}

impl Stage {
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Router(_) => {}
            Step::Start => {
                self.look_from_here();
                for node in 0..self.nodes.len() {
                    let primary = self.nodes[node].primary();
                    self.give(node, Input::PrimaryAddress(primary));
                }
            }
            Step::Stop => {
                self.look_from_here();
                (0..self.nodes.len()).for_each(|node| self.give(node, Input::Shutdown));
            }
            Step::Hear(heard) => {
                self.look_from_here();
                self.hear(heard)?;
            }
            Step::KeepHearing(heard, length) => self.keep_hearing(heard, nanos(*length))?,
            Step::Expect(said, moment) => self.expect(said, *moment)?,
            Step::Silence(family, length) => {
                let end = self.mark + nanos(*length);
                self.run(end, |_| false);
                if let Some((index, _)) = self.next(&self.words(*family), &Said::default()) {
                    let after = self.sent[index].0.nanos_since(self.mark) / 1_000_000;
                    bail!("no advert was expected, and one came after {after} ms");
                }
                self.mark = end;
            }
            Step::Address(wanted) => {
                let held = self.nodes[0].has_addresses;
                ensure!(held == *wanted, "the address is {}there", if held { "" } else { "not " });
            }
            Step::Echo(_) => bail!("an echo is asked for in the lab only"),
            Step::Counter(name, wanted) => {
                let found = self.count(name);
                ensure!(found == *wanted, "{name} is {found}, not {wanted}");
            }
        }
        Ok(())
    }

    fn look_from_here(&mut self) {
        self.cursor = self.sent.len();
        self.mark = self.now;
    }

    fn give(&mut self, node: usize, input: Input) {
        let frames = self.nodes[node].give(self.now, input);
        self.sent.extend(frames.into_iter().map(|frame| (self.now, frame)));
    }

    fn words(&self, family: Option<Family>) -> RouterWords {
        let named = |node: &&Node| family.is_none_or(|family| node.words.family == family);
        self.nodes.iter().find(named).unwrap_or(&self.nodes[0]).words.clone()
    }

    fn hear(&mut self, heard: &Heard) -> Result<()> {
        let frame = frame(heard, &self.words(heard.family))?;
        for node in 0..self.nodes.len() {
            let words = &self.nodes[node].words;
            if let Some(received) = receive(&frame, words, self.now, &mut self.counts) {
                self.give(node, Input::Advert(received));
            }
        }
        Ok(())
    }

    fn keep_hearing(&mut self, heard: &Heard, length: u64) -> Result<()> {
        let interval = nanos(heard.interval.unwrap_or(self.words(heard.family).interval));
        self.look_from_here();
        let end = self.now + length;
        loop {
            self.mark = self.now;
            self.hear(heard)?;
            if self.now + interval > end {
                return Ok(());
            }
            self.run(self.now + interval, |_| false);
        }
    }

    /// Lets time pass to `end`, or until `enough` returns true.
    fn run(&mut self, end: Timestamp, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            let timeouts = self.nodes.iter().enumerate();
            let next = timeouts.filter_map(|(node, one)| Some((one.router.next_timeout()?, node))).min();
            match next {
                Some((at, node)) if at <= end => {
                    self.now = self.now.max(at);
                    self.give(node, Input::Timeout);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
    }

    fn expect(&mut self, said: &Said, moment: Moment) -> Result<()> {
        let words = self.words(said.family);
        let what = if said.announcement { "an announcement" } else { "an advert" };
        let (earliest, latest) = match moment {
            Moment::After(time) => (self.mark + nanos(time), self.mark + nanos(time) + EXACT),
            Moment::Eventually => (Timestamp::ZERO, self.now + 10 * nanos(words.interval) + 5_000_000_000),
        };
        self.run(latest, |stage| stage.next(&words, said).is_some());
        let Some((index, sent)) = self.next(&words, said) else {
            bail!("{what} was expected, and nothing came");
        };
        let at = self.sent[index].0;
        let (found, wanted) = (at.nanos_since(self.mark), latest.nanos_since(self.mark));
        ensure!(
            at + EXACT >= earliest && at <= latest,
            "{what} was expected after {wanted} ns at the latest, and came after {found} ns"
        );
        said::check(&sent, said, &words)?;
        if said.first {
            let before = self.sent[self.cursor..index].iter();
            let mut before = before.filter_map(|(_, bytes)| said::read(&seen(bytes), &words));
            ensure!(!before.any(|sent| matches!(sent, Sent::Announcement(..))), "an announcement came first");
        }
        self.cursor = index + 1;
        self.mark = at;
        Ok(())
    }

    /// The next frame of this kind, and its index.
    fn next(&self, words: &RouterWords, said: &Said) -> Option<(usize, Sent)> {
        (self.cursor..self.sent.len()).find_map(|index| {
            let sent = said::read(&seen(&self.sent[index].1), words)?;
            sent.is_a(said, words).then_some((index, sent))
        })
    }

    fn count(&self, name: &str) -> u64 {
        let counters = self.nodes[0].router.snapshot().counters;
        match name {
            "interval-errors" => counters.interval_errors,
            "address-list-errors" => counters.address_list_errors,
            _ => self.counts.get(name).copied().unwrap_or(0),
        }
    }
}

/// The frame as a capture in the lab has it.
fn seen(bytes: &[u8]) -> Frame {
    Frame { time: WallTime::now(), from: UNDER_TEST, bytes: bytes.to_vec() }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a scenario takes seconds")
}
