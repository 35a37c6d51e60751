//! Real-time scheduling of threads, and memory locking.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};

use crate::process::policy;

/// SCHED_FIFO priority of the engine, its helper threads and the guardian: above all threads with
/// ordinary scheduling and below the kernel's threaded interrupts (50), which deliver the adverts.
const PRIORITY: libc::c_int = 40;

/// Schedules the calling thread with SCHED_FIFO at priority 40.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE or a sufficient RLIMIT_RTPRIO.
pub fn schedule_fifo() -> io::Result<()> {
    policy::set(libc::SCHED_FIFO, PRIORITY)
}

/// Locks current and future pages of the process in memory, each when it is first accessed.
///
/// # Errors
/// `EPERM` or `ENOMEM` without CAP_IPC_LOCK or a sufficient RLIMIT_MEMLOCK.
pub fn lock_memory() -> io::Result<()> {
    #[cfg(target_env = "gnu")]
    return_freed_memory();
    // Without ONFAULT, the kernel would populate all thread stacks immediately.
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?)
}

/// Returns freed memory to the kernel before the heap is locked, because glibc cannot return locked
/// pages within the heap. Also makes glibc allocate each large block, such as the status of
/// thousands of instances, as a separate mapping, which is returned to the kernel when the block is
/// freed.
#[cfg(target_env = "gnu")]
fn return_freed_memory() {
    /// Minimum size in bytes of a block that gets its own mapping. This is glibc's initial
    /// threshold, which glibc would otherwise raise to the size of the largest mapping freed so
    /// far.
    const LARGE: libc::c_int = 128 << 10;
    // SAFETY: mallopt(3) has no preconditions.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    // SAFETY: malloc_trim(3) has no preconditions.
    unsafe { libc::malloc_trim(0) };
}
