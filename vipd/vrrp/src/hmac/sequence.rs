//! Sequences of signed adverts: times with a counter.

use vipd_common::hmac::{is_after, is_fresh};

use crate::interval::Nanos;

/// A time of `CLOCK_REALTIME` in units of 2⁻¹⁶ s since 1970-01-01 UTC. Only the lower 32 bits of
/// the seconds are kept, and times are compared by serial number arithmetic (RFC 1982).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime(u64);

impl WallTime {
    /// Creates a time from seconds and nanoseconds since 1970-01-01 UTC.
    pub const fn new(seconds: u64, nanoseconds: u32) -> Self {
        let subseconds = ((nanoseconds as u64) << 16) / 1_000_000_000;
        Self((seconds & 0xffff_ffff) << 16 | subseconds)
    }

    /// Returns a sequence that is after those of all times within 34 years of this one.
    pub const fn beyond_all(self) -> u64 {
        self.sequence().0.wrapping_add(1 << 62)
    }

    /// Returns the sequence of this time whose counter is 0.
    pub(super) const fn sequence(self) -> Sequence {
        Sequence(self.0 << 16)
    }

    /// Returns the seconds, modulo 2³².
    pub(super) const fn seconds(self) -> u32 {
        self.sequence().seconds()
    }
}

/// The sequence of a signed advert: seconds (32 bits), subseconds (16 bits) and a counter (16
/// bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sequence(pub(super) u64);

impl Sequence {
    /// Returns the sequence of the next advert after `last`: `now`, or the sequence after `last` if
    /// that is later.
    ///
    /// If `last` is later than `now` by more than `ahead` seconds, the clock was wrong. Receivers
    /// refuse such a sequence as stale, so the next sequence is `now`.
    pub(super) fn next(last: Option<Self>, now: WallTime, ahead: Option<u32>) -> Self {
        let present = now.sequence();
        let Some(last) = last.filter(|last| !present.is_after(*last)) else { return present };
        let is_unusable = ahead.is_some_and(|ahead| !is_fresh(last.0, now.seconds(), ahead));
        if is_unusable { present } else { Self(last.0.wrapping_add(1)) }
    }

    pub(super) const fn is_after(self, other: Self) -> bool {
        is_after(self.0, other.0)
    }

    /// Returns the duration from `now` until this time is no longer within the window: until the
    /// first second that is more than `window` seconds after this time. Like
    /// [`is_fresh`](vipd_common::hmac::is_fresh), compares only the seconds of this time.
    pub(super) const fn until_stale(self, now: WallTime, window: u32) -> Nanos {
        let end = (self.seconds().wrapping_add(window).wrapping_add(1) as u64) << 32;
        let rest = end.wrapping_sub(now.sequence().0).cast_signed();
        // Shifts to units of 2⁻¹⁶ s first, so that the product does not overflow.
        if rest > 0 { ((rest.unsigned_abs() >> 16) * 1_000_000_000).div_ceil(1 << 16) } else { 0 }
    }

    /// Returns this time minus `now`, in milliseconds.
    pub(super) const fn milliseconds_after(self, now: WallTime) -> i64 {
        let difference = self.0.wrapping_sub(now.sequence().0).cast_signed();
        // Shifts to units of 2⁻¹⁶ s first, so that the product does not overflow.
        ((difference >> 16) * 1000) >> 16
    }

    const fn seconds(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime::new(1_764_094_112, 500_000_000);

    #[test]
    fn sequence_is_the_clock_or_the_last_one_plus_1() {
        let first = Sequence::next(None, NOW, None);
        assert_eq!(first, Sequence(0x6925_f0a0_8000_0000));
        let second = Sequence::next(Some(first), NOW, None);
        assert_eq!(second.0, first.0 + 1);
        let later = WallTime::new(1_764_094_112, 500_020_000);
        assert_eq!(Sequence::next(Some(second), later, None).0, first.0 + 0x1_0000);
        let earlier = WallTime::new(1_764_094_110, 0);
        assert_eq!(Sequence::next(Some(second), earlier, Some(5)).0, second.0 + 1);
    }

    #[test]
    fn sequence_returns_to_the_clock_once_it_is_ahead_by_more_than_the_window() {
        let last = Sequence::next(None, NOW, None);
        let at = |back: u64| WallTime::new(1_764_094_112 - back, 0);
        assert_eq!(Sequence::next(Some(last), at(5), Some(5)).0, last.0 + 1);
        assert_eq!(Sequence::next(Some(last), at(6), Some(5)), at(6).sequence());
        assert_eq!(Sequence::next(Some(last), at(6), None).0, last.0 + 1, "monotonic");
    }

    #[test]
    fn sequences_and_times_wrap_in_2106() {
        let last = WallTime::new(u64::from(u32::MAX), 999_999_999);
        let next = WallTime::new(u64::from(u32::MAX) + 1, 0);
        assert!(next.sequence().is_after(last.sequence()) && !last.sequence().is_after(next.sequence()));
        assert!(is_fresh(next.sequence().0, last.seconds(), 1));
        assert!(is_fresh(last.sequence().0, next.seconds(), 1));
        assert_eq!(Sequence::next(Some(last.sequence()), next, Some(5)), next.sequence());
    }

    #[test]
    fn distance_is_counted_in_milliseconds() {
        let other = WallTime::new(1_764_094_110, 250_000_000);
        assert_eq!(NOW.sequence().milliseconds_after(other), 2250);
        assert_eq!(other.sequence().milliseconds_after(NOW), -2250);
    }
}
