//! Invariant: no gap between answers to the clients is longer than the protocol allows for the
//! faults of the round.

use std::time::Duration;

use super::{Invariant, Violation};
use crate::chaos::observation::{Meaning, Observation, Question};
use crate::chaos::stall::Stalls;
use crate::station::Station;
use crate::time::{WallTime, millis};

/// The kinds of answers: to ARP or ND, and to pings to the learned MAC.
const SERIES: [&str; 2] = ["ARP or ND", "ping"];

/// The last answers of each router, kept from round to round, and the figures of the round.
#[derive(Debug)]
pub(super) struct Gaps {
    /// Time of the last answer, by router, then by series.
    last: Vec<[Option<WallTime>; 2]>,
    longest: Duration,
    answers: u64,
}

impl Gaps {
    pub(super) fn new(routers: usize) -> Self {
        Self { last: vec![[None; 2]; routers], longest: Duration::ZERO, answers: 0 }
    }

    /// Handles a frame. `allowed` returns the longest gap that a router may have, or `None` if any
    /// gap is allowed.
    pub(super) fn observe(
        &mut self,
        observation: &Observation,
        allowed: &impl Fn(usize) -> Option<Duration>,
        stalls: &Stalls,
    ) -> Option<Violation> {
        let series = match observation.meaning {
            Meaning::Answer(Question::Neighbor(_)) => 0,
            Meaning::Answer(Question::Echo(_)) => 1,
            _ => return None,
        };
        if observation.sent || observation.port != Station::Client {
            return None;
        }
        self.answers += 1;
        let before = self.last[observation.router][series].replace(observation.time);
        self.check(before, (observation.router, series), observation.time, allowed, stalls)
    }

    /// Checks the gaps that are still open at the end of a round.
    pub(super) fn finish(
        &mut self,
        end: WallTime,
        allowed: &impl Fn(usize) -> Option<Duration>,
        stalls: &Stalls,
    ) -> Vec<Violation> {
        let all = (0..self.last.len()).flat_map(|router| [(router, 0), (router, 1)]);
        all.filter_map(|(router, series)| {
            self.check(self.last[router][series], (router, series), end, allowed, stalls)
        })
        .collect()
    }

    /// Returns the longest gap and the number of answers, and resets both.
    pub(super) fn take_figures(&mut self) -> (Duration, u64) {
        (std::mem::take(&mut self.longest), std::mem::take(&mut self.answers))
    }

    fn check(
        &mut self,
        from: Option<WallTime>,
        (router, series): (usize, usize),
        to: WallTime,
        allowed: &impl Fn(usize) -> Option<Duration>,
        stalls: &Stalls,
    ) -> Option<Violation> {
        let (from, allowed) = (from?, allowed(router)?);
        let gap = to.saturating_since(from);
        self.longest = self.longest.max(gap);
        if gap <= allowed + stalls.within(from, to) {
            return None;
        }
        let (gap, allowed, series) = (millis(gap), millis(allowed), SERIES[series]);
        let text = format!("no answer to {series} for {gap:.0} ms; the faults allow {allowed:.0} ms");
        Some(Violation { invariant: Invariant::Gap, router, time: to, text })
    }
}
