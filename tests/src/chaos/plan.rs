//! The plan of an episode: a segment and rounds of faults, all drawn from a seed.

use std::fmt;
use std::time::Duration;

use super::fault::{Kind, Step};
use super::segment::{Router, Segment};
use crate::random::Random;
use crate::time::millis;

/// Time for the routers to settle after the last step of a round, in addition to two
/// Active_Down_Intervals. Long enough for a process to start, or to retry attaching its BPF
/// programs after a second.
const START: Duration = Duration::from_millis(2500);
/// How long the settled routers are observed.
pub(crate) const OBSERVATION: Duration = Duration::from_millis(400);
/// Percentage of rounds with two faults, among the rounds whose first fault is not a partition.
const PAIRS: usize = 25;

/// The options that, with a seed and a length, determine a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Number of nodes, from 2 to [`super::segment::MAX_NODES`].
    pub nodes: u8,
    /// Number of virtual routers.
    pub routers: usize,
    /// Advertisement interval; `None` to draw it.
    pub interval: Option<Duration>,
    /// Kinds of faults to draw from.
    pub kinds: Vec<Kind>,
}

/// The plan of an episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Seed from which the plan was drawn.
    pub seed: u64,
    /// The nodes and virtual routers.
    pub segment: Segment,
    /// Rounds, in the order in which they are played.
    pub rounds: Vec<Round>,
}

/// One or two faults, after which the routers have time to settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The faults, in the order in which they begin.
    pub faults: Vec<Fault>,
    /// The steps of all faults, in chronological order.
    pub steps: Vec<Step>,
}

/// A fault of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Kind of the fault.
    pub kind: Kind,
    /// Node on which the fault begins. A partition may move other nodes, too, and `remove-address`
    /// affects the node that has the address.
    pub node: u8,
    /// Time from the start of the round to the first step.
    pub at: Duration,
    /// Planned time from the first step to the end of the fault.
    pub length: Duration,
}

impl Plan {
    /// Draws a plan that takes about `length`. A longer plan with the same seed and outline begins
    /// with the same rounds.
    pub fn draw(seed: u64, outline: &Outline, length: Duration) -> Self {
        let mut random = Random::new(seed);
        let segment = match outline.interval {
            None => Segment::draw(outline.nodes, outline.routers, &mut random),
            Some(interval) => Segment::with_interval(outline.nodes, outline.routers, interval, &mut random),
        };
        let settling = quiescence(&segment) + OBSERVATION;
        let mut rounds = Vec::new();
        let mut total = settling;
        while total < length && !outline.kinds.is_empty() {
            let round = Round::draw(&segment, &outline.kinds, &mut random);
            total += round.end() + settling;
            rounds.push(round);
        }
        Self { seed, segment, rounds }
    }
}

/// Returns the time for the routers to settle after the last step of a round.
pub(crate) fn quiescence(segment: &Segment) -> Duration {
    2 * segment.longest_down() + START
}

impl Round {
    fn draw(segment: &Segment, kinds: &[Kind], random: &mut Random) -> Self {
        // The first fault begins after one to two intervals in the settled state.
        let start = random.between(segment.interval, segment.interval * 2);
        let nodes: Vec<_> = segment.nodes().collect();
        let node = random.pick(&nodes);
        let mut round = Self { faults: Vec::new(), steps: Vec::new() };
        let first = round.add(node, start, segment, kinds, random);
        if random.percent(PAIRS) && first.kind != Kind::Partition {
            // The steps of the two faults must not undo each other. The second fault is therefore
            // on another node, and is not a partition, which would move several nodes.
            let others: Vec<_> = nodes.into_iter().filter(|other| *other != node).collect();
            let kinds: Vec<_> = kinds.iter().copied().filter(|kind| *kind != Kind::Partition).collect();
            let start = random.between(start, start + first.length);
            round.add(random.pick(&others), start, segment, &kinds, random);
        }
        round.steps.sort_by_key(|step| step.at);
        round
    }

    fn add(
        &mut self,
        node: u8,
        at: Duration,
        segment: &Segment,
        kinds: &[Kind],
        random: &mut Random,
    ) -> Fault {
        let kind = random.pick(kinds);
        let length = kind.draw_length(segment, random);
        self.steps.extend(kind.draw_steps(node, (at, length), segment, random));
        let fault = Fault { kind, node, at, length };
        self.faults.push(fault);
        fault
    }

    /// Returns the time from the start of the round to the end of its last fault.
    pub fn end(&self) -> Duration {
        self.faults.iter().map(|fault| fault.at + fault.length).max().unwrap_or_default()
    }

    /// Returns the longest gap that the faults may cause between a router's answers.
    pub fn gap(&self, router: &Router) -> Duration {
        if let [fault] = &self.faults[..] {
            return fault.kind.gap(fault.length, router);
        }
        // In the worst case, no node serves the address while either fault lasts, and then the gaps
        // of both faults follow one after the other.
        let start = self.faults.iter().map(|fault| fault.at).min().unwrap_or_default();
        let gaps: Duration = self.faults.iter().map(|fault| fault.kind.gap(fault.length, router)).sum();
        self.end().saturating_sub(start) + gaps + router.longest_down()
    }

    /// Summarizes the faults, for example "kill on node 1 + cut on node 2".
    pub fn label(&self) -> String {
        let one = |fault: &Fault| format!("{} on node {}", fault.kind, fault.node);
        self.faults.iter().map(one).collect::<Vec<_>>().join(" + ")
    }
}

/// Formats the steps, one per line, with their times since the start of the round.
impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Step { at, node, action } in &self.steps {
            writeln!(f, "    {:>7.0} ms  node {node}: {action}", millis(*at))?;
        }
        Ok(())
    }
}

/// Formats the segment and all rounds.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.segment)?;
        for (index, round) in self.rounds.iter().enumerate() {
            write!(f, "  round {}: {}\n{round}", index + 1, round.label())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(nodes: u8) -> Outline {
        Outline { nodes, routers: 3, interval: None, kinds: Kind::ALL.to_vec() }
    }

    #[test]
    fn longer_plan_from_the_same_seed_begins_with_the_same_rounds() {
        let minute = Duration::from_secs(60);
        for seed in 0..50 {
            let plan = Plan::draw(seed, &outline(3), minute);
            assert_eq!(plan, Plan::draw(seed, &outline(3), minute));
            let longer = Plan::draw(seed, &outline(3), 3 * minute);
            assert_eq!(longer.rounds[..plan.rounds.len()], plan.rounds);
            assert!(longer.rounds.len() > plan.rounds.len());
        }
        assert_ne!(Plan::draw(1, &outline(3), minute), Plan::draw(2, &outline(3), minute));
    }

    #[test]
    fn plans_contain_every_kind_and_every_interval() {
        let plans: Vec<_> =
            (0..100).map(|seed| Plan::draw(seed, &outline(4), Duration::from_secs(60))).collect();
        let all = || plans.iter().flat_map(|plan| &plan.rounds).flat_map(|round| &round.faults);
        for kind in Kind::ALL {
            assert!(all().any(|fault| fault.kind == kind), "{kind}");
        }
        for interval in [10, 100, 1000].map(Duration::from_millis) {
            assert!(plans.iter().any(|plan| plan.segment.interval == interval), "{interval:?}");
        }
    }

    #[test]
    fn steps_are_in_order_and_end_with_the_round() {
        for seed in 0..200 {
            for round in Plan::draw(seed, &outline(2), Duration::from_secs(60)).rounds {
                assert!(round.steps.is_sorted_by_key(|step| step.at), "{round}");
                assert!(round.steps.iter().all(|step| step.at <= round.end()), "{round}");
                let nodes: Vec<_> = round.faults.iter().map(|fault| fault.node).collect();
                assert!(nodes.len() == 1 || nodes[0] != nodes[1], "{round}");
            }
        }
    }

    #[test]
    fn two_faults_allow_a_gap_while_either_lasts() {
        let plan = Plan::draw(5, &outline(2), Duration::from_secs(600));
        let pair = plan.rounds.iter().find(|round| round.faults.len() == 2).unwrap();
        let router = &plan.segment.routers[0];
        let alone: Duration = pair.faults.iter().map(|fault| fault.kind.gap(fault.length, router)).sum();
        assert!(pair.gap(router) > alone);
    }
}
