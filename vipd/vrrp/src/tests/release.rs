//! Priority 0: whose leaving shortens the wait of a backup (S10), and whose does not.

use super::*;
use crate::Reason;

const SKEW: u64 = 156 * SECOND / 256;
const DOWN: u64 = 3 * SECOND + SKEW;

fn foreign(script: &Script) -> u64 {
    script.router.snapshot().counters.priority_zero_ignored
}

#[test]
fn s10_the_leaving_of_another_router_than_the_master_arms_nothing() {
    for version in VERSIONS {
        let mut script = Script::started(config(version, SECOND));
        script.advert(200, HIGHER);
        script.wait(SECOND / 2);
        for count in 1..=3 {
            assert_eq!(script.advert(0, LOWER), [], "S10");
            assert_eq!((script.next(), foreign(&script)), (Some(DOWN - SECOND / 2), count), "VRRPv{version}");
            assert_eq!(script.events, []);
        }
        // The master's own leaving does, all the same.
        script.advert(0, HIGHER);
        assert_eq!((script.next(), foreign(&script)), (Some(SKEW), 3), "S10: VRRPv{version}");
        script.wait(SKEW);
        assert_eq!(script.router.snapshot().reason, Some(Reason::PriorityZero), "S10");
    }
}

#[test]
fn s10_at_priority_254_and_10_ms_a_stray_release_elects_nobody() {
    let config = RouterConfig { priority: 254, preempt: false, ..config(Version::V3, 10 * MILLI) };
    let mut script = Script::started(config);
    for _ in 0..100 {
        script.advert(100, HIGHER);
        script.advert(0, LOWER);
        assert_eq!(script.wait(10 * MILLI), [], "the skew is 78 µs, and no answer comes within it");
    }
    assert_eq!(foreign(&script), 100);
}

#[test]
fn s10_before_any_master_is_known_whoever_leaves_arms_the_skew() {
    for version in VERSIONS {
        let mut script = Script::started(config(version, SECOND));
        script.advert(0, LOWER);
        assert_eq!((script.next(), foreign(&script)), (Some(SKEW), 0), "S10: VRRPv{version}");
    }
}

#[test]
fn s10_a_lower_master_that_leaves_before_it_is_preempted_is_replaced_after_the_skew() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(50, LOWER);
    script.advert(0, LOWER);
    assert_eq!((script.next(), foreign(&script)), (Some(SKEW), 0), "S10: it was never followed, nor anyone");
}

#[test]
fn s10_once_the_master_has_left_another_one_may_leave_too() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(200, HIGHER);
    script.advert(0, HIGHER);
    script.wait(100 * MILLI);
    script.advert(0, LOWER);
    assert_eq!((script.next(), foreign(&script)), (Some(SKEW), 0), "S10");
}

#[test]
fn s10_a_new_master_is_the_one_whose_leaving_counts() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(150, LOWER);
    script.advert(200, HIGHER);
    script.advert(0, LOWER);
    assert_eq!((script.next(), foreign(&script)), (Some(DOWN), 1));
    script.advert(0, HIGHER);
    assert_eq!((script.next(), foreign(&script)), (Some(SKEW), 1), "S10");
}

#[test]
fn s10_a_restart_forgets_whom_it_followed() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(200, HIGHER);
    script.input(Input::Shutdown);
    script.input(Input::PrimaryAddress(OURS));
    script.advert(0, LOWER);
    assert_eq!((script.next(), foreign(&script)), (Some(SKEW), 0), "S10");
}

#[test]
fn the_preempt_delay_counts_anew_after_the_lower_master_has_left() {
    let mut script =
        Script::started(RouterConfig { preempt_delay: 10 * SECOND, ..config(Version::V3, SECOND) });
    script.advert(50, LOWER);
    script.wait(SECOND);
    script.advert(0, LOWER);
    assert_eq!(script.router.snapshot().hold_until, None);
    script.advert(60, HIGHER);
    let left = script.router.snapshot().hold_until.map(|until| until.nanos_since(script.now));
    assert_eq!(left, Some(10 * SECOND));
}
