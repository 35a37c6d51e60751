//! Wall-clock time, used for all observations in a lab.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A point in time: nanoseconds of `CLOCK_REALTIME`.
///
/// The kernel timestamps frames and replies with this clock. Log lines and events use the same
/// clock, so that frames, log lines and events can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(u64);

impl WallTime {
    /// Returns the current time.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Realtime);
        Self::from_parts(now.tv_sec, now.tv_nsec)
    }

    /// Converts seconds and nanoseconds since the epoch. Negative values become 0.
    pub fn from_parts(seconds: i64, nanoseconds: i64) -> Self {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        let nanoseconds = u64::try_from(nanoseconds).unwrap_or(0);
        Self(seconds * 1_000_000_000 + nanoseconds)
    }

    /// Returns the nanoseconds since the epoch.
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns this time minus `by`, saturating at the epoch.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns the milliseconds since `earlier`; negative if `earlier` is later.
    pub fn millis_since(self, earlier: Self) -> f64 {
        let nanoseconds = i128::from(self.0) - i128::from(earlier.0);
        #[expect(
            clippy::cast_precision_loss,
            reason = "differences are minutes at most; 2^53 ns is 104 days"
        )]
        let nanoseconds = nanoseconds as f64;
        nanoseconds / 1e6
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for WallTime {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        let nanoseconds = u64::try_from(later.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanoseconds))
    }
}

/// Time of day in UTC with microseconds, as in vipd's log.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000_000;
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{hour:02}:{minute:02}:{second:02}.{:06}", self.0 % 1_000_000_000 / 1000)
    }
}

/// Converts a duration to milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_signed_milliseconds() {
        let early = WallTime::from_parts(10, 999_500_000);
        let late = WallTime::from_parts(11, 1_000_000);
        assert!((late.millis_since(early) - 1.5).abs() < 1e-9);
        assert!((early.millis_since(late) + 1.5).abs() < 1e-9);
        assert_eq!(late.saturating_since(early), Duration::from_micros(1500));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(early + Duration::from_micros(1500), late);
        assert_eq!(late.before(Duration::from_micros(1500)), early);
        assert_eq!(early.before(Duration::from_secs(11)), WallTime::from_parts(0, 0));
    }

    #[test]
    fn times_of_day_have_microseconds() {
        assert_eq!(WallTime::from_parts(86_400 + 3_661, 42_000).to_string(), "01:01:01.000042");
    }
}
