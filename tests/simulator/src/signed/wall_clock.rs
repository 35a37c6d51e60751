//! Wall clocks, which may drift and step.

use vipd::vrrp::hmac::WallTime;

/// A second in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
/// True time at the start of the simulation: 2025-11-25 18:08:32 UTC, in seconds since 1970.
const START: u64 = 0x6925_f0a0;

/// The `CLOCK_REALTIME` of a node, as a difference from true time.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock {
    /// Clock minus true time at `since`, in nanoseconds.
    offset: i64,
    /// Change of the offset in nanoseconds per second.
    drift: i64,
    /// Time since which the clock has drifted, in nanoseconds since the start.
    since: u64,
}

impl WallClock {
    /// Returns the clock minus true time at `now`, in nanoseconds. `now` is in nanoseconds since
    /// the start.
    ///
    /// # Panics
    /// Panics if `now` is before the last change of the clock.
    pub fn offset(&self, now: u64) -> i64 {
        let passed = i128::from(now - self.since);
        let drifted = passed * i128::from(self.drift) / i128::from(SECOND);
        self.offset + i64::try_from(drifted).expect("a drift of less than 292 years")
    }

    /// Sets the clock to true time plus `offset` nanoseconds. It continues to drift.
    pub fn set(&mut self, now: u64, offset: i64) {
        (self.offset, self.since) = (offset, now);
    }

    /// Changes the drift, in nanoseconds per second.
    pub fn set_drift(&mut self, now: u64, drift: i64) {
        *self = Self { offset: self.offset(now), drift, since: now };
    }

    /// Returns the reading at `now`; 1970 at the earliest.
    pub(crate) fn reading(&self, now: u64) -> WallTime {
        let reading = (START * SECOND + now).saturating_add_signed(self.offset(now));
        let nanoseconds = u32::try_from(reading % SECOND).expect("below one second");
        WallTime::new(reading / SECOND, nanoseconds)
    }
}
