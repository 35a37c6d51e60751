//! Tests which priority-0 adverts shorten a backup's Active_Down_Timer (S10).

use crate::tests::*;
use crate::{Policy, Reason};

const SKEW: u64 = 156 * SECOND / 256;
const DOWN: u64 = 3 * SECOND + SKEW;

fn ignored(script: &Script) -> u64 {
    script.router.snapshot().counters.priority_zero_ignored
}

#[test]
fn priority_zero_from_a_router_other_than_the_master_is_ignored() {
    for version in VERSIONS {
        let mut script = Script::started(config(version, SECOND));
        script.advert(200, HIGHER);
        script.wait(SECOND / 2);
        for count in 1..=3 {
            assert_eq!(script.advert(0, LOWER), [], "S10");
            assert_eq!((script.next(), ignored(&script)), (Some(DOWN - SECOND / 2), count), "VRRPv{version}");
            assert_eq!(script.events, []);
        }
        // The master's own priority-0 advert is not ignored.
        script.advert(0, HIGHER);
        assert_eq!((script.next(), ignored(&script)), (Some(SKEW), 3), "S10: VRRPv{version}");
        script.wait(SKEW);
        assert_eq!(script.router.snapshot().reason, Some(Reason::PriorityZero), "S10");
    }
}

#[test]
fn a_stray_priority_zero_at_254_and_10_ms_causes_no_takeover() {
    let config = RouterConfig { priority: 254, preempt: false, ..config(Version::V3, 10 * MILLI) };
    let mut script = Script::started(config);
    for _ in 0..100 {
        script.advert(100, HIGHER);
        script.advert(0, LOWER);
        assert_eq!(script.wait(10 * MILLI), [], "no takeover, although Skew_Time is only 78 µs");
    }
    assert_eq!(ignored(&script), 100);
}

#[test]
fn without_a_master_any_priority_zero_sets_the_timer_to_skew_time() {
    for version in VERSIONS {
        let mut script = Script::started(config(version, SECOND));
        script.advert(0, LOWER);
        assert_eq!((script.next(), ignored(&script)), (Some(SKEW), 0), "S10: VRRPv{version}");
    }
}

#[test]
fn priority_zero_from_a_lower_priority_master_sets_the_timer_to_skew_time() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(50, LOWER);
    script.advert(0, LOWER);
    assert_eq!((script.next(), ignored(&script)), (Some(SKEW), 0), "S10: no master is followed");
}

#[test]
fn foreign_priority_zero_is_accepted_after_priority_zero_from_the_master() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(200, HIGHER);
    script.advert(0, HIGHER);
    script.wait(100 * MILLI);
    script.advert(0, LOWER);
    assert_eq!((script.next(), ignored(&script)), (Some(SKEW), 0), "S10");
}

#[test]
fn only_the_new_masters_priority_zero_is_accepted() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(150, LOWER);
    script.advert(200, HIGHER);
    script.advert(0, LOWER);
    assert_eq!((script.next(), ignored(&script)), (Some(DOWN), 1));
    script.advert(0, HIGHER);
    assert_eq!((script.next(), ignored(&script)), (Some(SKEW), 1), "S10");
}

#[test]
fn after_a_restart_any_priority_zero_sets_the_timer_to_skew_time() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(200, HIGHER);
    script.input(Input::Shutdown);
    script.input(Input::PrimaryAddress(OURS));
    script.advert(0, LOWER);
    assert_eq!((script.next(), ignored(&script)), (Some(SKEW), 0), "S10");
}

#[test]
fn without_the_deviation_any_priority_zero_sets_the_timer_to_skew_time() {
    let policy = Policy { ignore_foreign_priority_zero: false, ..Policy::VIPD };
    let mut script = Script::started_with(config(Version::V3, SECOND), policy);
    script.advert(200, HIGHER);
    script.advert(0, LOWER);
    assert_eq!((script.next(), ignored(&script)), (Some(SKEW), 0), "S10");
}
