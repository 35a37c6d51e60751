//! Periods in which the machine, or one of its CPUs, was stalled, for example because the
//! hypervisor did not schedule the virtual machine. The judge adds these periods to its bounds.
//!
//! A witness thread on each CPU, with a real-time priority above those of the agents, wakes up
//! every 2 ms and records each wake-up that is more than 1 ms late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use super::scheduling;
use crate::time::WallTime;

/// Interval of the wake-ups.
const PERIOD: Duration = Duration::from_millis(2);
/// A wake-up that is late by more than this counts as a stall.
const LATE: Duration = Duration::from_millis(1);

/// Periods in which the machine was stalled, sorted and without overlaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stalls(Vec<(WallTime, WallTime)>);

impl Stalls {
    /// Sorts the periods and merges overlapping ones.
    pub fn new(mut periods: Vec<(WallTime, WallTime)>) -> Self {
        periods.sort_unstable();
        let mut merged: Vec<(WallTime, WallTime)> = Vec::new();
        for (from, to) in periods {
            match merged.last_mut() {
                Some((_, end)) if from <= *end => *end = (*end).max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// Returns how long the machine was stalled between `from` and `to`.
    pub fn within(&self, from: WallTime, to: WallTime) -> Duration {
        // The periods are sorted and do not overlap, so their ends are sorted, too.
        let first = self.0.partition_point(|(_, end)| *end <= from);
        let overlapping = self.0[first..].iter().take_while(|(start, _)| *start < to);
        overlapping.map(|(start, end)| (*end).min(to).saturating_since((*start).max(from))).sum()
    }

    /// Returns the total length of all periods.
    pub fn total(&self) -> Duration {
        self.0.iter().map(|(from, to)| to.saturating_since(*from)).sum()
    }
}

/// The witness threads. They stop when the `Witness` is dropped.
#[derive(Debug)]
pub(crate) struct Witness {
    periods: Arc<Mutex<Vec<(WallTime, WallTime)>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Witness {
    /// Starts a thread on each CPU that this process may run on.
    pub(crate) fn start() -> Result<Self> {
        let mut witness = Self { periods: Arc::default(), stop: Arc::default(), threads: Vec::new() };
        for cpu in scheduling::cpus()? {
            let (periods, stop) = (Arc::clone(&witness.periods), Arc::clone(&witness.stop));
            let thread = thread::Builder::new().name(format!("witness {cpu}")).spawn(move || {
                // If these calls fail, e.g. without CAP_SYS_NICE, load on the machine counts as a
                // stall, too.
                let _ = scheduling::pin(cpu);
                let _ = scheduling::real_time(scheduling::WITNESS);
                watch(&periods, &stop);
            });
            witness.threads.push(thread.context("starting a witness thread")?);
        }
        Ok(witness)
    }

    /// Returns the stalls recorded so far.
    pub(crate) fn stalls(&self) -> Stalls {
        Stalls::new(self.periods.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn watch(periods: &Mutex<Vec<(WallTime, WallTime)>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let due = WallTime::now() + PERIOD;
        thread::sleep(PERIOD);
        let now = WallTime::now();
        if now.saturating_since(due) > LATE {
            periods.lock().unwrap_or_else(PoisonError::into_inner).push((due, now));
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // The threads do not panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> WallTime {
        WallTime::from_parts(1, millis * 1_000_000)
    }

    #[test]
    fn stalls_on_several_cpus_count_once() {
        let stalls = Stalls::new(vec![(at(50), at(70)), (at(10), at(20)), (at(15), at(30))]);
        assert_eq!(stalls.total(), Duration::from_millis(40));
        assert_eq!(stalls.within(at(0), at(25)), Duration::from_millis(15));
        assert_eq!(stalls.within(at(20), at(60)), Duration::from_millis(20));
        assert_eq!(stalls.within(at(30), at(50)), Duration::ZERO);
        assert_eq!(stalls.within(at(80), at(60)), Duration::ZERO);
    }
}
