//! Stalls: SIGSTOP, a paused virtual machine, adverts refused by the kernel.

use crate::tests::*;
use crate::{Policy, Reason};

#[test]
fn a_stalled_master_yields_to_the_backup_that_took_over() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        script.stall(4 * SECOND);
        let advert = script.received(50, HIGHER);
        script.stall(SECOND / 2);
        assert_eq!(script.input(Input::Advert(advert)), [Action::RemoveAddresses], "VRRPv{version}");
        assert!(matches!(script.events[0], Event::StateChanged { reason: Reason::Stalled, .. }));
        assert_eq!(script.router.snapshot().counters.stalls, 1);
        // The router preempts after a full Active_Down_Interval.
        let down = 3 * SECOND + 156 * SECOND / 256;
        assert_eq!(script.next(), Some(down));
        script.wait(down);
        assert_eq!(script.state(), State::Master);
        assert!(matches!(script.events[0], Event::StateChanged { reason: Reason::Preempted, .. }));
    }
}

#[test]
fn a_stalled_master_without_preemption_follows_the_new_master() {
    for version in VERSIONS {
        let mut script = Script::master(RouterConfig { preempt: false, ..config(version, SECOND) });
        script.stall(4 * SECOND);
        for _ in 0..5 {
            script.advert(50, HIGHER);
            assert_eq!(script.wait(SECOND), []);
        }
        assert_eq!(script.router.snapshot().master, Some(HIGHER));
        assert_eq!(script.router.snapshot().counters.stalls, 1);
    }
}

#[test]
fn a_master_counts_as_stalled_after_exactly_three_intervals() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.stall(3 * SECOND - 1);
    assert_eq!(script.advert(50, HIGHER), [ADVERT], "S23");
    let mut script = Script::master(config(Version::V3, SECOND));
    script.stall(3 * SECOND);
    assert_eq!(script.advert(50, HIGHER), [Action::RemoveAddresses], "a backup may have taken over");
}

/// A priority-1 advert from an unknown router arrives 5 ms after the process stopped running.
#[test]
fn an_advert_from_the_start_of_a_stall_does_not_hide_a_takeover() {
    for version in VERSIONS {
        let mut script = Script::master(RouterConfig { preempt: false, ..config(version, SECOND) });
        script.stall(5 * MILLI);
        let stranger = script.received(1, LOWER);
        script.stall(4 * SECOND);
        let successor = script.received(50, HIGHER);
        script.stall(2 * SECOND);
        assert_eq!(
            script.input(Input::Advert(stranger)),
            [],
            "VRRPv{version}: no answer before later adverts have been read"
        );
        assert_eq!(script.input(Input::Advert(successor)), [Action::RemoveAddresses], "VRRPv{version}");
        assert_eq!(script.router.snapshot().reason, Some(Reason::Stalled));
        assert_eq!(script.router.snapshot().counters.stalls, 1);
        assert_eq!(script.router.snapshot().master, Some(HIGHER), "Preempt_Mode is false");
    }
}

/// A flood fills the ring, and the new master's adverts are lost.
#[test]
fn a_flood_during_a_stall_does_not_hide_a_takeover() {
    for priority in [0, 1] {
        let mut script = Script::master(RouterConfig { preempt: false, ..config(Version::V3, SECOND) });
        script.stall(5 * MILLI);
        let stranger = script.received(priority, LOWER);
        script.stall(6 * SECOND);
        for _ in 0..1000 {
            assert_eq!(script.input(Input::Advert(stranger)), [], "priority {priority}");
        }
        assert_eq!(script.input(Input::FeedLoss), [Action::RemoveAddresses], "priority {priority}");
        assert_eq!(script.router.snapshot().reason, Some(Reason::Stalled));
    }
}

#[test]
fn an_advert_that_the_kernel_refused_does_not_count_as_sent() {
    let mut script = Script::master(RouterConfig { preempt: false, ..config(Version::V3, SECOND) });
    for _ in 0..4 {
        script.stall(SECOND);
        script.router.handle(script.now, Input::Timeout);
        while script.router.poll_action().is_some() {}
    }
    assert_eq!(script.advert(50, HIGHER), [Action::RemoveAddresses], "a backup has taken over");
}

#[test]
fn a_stalled_master_sends_no_last_advert() {
    let mut script = Script::master(config(Version::V3, SECOND));
    let winner = script.received(200, HIGHER);
    script.stall(3 * SECOND);
    assert_eq!(
        script.input(Input::Advert(winner)),
        [Action::RemoveAddresses],
        "hosts have already learned the new master's MAC"
    );
}

#[test]
fn a_stalled_master_that_was_not_replaced_stays_master() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.stall(10 * SECOND);
    assert_eq!(script.input(Input::Timeout), [ADVERT, ANNOUNCE]);
    assert_eq!(script.state(), State::Master);
}

#[test]
fn a_stalled_master_yields_after_lost_records() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.wait(10 * SECOND);
    assert_eq!(script.input(Input::FeedLoss), [], "not stalled");
    assert_eq!(script.events, []);
    script.stall(3 * SECOND);
    assert_eq!(script.input(Input::FeedLoss), [Action::RemoveAddresses]);
    let [Event::StateChanged { reason: Reason::Stalled, .. }, Event::FeedLoss] = script.events[..] else {
        panic!("{:?}", script.events);
    };
}

/// It discards all adverts (R7), so the lost ones do not matter.
#[test]
fn a_stalled_vrrpv2_owner_does_not_yield_after_lost_records() {
    let mut script = Script::master(RouterConfig { priority: 255, ..config(Version::V2, SECOND) });
    script.stall(4 * SECOND);
    assert_eq!(script.input(Input::FeedLoss), []);
    assert_eq!(script.state(), State::Master);
}

#[test]
fn without_the_deviation_a_stalled_master_answers() {
    let policy = Policy { yield_after_stall: false, ..Policy::VIPD };
    let mut script = Script::master_with(config(Version::V3, SECOND), policy);
    script.stall(4 * SECOND);
    assert_eq!(script.advert(50, HIGHER), [ADVERT], "S23");
    assert_eq!(script.input(Input::FeedLoss), []);
}
