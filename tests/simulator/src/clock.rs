//! A host's clock. Every host's clock begins at a different time and runs up to 1 % too fast or too
//! slow.

use vipd_common::Timestamp;

/// The largest drift of a clock, millionths.
pub(crate) const WORST: i64 = 10_000;
const MILLION: i64 = 1_000_000;

/// Converts true time, nanoseconds, to a host's own time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Reading of the clock at true time 0, nanoseconds.
    began: u64,
    /// Millionths that it gains.
    gain: i64,
}

impl Clock {
    pub(crate) fn new(began: u64, gain: i64) -> Self {
        assert!(gain.abs() <= WORST, "a clock that is worse than 1 %");
        Self { began, gain }
    }

    /// Returns the reading of the clock at true time `now`.
    pub(crate) fn shows(self, now: u64) -> Timestamp {
        Timestamp::from_nanos(self.began + scale(now, MILLION + self.gain))
    }

    /// Returns the first true time at which the clock shows `local`; 0 if it shows more from the
    /// start.
    pub(crate) fn when(self, local: Timestamp) -> u64 {
        let passed = u128::from(local.as_nanos().saturating_sub(self.began));
        let rate = u128::try_from(MILLION + self.gain).expect("a clock runs forwards");
        let true_time = (passed * 1_000_000).div_ceil(rate);
        u64::try_from(true_time).expect("a simulation ends before the time does")
    }
}

/// Returns a duration by the slowest clock, when the fastest one measures `nanos`: what a bound
/// must allow.
pub(crate) fn at_the_most(nanos: u64) -> u64 {
    scale(nanos, MILLION + WORST + WORST / 50)
}

fn scale(nanos: u64, millionths: i64) -> u64 {
    let millionths = u128::try_from(millionths).expect("a clock runs forwards");
    u64::try_from(u128::from(nanos) * millionths / 1_000_000).expect("a simulation ends before the time does")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_returns_the_first_true_time_of_a_reading() {
        for gain in [-WORST, -1, 0, 7, WORST] {
            let clock = Clock::new(5_000_000_000, gain);
            for local in [5_000_000_001, 5_000_000_999, 6_123_456_789, 900_000_000_000] {
                let when = clock.when(Timestamp::from_nanos(local));
                assert!(clock.shows(when).as_nanos() >= local, "gain {gain}, {local}");
                assert!(clock.shows(when - 1).as_nanos() < local, "gain {gain}, {local}");
            }
        }
    }
}
