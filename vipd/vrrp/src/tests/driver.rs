//! What the RFC does not know: a process that was held up, a feed with gaps, an interface that changes.

use super::*;
use crate::{Fault, Reason};

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
        // In good order: it waits for a whole Active_Down_Interval and then preempts.
        let down = 3 * SECOND + 156 * SECOND / 256;
        assert_eq!(script.next(), Some(down));
        script.wait(down);
        assert_eq!(script.state(), State::Master);
        assert!(matches!(script.events[0], Event::StateChanged { reason: Reason::Preempted, .. }));
    }
}

#[test]
fn a_stalled_master_without_preemption_follows() {
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
fn a_stall_of_less_than_three_intervals_is_none() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.stall(3 * SECOND - 1);
    assert_eq!(script.advert(50, HIGHER), [ADVERT], "S23");
    let mut script = Script::master(config(Version::V3, SECOND));
    script.stall(3 * SECOND);
    assert_eq!(script.advert(50, HIGHER), [Action::RemoveAddresses], "no backup fires before that");
}

/// F12: one advert of priority 1 from a stranger, 5 ms after the process was stopped.
#[test]
fn an_advert_from_the_beginning_of_a_stall_does_not_end_it() {
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
            "VRRPv{version}: no answer before the rest is read"
        );
        assert_eq!(script.input(Input::Advert(successor)), [Action::RemoveAddresses], "VRRPv{version}");
        assert_eq!(script.router.snapshot().reason, Some(Reason::Stalled));
        assert_eq!(script.router.snapshot().counters.stalls, 1);
        assert_eq!(script.router.snapshot().master, Some(HIGHER), "Preempt_Mode false: it follows");
    }
}

/// F12: a flood of a stranger fills the ring, and the adverts of the successor are lost.
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
fn an_advert_that_the_kernel_refused_was_not_sent() {
    let mut script = Script::master(RouterConfig { preempt: false, ..config(Version::V3, SECOND) });
    for _ in 0..4 {
        script.stall(SECOND);
        script.router.handle(script.now, Input::Timeout);
        while script.router.poll_action().is_some() {}
    }
    assert_eq!(script.advert(50, HIGHER), [Action::RemoveAddresses], "a backup has rightly taken over");
}

#[test]
fn a_stalled_master_sends_no_last_advert() {
    let mut script = Script::master(config(Version::V3, SECOND));
    let winner = script.received(200, HIGHER);
    script.stall(3 * SECOND);
    assert_eq!(script.input(Input::Advert(winner)), [Action::RemoveAddresses]);
}

#[test]
fn a_stalled_master_that_nobody_replaced_goes_on() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.stall(10 * SECOND);
    assert_eq!(script.input(Input::Timeout), [ADVERT, ANNOUNCE]);
    assert_eq!(script.state(), State::Master);
}

#[test]
fn feed_loss_in_backup_counts_as_an_advert() {
    let mut script = Script::started(config(Version::V3, SECOND));
    for round in 0..10 {
        assert_eq!(script.wait(3 * SECOND), []);
        assert_eq!(script.input(Input::FeedLoss), []);
        assert_eq!(script.events.len(), usize::from(round == 0), "told once");
        assert_eq!(script.next(), Some(3 * SECOND + 156 * SECOND / 256));
    }
}

#[test]
fn feed_loss_in_a_master_that_stalled_is_a_reason_to_look_first() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.wait(10 * SECOND);
    assert_eq!(script.input(Input::FeedLoss), [], "not when it was not silent");
    assert_eq!(script.events, []);
    script.stall(3 * SECOND);
    assert_eq!(script.input(Input::FeedLoss), [Action::RemoveAddresses]);
    let [Event::StateChanged { reason: Reason::Stalled, .. }, Event::FeedLoss] = script.events[..] else {
        panic!("{:?}", script.events);
    };
}

#[test]
fn an_address_that_somebody_removed_comes_back_in_master_only() {
    let mut script = Script::started(config(Version::V3, SECOND));
    assert_eq!(script.input(Input::AddressRemoved(VIPS[0])), [], "Backup");
    let mut script = Script::master(config(Version::V3, SECOND));
    for (count, vip) in [(1, VIPS[0]), (2, VIPS[1])] {
        let one = Addresses::One(vip);
        let announce = Action::Announce { addresses: one, rounds: 1 };
        assert_eq!(script.input(Input::AddressRemoved(vip)), [Action::AddAddresses(one), announce]);
        assert_eq!(script.events, [Event::AddressRestored(vip)]);
        assert_eq!(script.router.snapshot().counters.addresses_restored, count);
    }
    let other = VirtualAddress { prefix: 16, ..VIPS[0] };
    assert_eq!(script.input(Input::AddressRemoved(other)), [], "none of ours");
}

#[test]
fn a_new_primary_address_is_told_to_the_backups_at_once() {
    let other = IpAddr::from([10, 0, 0, 77]);
    let mut script = Script::master(config(Version::V3, SECOND));
    script.wait(400 * MILLI);
    assert_eq!(script.input(Input::PrimaryAddress(other)), [ADVERT]);
    assert_eq!(script.events, [Event::PrimaryChanged { primary: other }]);
    assert_eq!(script.input(Input::PrimaryAddress(other)), []);
    assert_eq!(script.events, [], "once");
    assert_eq!(adverts(&script.wait(SECOND)), [600 * MILLI], "the cadence stays");
    assert_eq!(script.advert(254, other), [], "S28: now that address is our own");
    assert_eq!(script.advert(254, OURS), [ADVERT, Action::RemoveAddresses], "S28: and the old one is not");
}

#[test]
fn a_stop_before_the_start_is_no_change() {
    let mut script = Script::new(config(Version::V3, SECOND));
    assert_eq!(script.input(Input::Shutdown), []);
    assert_eq!(script.events, []);
}

#[test]
fn what_ended_a_fault_is_the_reason_of_the_start() {
    for (fault, reason) in [
        (Fault::NoInterface, Reason::InterfaceUp),
        (Fault::InterfaceDown, Reason::InterfaceUp),
        (Fault::NoPrimaryAddress, Reason::PrimaryAddress),
        (Fault::NotAttached, Reason::Startup),
    ] {
        let mut script = Script::new(config(Version::V3, SECOND));
        script.input(Input::Impede(fault));
        script.clear(fault);
        assert_eq!(script.router.snapshot().reason, Some(reason), "{fault}");
    }
}
