//! Measures the CPU time used on the whole machine, including interrupts.
//!
//! `/proc/stat` is based on a few hundred samples per second, which miss or overstate short
//! bursts of work. Instead, a SCHED_IDLE thread on each CPU continuously reads the clock. A gap
//! between two readings is time used by an interrupt, another program or the hypervisor.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::figure::percentile;

/// Gaps between readings that are shorter than this are not counted. A reading takes a tenth of
/// this time; an interrupt takes several times as long.
const GAP: Duration = Duration::from_nanos(400);
/// Time is divided into slices of this length. The result is the first quartile of the slices,
/// which excludes occasional unrelated work.
const SLICE: Duration = Duration::from_millis(50);

/// Runs `work`, which should load the machine evenly. Returns its result and the CPU time that the
/// whole machine used during the work, as a multiple of one CPU.
///
/// # Errors
/// Returns the error from `work`, or an error if `work` is shorter than a few slices, the CPU
/// affinity cannot be read, or a thread cannot be pinned to its CPU or set to SCHED_IDLE.
pub(crate) fn taken_by<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let allowed = sched_getaffinity(None).context("reading the CPU affinity")?;
    let processors: Vec<_> = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect();
    let (stop, started) = (AtomicBool::new(false), Barrier::new(processors.len() + 1));
    thread::scope(|scope| {
        let (stop, started) = (&stop, &started);
        let idlers: Vec<_> = processors
            .into_iter()
            .map(|processor| scope.spawn(move || idle(processor, started, stop)))
            .collect();
        started.wait();
        let result = work();
        stop.store(true, Ordering::Relaxed);
        let slices =
            idlers.into_iter().map(|idler| idler.join().map_err(|_| anyhow!("an idle thread panicked"))?);
        let taken = quiet(&slices.collect::<Result<Vec<_>>>()?);
        Ok((result?, taken.context("the work was too short to be measured")?))
    })
}

/// Reads the clock from the time that all threads have `started` until `stop` is set, and returns
/// the time lost between readings, by slice.
fn idle(processor: usize, started: &Barrier, stop: &AtomicBool) -> Result<Vec<Duration>> {
    let mut place = CpuSet::new();
    place.set(processor);
    let pinned = sched_setaffinity(None, &place);
    started.wait();
    let begin = Instant::now();
    pinned.with_context(|| format!("pinning a thread to CPU {processor}"))?;
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel only reads the parameter; 0 refers to the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("setting SCHED_IDLE");
    }
    let (mut slices, mut last) = (Vec::new(), begin);
    loop {
        // A thread that was never scheduled during the work has a single long gap.
        let is_over = stop.load(Ordering::Relaxed);
        let now = Instant::now();
        if now - last > GAP {
            distribute(&mut slices, last - begin, now - begin);
        }
        if is_over {
            return Ok(slices);
        }
        last = now;
    }
}

/// Adds the time between two readings to the slices it falls into.
fn distribute(slices: &mut Vec<Duration>, mut from: Duration, to: Duration) {
    while from < to {
        let slice = usize::try_from(from.as_nanos() / SLICE.as_nanos()).expect("a run has few slices");
        let end = SLICE * u32::try_from(slice + 1).expect("a run has few slices");
        let next = to.min(end);
        slices.resize(slices.len().max(slice + 1), Duration::ZERO);
        slices[slice] += next.saturating_sub(from);
        from = next;
    }
}

/// Sums each slice over all CPUs, and returns the first quartile as a multiple of one CPU. Ignores
/// the first and the last slice, which are incomplete.
fn quiet(processors: &[Vec<Duration>]) -> Option<f64> {
    let whole = 1..processors.iter().map(Vec::len).max()?.checked_sub(1)?;
    let sum = |slice: usize| -> Duration { processors.iter().filter_map(|taken| taken.get(slice)).sum() };
    let shares: Vec<_> = whole.map(|slice| sum(slice).as_secs_f64() / SLICE.as_secs_f64()).collect();
    percentile(&shares, 0.25)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_thread_takes_cpu_time() {
        let ((), taken) = taken_by(|| {
            let start = Instant::now();
            while start.elapsed() < SLICE * 6 {}
            Ok(())
        })
        .unwrap();
        assert!(taken > 0.0);
        assert!(taken_by(|| -> Result<()> { Err(anyhow!("failing work")) }).is_err());
    }

    #[test]
    fn result_is_the_first_quartile_of_slices() {
        let millis = |all: &[u64]| all.iter().map(|one| Duration::from_millis(*one)).collect::<Vec<_>>();
        let one = millis(&[50, 10, 45, 10, 10, 50]);
        let taken = quiet(&[one, millis(&[0, 5, 5, 5])]).unwrap();
        assert!((taken - 0.2).abs() < 1e-9, "{taken}");
        assert_eq!(quiet(&[millis(&[50, 50])]), None);
        assert_eq!(quiet(&[]), None);
    }

    #[test]
    fn long_gap_is_distributed_over_its_slices() {
        let mut slices = Vec::new();
        distribute(&mut slices, SLICE / 2, SLICE * 2 + SLICE / 5);
        distribute(&mut slices, SLICE * 2 + SLICE / 2, SLICE * 3);
        assert_eq!(slices, [SLICE / 2, SLICE, SLICE / 5 + SLICE / 2]);
    }
}
