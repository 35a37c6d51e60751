use core::ops::Add;

/// A point in time: nanoseconds of `CLOCK_MONOTONIC`.
///
/// `bpf_ktime_get_ns()` and `clock_gettime(CLOCK_MONOTONIC)` read the same clock, so arrival
/// times from the kernel can be compared with deadlines set in user space. The clock stops during
/// suspend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);

    /// Converts nanoseconds of `CLOCK_MONOTONIC`.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds of `CLOCK_MONOTONIC`.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the nanoseconds from `earlier` to `self`, or 0 if `earlier` is later.
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Adds nanoseconds, saturating at the end of the clock (after 584 years of uptime).
impl Add<u64> for Timestamp {
    type Output = Self;

    fn add(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}
