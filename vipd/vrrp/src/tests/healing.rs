//! Two masters that meet: the answer to the losing advert (S23) and the announcement afterwards.

use super::*;
use crate::Reason;

#[test]
fn s23_a_losing_advert_is_answered_at_once_and_the_timer_runs_on() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.wait(400 * MILLI);
    assert_eq!(script.advert(99, HIGHER), [ADVERT], "S23");
    assert_eq!(adverts(&script.wait(SECOND)), [600 * MILLI], "S23 does not restart Adver_Timer");
}

#[test]
fn s23_is_not_in_rfc_3768() {
    let mut script = Script::master(config(Version::V2, SECOND));
    assert_eq!(script.advert(99, HIGHER), [], "VRRPv2 discards");
    assert_eq!(script.router.snapshot().counters.asserts_sent, 0);
}

#[test]
fn s23_two_routers_that_both_think_they_win_do_not_storm() {
    for (interval, period) in [(SECOND, 100), (50 * MILLI, 50), (10 * MILLI, 10)] {
        let mut script = Script::master(config(Version::V3, interval));
        let mut answers = 0;
        // 1000 losing adverts in one second, one each millisecond.
        for _ in 0..1000 {
            answers += script.advert(100, LOWER).iter().filter(|action| **action == ADVERT).count();
            script.stall(MILLI);
        }
        let counters = script.router.snapshot().counters;
        let most = 3 + 1000 / period;
        assert!((most - 1..=most).contains(&answers), "S23: {answers} answers, period {period} ms");
        assert_eq!(counters.asserts_sent, answers as u64);
        assert_eq!(counters.asserts_suppressed, 1000 - answers as u64);
    }
}

#[test]
fn s23_the_burst_is_there_again_after_a_pause() {
    let mut script = Script::master(config(Version::V3, SECOND));
    for _ in 0..2 {
        let answers: Vec<_> = (0..5).map(|_| script.advert(99, HIGHER).len()).collect();
        assert_eq!(answers, [1, 1, 1, 0, 0], "S23");
        script.stall(400 * MILLI);
    }
}

#[test]
fn after_healing_the_segment_is_told_once_more() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        script.wait(10 * SECOND);
        script.advert(99, HIGHER);
        let told = script.wait(60 * SECOND);
        assert_eq!(announcements(&told), [100 * MILLI], "VRRPv{version}: once, when it has been quiet");
        assert!(script.events.contains(&Event::Reannounced));
    }
}

#[test]
fn after_healing_at_short_intervals_one_and_a_half_intervals_are_quiet_enough() {
    let mut script = Script::master(config(Version::V3, 10 * MILLI));
    script.wait(10 * SECOND);
    script.advert(99, HIGHER);
    assert_eq!(announcements(&script.wait(SECOND)), [15 * MILLI]);
}

#[test]
fn the_owner_tells_the_segment_too() {
    for version in VERSIONS {
        let mut script = Script::master(owner(version, SECOND));
        script.wait(10 * SECOND);
        script.advert(99, HIGHER);
        let told = script.wait(60 * SECOND);
        assert_eq!(announcements(&told), [100 * MILLI], "VRRPv{version}: hosts may have the backup's MAC");
    }
}

#[test]
fn a_losing_master_that_does_not_yield_causes_no_storm_of_announcements() {
    for (version, interval) in
        [(Version::V2, SECOND), (Version::V3, SECOND), (Version::V3, 100 * MILLI), (Version::V3, 10 * MILLI)]
    {
        let mut script = Script::master(config(version, interval));
        script.wait(10 * SECOND);
        let mut told = 0;
        let mut events = 0;
        for _ in 0..100 {
            script.advert(99, HIGHER);
            events += script.events.len();
            told += announcements(&script.wait(interval)).len();
            events += script.events.len();
        }
        assert!(told <= 1, "{told} announcements in 100 intervals of {interval} ns");
        assert!(events <= 2, "{events} events in 100 intervals of {interval} ns");
        let after = script.wait(60 * SECOND);
        assert_eq!(announcements(&after).len(), 1, "once it is quiet, and then no more");
    }
}

/// A flood of adverts of the lowest priority at 10 ms: the generator's pauses of more than an interval and a half once had the
/// master of a healthy pair announce its addresses again and again.
#[test]
fn the_pauses_of_a_rival_that_does_not_yield_are_no_news() {
    for interval in [10 * MILLI, 100 * MILLI] {
        let mut script = Script::master(config(Version::V3, interval));
        script.wait(10 * SECOND);
        for _ in 0..16 {
            script.advert(1, HIGHER);
            assert_eq!(announcements(&script.wait(interval / 8)), [0u64; 0]);
        }
        for _ in 0..20 {
            script.advert(1, HIGHER);
            assert_eq!(announcements(&script.wait(SECOND - 1)), [0u64; 0], "it has paused");
        }
        script.advert(1, HIGHER);
        assert_eq!(announcements(&script.wait(60 * SECOND)), [SECOND], "it has gone");
    }
}

/// One direction of a port opens before the other: the rival hears us late, and then yields as it should.
#[test]
fn a_rival_that_yields_late_is_told_of_at_once() {
    let interval = 10 * MILLI;
    let mut script = Script::master(config(Version::V3, interval));
    script.wait(10 * SECOND);
    for _ in 0..20 {
        script.advert(99, HIGHER);
        assert_eq!(announcements(&script.wait(interval)), [0u64; 0]);
    }
    assert_eq!(
        announcements(&script.wait(SECOND)),
        [5 * MILLI],
        "an interval and a half after its last advert"
    );
}

#[test]
fn a_master_that_yields_announces_no_more() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.advert(99, HIGHER);
    script.advert(200, HIGHER);
    assert_eq!(
        announcements(&script.wait(3 * SECOND)),
        [0u64; 0],
        "neither the second burst nor the healing"
    );
}

#[test]
fn the_loser_lets_a_winner_that_was_heard_first_know() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        assert_eq!(
            script.advert(200, HIGHER),
            [ADVERT, Action::RemoveAddresses],
            "VRRPv{version}: one last advert"
        );
        assert_eq!(script.advert(200, HIGHER), [], "and no more");
    }
}

#[test]
fn a_loser_that_was_held_up_has_nothing_to_say() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.stall(3 * SECOND);
    assert_eq!(
        script.advert(200, HIGHER),
        [Action::RemoveAddresses],
        "hosts have long been told of the other"
    );
}

#[test]
fn the_last_advert_of_a_preempted_master_is_no_second_master() {
    for (version, answer) in [(Version::V2, vec![]), (Version::V3, vec![ADVERT])] {
        let mut script = Script::started(config(version, SECOND));
        while script.state() == State::Backup {
            script.advert(50, HIGHER);
            script.wait(SECOND / 2);
        }
        assert_eq!(script.router.snapshot().reason, Some(Reason::Preempted));
        assert_eq!(script.advert(50, HIGHER), answer, "S23, VRRPv{version}");
        assert_eq!(script.events, [], "nothing to tell");
        assert_eq!(announcements(&script.wait(4 * SECOND)), [0u64; 0], "the takeover has just announced");
        // One that goes on is a second master all the same.
        script.advert(50, HIGHER);
        assert_eq!(script.events, [Event::LosingAdvert { source: HIGHER, priority: 50 }]);
    }
}
