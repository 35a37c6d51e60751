//! What all that happens on a machine takes of its processors, interrupts included.
//!
//! The kernel's own account of that (`/proc/stat`) looks at what runs a few hundred times a second, and short work between
//! two looks is not seen or counted double. Here, each processor has a thread that nothing else yields to (SCHED_IDLE)
//! and that does nothing but read the clock. When two readings lie apart, somebody else had the processor meanwhile: an
//! interrupt, a program, or the hypervisor. What is there when nobody works has to be subtracted by the caller.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Readings this far apart had somebody between them: a reading takes a tenth of it, an interrupt several times it.
const GAP: Duration = Duration::from_nanos(400);

/// Runs `work` and says how long all processors together were not to be had meanwhile.
///
/// # Errors
/// Those of `work`, or when the kernel refuses a thread its place.
pub fn taken_by<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let allowed = sched_getaffinity(None).context("asking which processors there are")?;
    let processors = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let soakers: Vec<_> =
            processors.map(|processor| scope.spawn(move || soak(processor, stop))).collect();
        let result = work();
        stop.store(true, Ordering::Relaxed);
        let mut taken = Duration::ZERO;
        for soaker in soakers {
            taken += soaker.join().map_err(|_| anyhow!("a soaker panicked"))??;
        }
        Ok((result?, taken))
    })
}

/// Reads the clock until told to stop; the sum of what was between readings.
fn soak(processor: usize, stop: &AtomicBool) -> Result<Duration> {
    let mut place = CpuSet::new();
    place.set(processor);
    sched_setaffinity(None, &place).with_context(|| format!("staying on processor {processor}"))?;
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the parameter, and 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("SCHED_IDLE");
    }
    let (mut taken, mut last) = (Duration::ZERO, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let between = now - last;
        if between > GAP {
            taken += between;
        }
        last = now;
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_takes_time() {
        let ((), taken) = taken_by(|| {
            // Longer than the soakers take to begin.
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(100) {}
            Ok(())
        })
        .unwrap();
        assert!(taken > Duration::ZERO);
        assert!(taken_by(|| -> Result<()> { Err(anyhow!("work that fails")) }).is_err());
    }
}
