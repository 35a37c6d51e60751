//! Times of a scenario, converted to the interval and priority of a device.
//!
//! The times in a scenario are sums of Skew_Times and twentieths of an interval of its router. For
//! example, `721.875ms` at an interval of 200 ms and priority 100 is three intervals plus
//! Skew_Time.

use std::time::Duration;

use crate::conformance::syntax::RouterSpec;
use crate::protocol::skew_time;

/// Scenarios use multiples of the interval divided by this number.
const PARTS: f64 = 20.0;
/// Multiples of the router's Skew_Time that a time in a scenario may contain, in halves: 2 stands
/// for one Skew_Time. The values 1, 3 and 4 allow for learned intervals in VRRPv3, where Skew_Time
/// is proportional to the interval.
const SKEW_HALVES: [u32; 5] = [0, 1, 2, 3, 4];
/// Tolerance for rounding, in intervals. The multiples of Skew_Time differ by more.
const EXACT: f64 = 1e-6;

/// Converts a time of the router `from` to that of the router `to`. Returns `None` unless the time
/// is the sum of a multiple in [`SKEW_HALVES`] of half of `from`'s Skew_Time and a whole number of
/// twentieths of `from`'s interval.
pub(super) fn convert(time: Duration, from: &RouterSpec, to: &RouterSpec) -> Option<Duration> {
    SKEW_HALVES.into_iter().find_map(|halves| {
        let skew =
            |router: &RouterSpec| skew_time(router.version, router.interval, router.priority) * halves / 2;
        let parts = time.checked_sub(skew(from))?.div_duration_f64(from.interval) * PARTS;
        let whole = (parts - parts.round()).abs() < EXACT * PARTS;
        whole.then(|| to.interval.mul_f64(parts.round() / PARTS) + skew(to))
    })
}

/// Converts an advert interval, which is a multiple of the router's own.
pub(super) fn scale(interval: Duration, from: &RouterSpec, to: &RouterSpec) -> Duration {
    to.interval.mul_f64(interval.div_duration_f64(from.interval))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Version, down_interval};

    fn router(version: Version, interval: u64, priority: u8) -> RouterSpec {
        let interval = Duration::from_millis(interval);
        RouterSpec { version, priority, interval, ..RouterSpec::default() }
    }

    #[test]
    fn times_are_converted_by_intervals_and_skew_times() {
        let (from, to) = (router(Version::V3, 200, 100), router(Version::V3, 1000, 128));
        for (time, expected) in [
            // With Skew_Time.
            (721.875, 3500.0),
            (121.875, 500.0),
            (321.875, 1500.0),
            // With the Skew_Time of a learned interval twice as long.
            (1443.75, 7000.0),
            (243.75, 1000.0),
            (943.75, 4500.0),
            // Without Skew_Time.
            (400.0, 2000.0),
            (0.0, 0.0),
        ] {
            let found = convert(Duration::from_secs_f64(time / 1e3), &from, &to).unwrap();
            assert!((found.as_secs_f64() * 1e3 - expected).abs() < 1e-3, "{time} ms: {found:?}");
        }
        assert_eq!(convert(Duration::from_millis(333), &from, &to), None);
    }

    #[test]
    fn vrrpv2_skew_time_does_not_depend_on_the_interval() {
        let (from, to) = (router(Version::V2, 2000, 100), router(Version::V2, 2000, 200));
        let found = convert(Duration::from_micros(6_609_375), &from, &to).unwrap();
        assert_eq!(found, down_interval(Version::V2, Duration::from_secs(2), 200));
    }
}
