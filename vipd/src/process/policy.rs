//! The scheduling policy of the calling thread.
//!
//! Makes the system calls directly. POSIX defines the C functions for processes, but the system
//! calls of Linux act on threads, so musl's functions always fail with `ENOSYS`.

use std::io;

/// The calling thread.
const SELF: libc::pid_t = 0;

/// Returns the policy, without `SCHED_RESET_ON_FORK`.
///
/// # Errors
/// Returns the kernel's error, which is not expected for the calling thread.
pub(crate) fn get() -> io::Result<libc::c_int> {
    // SAFETY: takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_sched_getscheduler, SELF) };
    let policy = libc::c_int::try_from(result).map_err(|_| io::ErrorKind::InvalidData)?;
    if policy < 0 { Err(io::Error::last_os_error()) } else { Ok(policy & !libc::SCHED_RESET_ON_FORK) }
}

/// Sets the policy and the priority.
///
/// # Errors
/// `EPERM` if the thread lacks CAP_SYS_NICE and one of the following applies: the new policy is
/// real-time and RLIMIT_RTPRIO is too low, or the present policy is `SCHED_IDLE` and RLIMIT_NICE is
/// too low.
pub(crate) fn set(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    // The kernel's `struct sched_param` has one field.
    // SAFETY: the pointer is valid during the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, SELF, policy, &raw const priority) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
