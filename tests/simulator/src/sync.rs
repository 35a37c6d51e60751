//! Simulates sync groups: two or three nodes on several segments, each of which can be cut between
//! any two nodes in either direction.
//!
//! ```text
//!   node 0 ──┬── segment 0 ──┬── node 1      a router on each segment, all in one sync group
//!            ├── segment 1 ──┤               (or, on a node without a group, independent routers)
//!            └── segment 2 ──┘
//! ```
//!
//! These invariants are checked:
//!
//! 1. After each input and its consequences, all members of a group are masters or none is.
//! 2. Once no adverts are lost at random and the cuts and faults no longer change, transitions end
//!    within the settling time.
//! 3. Once all segments are connected and no node is drained, one node is master on all segments,
//!    if all routers of each node are in one group.
//!
//! In worlds whose groups change at random moments, these are also checked:
//!
//! 4. No router becomes master because of a group change while it receives adverts from a master
//!    that outranks it.
//! 5. A group change causes no transition in a group of only masters or only backups, and no
//!    transition of a router that leaves its group without joining another.
//! 6. While all segments are connected, masters of different priorities coexist only until the next
//!    advert and its answer have arrived.

mod checks;
mod regroup;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use world::World;

/// The outcome of a simulation.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Number of transitions.
    pub transitions: u64,
    /// The first violation.
    pub violation: Option<String>,
    /// The events, if they were requested.
    pub events: Vec<String>,
}

/// The kind of a world: which of its nodes have a sync group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// All nodes have the sync group.
    Grouped,
    /// The last node runs independent routers with their own priorities.
    OneWithoutGroup,
    /// The groups of all nodes change at random moments.
    Regrouped,
}

impl Nodes {
    /// Returns the kind with this number: 0, 1 or 2.
    fn of(number: u64) -> Self {
        match number {
            0 => Self::Grouped,
            1 => Self::OneWithoutGroup,
            _ => Self::Regrouped,
        }
    }
}

/// The rule of sync groups that is left out, to check that the invariants detect the defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// All rules apply.
    Nothing,
    /// A member becomes master without regard to the masters that other members follow.
    Waiting,
    /// Each member yields to a master with equal priority and a higher address.
    Contest,
    /// A router that joins a group is treated like a member whose state has changed.
    Joining,
}

/// The combined results of many worlds.
#[derive(Debug, Default)]
pub struct Summary {
    /// Number of worlds.
    pub worlds: u64,
    /// Number of transitions in all worlds.
    pub transitions: u64,
    /// The violation with the lowest seed, with the last events that led to it.
    pub violation: Option<(u64, String)>,
}

/// Runs `count` worlds of each kind in parallel, starting with seed `first`.
pub fn run_all(first: u64, count: u64, threads: usize) -> Summary {
    let next = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (seed, kind) = (first + number / 3, Nodes::of(number % 3));
                    if number >= 3 * count {
                        break;
                    }
                    let outcome = run(seed, kind, LeftOut::Nothing, false);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.worlds += 1;
                    summary.transitions += outcome.transitions;
                    let is_lowest = summary.violation.as_ref().is_none_or(|(known, _)| seed < *known);
                    if let Some(violation) = outcome.violation.filter(|_| is_lowest) {
                        summary.violation = Some((seed, explain(seed, kind, &violation)));
                    }
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a world again, and returns its violation with the last events.
fn explain(seed: u64, kind: Nodes, violation: &str) -> String {
    let events = run(seed, kind, LeftOut::Nothing, true).events;
    let last = &events[events.len().saturating_sub(60)..];
    format!("{}\nseed {seed}, {kind:?}: {violation}", last.join("\n"))
}

/// Runs a world. Records all events if `verbose` is set.
pub fn run(seed: u64, nodes: Nodes, left_out: LeftOut, verbose: bool) -> Outcome {
    let mut world = World::new(seed, nodes, left_out, verbose);
    // Reloads of all nodes double the duration of a round.
    let rounds = if nodes == Nodes::Regrouped { 2 } else { 4 };
    for _ in 0..rounds {
        world.disturb();
        // End the losses, but not the cuts.
        world.loss = 0;
        world.expect_rest("with cuts");
        world.heal();
        world.expect_rest("without cuts");
        if nodes == Nodes::Regrouped {
            world.reload_all();
        }
        world.expect_one_master();
    }
    world.outcome
}
