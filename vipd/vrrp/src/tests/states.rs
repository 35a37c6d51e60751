//! Transitions: their timing and the order of their actions.

use super::*;
use crate::Reason;

#[test]
fn s1_the_owner_starts_as_master() {
    for version in VERSIONS {
        let mut script = Script::new(owner(version, SECOND));
        let actions = script.input(Input::PrimaryAddress(OURS));
        assert_eq!(actions, [Action::SendAdvert { priority: 255 }, ADD, ANNOUNCE], "S1");
        let change = Event::StateChanged {
            from: State::Initialize,
            to: State::Master,
            reason: Reason::Startup,
            late: 0,
        };
        assert_eq!(script.events, [change]);
        assert_eq!(script.next(), Some(SECOND));
    }
}

#[test]
fn s2_s9_and_s20_a_lone_router_takes_over() {
    for version in VERSIONS {
        let mut script = Script::started(config(version, SECOND));
        assert_eq!(script.state(), State::Backup);
        let down = 3 * SECOND + 156 * SECOND / 256;
        assert_eq!(script.wait(down - 1), [], "S2: not a nanosecond early");
        assert_eq!(script.wait(1), [(1, ADVERT), (1, ADD), (1, ANNOUNCE)], "S9: in this order");
        let reason = Reason::MasterTimeout;
        let change = Event::StateChanged { from: State::Backup, to: State::Master, reason, late: 0 };
        assert_eq!(script.events, [change]);
        let sent = script.wait(10 * SECOND);
        assert_eq!(adverts(&sent), (1..=10).map(|n| n * SECOND).collect::<Vec<_>>(), "S20");
        assert_eq!(announcements(&sent), [5 * SECOND], "the second burst, once");
    }
}

#[test]
fn s8_a_backup_shuts_down_without_an_advert() {
    for version in VERSIONS {
        let mut script = Script::started(config(version, SECOND));
        assert_eq!(script.input(Input::Shutdown), []);
        assert_eq!((script.state(), script.next()), (State::Initialize, None));
    }
}

#[test]
fn s10_priority_zero_sets_the_timer_to_skew_time() {
    for version in VERSIONS {
        let mut script = Script::started(config(version, SECOND));
        script.advert(200, HIGHER);
        script.wait(SECOND / 2);
        script.advert(0, HIGHER);
        let skew = 156 * SECOND / 256;
        assert_eq!(script.wait(skew), [(skew, ADVERT), (skew, ADD), (skew, ANNOUNCE)], "S10");
        assert!(matches!(script.events[..], [Event::StateChanged { reason: Reason::PriorityZero, .. }]));
    }
}

#[test]
fn s10_a_higher_priority_router_that_answers_within_skew_time_is_followed() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(200, HIGHER);
    script.advert(0, HIGHER);
    script.wait(100 * MILLI);
    script.advert(150, LOWER);
    assert_eq!(script.next(), Some(3 * SECOND + 156 * SECOND / 256), "S11 after S10");
    let changed = Event::MasterChanged { source: LOWER, priority: 150 };
    assert_eq!(script.events, [changed]);
}

#[test]
fn s12_a_lower_priority_master_is_preempted_only_when_the_timer_fires() {
    for version in VERSIONS {
        let mut script = Script::started(config(version, SECOND));
        let down = 3 * SECOND + 156 * SECOND / 256;
        for second in 0..3 {
            assert_eq!(script.advert(99, HIGHER), []);
            assert_eq!(script.next(), Some(down - second * SECOND), "S12: the timer keeps running");
            assert_eq!(script.wait(SECOND), []);
        }
        script.wait(SECOND);
        assert_eq!(script.state(), State::Master);
        assert!(matches!(script.events[0], Event::StateChanged { reason: Reason::Preempted, .. }));
    }
}

#[test]
fn s11_without_preemption_a_master_of_any_priority_is_followed() {
    for version in VERSIONS {
        let mut script = Script::started(RouterConfig { preempt: false, ..config(version, SECOND) });
        for _ in 0..10 {
            script.advert(1, LOWER);
            assert_eq!(script.wait(SECOND), [], "S11");
        }
        assert_eq!(script.state(), State::Backup);
        assert_eq!(script.router.snapshot().master, Some(LOWER));
        script.advert(0, LOWER);
        script.wait(SECOND);
        assert_eq!(script.state(), State::Master, "S10 also applies without preemption");
    }
}

#[test]
fn s24_preempt_mode_is_not_consulted_in_master() {
    for version in VERSIONS {
        let mut script = Script::master(RouterConfig { preempt: false, ..config(version, SECOND) });
        assert_eq!(script.advert(101, LOWER), [ADVERT, Action::RemoveAddresses], "S22, S24");
        assert_eq!(script.state(), State::Backup);
        let mut script = Script::master(RouterConfig { preempt: false, ..config(version, SECOND) });
        script.advert(99, HIGHER);
        assert_eq!(script.state(), State::Master, "S23, S24");
    }
}

#[test]
fn s25_the_owner_preempts_regardless_of_preempt_mode() {
    let mut script = Script::master(RouterConfig { preempt: false, ..owner(Version::V3, SECOND) });
    // The owner yields to a second owner with a higher address (erratum 8298), which then stops
    // advertising.
    script.advert(255, HIGHER);
    assert_eq!(script.state(), State::Backup);
    for _ in 0..5 {
        script.advert(100, LOWER);
        script.wait(SECOND);
    }
    assert_eq!(script.state(), State::Master, "S25: priority 100 is preempted");
}

#[test]
fn s22_the_tie_break_compares_sources_as_numbers() {
    for version in VERSIONS {
        for (source, wins) in [
            (IpAddr::from([10, 0, 0, 1]), false),
            (IpAddr::from([10, 0, 0, 3]), true),
            (IpAddr::from([9, 255, 255, 255]), false),
            (IpAddr::from([10, 0, 1, 0]), true),
            (IpAddr::from([192, 0, 0, 1]), true),
        ] {
            let mut script = Script::master(config(version, SECOND));
            script.advert(100, source);
            let state = if wins { State::Backup } else { State::Master };
            assert_eq!(script.state(), state, "S26: {source} against {OURS}");
        }
    }
}

#[test]
fn s26_the_tie_break_uses_the_current_primary_address() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.input(Input::PrimaryAddress(IpAddr::from([10, 0, 0, 9])));
    script.advert(100, HIGHER);
    assert_eq!(script.state(), State::Master, "S26");
}

#[test]
fn s13_addresses_are_not_compared_in_backup() {
    for version in VERSIONS {
        for source in [LOWER, HIGHER] {
            let mut script = Script::started(config(version, SECOND));
            script.wait(SECOND);
            script.advert(100, source);
            assert_eq!(script.next(), Some(3 * SECOND + 156 * SECOND / 256), "S13: {source}");
        }
    }
}

#[test]
fn s21_priority_zero_is_answered_at_once_and_restarts_adver_timer() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        script.wait(700 * MILLI);
        assert_eq!(script.advert(0, HIGHER), [ADVERT], "S21");
        assert_eq!(script.next(), Some(SECOND), "S21");
    }
}

#[test]
fn s19_an_impediment_ends_mastership_and_clearing_it_restarts_the_router() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        let actions = script.input(Input::Impede(Fault::NotAttached));
        assert_eq!(actions, [PRIORITY_ZERO, Action::RemoveAddresses], "S19");
        assert_eq!(script.input(Input::Impede(Fault::NotAttached)), []);
        assert_eq!(script.events, [], "the same fault is logged once");
        assert_eq!(script.wait(60 * SECOND), [], "S27");
        assert_eq!(script.input(Input::Clear(Impediment::Io)), []);
        assert_eq!(script.state(), State::Backup, "S2");
    }
}

#[test]
fn s27_inputs_after_a_shutdown_are_ignored() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        script.input(Input::Shutdown);
        for _ in 0..3 {
            for priority in [0, 1, 100, 255] {
                assert_eq!(script.advert(priority, HIGHER), [], "S27: a late packet");
            }
            assert_eq!(script.input(Input::Timeout), [], "S27: a stale timer");
            assert_eq!(script.input(Input::FeedLoss), []);
            assert_eq!(script.input(Input::AddressRestored(VIPS[0])), []);
            assert_eq!(script.wait(10 * SECOND), []);
            assert_eq!(script.events, []);
        }
        assert_eq!((script.state(), script.next()), (State::Initialize, None));
    }
}

#[test]
fn s28_an_advert_from_the_routers_own_address_is_ignored_and_counted() {
    for version in VERSIONS {
        for priority in [0, 50, 100, 254] {
            let mut script = Script::master(config(version, SECOND));
            assert_eq!(script.advert(priority, OURS), [], "S28: an answer would cause a loop");
            assert_eq!(script.state(), State::Master, "S28");
            assert_eq!(script.router.snapshot().counters.own_adverts, 1);
        }
    }
}

#[test]
fn s23_a_losing_advert_is_answered_at_once_without_restarting_adver_timer() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.wait(400 * MILLI);
    assert_eq!(script.advert(99, HIGHER), [ADVERT], "S23");
    assert_eq!(adverts(&script.wait(SECOND)), [600 * MILLI], "S23 does not restart Adver_Timer");
}

#[test]
fn s23_a_losing_advert_is_not_answered_in_vrrpv2() {
    let mut script = Script::master(config(Version::V2, SECOND));
    assert_eq!(script.advert(99, HIGHER), [], "RFC 3768: the advert is discarded");
    assert_eq!(script.router.snapshot().counters.asserts_sent, 0);
}
