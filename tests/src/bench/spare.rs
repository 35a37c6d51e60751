//! What all that happens on a machine takes of its processors, interrupts included.
//!
//! The kernel's own account of that (`/proc/stat`) looks at what runs a few hundred times a second, and short work between
//! two looks is not seen or counted double. Here, each processor has a thread that nothing else yields to (SCHED_IDLE)
//! and that does nothing but read the clock. When two readings lie apart, somebody else had the processor meanwhile: an
//! interrupt, a program, or the hypervisor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::percentile;

/// Readings this far apart had somebody between them: a reading takes a tenth of it, an interrupt several times it.
const GAP: Duration = Duration::from_nanos(400);
/// The time is looked at in slices of this length, and the first quartile counts: who comes in between, and is no part of
/// the work, does not.
const SLICE: Duration = Duration::from_millis(50);

/// Runs `work`, which should be even, and says how much of the processors was not to be had meanwhile: 1 is one of them.
///
/// # Errors
/// Those of `work`, when it is shorter than a few slices, or when the kernel refuses a thread its place.
pub fn taken_by<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let allowed = sched_getaffinity(None).context("asking which processors there are")?;
    let processors = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor));
    let (stop, begin) = (AtomicBool::new(false), Instant::now());
    thread::scope(|scope| {
        let stop = &stop;
        let soakers: Vec<_> =
            processors.map(|processor| scope.spawn(move || soak(processor, begin, stop))).collect();
        let result = work();
        stop.store(true, Ordering::Relaxed);
        let slices =
            soakers.into_iter().map(|soaker| soaker.join().map_err(|_| anyhow!("a soaker panicked"))?);
        let taken = quiet(&slices.collect::<Result<Vec<_>>>()?);
        Ok((result?, taken.context("the work was too short to be measured")?))
    })
}

/// Reads the clock until told to stop; what was between readings, by slices of time.
fn soak(processor: usize, begin: Instant, stop: &AtomicBool) -> Result<Vec<Duration>> {
    let mut place = CpuSet::new();
    place.set(processor);
    sched_setaffinity(None, &place).with_context(|| format!("staying on processor {processor}"))?;
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the parameter, and 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("SCHED_IDLE");
    }
    let (mut slices, mut last) = (Vec::new(), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now - last > GAP {
            share_out(&mut slices, last - begin, now - begin);
        }
        last = now;
    }
    Ok(slices)
}

/// Gives each slice its part of the time between two readings.
fn share_out(slices: &mut Vec<Duration>, mut from: Duration, to: Duration) {
    while from < to {
        let slice = usize::try_from(from.as_nanos() / SLICE.as_nanos()).expect("a run has few slices");
        let end = SLICE * u32::try_from(slice + 1).expect("a run has few slices");
        let next = to.min(end);
        slices.resize(slices.len().max(slice + 1), Duration::ZERO);
        slices[slice] += next.saturating_sub(from);
        from = next;
    }
}

/// The first quartile of the slices, all processors together, as a share of one. The first slice and the last are not whole.
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
    fn who_works_takes_time() {
        let ((), taken) = taken_by(|| {
            // Longer than the soakers take to begin.
            let start = Instant::now();
            while start.elapsed() < SLICE * 6 {}
            Ok(())
        })
        .unwrap();
        assert!(taken > 0.0);
        assert!(taken_by(|| -> Result<()> { Err(anyhow!("work that fails")) }).is_err());
    }

    #[test]
    fn a_quiet_slice_counts() {
        let millis = |all: &[u64]| all.iter().map(|one| Duration::from_millis(*one)).collect::<Vec<_>>();
        let one = millis(&[50, 10, 45, 10, 10, 50]);
        let taken = quiet(&[one, millis(&[0, 5, 5, 5])]).unwrap();
        assert!((taken - 0.2).abs() < 1e-9, "{taken}");
        assert_eq!(quiet(&[millis(&[50, 50])]), None);
        assert_eq!(quiet(&[]), None);
    }

    #[test]
    fn a_long_absence_is_in_all_its_slices() {
        let mut slices = Vec::new();
        share_out(&mut slices, SLICE / 2, SLICE * 2 + SLICE / 5);
        share_out(&mut slices, SLICE * 2 + SLICE / 2, SLICE * 3);
        assert_eq!(slices, [SLICE / 2, SLICE, SLICE / 5 + SLICE / 2]);
    }
}
