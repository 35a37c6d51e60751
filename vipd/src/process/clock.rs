//! State of the wall clock (`CLOCK_REALTIME`), as reported by the kernel.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Status bit of adjtimex(2): the clock is not synchronized.
pub(crate) const STA_UNSYNC: i32 = libc::STA_UNSYNC;

/// The state of the wall clock (adjtimex(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockState {
    /// The status bits, `STA_…`.
    pub(crate) status: i32,
    /// Whether adjtimex(2) returned `TIME_ERROR`: the clock is not synchronized, has a hardware
    /// fault, or has a bad PPS signal.
    pub(crate) has_error: bool,
    /// Error of the clock, as estimated by the time synchronization daemon.
    pub(crate) estimated_error: Duration,
    /// Upper limit of the error, set by the daemon. Between updates by the daemon, the kernel
    /// raises it by 0.5 ms per second, to at most 16 s.
    pub(crate) maximum_error: Duration,
}

impl ClockState {
    /// Reads the state of the clock. Needs no privilege.
    ///
    /// # Errors
    /// `EPERM` or `ENOSYS` in a sandbox that denies the system call.
    pub(crate) fn read() -> io::Result<Self> {
        // SAFETY: all-zero bytes are a valid `timex`. No mode is set, so the kernel changes
        // nothing.
        let mut timex: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: the kernel writes one `timex`.
        let result = unsafe { libc::adjtimex(&raw mut timex) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let micros = |value: i64| Duration::from_micros(u64::try_from(value).unwrap_or_default());
        Ok(Self {
            status: timex.status,
            has_error: result == libc::TIME_ERROR,
            estimated_error: micros(timex.esterror),
            maximum_error: micros(timex.maxerror),
        })
    }
}

/// Returns the wall clock minus the monotonic clock in nanoseconds. The difference changes only if
/// the wall clock is set, if a leap second steps it, or if the host was suspended. Slewing does not
/// change the difference, because it affects both clocks alike.
pub(crate) fn wall_clock_offset() -> i64 {
    let read = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
    };
    // Uses the reading that took the least time.
    let readings = (0..5).map(|_| {
        let before = read(ClockId::Monotonic);
        let wall = read(ClockId::Realtime);
        (read(ClockId::Monotonic) - before, wall.saturating_sub(before))
    });
    readings.min().map_or(0, |(_, offset)| offset)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn state_is_read_without_privileges() {
        let state = ClockState::read().expect("adjtimex");
        // The kernel's limit (`NTP_PHASE_LIMIT`).
        assert!(state.maximum_error <= Duration::from_secs(16), "{state:?}");
        assert!(state.has_error || state.status & STA_UNSYNC == 0, "{state:?}");
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
    #[test]
    fn denied_system_call_is_an_error() {
        // The filter of the agent's threads denies adjtimex(2).
        let denied = thread::spawn(|| {
            super::super::seccomp::deny_programs().expect("a kernel with seccomp");
            ClockState::read().map_err(|error| error.raw_os_error())
        });
        assert_eq!(denied.join().expect("no panic"), Err(Some(libc::EPERM)));
    }

    #[test]
    fn offset_is_constant_while_the_clock_is_not_set() {
        let before = wall_clock_offset();
        let change = (wall_clock_offset() - before).abs();
        // The readings are not simultaneous, so the offset varies slightly.
        assert!(change < 10_000_000, "{change} ns");
    }
}
