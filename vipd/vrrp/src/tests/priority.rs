//! Changes to the effective priority: effects on adverts, comparisons and Skew_Time.

use super::*;
use crate::Reason;

/// Returns the Active_Down_Interval for an interval of one second.
fn down(priority: u64) -> u64 {
    3 * SECOND + skew(priority)
}

/// Returns the Skew_Time for an interval of one second.
fn skew(priority: u64) -> u64 {
    (256 - priority) * SECOND / 256
}

#[test]
fn a_master_advertises_a_new_priority_when_adver_timer_fires() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        script.wait(400 * MILLI);
        assert_eq!(script.input(Input::Priority(60)), [], "VRRPv{version}: no extra advert");
        assert_eq!(script.wait(600 * MILLI), [(600 * MILLI, Action::SendAdvert { priority: 60 })]);
        assert_eq!(script.router.snapshot().priority, 60);
        assert_eq!(script.router.config().priority, 100, "the configured priority is unchanged");
    }
}

#[test]
fn a_master_compares_adverts_with_its_new_priority() {
    for (effective, received, state) in [
        (60, 99, State::Backup),
        (60, 60, State::Backup),
        (60, 59, State::Master),
        (150, 149, State::Master),
        (150, 151, State::Backup),
    ] {
        let mut script = Script::master(config(Version::V3, SECOND));
        script.input(Input::Priority(effective));
        let actions = script.advert(received, HIGHER);
        assert_eq!(actions[0], Action::SendAdvert { priority: effective }, "S22, S23");
        assert_eq!(script.state(), state, "{effective} against {received}");
    }
}

#[test]
fn a_running_active_down_timer_is_recomputed() {
    for version in VERSIONS {
        let mut script = Script::started(config(version, SECOND));
        script.advert(200, HIGHER);
        script.wait(SECOND);
        for priority in [1, 60, 150, 199, 254] {
            assert_eq!(script.input(Input::Priority(priority)), []);
            assert_eq!(script.next(), Some(down(priority.into()) - SECOND), "VRRPv{version}: {priority}");
            let snapshot = script.router.snapshot();
            assert_eq!(snapshot.skew, skew(priority.into()));
            assert_eq!(snapshot.master_down_interval, down(priority.into()));
        }
        // After the original priority is restored, the timer runs as if the priority had never
        // changed.
        script.input(Input::Priority(100));
        assert_eq!(script.next(), Some(down(100) - SECOND));
    }
}

#[test]
fn skew_time_after_priority_zero_is_recomputed() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(200, HIGHER);
    script.advert(0, HIGHER);
    script.wait(100 * MILLI);
    script.input(Input::Priority(150));
    assert_eq!(script.next(), Some(skew(150) - 100 * MILLI), "S10");
    script.wait(skew(150));
    assert_eq!(script.router.snapshot().reason, Some(Reason::PriorityZero));
}

/// The higher-priority backup takes over first, even if its priority has just been raised.
#[test]
fn a_timer_whose_deadline_moves_into_the_past_fires_at_the_next_timeout() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(200, HIGHER);
    script.wait(down(100) - MILLI);
    script.input(Input::Priority(150));
    assert!(script.router.next_timeout().is_some_and(|at| at < script.now));
    script.input(Input::Timeout);
    assert_eq!(script.state(), State::Master, "S9");
}

#[test]
fn after_a_priority_increase_a_lower_priority_master_is_preempted() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(120, HIGHER);
    assert!(script.router.steady().is_some());
    script.input(Input::Priority(150));
    assert_eq!(script.router.steady(), None, "the next advert does more than restart the timer");
    script.wait(SECOND);
    script.advert(120, HIGHER);
    assert_eq!(script.next(), Some(down(150) - SECOND), "S12: discarded");
    script.wait(down(150) - SECOND);
    assert_eq!(script.router.snapshot().reason, Some(Reason::Preempted));
}

#[test]
fn without_preemption_a_priority_increase_causes_no_takeover() {
    let mut script = Script::started(RouterConfig { preempt: false, ..config(Version::V3, SECOND) });
    script.advert(120, HIGHER);
    script.input(Input::Priority(150));
    let steady = script.router.steady().expect("the master is followed");
    assert_eq!(steady.down_interval, down(150), "uses the new Skew_Time");
    for _ in 0..10 {
        script.advert(120, HIGHER);
        assert_eq!(script.wait(SECOND), [], "S11");
    }
}

#[test]
fn preempt_delay_applies_after_a_priority_increase() {
    let delayed = RouterConfig { preempt_delay: 5 * SECOND, ..config(Version::V3, SECOND) };
    let mut script = Script::started(delayed);
    script.advert(120, HIGHER);
    script.input(Input::Priority(150));
    for _ in 0..5 {
        script.advert(120, HIGHER);
        assert_eq!(script.router.snapshot().master, Some(HIGHER));
        assert_eq!(script.wait(SECOND), []);
    }
    script.advert(120, HIGHER);
    script.wait(down(150));
    assert_eq!(script.router.snapshot().reason, Some(Reason::Preempted));
}

/// A timer set to preempt a master must not fire once that master outranks the router.
#[test]
fn after_a_priority_decrease_the_master_is_followed_from_its_last_advert() {
    for version in VERSIONS {
        for (received, effective) in [(80, 60), (80, 80), (99, 1)] {
            let mut script = Script::started(config(version, SECOND));
            for _ in 0..3 {
                script.advert(received, HIGHER);
                script.wait(SECOND);
            }
            script.advert(received, HIGHER);
            assert_eq!(script.router.snapshot().master, None, "S12");
            script.wait(500 * MILLI);
            assert_eq!(script.input(Input::Priority(effective)), []);
            assert_eq!(script.router.snapshot().master, Some(HIGHER), "S11");
            assert_eq!(script.next(), Some(down(effective.into()) - 500 * MILLI), "VRRPv{version}");
            assert!(script.router.steady().is_some());
            // The master has failed.
            script.wait(down(effective.into()) - 500 * MILLI);
            assert_eq!(script.router.snapshot().reason, Some(Reason::MasterTimeout));
        }
    }
}

#[test]
fn a_master_that_is_still_outranked_is_preempted_after_a_priority_decrease() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(80, HIGHER);
    script.input(Input::Priority(81));
    assert_eq!((script.router.snapshot().master, script.next()), (None, Some(down(81))));
    script.wait(down(81));
    assert_eq!(script.router.snapshot().reason, Some(Reason::Preempted));
}

/// A lower-priority router is still advertising when the master relinquishes mastership.
#[test]
fn another_master_is_followed_after_a_priority_decrease() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(200, HIGHER);
    script.advert(80, LOWER);
    script.advert(0, HIGHER);
    assert_eq!(script.next(), Some(skew(100)), "S10");
    script.input(Input::Priority(60));
    assert_eq!(script.router.snapshot().master, Some(LOWER), "S11");
    assert_eq!(script.next(), Some(down(60)));
}

#[test]
fn a_master_that_has_left_is_not_followed_after_a_priority_decrease() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(80, HIGHER);
    script.advert(0, HIGHER);
    script.input(Input::Priority(60));
    assert_eq!((script.router.snapshot().master, script.next()), (None, Some(skew(60))));
    // A feed loss always restarts the timer, although the lost adverts may include a priority-0
    // advert.
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(80, HIGHER);
    script.wait(SECOND);
    script.input(Input::FeedLoss);
    script.input(Input::Priority(60));
    assert_eq!((script.router.snapshot().master, script.next()), (None, Some(down(60))));
}

#[test]
fn the_priority_is_clamped_unless_it_is_an_owners() {
    let mut script = Script::started(config(Version::V3, SECOND));
    for (given, effective) in [(0, 1), (1, 1), (254, 254), (255, 254)] {
        script.input(Input::Priority(given));
        assert_eq!(script.router.snapshot().priority, effective, "{given}");
    }
    let mut script = Script::master(owner(Version::V3, SECOND));
    script.input(Input::Priority(1));
    assert_eq!(script.router.snapshot().priority, 255);
    assert_eq!(script.wait(SECOND), [(SECOND, Action::SendAdvert { priority: 255 })]);
}

#[test]
fn the_priority_survives_a_restart() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(Input::Priority(150));
    script.input(Input::Impede(Fault::InterfaceDown));
    script.input(Input::Clear(Impediment::Link));
    assert_eq!(script.next(), Some(down(150)), "S2");
}
