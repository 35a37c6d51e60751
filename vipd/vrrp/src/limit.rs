//! The rate limit of answers to losing adverts.

use vipd_common::Timestamp;

/// Answers that may go out back to back.
const BURST: u64 = 3;
/// After the burst, one answer in this many nanoseconds at the most, or in one interval if that is shorter.
const PERIOD_MAX: u64 = 100_000_000;

/// A token bucket.
///
/// RFC 9568 section 6.4.3 has the master answer each losing advert at once. Two routers that both think
/// themselves the winner would answer each other without a pause.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    period: u64,
    tokens: u64,
    since: Timestamp,
}

impl Limit {
    /// A full bucket for a router with an advertisement interval of `interval` nanoseconds.
    pub(super) fn new(interval: u64) -> Self {
        Self { period: interval.clamp(1, PERIOD_MAX), tokens: BURST, since: Timestamp::ZERO }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        let refill = now.nanos_since(self.since) / self.period;
        if refill > 0 {
            self.tokens = self.tokens.saturating_add(refill).min(BURST);
            self.since = self.since + refill.saturating_mul(self.period);
        }
        let granted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_a_period() {
        let at = |millis: u64| Timestamp::from_nanos((10_000 + millis) * 1_000_000);
        let mut limit = Limit::new(10_000_000);
        let granted = (0..100).filter(|_| limit.take(at(0))).count();
        assert_eq!(granted, 3, "the burst");
        assert!(!limit.take(at(9)));
        assert!(limit.take(at(10)));
        assert!(!limit.take(at(11)));
        let granted = (0..1000).filter(|step| limit.take(at(20 + step))).count();
        assert_eq!(granted, 100, "one in 10 ms for a second");
    }

    #[test]
    fn a_long_interval_is_limited_to_one_in_100_ms() {
        let mut limit = Limit::new(40_950_000_000);
        let at = |millis: u64| Timestamp::from_nanos((100_000 + millis) * 1_000_000);
        let granted = (0..1000).filter(|step| limit.take(at(*step))).count();
        assert_eq!(granted, 3 + 9);
    }
}
