//! Tables of Skew_Time and Active_Down_Interval (M1 to M3), and intervals that are rejected.

use proptest::prelude::*;

use super::*;

fn interval(version: Version, millis: u64) -> Interval {
    Interval::from_nanos(version, millis * 1_000_000).expect("a valid interval")
}

#[test]
fn m3_vrrpv3_skew_time_and_down_interval_are_exact() {
    // Interval in milliseconds, priority, then Skew_Time and Active_Down_Interval in nanoseconds.
    let table = [
        (10, 255, 39_062, 30_039_062),
        (10, 254, 78_125, 30_078_125),
        (10, 200, 2_187_500, 32_187_500),
        (10, 100, 6_093_750, 36_093_750),
        (10, 1, 9_960_937, 39_960_937),
        (100, 254, 781_250, 300_781_250),
        (100, 100, 60_937_500, 360_937_500),
        (1000, 255, 3_906_250, 3_003_906_250),
        (1000, 254, 7_812_500, 3_007_812_500),
        (1000, 100, 609_375_000, 3_609_375_000),
        (40_950, 1, 40_790_039_062, 163_640_039_062),
    ];
    for (millis, priority, skew, down) in table {
        let interval = interval(Version::V3, millis);
        assert_eq!(interval.skew(priority), skew, "M3: {millis} ms, priority {priority}");
        assert_eq!(interval.master_down(priority, 3), down, "M1: {millis} ms, priority {priority}");
    }
}

#[test]
fn vrrpv2_skew_time_does_not_depend_on_the_interval() {
    let table = [
        (1, 255, 3_906_250, 3_003_906_250),
        (1, 254, 7_812_500, 3_007_812_500),
        (1, 100, 609_375_000, 3_609_375_000),
        (10, 100, 609_375_000, 30_609_375_000),
        (255, 1, 996_093_750, 765_996_093_750),
    ];
    for (seconds, priority, skew, down) in table {
        let interval = interval(Version::V2, seconds * 1000);
        assert_eq!(interval.skew(priority), skew, "{seconds} s, priority {priority}");
        assert_eq!(interval.master_down(priority, 3), down, "{seconds} s, priority {priority}");
    }
}

#[test]
fn m3_timers_of_different_priorities_never_fire_together() {
    let interval = interval(Version::V3, 10);
    for priority in 1..=254 {
        let apart = interval.skew(priority) - interval.skew(priority + 1);
        assert!(
            (39_062..=39_063).contains(&apart),
            "M3: {apart} ns between {priority} and the next priority"
        );
    }
}

#[test]
fn unencodable_intervals_are_rejected_not_rounded() {
    const MILLI: u64 = 1_000_000;
    for nanos in [0, 1, MILLI, 10 * MILLI - 1, 10 * MILLI + 1, 15 * MILLI, 40_960 * MILLI, u64::MAX] {
        assert_eq!(Interval::from_nanos(Version::V3, nanos), Err(IntervalError::V3), "{nanos}");
    }
    for nanos in [0, 10 * MILLI, 999 * MILLI, 1001 * MILLI, 1500 * MILLI, 256_000 * MILLI, u64::MAX] {
        assert_eq!(Interval::from_nanos(Version::V2, nanos), Err(IntervalError::V2), "{nanos}");
    }
    for (version, units) in [(Version::V3, 0), (Version::V3, 4096), (Version::V2, 0), (Version::V2, 256)] {
        assert_eq!(Interval::from_wire(version, units), None, "{units}");
    }
}

#[test]
fn intervals_are_displayed_as_in_the_configuration() {
    for (millis, text) in [
        (10, "10ms"),
        (990, "990ms"),
        (1000, "1s"),
        (1010, "1.01s"),
        (1500, "1.5s"),
        (10_000, "10s"),
        (40_950, "40.95s"),
    ] {
        assert_eq!(interval(Version::V3, millis).to_string(), text);
    }
    assert_eq!(interval(Version::V2, 255_000).to_string(), "255s");
}

#[test]
fn errors_state_the_valid_range() {
    assert!(IntervalError::V3.to_string().contains("10 ms to 40.95 s"));
    assert!(IntervalError::V2.to_string().contains("1 s to 255 s"));
}

proptest! {
    #[test]
    fn wire_units_and_nanoseconds_convert_back_and_forth(v2: bool, units: u16) {
        let version = if v2 { Version::V2 } else { Version::V3 };
        if let Some(interval) = Interval::from_wire(version, units) {
            prop_assert_eq!(interval.wire(), units);
            prop_assert_eq!(Interval::from_nanos(version, interval.nanos()), Ok(interval));
        }
    }

    #[test]
    fn skew_time_is_positive_and_less_than_an_interval(units in 1u16..=4095, priority in 1u8..=255) {
        let interval = Interval::from_wire(Version::V3, units).expect("1 to 4095");
        prop_assert!(interval.skew(priority) > 0 && interval.skew(priority) < interval.nanos());
    }
}
