//! Configuration changes without a transition.

use super::*;
use crate::{Announcements, Family, RouterConfig};

const ADDED: VirtualAddress = VirtualAddress { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 52)), prefix: 32 };

impl Script {
    /// Applies a configuration, with its configured priority as the effective priority.
    fn reconfigure(&mut self, config: RouterConfig) -> Vec<Action> {
        let priority = config.priority;
        assert!(self.router.reconfigure(self.now, config, priority), "the change needs no restart");
        assert_eq!(self.router.poll_event(), None, "no event");
        std::iter::from_fn(|| self.router.poll_action()).collect()
    }
}

#[test]
fn an_equal_configuration_changes_nothing() {
    for version in VERSIONS {
        for mut script in [Script::started(config(version, SECOND)), Script::master(config(version, SECOND))]
        {
            script.wait(300 * MILLI);
            let before = script.router.clone();
            assert_eq!(script.reconfigure(config(version, SECOND)), []);
            assert_eq!(script.router, before);
        }
    }
}

#[test]
fn a_master_changes_only_the_addresses_that_differ() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        script.wait(400 * MILLI);
        let changed = RouterConfig { virtual_addresses: vec![VIPS[0], ADDED], ..config(version, SECOND) };
        let one = Addresses::One(ADDED);
        assert_eq!(
            script.reconfigure(changed),
            [
                Action::RemoveAddress(VIPS[1]),
                Action::AddAddresses(one),
                Action::Announce { addresses: one, rounds: 5 },
            ]
        );
        assert_eq!(script.state(), State::Master);
        assert_eq!(adverts(&script.wait(SECOND)), [600 * MILLI], "Adver_Timer keeps running");
    }
}

#[test]
fn an_address_that_is_no_longer_advertised_stays_on_the_interface() {
    let mut script = Script::master(config(Version::V3, SECOND));
    let changed = RouterConfig {
        virtual_addresses: vec![VIPS[0]],
        excluded_addresses: vec![VIPS[1]],
        ..config(Version::V3, SECOND)
    };
    assert_eq!(script.reconfigure(changed), []);
}

#[test]
fn a_masters_shorter_interval_applies_immediately() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, 10 * SECOND));
        script.wait(8 * SECOND);
        assert_eq!(script.reconfigure(config(version, SECOND)), []);
        assert_eq!(script.input(Input::FeedLoss), []);
        assert_eq!(script.state(), State::Master, "not stalled");
        assert_eq!(adverts(&script.wait(2 * SECOND)), [SECOND, 2 * SECOND]);
    }
}

#[test]
fn a_masters_longer_interval_applies_after_the_next_advert() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        script.wait(400 * MILLI);
        assert_eq!(script.reconfigure(config(version, 5 * SECOND)), []);
        assert_eq!(adverts(&script.wait(6 * SECOND)), [600 * MILLI, 5 * SECOND + 600 * MILLI]);
    }
}

#[test]
fn refreshes_start_and_stop_with_the_configuration() {
    let refreshing = |refresh| {
        let announcements = Announcements { delay: 0, refresh, ..Announcements::default() };
        RouterConfig { announcements, ..config(Version::V3, SECOND) }
    };
    let mut script = Script::master(refreshing(0));
    assert_eq!(script.reconfigure(refreshing(2 * SECOND)), []);
    assert_eq!(announcements(&script.wait(4 * SECOND)), [2 * SECOND, 4 * SECOND]);
    assert_eq!(script.reconfigure(refreshing(0)), []);
    assert_eq!(announcements(&script.wait(10 * SECOND)), []);
}

#[test]
fn a_backup_recomputes_its_running_timer() {
    for version in VERSIONS {
        let mut script = Script::started(config(version, SECOND));
        script.advert(200, HIGHER);
        script.wait(500 * MILLI);
        let changed = RouterConfig { priority: 56, down_after_adverts: 5, ..config(version, SECOND) };
        assert_eq!(script.reconfigure(changed), []);
        let skew = 200 * SECOND / 256;
        assert_eq!(script.next(), Some(5 * SECOND + skew - 500 * MILLI), "VRRPv{version}");
    }
}

#[test]
fn a_vrrpv3_backup_keeps_the_interval_of_its_master() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(200, HIGHER);
    let before = script.next();
    assert_eq!(script.reconfigure(config(Version::V3, 2 * SECOND)), []);
    assert_eq!(script.next(), before);
    assert_eq!(script.router.steady(), None, "the next advert is a mismatch to count");
}

#[test]
fn preempt_delay_is_recomputed_from_the_masters_first_advert() {
    let delayed = |seconds| RouterConfig { preempt_delay: seconds * SECOND, ..config(Version::V3, SECOND) };
    for (seconds, expected) in [(20, Some(20)), (0, None)] {
        let mut script = Script::started(delayed(60));
        let first = script.now;
        script.advert(50, LOWER);
        script.wait(SECOND);
        assert_eq!(script.reconfigure(delayed(seconds)), []);
        let until = script.router.snapshot().hold_until;
        assert_eq!(until, expected.map(|seconds: u64| first + seconds * SECOND));
    }
}

#[test]
fn a_backup_about_to_preempt_follows_its_master_once_preemption_is_disabled() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(50, LOWER);
    assert_eq!(script.router.snapshot().master, None, "S12");
    let changed = RouterConfig { preempt: false, ..config(Version::V3, SECOND) };
    assert!(script.router.reconfigure(script.now, changed, 100));
    assert_eq!(script.router.poll_event(), Some(Event::MasterChanged { source: LOWER, priority: 50 }), "S11");
    for _ in 0..10 {
        assert_eq!(script.wait(SECOND), []);
        script.advert(50, LOWER);
    }
}

#[test]
fn a_startup_delay_shortened_to_the_past_starts_the_router() {
    let delayed = |seconds| RouterConfig { startup_delay: seconds * SECOND, ..config(Version::V3, SECOND) };
    let mut script = Script::started(delayed(60));
    assert_eq!(script.state(), State::Initialize);
    script.wait(10 * SECOND);
    assert_eq!(script.reconfigure(delayed(5)), []);
    assert!(script.router.next_timeout().is_some_and(|at| at <= script.now));
    script.input(Input::Timeout);
    assert_eq!(script.state(), State::Backup);
}

#[test]
fn identity_version_and_ownership_of_a_running_router_cannot_change() {
    let v3 = || config(Version::V3, SECOND);
    for new in [
        RouterConfig { vrid: 52, ..v3() },
        RouterConfig { family: Family::V6, ..v3() },
        config(Version::V2, SECOND),
        owner(Version::V3, SECOND),
    ] {
        let mut script = Script::master(v3());
        let before = script.router.clone();
        assert!(!script.router.reconfigure(script.now, new, 100));
        assert_eq!(script.router, before);
    }
}
