//! Detects when the wall clock is set.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};

/// A timer of `CLOCK_REALTIME` that the kernel cancels when the clock is set
/// (`TFD_TIMER_CANCEL_ON_SET`, timerfd_create(2)). Slewing by a time daemon does not count as
/// setting the clock.
#[derive(Debug)]
pub(crate) struct ClockWatch(OwnedFd);

impl ClockWatch {
    /// Starts the timer.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` if no file descriptor is available.
    pub(crate) fn start() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Never expires.
        let never =
            Itimerspec { it_interval: zero, it_value: Timespec { tv_sec: i64::MAX >> 1, tv_nsec: 0 } };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &never)?;
        Ok(Self(timer))
    }

    /// Makes the descriptor unreadable until the clock is set again.
    pub(crate) fn acknowledge(&self) {
        // Fails with ECANCELED if the clock has been set, and otherwise with EAGAIN.
        let _ = rustix::io::read(&self.0, &mut [0; size_of::<u64>()]);
    }
}

/// The descriptor becomes readable when the clock is set.
impl AsFd for ClockWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
