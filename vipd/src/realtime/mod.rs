//! Real-time scheduling and locked memory for the engine's thread.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};

/// SCHED_FIFO priority of the engine: above every ordinary thread, below the kernel's threaded interrupts (50), which
/// deliver the adverts.
const PRIORITY: i32 = 40;

/// Schedules the calling thread with SCHED_FIFO.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE or a sufficient RLIMIT_RTPRIO.
pub fn schedule_fifo() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: 0 names the calling thread, and the parameters live across the call.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Locks every page of the process in memory once it is touched.
///
/// # Errors
/// `EPERM` or `ENOMEM` without CAP_IPC_LOCK or a sufficient RLIMIT_MEMLOCK.
pub fn lock_memory() -> io::Result<()> {
    // On fault: otherwise the kernel would populate all stacks at once.
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?)
}
