//! Whole rounds with synthetic events: takeovers, transitions, gaps and the settled state.

use std::time::Duration;

use super::*;
use crate::chaos::fault::Kind;
use crate::chaos::observation::{Meaning, Question};
use crate::chaos::plan::Fault;
use crate::random::Random;
use crate::station::Station;

const INTERVAL: Duration = Duration::from_millis(100);

fn at(millis: i64) -> WallTime {
    WallTime::from_parts(1, millis * 1_000_000)
}

/// Two nodes and one router whose master is node 1.
fn segment() -> Segment {
    let mut segment = Segment::with_interval(2, 1, INTERVAL, &mut Random::new(1));
    segment.routers[0].priorities = vec![220, 170];
    segment
}

fn round(kind: Kind) -> Round {
    let fault = Fault { kind, node: 1, at: Duration::ZERO, length: Duration::from_secs(1) };
    Round { faults: vec![fault], steps: Vec::new() }
}

/// The events of an episode.
struct Script(Vec<Event>);

impl Script {
    /// Creates a script in which both agents run.
    fn new() -> Self {
        let running =
            |node| Event::Mark(Mark { time: at(0), change: Change::Process(node, Activity::Running) });
        Self(vec![running(1), running(2)])
    }

    fn mark(&mut self, millis: i64, change: Change) {
        self.0.push(Event::Mark(Mark { time: at(millis), change }));
    }

    fn observation(&mut self, millis: i64, port: Station, sent: bool, meaning: Meaning) {
        self.0.push(Event::Observation(Observation { time: at(millis), port, sent, router: 0, meaning }));
    }

    /// Adds adverts from a node that reach the other node.
    fn adverts(&mut self, node: u8, times: impl Iterator<Item = i64>) {
        let priority = if node == 1 { 220 } else { 170 };
        for time in times {
            self.observation(time, Station::Node(node), true, Meaning::Advert { node, priority });
            self.observation(time, Station::Node(3 - node), false, Meaning::Advert { node, priority });
        }
    }

    /// Adds two questions every 10 ms, and a node's answers to them.
    fn answers(&mut self, node: u8, times: std::ops::Range<i64>) {
        for (number, time) in times.step_by(10).enumerate() {
            let number = u16::try_from(number).unwrap();
            for question in [Question::Neighbor(number % 32), Question::Echo(number)] {
                self.observation(time, Station::Node(node), false, Meaning::Request(question));
                self.observation(time, Station::Node(node), true, Meaning::Answer(question));
                self.observation(time, Station::Client, false, Meaning::Answer(question));
            }
        }
    }

    fn judge(self, kind: Kind, bounds: Bounds, end: i64) -> Verdict {
        self.judge_with(kind, bounds, end, &Stalls::default())
    }

    fn judge_with(mut self, kind: Kind, bounds: Bounds, end: i64, stalls: &Stalls) -> Verdict {
        self.0.sort_by_key(Event::time);
        let observed = Observed { events: &self.0, settled: (at(end - 400), at(end)), stalls };
        Judge::new(&segment(), bounds).judge(Some(&round(kind)), &observed)
    }
}

/// A master that is killed at 1 s, and a backup that takes over at `takeover`.
fn killed(takeover: i64) -> Script {
    let mut script = Script::new();
    script.adverts(1, (0..1000).step_by(100));
    script.answers(1, 0..takeover);
    script.mark(1000, Change::Struck { fault: 0 });
    script.mark(1000, Change::Process(1, Activity::Dead));
    script.adverts(2, (takeover..5000).step_by(100));
    script.answers(2, takeover..5000);
    script
}

/// A master that sends adverts, but does not answer for `millis` milliseconds from 1 s on.
fn silent(millis: i64) -> Script {
    let mut script = Script::new();
    script.adverts(1, (0..5000).step_by(100));
    script.answers(1, 0..1000);
    script.answers(1, 1000 + millis..5000);
    script
}

/// Bounds for agents without a guardian.
fn unguarded() -> Bounds {
    Bounds { guardian: false, ..Bounds::default() }
}

fn invariants(verdict: &Verdict) -> Vec<Invariant> {
    verdict.violations.iter().map(|violation| violation.invariant).collect()
}

#[test]
fn takeover_in_time_is_no_violation() {
    let verdict = killed(1300).judge(Kind::Kill, unguarded(), 5000);
    assert_eq!(verdict.violations, []);
    assert_eq!(verdict.longest_takeover, Some(Duration::from_millis(300)));
    assert!(verdict.longest_gap <= Duration::from_millis(10), "{:?}", verdict.longest_gap);
    assert_eq!(verdict.unlawful, 0);
}

#[test]
fn transition_without_a_fault_that_allows_it_is_a_violation() {
    let mut takeover = Script::new();
    takeover.adverts(1, (0..1000).step_by(100));
    takeover.answers(1, 0..1000);
    takeover.adverts(2, (1000..5000).step_by(100));
    takeover.answers(2, 1000..5000);
    let verdict = takeover.judge(Kind::Calm, unguarded(), 5000);
    assert!(invariants(&verdict).contains(&Invariant::Transition), "{verdict:?}");

    let mut resignation = silent(0);
    resignation.observation(1050, Station::Node(1), true, Meaning::Advert { node: 1, priority: 0 });
    let verdict = resignation.judge(Kind::Calm, unguarded(), 5000);
    assert!(invariants(&verdict).contains(&Invariant::Transition), "{verdict:?}");

    assert_eq!(invariants(&silent(0).judge(Kind::Calm, unguarded(), 5000)), []);
}

#[test]
fn late_takeover_is_a_violation() {
    let verdict = killed(2200).judge(Kind::Kill, unguarded(), 5000);
    assert_eq!(invariants(&verdict), [Invariant::Takeover]);
    assert!(verdict.violations[0].text.contains("1200 ms"), "{verdict:?}");
}

#[test]
fn guardian_that_sends_priority_0_too_late_is_a_violation() {
    let bounds = Bounds { margin: Duration::from_millis(200), ..Bounds::default() };
    let judged = |takeover, priority_zero: Option<i64>| {
        let mut script = killed(takeover);
        if let Some(time) = priority_zero {
            script.observation(time, Station::Node(1), true, Meaning::Advert { node: 1, priority: 0 });
            script.observation(time, Station::Node(2), false, Meaning::Advert { node: 1, priority: 0 });
        }
        script.judge(Kind::Kill, bounds, 5000)
    };
    assert_eq!(judged(1100, Some(1001)).violations, []);
    let late = judged(1300, Some(1200));
    assert_eq!(invariants(&late), [Invariant::Takeover; 2], "priority 0 and the takeover are late");
    assert!(late.violations[0].text.contains("sent its first priority-0 advert after 200 ms"), "{late:?}");
    // The backup takes over in time, but the missing priority-0 advert of the guardian is a
    // violation.
    let silent = judged(1210, None);
    assert_eq!(invariants(&silent), [Invariant::Takeover]);
    assert!(silent.violations[0].text.contains("sent no priority-0 advert"), "{silent:?}");
    let verdict = killed(1300).judge(Kind::KillAll, bounds, 5000);
    assert_eq!(verdict.violations, [], "kill-all kills the guardian, too");
}

#[test]
fn missing_takeover_is_a_violation() {
    let mut script = Script::new();
    script.adverts(1, (0..1000).step_by(100));
    script.answers(1, 0..5000);
    script.mark(1000, Change::Struck { fault: 0 });
    script.mark(1000, Change::Process(1, Activity::Dead));
    let verdict = script.judge(Kind::Kill, unguarded(), 5000);
    assert_eq!(invariants(&verdict), [Invariant::Takeover]);
}

#[test]
fn master_that_survives_the_fault_needs_no_takeover() {
    let mut script = Script::new();
    script.adverts(1, (0..5000).step_by(100));
    script.answers(1, 0..5000);
    script.mark(1000, Change::Struck { fault: 0 });
    let verdict = script.judge(Kind::Cut, Bounds::default(), 5000);
    assert_eq!(verdict.violations, []);
}

#[test]
fn gap_is_judged_by_the_bound_of_its_fault() {
    let verdict = silent(700).judge(Kind::KillAll, Bounds::default(), 5000);
    assert_eq!(verdict.violations, [], "within Active_Down_Interval and the margin");
    let verdict = silent(900).judge(Kind::KillAll, Bounds::default(), 5000);
    assert_eq!(invariants(&verdict), [Invariant::Gap, Invariant::Gap], "ARP or ND, and ping");
    let verdict = silent(700).judge(Kind::Reload, Bounds::default(), 5000);
    assert_eq!(invariants(&verdict), [Invariant::Gap, Invariant::Gap], "a reload interrupts nothing");
}

#[test]
fn stall_of_the_machine_extends_the_bounds() {
    let stalls = Stalls::new(vec![(at(1000), at(1650))]);
    let verdict = silent(700).judge_with(Kind::Reload, Bounds::default(), 5000, &stalls);
    assert_eq!(verdict.violations, []);
}

#[test]
fn permanent_outage_violates_gap_and_settled() {
    let mut script = Script::new();
    script.adverts(1, (0..1000).step_by(100));
    script.answers(1, 0..1000);
    let verdict = script.judge(Kind::KillAll, Bounds::default(), 5000);
    assert_eq!(invariants(&verdict), [Invariant::Gap, Invariant::Gap, Invariant::Settled]);
}

#[test]
fn two_owners_at_rest_are_a_violation() {
    let mut script = Script::new();
    script.adverts(1, (0..5000).step_by(100));
    script.answers(1, 0..5000);
    script.answers(2, 4700..4800);
    let verdict = script.judge(Kind::Reload, Bounds::default(), 4900);
    assert_eq!(invariants(&verdict), [Invariant::Ownership, Invariant::Settled]);
}
