//! Plays the plan of an episode in a new lab and judges each round.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::arena::{Arena, Outcome};
use super::attacker::Attacker;
use super::clients::Clients;
use super::fault::{Kind, Step};
use super::genuine::Attack;
use super::judge::{Bounds, Change, Event, Judge, Mark, Observed, Verdict, Violation};
use super::observation::Interpreter;
use super::plan::{OBSERVATION, Plan, Round, quiescence};
use super::stall::{Stalls, Witness};
use super::subject::Subject;
use super::timeline;
use super::wire::{Record, Wire};
use crate::time::WallTime;

/// Maximum delay until a captured frame reaches the capture's thread.
const LATENCY: Duration = Duration::from_millis(100);

/// A round that has been played and judged.
#[derive(Debug)]
pub struct Played {
    /// Number of the round, from 1; 0 for the start of the episode.
    pub number: usize,
    /// The judge's verdict.
    pub verdict: Verdict,
    /// Actions that could not be carried out, with the reasons.
    pub skipped: Vec<String>,
    /// A timeline for each violation.
    pub timelines: Vec<Vec<String>>,
    /// Frames of this and the previous round, if there are violations.
    pub records: Vec<Record>,
    /// How long the machine was stalled during the round.
    pub stalled: Duration,
    /// The forged and replayed adverts that have reached nodes.
    pub attack: Attack,
    /// The last log lines of all agents, if there are violations.
    pub logs: String,
}

/// A running episode.
#[derive(Debug)]
pub struct Episode<'a> {
    plan: &'a Plan,
    subject: &'a Subject,
    interpreter: Interpreter,
    judge: Judge,
    /// Frames of the previous round.
    before: Vec<Record>,
    next: usize,
    // Fields are dropped in this order: the clients, attacker, capture and witness before the lab.
    _clients: Clients,
    _attacker: Option<Attacker>,
    wire: Wire,
    witness: Witness,
    arena: Arena,
}

impl<'a> Episode<'a> {
    /// Creates the lab and starts the agents and the clients.
    ///
    /// # Errors
    /// Returns an error if the lab cannot be created or an agent does not start.
    pub fn start(plan: &'a Plan, subject: &'a Subject, bounds: Bounds) -> Result<Self> {
        let mut arena = Arena::open(plan, subject)?;
        let witness = Witness::start()?;
        let (wire, learned) = Wire::start(arena.lab.switch(), &plan.segment)?;
        for node in plan.segment.nodes() {
            arena.start(node)?;
        }
        let clients = Clients::start(&arena.lab, &plan.segment, learned)?;
        let attacker = subject.is_attacked.then(|| Attacker::start(&arena.lab, plan.seed)).transpose()?;
        let interpreter =
            if subject.is_attacked { Interpreter::with_attacker } else { Interpreter::new }(&plan.segment);
        Ok(Self {
            plan,
            subject,
            interpreter,
            judge: Judge::new(&plan.segment, bounds),
            before: Vec::new(),
            next: 0,
            _clients: clients,
            _attacker: attacker,
            wire,
            witness,
            arena,
        })
    }

    /// Plays and judges the next round, or returns `None` after the last one. The first call judges
    /// the start of the episode, without faults. Skips rounds with faults that do not apply to the
    /// agent.
    ///
    /// # Errors
    /// Returns an error with the agents' logs if an action fails or an agent exits unexpectedly,
    /// and an error without logs if frames were not captured.
    pub fn play_next(&mut self) -> Result<Option<Played>> {
        let plan = self.plan;
        loop {
            let number = self.next;
            let round = number.checked_sub(1).map(|index| plan.rounds.get(index));
            let round = match round {
                None => None,
                Some(None) => return Ok(None),
                Some(Some(round)) => Some(round),
            };
            self.next += 1;
            let applies =
                |round: &Round| round.faults.iter().all(|fault| fault.kind.applies_to(&self.subject.agent));
            if round.is_none_or(applies) {
                return self.play(number, round).with_context(|| format!("round {number}")).map(Some);
            }
        }
    }

    fn play(&mut self, number: usize, round: Option<&Round>) -> Result<Played> {
        let (start, began) = (Instant::now(), WallTime::now());
        let (mut skipped, mut notes) = (Vec::new(), Vec::new());
        for step in round.iter().flat_map(|round| &round.steps) {
            sleep_until(start + step.at);
            self.strike(round, step);
            notes.push((WallTime::now(), format!("node {}: {}", step.node, step.action)));
            if let Outcome::Skipped(reason) = self.arena.act(step.node, step.action)? {
                skipped.push(format!("node {}: {}: {reason}", step.node, step.action));
            }
        }
        std::thread::sleep(quiescence(&self.plan.segment));
        let from = WallTime::now();
        // Sleeps for a period rather than until a deadline. If this thread were woken late, a
        // deadline would leave too short a time to observe.
        std::thread::sleep(OBSERVATION);
        let to = WallTime::now();
        std::thread::sleep(LATENCY);
        let records = self.wire.take(to)?;
        self.arena.ensure_all_run()?;
        let stalls = self.witness.stalls();
        let events = self.events(&records);
        let verdict =
            self.judge.judge(round, &Observed { events: &events, settled: (from, to), stalls: &stalls });
        Ok(self.report((number, verdict), (events, records), (&stalls, began, to), skipped, &notes))
    }

    /// Records the start of each fault that begins with this step.
    fn strike(&mut self, round: Option<&Round>, step: &Step) {
        let faults = round.iter().flat_map(|round| round.faults.iter().enumerate());
        // Partitions are not recorded: they begin on several nodes, and require no takeover.
        let begins = |kind: Kind, node: u8, at: Duration| {
            kind != Kind::Partition && node == step.node && at == step.at
        };
        let struck: Vec<_> = faults
            .filter(|(_, fault)| begins(fault.kind, fault.node, fault.at))
            .map(|(fault, _)| fault)
            .collect();
        for fault in struck {
            self.arena.mark(Change::Struck { fault });
        }
    }

    /// Merges frames and changes in chronological order.
    fn events(&mut self, records: &[Record]) -> Vec<Event> {
        let observations =
            records.iter().filter_map(|record| self.interpreter.read(record)).map(Event::Observation);
        let mut events: Vec<_> = observations.collect();
        let marks: Vec<Mark> = self.arena.take_marks();
        events.extend(marks.into_iter().map(Event::Mark));
        events.sort_by_key(Event::time);
        events
    }

    fn report(
        &mut self,
        (number, verdict): (usize, Verdict),
        (events, records): (Vec<Event>, Vec<Record>),
        (stalls, began, to): (&Stalls, WallTime, WallTime),
        skipped: Vec<String>,
        notes: &[(WallTime, String)],
    ) -> Played {
        let around = |violation| timeline::around(violation, &self.plan.segment, &events, notes);
        let timelines: Vec<_> = verdict.violations.iter().map(around).collect();
        let is_violated = !verdict.violations.is_empty();
        let before = std::mem::replace(&mut self.before, records);
        let shown = if is_violated { [before, self.before.clone()].concat() } else { Vec::new() };
        Played {
            number,
            skipped,
            timelines,
            records: shown,
            stalled: stalls.within(began, to),
            attack: self.interpreter.take_attack(),
            logs: if is_violated { self.arena.logs() } else { String::new() },
            verdict,
        }
    }
}

impl Played {
    /// Describes each violation, with the seed, a timeline, the agents' logs and the plan.
    pub fn describe(&self, plan: &Plan) -> String {
        let mut lines = Vec::new();
        for (violation, timeline) in self.verdict.violations.iter().zip(&self.timelines) {
            let Violation { invariant, router, time, text } = violation;
            let (router, seed, round) = (&plan.segment.routers[*router], plan.seed, self.number);
            lines.push(format!("{invariant}: {text}"));
            lines.push(format!("  seed {seed}, round {round}, at {time}, {router}"));
            lines.push("  timeline in milliseconds:".to_owned());
            lines.extend(timeline.iter().map(|line| format!("  {line}")));
        }
        format!("{}\nthe agents' last log lines:\n{}the plan:\n{plan}", lines.join("\n"), self.logs)
    }
}

fn sleep_until(time: Instant) {
    std::thread::sleep(time.saturating_duration_since(Instant::now()));
}
