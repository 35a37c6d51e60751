//! Real-time priorities and CPU affinity of the lab's own threads, and CPU affinity of an agent
//! that is starved.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// SCHED_FIFO priority of the clients, the relays, the capture and the stall detector: above
/// [`HOG`], so that the hog does not starve their threads.
pub(crate) const WITNESS: i32 = 60;
/// SCHED_FIFO priority of the thread that starves an agent: above the agent's engine.
const HOG: i32 = 50;

/// Returns the CPUs that this process may run on.
pub(crate) fn cpus() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("reading the CPU affinity")?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Restricts the calling thread to one CPU.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    Ok(sched_setaffinity(None, &only(&[cpu]))?)
}

/// Schedules the calling thread with SCHED_FIFO and this priority.
pub(crate) fn real_time(priority: i32) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel reads the structure, which outlives the call.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Restricts all threads of these processes to these CPUs. Threads that have ended are skipped.
pub(crate) fn restrict(processes: &[u32], cpus: &[usize]) -> Result<()> {
    let set = only(cpus);
    for process in processes {
        let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
        for task in tasks.filter_map(Result::ok) {
            let id = task.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(id) = id.and_then(Pid::from_raw) else { continue };
            match sched_setaffinity(Some(id), &set) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error).context("restricting a thread to CPUs"),
            }
        }
    }
    Ok(())
}

/// A thread that keeps a CPU busy, so that threads of lower priority do not run there. The thread
/// stops when the `Hog` is dropped.
#[derive(Debug)]
pub(crate) struct Hog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hog {
    /// Starts the thread. The thread also stops after `longest`, so that it cannot hang the
    /// machine.
    ///
    /// # Errors
    /// Returns an error without CAP_SYS_NICE, or if the thread cannot be created or moved to the
    /// CPU.
    pub(crate) fn start(cpu: usize, longest: Duration) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (ready, started) = mpsc::sync_channel(1);
        let busy = move || {
            // Cannot fail: the receiver waits below.
            let _ = ready.send(pin(cpu).and_then(|()| real_time(HOG)));
            let start = Instant::now();
            while !stopped.load(Ordering::Relaxed) && start.elapsed() < longest {
                std::hint::spin_loop();
            }
        };
        let thread = thread::Builder::new().name("hog".to_owned()).spawn(busy).context("starting the hog")?;
        let hog = Self { stop, thread: Some(thread) };
        started.recv().context("the hog panicked")?.context("keeping a CPU busy (needs CAP_SYS_NICE)")?;
        Ok(hog)
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread does not panic.
            let _ = thread.join();
        }
    }
}

fn only(cpus: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    set
}
