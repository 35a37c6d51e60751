//! Clocks of hosts. Each clock starts at a different time, and runs up to 1 % too fast or too slow.

use vipd_common::Timestamp;

/// Maximum drift of a clock, in millionths.
pub(crate) const MAX_DRIFT: i64 = 10_000;
const MILLION: i64 = 1_000_000;

/// Converts true time, in nanoseconds, to a host's local time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Reading of the clock at true time 0, in nanoseconds.
    start: u64,
    /// Drift in millionths; positive if the clock runs fast.
    gain: i64,
}

impl Clock {
    pub(crate) fn new(start: u64, gain: i64) -> Self {
        assert!(gain.abs() <= MAX_DRIFT, "the drift exceeds 1 %");
        Self { start, gain }
    }

    /// Returns the reading of the clock at true time `now`.
    pub(crate) fn shows(self, now: u64) -> Timestamp {
        Timestamp::from_nanos(self.start + scale(now, MILLION + self.gain))
    }

    /// Returns the first true time at which the clock shows `local` or later: 0 if the clock is
    /// already past `local` at true time 0.
    pub(crate) fn when(self, local: Timestamp) -> u64 {
        let passed = u128::from(local.as_nanos().saturating_sub(self.start));
        let rate = u128::try_from(MILLION + self.gain).expect("a clock runs forward");
        let true_time = (passed * 1_000_000).div_ceil(rate);
        u64::try_from(true_time).expect("a simulation ends before the clock overflows")
    }
}

/// Returns an upper bound for the true duration of a timer of `nanos` nanoseconds, whatever the
/// drift of its clock.
pub(crate) fn longest(nanos: u64) -> u64 {
    scale(nanos, MILLION + MAX_DRIFT + MAX_DRIFT / 50)
}

fn scale(nanos: u64, millionths: i64) -> u64 {
    let millionths = u128::try_from(millionths).expect("a clock runs forward");
    u64::try_from(u128::from(nanos) * millionths / 1_000_000)
        .expect("a simulation ends before the clock overflows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_returns_the_first_true_time_of_a_reading() {
        for gain in [-MAX_DRIFT, -1, 0, 7, MAX_DRIFT] {
            let clock = Clock::new(5_000_000_000, gain);
            for local in [5_000_000_001, 5_000_000_999, 6_123_456_789, 900_000_000_000] {
                let when = clock.when(Timestamp::from_nanos(local));
                assert!(clock.shows(when).as_nanos() >= local, "gain {gain}, {local}");
                assert!(clock.shows(when - 1).as_nanos() < local, "gain {gain}, {local}");
            }
        }
    }
}
