//! Extensions (`down_after_adverts`, failover, delays, announcements, routers without addresses,
//! excluded addresses) and the list of peers.

use std::net::Ipv6Addr;

use super::*;
use crate::{Announcements, Peer, Reason};

fn announcements(actions: &[(u64, Action)]) -> Vec<(u64, u8)> {
    let rounds = |action: &Action| match action {
        Action::Announce { rounds, .. } => Some(*rounds),
        _ => None,
    };
    actions.iter().filter_map(|(at, action)| Some((*at, rounds(action)?))).collect()
}

#[test]
fn down_after_adverts_sets_the_number_of_missed_adverts() {
    for (adverts, version) in [(1, Version::V3), (30, Version::V3), (5, Version::V2)] {
        let mut script =
            Script::started(RouterConfig { down_after_adverts: adverts, ..config(version, SECOND) });
        script.advert(200, HIGHER);
        let down = u64::from(adverts) * SECOND + 156 * SECOND / 256;
        assert_eq!(script.next(), Some(down), "{adverts} adverts");
        assert_eq!(script.router.snapshot().master_down_interval, down);
    }
}

#[test]
fn stall_limit_is_at_most_three_intervals() {
    for (adverts, intervals) in [(1, 1), (3, 3), (30, 3)] {
        let config = RouterConfig { down_after_adverts: adverts, ..config(Version::V3, SECOND) };
        let mut script = Script::master(config.clone());
        script.stall(intervals * SECOND - 1);
        assert_eq!(script.advert(50, HIGHER), [ADVERT], "{adverts} adverts: S23");
        let mut script = Script::master(config);
        script.stall(intervals * SECOND);
        assert_eq!(script.advert(50, HIGHER), [Action::RemoveAddresses], "{adverts} adverts: yields");
    }
}

/// The router with the higher priority hands over mastership at the administrator's request.
#[test]
fn master_does_not_preempt_after_a_handover() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        assert_eq!(script.input(Input::Failover), [PRIORITY_ZERO, Action::RemoveAddresses]);
        assert_eq!(script.state(), State::Backup);
        for _ in 0..10 {
            script.advert(50, LOWER);
            assert_eq!(script.wait(SECOND), [], "the lower-priority master is followed");
        }
        assert_eq!(script.input(Input::Failover), [], "a backup has no mastership to hand over");
        // The new master fails. The router takes over, and later preempts as configured.
        script.wait(4 * SECOND);
        assert_eq!(script.state(), State::Master);
        script.advert(200, HIGHER);
        assert_eq!(script.state(), State::Backup);
        script.advert(50, LOWER);
        script.wait(4 * SECOND);
        assert_eq!(script.state(), State::Master, "preempts");
    }
}

#[test]
fn owner_does_not_hand_over_mastership() {
    let mut script = Script::master(owner(Version::V3, SECOND));
    assert_eq!(script.input(Input::Failover), []);
    assert_eq!(script.state(), State::Master);
}

#[test]
fn a_lower_priority_master_is_followed_during_preempt_delay() {
    for version in VERSIONS {
        let mut script =
            Script::started(RouterConfig { preempt_delay: 10 * SECOND, ..config(version, SECOND) });
        for second in 0..10 {
            script.advert(50, LOWER);
            assert_eq!(script.router.snapshot().master, Some(LOWER), "second {second}");
            assert_eq!(script.wait(SECOND), []);
        }
        // The delay has passed when this advert arrives.
        script.advert(50, LOWER);
        let left = script.next().expect("a timer");
        script.advert(50, LOWER);
        assert_eq!(script.next(), Some(left), "S12: the timer keeps running");
        script.wait(left);
        assert_eq!(script.state(), State::Master);
        assert!(matches!(script.events[0], Event::StateChanged { reason: Reason::Preempted, .. }));
    }
}

#[test]
fn preempt_delay_restarts_after_a_higher_priority_master() {
    let mut script =
        Script::started(RouterConfig { preempt_delay: 2 * SECOND, ..config(Version::V3, SECOND) });
    script.advert(50, LOWER);
    script.wait(SECOND);
    script.advert(200, HIGHER);
    script.wait(SECOND);
    script.advert(50, LOWER);
    script.wait(SECOND);
    script.advert(50, LOWER);
    assert_eq!(script.router.snapshot().hold_until.map(|at| at.nanos_since(script.now)), Some(SECOND));
}

#[test]
fn preempt_delay_does_not_delay_the_takeover_from_a_dead_master() {
    let mut script =
        Script::started(RouterConfig { preempt_delay: 100 * SECOND, ..config(Version::V3, SECOND) });
    script.advert(50, LOWER);
    script.wait(3 * SECOND + 156 * SECOND / 256);
    assert_eq!(script.state(), State::Master);
    assert!(matches!(script.events[0], Event::StateChanged { reason: Reason::MasterTimeout, .. }));
    let mut script =
        Script::started(RouterConfig { preempt_delay: 100 * SECOND, ..config(Version::V3, SECOND) });
    script.advert(50, LOWER);
    script.advert(0, LOWER);
    script.wait(156 * SECOND / 256);
    assert_eq!(script.state(), State::Master, "S10");
}

#[test]
fn the_owner_ignores_preempt_delay() {
    let mut script =
        Script::started(RouterConfig { preempt_delay: 100 * SECOND, ..owner(Version::V3, SECOND) });
    assert_eq!(script.state(), State::Master);
    script.advert(255, HIGHER);
    assert_eq!(script.state(), State::Backup, "R7: erratum 8298, S22");
    script.advert(50, LOWER);
    script.wait(3 * SECOND + SECOND / 256);
    assert_eq!(script.state(), State::Master, "S25");
}

#[test]
fn s27_adverts_are_ignored_during_startup_delay() {
    for (config, state) in
        [(config(Version::V3, SECOND), State::Backup), (owner(Version::V3, SECOND), State::Master)]
    {
        let mut script = Script::started(RouterConfig { startup_delay: 5 * SECOND, ..config });
        assert_eq!((script.state(), script.next()), (State::Initialize, Some(5 * SECOND)));
        assert_eq!(script.advert(0, HIGHER), []);
        script.wait(5 * SECOND - 1);
        assert_eq!(script.state(), State::Initialize);
        script.wait(1);
        assert_eq!(script.state(), state);
        // The delay does not apply again after a later fault.
        script.input(Input::Impede(Fault::InterfaceDown));
        script.input(Input::Clear(Impediment::Link));
        assert_eq!(script.state(), state);
    }
}

#[test]
fn a_flapping_interface_does_not_change_startup_delay() {
    let mut script =
        Script::started(RouterConfig { startup_delay: 5 * SECOND, ..config(Version::V3, SECOND) });
    script.wait(SECOND);
    script.input(Input::Impede(Fault::InterfaceDown));
    script.wait(SECOND);
    script.input(Input::Clear(Impediment::Link));
    assert_eq!((script.state(), script.next()), (State::Initialize, Some(3 * SECOND)));
    assert_eq!(script.input(Input::Shutdown), []);
    assert_eq!(script.next(), None);
}

#[test]
fn a_late_start_reports_how_late_it_was() {
    for config in [config(Version::V3, SECOND), owner(Version::V3, SECOND)] {
        let mut script = Script::started(RouterConfig { startup_delay: 5 * SECOND, ..config });
        script.stall(5 * SECOND + 7 * MILLI);
        script.input(Input::Timeout);
        assert!(matches!(script.events[..], [Event::StateChanged { late, .. }] if late == 7 * MILLI));
    }
}

#[test]
fn announcements_are_repeated_delayed_and_refreshed_as_configured() {
    let play = |wanted| {
        let mut script =
            Script::started(RouterConfig { announcements: wanted, ..config(Version::V3, SECOND) });
        let down = script.next().expect("a timer");
        (announcements(&script.wait(down)), announcements(&script.wait(10 * SECOND)))
    };
    let usual = Announcements::default();
    let (first, later) = play(usual);
    assert_eq!((first.len(), later), (1, vec![(5 * SECOND, 5)]));
    let (_, later) = play(Announcements { delay: 0, ..usual });
    assert_eq!(later, []);
    let refreshed = Announcements { repeat: 2, delay: SECOND, refresh: 3 * SECOND, refresh_repeat: 4 };
    let (first, later) = play(refreshed);
    assert_eq!(first.iter().map(|(_, rounds)| *rounds).collect::<Vec<_>>(), [2]);
    assert_eq!(later, [(SECOND, 2), (3 * SECOND, 4), (6 * SECOND, 4), (9 * SECOND, 4)]);
}

#[test]
fn without_addresses_a_master_only_sends_adverts() {
    for (version, answer) in [(Version::V2, vec![]), (Version::V3, vec![ADVERT])] {
        let announcements = Announcements { refresh: SECOND, ..Announcements::default() };
        let bare = RouterConfig { virtual_addresses: Vec::new(), ..config(version, SECOND) };
        let mut script = Script::master(RouterConfig { announcements, ..bare });
        assert_eq!(adverts(&script.wait(10 * SECOND)).len(), 10);
        // Without addresses, there is nothing to announce after a split brain.
        let digest = address_digest(std::iter::empty());
        let losing = Received { addresses: digest, ..script.received(50, HIGHER) };
        assert_eq!(script.input(Input::Advert(losing)), answer, "S23, VRRPv{version}");
        let later = script.wait(10 * SECOND);
        assert_eq!((adverts(&later).len(), later.len()), (10, 10), "only adverts");
        assert_eq!(script.events, []);
        assert_eq!(script.router.snapshot().counters.address_list_errors, 0, "R12");
        assert_eq!(script.input(Input::Shutdown), [PRIORITY_ZERO], "S19");
    }
}

#[test]
fn excluded_addresses_are_announced_but_not_compared() {
    let excluded = VirtualAddress { address: Ipv6Addr::LOCALHOST.into(), prefix: 128 };
    let with = RouterConfig { excluded_addresses: vec![excluded], ..config(Version::V2, SECOND) };
    let mut script = Script::started(with.clone());
    script.advert(200, HIGHER);
    assert_eq!(script.router.snapshot().counters.address_list_errors, 0, "R12");
    let mut script = Script::master(with);
    let restored = script.input(Input::AddressRestored(excluded));
    assert_eq!(restored, [Action::Announce { addresses: Addresses::One(excluded), rounds: 1 }]);
}

#[test]
fn a_full_list_of_peers_drops_the_least_recently_seen() {
    let mut script = Script::started(config(Version::V3, SECOND));
    let from = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 1, last));
    for last in 0..17 {
        script.stall(1);
        script.advert(200, from(last));
    }
    let known: Vec<_> = script.router.peers().iter().map(|peer| peer.address).collect();
    assert_eq!(known.len(), 16);
    assert!(!known.contains(&from(0)) && known.contains(&from(16)));
    script.advert(7, from(16));
    let peer = script.router.peers().iter().find(|peer| peer.address == from(16)).expect("known");
    assert_eq!((peer.priority, peer.checksum), (7, ChecksumForm::V2));
}

#[test]
fn peers_include_senders_of_ignored_adverts() {
    // Adverts are ignored in Initialize, in VRRPv2 if their interval differs, and by a VRRPv2
    // owner.
    let waiting = RouterConfig { startup_delay: SECOND, ..config(Version::V3, SECOND) };
    for config in [waiting, config(Version::V2, SECOND), owner(Version::V2, SECOND)] {
        let mut script = Script::started(config);
        let advert = Received { interval: 7, checksum: ChecksumForm::Rfc9568, ..script.received(9, HIGHER) };
        script.input(Input::Advert(advert));
        script.advert(100, OURS);
        let peer = Peer {
            address: HIGHER,
            priority: 9,
            checksum: ChecksumForm::Rfc9568,
            last_arrival: advert.arrival,
        };
        assert_eq!(script.router.peers(), [peer]);
    }
}

#[test]
fn preempt_delay_restarts_after_priority_zero() {
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
