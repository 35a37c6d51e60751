//! Reads the CPU time of processes and threads.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Returns the CPU time used by all threads of a process and its descendants, from
/// `/proc/PID/task/TID/schedstat`. The time includes the kernel's work on behalf of these threads,
/// which is most of the cost of sending a packet.
///
/// # Errors
/// Returns an error if the process has exited, or if a descendant exits during the call.
pub(crate) fn of_process(id: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    let tasks = fs::read_dir(format!("/proc/{id}/task"))
        .with_context(|| format!("listing the threads of process {id}"))?;
    for task in tasks {
        let task = task?.path();
        // The thread may have exited in the meantime.
        let Ok(text) = fs::read_to_string(task.join("schedstat")) else { continue };
        let nanos = text.split_whitespace().next().and_then(|number| number.parse().ok());
        total += Duration::from_nanos(nanos.with_context(|| format!("{}: {text:?}", task.display()))?);
        let children = fs::read_to_string(task.join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|number| number.parse().ok()) {
            total += of_process(child)?;
        }
    }
    Ok(total)
}

/// Returns the CPU time that the calling thread has used.
pub(crate) fn of_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process;
    use std::time::Instant;

    #[test]
    fn busy_process_accumulates_cpu_time() {
        let before = of_process(process::id()).unwrap();
        let start = Instant::now();
        while of_process(process::id()).unwrap() < before + Duration::from_millis(20) {
            assert!(start.elapsed() < Duration::from_secs(30));
        }
    }
}
