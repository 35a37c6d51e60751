//! Invariant: a fault that keeps the masters causes no transition: no other node sends an advert,
//! and no master sends priority 0.

use super::ownership::Ownership;
use super::{Invariant, Violation};
use crate::chaos::observation::{Meaning, Observation};
use crate::chaos::plan::Round;
use crate::chaos::segment::Segment;
use crate::chaos::stall::Stalls;
use crate::station::Station;
use crate::time::WallTime;

/// The masters of a round.
#[derive(Debug)]
pub(super) struct Transitions<'a> {
    segment: &'a Segment,
    /// Whether the invariant applies: no fault of the round may change a master.
    applies: bool,
    /// For each router, the last master that was observed in this round, and the time of its last
    /// advert.
    masters: Vec<Option<(u8, WallTime)>>,
}

impl<'a> Transitions<'a> {
    pub(super) fn new(segment: &'a Segment, round: Option<&Round>) -> Self {
        let applies = round.is_some_and(|round| round.faults.iter().all(|fault| fault.kind.keeps_masters()));
        Self { segment, applies, masters: vec![None; segment.routers.len()] }
    }

    /// Handles a frame. If the machine was stalled for more than an interval, a master may change.
    pub(super) fn observe(
        &mut self,
        observation: &Observation,
        ownership: &Ownership,
        stalls: &Stalls,
    ) -> Option<Violation> {
        let Observation { time, router, .. } = *observation;
        let (true, true, Meaning::Advert { node, priority }, Station::Node(_)) =
            (self.applies, observation.sent, observation.meaning, observation.port)
        else {
            return None;
        };
        let owner = ownership.owner(router, time).map(|owner| (owner, time));
        let master = self.masters[router].get_or_insert(owner.unwrap_or((node, time)));
        let (known, last) = *master;
        if known == node && priority > 0 {
            master.1 = time;
            return None;
        }
        // One violation for each transition.
        *master = (node, time);
        if stalls.within(last, time) > self.segment.routers[router].interval {
            return None;
        }
        let text = format!(
            "node {node} advertised with priority {priority}, although no fault ended the mastership of node {known}"
        );
        Some(Violation { invariant: Invariant::Transition, router, time, text })
    }
}
