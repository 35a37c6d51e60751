use core::ops::Add;

/// A point in time: nanoseconds of `CLOCK_MONOTONIC`.
///
/// It is what `bpf_ktime_get_ns()` stamps on an advert and what user space reads with
/// `clock_gettime(CLOCK_MONOTONIC)`, so an arrival in the kernel and a deadline in user space compare
/// directly. It does not advance while the machine is suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The beginning of the clock.
    pub const ZERO: Self = Self(0);

    /// A timestamp from nanoseconds of `CLOCK_MONOTONIC`.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to `self`; 0 when `earlier` is the later one.
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Adds nanoseconds, saturating at the end of the clock (the year 2554 of uptime).
impl Add<u64> for Timestamp {
    type Output = Self;

    fn add(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}
