//! What processes have used of the processors.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Time on a processor of a process, its threads and its children, since they began: `/proc/PID/task/TID/schedstat`, the first
/// number, nanoseconds. It has what the kernel did in their name, and that is most of what a packet costs its sender.
///
/// # Errors
/// When the process is gone.
pub fn of_process(id: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    let tasks = fs::read_dir(format!("/proc/{id}/task")).with_context(|| format!("process {id}"))?;
    for task in tasks {
        let task = task?.path();
        // A thread may end meanwhile.
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

/// Time that all processors have not been idle since the machine began: `/proc/stat`, in hundredths of a second.
///
/// # Errors
/// When the kernel says something else.
pub fn of_machine() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let numbers = text.lines().next().context("/proc/stat is empty")?.split_whitespace().skip(1);
    let numbers: Vec<u64> = numbers.map(str::parse).collect::<Result<_, _>>().context("/proc/stat")?;
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user already.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|index| numbers.get(*index)).sum();
    Ok(Duration::from_millis(10 * busy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process;
    use std::time::Instant;

    #[test]
    fn who_works_has_used_time() {
        let before = of_process(process::id()).unwrap();
        let start = Instant::now();
        while of_process(process::id()).unwrap() < before + Duration::from_millis(20) {
            assert!(start.elapsed() < Duration::from_secs(30));
        }
        assert!(of_machine().unwrap() > Duration::ZERO);
    }
}
