//! Tests Adver_Timer for routers that become master at different times.

use crate::Policy;
use crate::tests::*;

/// Returns the times of the adverts that follow the first one, for a router that becomes master at
/// `start`. All times are in nanoseconds from the same arbitrary origin.
fn later_adverts(start: u64, interval: u64, policy: Policy) -> Vec<u64> {
    let mut script = Script::new_with(owner(Version::V3, interval), policy);
    script.now = script.now + start;
    assert_eq!(adverts(&[(0, script.input(Input::PrimaryAddress(OURS))[0])]), [0], "S1: the first advert");
    adverts(&script.wait(4 * interval)).into_iter().map(|after| start + after).collect()
}

#[test]
fn masters_send_their_adverts_in_groups() {
    for (interval, groups) in [(10 * MILLI, 64), (100 * MILLI, 100), (SECOND, 1000)] {
        let starts = (0..3000).map(|number| number * interval / 3000);
        let phase = |start| later_adverts(start, interval, Policy::VIPD)[0] % interval;
        let phases: std::collections::BTreeSet<u64> = starts.map(phase).collect();
        assert_eq!(phases.len(), groups, "interval {interval} ns");
    }
}

#[test]
fn only_the_first_interval_is_shortened() {
    for interval in [10 * MILLI, 30 * MILLI, 100 * MILLI, SECOND, 40_950 * MILLI] {
        let start = 7 * SECOND - 1;
        let times = later_adverts(start, interval, Policy::VIPD);
        let shortened = interval - (times[0] - start);
        assert!(shortened <= MILLI.min(interval / 64), "interval {interval} ns: by {shortened} ns");
        assert!(
            times.windows(2).all(|pair| pair[1] - pair[0] == interval),
            "interval {interval} ns: {times:?}"
        );
    }
}

#[test]
fn without_the_deviation_the_first_interval_is_exact() {
    let policy = Policy { group_adverts: false, ..Policy::VIPD };
    assert_eq!(later_adverts(1, SECOND, policy)[..2], [SECOND + 1, 2 * SECOND + 1]);
}
