//! Invariant: after all faults have ended and the routers have settled, exactly one node answers
//! for each address.

use std::collections::BTreeSet;

use super::{Invariant, Violation};
use crate::chaos::observation::{Meaning, Observation};
use crate::station::Station;
use crate::time::WallTime;

/// The nodes that answer after `since`.
#[derive(Debug)]
pub(super) struct Settled {
    since: WallTime,
    /// Nodes that have answered, by router.
    answering: Vec<BTreeSet<u8>>,
}

impl Settled {
    pub(super) fn new(routers: usize, since: WallTime) -> Self {
        Self { since, answering: vec![BTreeSet::new(); routers] }
    }

    pub(super) fn observe(&mut self, observation: &Observation) {
        let Station::Node(node) = observation.port else { return };
        if observation.sent
            && observation.time >= self.since
            && matches!(observation.meaning, Meaning::Answer(_))
        {
            self.answering[observation.router].insert(node);
        }
    }

    pub(super) fn finish(self, end: WallTime) -> impl Iterator<Item = Violation> {
        let wrong = self.answering.into_iter().enumerate().filter(|(_, nodes)| nodes.len() != 1);
        wrong.map(move |(router, nodes)| {
            let nodes: Vec<_> = nodes.iter().map(u8::to_string).collect();
            let found = match &nodes[..] {
                [] => "no node answers".to_owned(),
                nodes => format!("nodes {} answer", nodes.join(" and ")),
            };
            let text = format!("{found} after all faults have ended; expected one");
            Violation { invariant: Invariant::Settled, router, time: end, text }
        })
    }
}
