//! The announcement after a split brain.

use crate::tests::*;
use crate::{Policy, Reason};

#[test]
fn after_a_split_brain_the_addresses_are_announced_once() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        script.wait(10 * SECOND);
        script.advert(99, HIGHER);
        let later = script.wait(60 * SECOND);
        assert_eq!(announcements(&later), [100 * MILLI], "VRRPv{version}: after the quiet time");
        assert!(script.events.contains(&Event::Reannounced));
    }
}

#[test]
fn at_short_intervals_the_quiet_time_is_one_and_a_half_intervals() {
    let mut script = Script::master(config(Version::V3, 10 * MILLI));
    script.wait(10 * SECOND);
    script.advert(99, HIGHER);
    assert_eq!(announcements(&script.wait(SECOND)), [15 * MILLI]);
}

#[test]
fn an_owner_also_announces_after_a_split_brain() {
    for version in VERSIONS {
        let mut script = Script::master(owner(version, SECOND));
        script.wait(10 * SECOND);
        script.advert(99, HIGHER);
        let later = script.wait(60 * SECOND);
        assert_eq!(
            announcements(&later),
            [100 * MILLI],
            "VRRPv{version}: hosts may have learned the other router's MAC"
        );
    }
}

#[test]
fn a_competing_master_that_does_not_yield_causes_no_announcement_storm() {
    for (version, interval) in
        [(Version::V2, SECOND), (Version::V3, SECOND), (Version::V3, 100 * MILLI), (Version::V3, 10 * MILLI)]
    {
        let mut script = Script::master(config(version, interval));
        script.wait(10 * SECOND);
        let mut announced = 0;
        let mut events = 0;
        for _ in 0..100 {
            script.advert(99, HIGHER);
            events += script.events.len();
            announced += announcements(&script.wait(interval)).len();
            events += script.events.len();
        }
        assert!(announced <= 1, "{announced} announcements in 100 intervals of {interval} ns");
        assert!(events <= 2, "{events} events in 100 intervals of {interval} ns");
        let after = script.wait(60 * SECOND);
        assert_eq!(announcements(&after).len(), 1, "exactly once after it goes quiet");
    }
}

/// Regression test: in a flood of priority-1 adverts, each pause of more than one and a half
/// intervals made the master of a healthy pair announce its addresses again.
#[test]
fn a_persistent_competing_master_must_be_quiet_for_a_second() {
    for interval in [10 * MILLI, 100 * MILLI] {
        let mut script = Script::master(config(Version::V3, interval));
        script.wait(10 * SECOND);
        for _ in 0..16 {
            script.advert(1, HIGHER);
            assert_eq!(announcements(&script.wait(interval / 8)), [0u64; 0]);
        }
        for _ in 0..20 {
            script.advert(1, HIGHER);
            assert_eq!(announcements(&script.wait(SECOND - 1)), [0u64; 0], "only a pause");
        }
        script.advert(1, HIGHER);
        assert_eq!(announcements(&script.wait(60 * SECOND)), [SECOND], "gone");
    }
}

/// A switch port starts forwarding in one direction first, so the competing master receives adverts
/// late.
#[test]
fn a_competing_master_that_yields_late_is_not_persistent() {
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
        "one and a half intervals after its last advert"
    );
}

#[test]
fn a_master_that_yields_does_not_announce() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.advert(99, HIGHER);
    script.advert(200, HIGHER);
    assert_eq!(
        announcements(&script.wait(3 * SECOND)),
        [0u64; 0],
        "no second burst, and no announcement for the split brain"
    );
}

#[test]
fn the_final_advert_of_a_preempted_master_is_not_a_split_brain() {
    for (version, answer) in [(Version::V2, vec![]), (Version::V3, vec![ADVERT])] {
        let mut script = Script::started(config(version, SECOND));
        while script.state() == State::Backup {
            script.advert(50, HIGHER);
            script.wait(SECOND / 2);
        }
        assert_eq!(script.router.snapshot().reason, Some(Reason::Preempted));
        assert_eq!(script.advert(50, HIGHER), answer, "S23, VRRPv{version}");
        assert_eq!(script.events, [], "nothing to log");
        assert_eq!(
            announcements(&script.wait(4 * SECOND)),
            [0u64; 0],
            "the takeover has already announced the addresses"
        );
        // A router that keeps advertising is a competing master.
        script.advert(50, HIGHER);
        assert_eq!(script.events, [Event::LosingAdvert { source: HIGHER, priority: 50 }]);
    }
}

#[test]
fn without_the_deviation_a_split_brain_is_not_followed_by_an_announcement() {
    let policy = Policy { reannounce_after_split_brain: false, ..Policy::VIPD };
    let mut script = Script::master_with(config(Version::V3, SECOND), policy);
    script.wait(10 * SECOND);
    script.advert(99, HIGHER);
    assert_eq!(announcements(&script.wait(60 * SECOND)), [0u64; 0]);
}
