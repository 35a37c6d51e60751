//! Simulates worlds in parallel until enough takeovers have occurred.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::world::Tally;
use crate::{Defect, Violation, run};

/// The combined results of all worlds.
#[derive(Default)]
pub struct Summary {
    /// Number of worlds.
    pub worlds: u64,
    /// Total number of routers.
    pub routers: u64,
    /// Total virtual time, in nanoseconds.
    pub passed: u128,
    /// Counts of events in all worlds.
    pub tally: Tally,
    /// The violation with the lowest seed.
    pub violation: Option<Violation>,
}

/// Runs worlds with consecutive seeds, starting with `first`, until at least `takeovers` takeovers
/// have occurred or a world violates an invariant. Calls `progress` with the number of takeovers so
/// far.
pub fn run_all(first: u64, takeovers: u64, threads: usize, progress: impl Fn(u64) + Sync) -> Summary {
    let seed = AtomicU64::new(first);
    let total = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let outcome = run(seed.fetch_add(1, Ordering::Relaxed), Defect::None, false);
                    let more = outcome.tally.takeovers();
                    let so_far = total.fetch_add(more, Ordering::Relaxed) + more;
                    if so_far >= takeovers || outcome.violation.is_some() {
                        over.store(true, Ordering::Relaxed);
                    }
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.add(outcome);
                    progress(so_far);
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Summary {
    /// Adds the outcome of a world.
    pub fn add(&mut self, outcome: crate::Outcome) {
        self.worlds += 1;
        self.routers += u64::try_from(outcome.routers).unwrap_or(u64::MAX);
        self.passed += u128::from(outcome.passed);
        self.tally.adverts += outcome.tally.adverts;
        self.tally.inputs += outcome.tally.inputs;
        self.tally.rests += outcome.tally.rests;
        for (reason, count) in outcome.tally.takeovers {
            *self.tally.takeovers.entry(reason).or_default() += count;
        }
        let lower = |other: &Violation| self.violation.as_ref().is_none_or(|known| other.seed < known.seed);
        if let Some(violation) = outcome.violation.filter(lower) {
            self.violation = Some(violation);
        }
    }
}
