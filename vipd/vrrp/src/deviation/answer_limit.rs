//! Answers to losing and priority-0 adverts are rate limited.
//!
//! RFC 9568 section 6.4.3 requires a master to answer each such advert immediately (S21, S23). Two
//! routers that each treat the other's adverts as losing would answer each other endlessly, and
//! each small packet of a flood would trigger a larger multicast packet. A master may send three
//! answers back to back, then one answer per 100 ms or per interval, whichever is shorter. A
//! suppressed answer does not delay the next periodic advert.

use vipd_common::Timestamp;

use crate::interval::Nanos;

/// Number of answers that may be sent back to back.
const BURST: u64 = 3;
/// Maximum time between two refills, in nanoseconds.
const PERIOD_MAX: Nanos = 100_000_000;

/// A token bucket; each answer costs one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnswerLimit {
    /// One token is added per period.
    period: Nanos,
    tokens: u64,
    /// Time at which the last token was added.
    refilled: Timestamp,
}

impl AnswerLimit {
    /// Returns a full bucket for a router with this Advertisement_Interval.
    pub(crate) fn new(interval: Nanos) -> Self {
        Self { period: interval.clamp(1, PERIOD_MAX), tokens: BURST, refilled: Timestamp::ZERO }
    }

    /// Returns the number of tokens and the time at which the last token was added.
    pub(crate) fn save(&self) -> (u64, Timestamp) {
        (self.tokens, self.refilled)
    }

    /// Returns a bucket with a saved state, for a router with this Advertisement_Interval.
    pub(crate) fn resume(interval: Nanos, tokens: u64, refilled: Timestamp) -> Self {
        Self { tokens: tokens.min(BURST), refilled, ..Self::new(interval) }
    }

    /// Takes a token. Returns `false` if the bucket is empty.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        let refill = now.nanos_since(self.refilled) / self.period;
        if refill > 0 {
            self.tokens = self.tokens.saturating_add(refill).min(BURST);
            self.refilled = self.refilled + refill.saturating_mul(self.period);
        }
        let granted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        granted
    }
}

#[cfg(test)]
mod tests;
