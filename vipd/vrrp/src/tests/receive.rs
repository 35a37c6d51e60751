//! Checks that depend on the configuration: R7, R11 and R12 (RFC 9568 section 7.1, RFC 3768 section
//! 7.1).

use super::*;
use crate::Discard;

/// Passes an advert to the router `times` times and returns all events.
fn repeat(script: &mut Script, advert: Received, times: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..times {
        script.input(Input::Advert(advert));
        events.append(&mut script.events);
    }
    events
}

#[test]
fn r7_a_vrrpv2_owner_discards_every_advert() {
    for (priority, source) in [(0, LOWER), (1, HIGHER), (254, HIGHER)] {
        let mut script = Script::master(owner(Version::V2, SECOND));
        let advert = script.received(priority, source);
        let events = repeat(&mut script, advert, 5);
        assert_eq!(script.state(), State::Master, "R7");
        assert_eq!(events, [Event::Discarded { reason: Discard::Owner, source }], "R7: logged once");
        assert_eq!(script.router.snapshot().counters.owner_conflicts, 0);
    }
}

#[test]
fn r7_a_second_owner_is_logged_even_after_a_backups_advert_was_logged() {
    for version in VERSIONS {
        let mut script = Script::master(owner(version, SECOND));
        script.advert(100, LOWER);
        let advert = script.received(255, LOWER);
        let events = repeat(&mut script, advert, 5);
        let conflict = Event::OwnerConflict { source: LOWER };
        assert_eq!(events.iter().filter(|event| **event == conflict).count(), 1, "R7: VRRPv{version}");
        assert_eq!(script.router.snapshot().counters.owner_conflicts, 5, "R7: VRRPv{version}");
        assert_eq!(script.state(), State::Master);
    }
}

#[test]
fn r7_a_vrrpv3_owner_may_yield_to_another_owner_under_erratum_8298() {
    let mut script = Script::master(owner(Version::V3, SECOND));
    let last = Action::SendAdvert { priority: 255 };
    assert_eq!(script.advert(255, HIGHER), [last, Action::RemoveAddresses], "R7, S22");
    assert!(script.events.contains(&Event::OwnerConflict { source: HIGHER }), "P2");
}

#[test]
fn r11_an_advert_with_a_different_interval_is_discarded_in_vrrpv2() {
    let mut script = Script::started(config(Version::V2, SECOND));
    script.wait(SECOND);
    let before = script.router.next_timeout();
    let advert = Received { interval: 2, ..script.received(200, HIGHER) };
    let events = repeat(&mut script, advert, 5);
    assert_eq!(events, [Event::Discarded { reason: Discard::Interval, source: HIGHER }], "R11: logged once");
    assert_eq!(script.router.next_timeout(), before, "R11");
    assert_eq!(script.router.snapshot().counters.interval_errors, 5, "R11");

    let mut script = Script::master(config(Version::V2, SECOND));
    repeat(&mut script, advert, 5);
    assert_eq!(script.state(), State::Master, "R11");
}

#[test]
fn r11_a_different_interval_is_counted_and_adopted_in_vrrpv3() {
    let mut script = Script::started(config(Version::V3, SECOND));
    let advert = Received { interval: 50, ..script.received(200, HIGHER) };
    let events = repeat(&mut script, advert, 5);
    let adopted = Event::IntervalAdopted { source: HIGHER, interval: 50 };
    assert_eq!(events, [Event::MasterChanged { source: HIGHER, priority: 200 }, adopted], "R11: logged once");
    assert_eq!(script.router.snapshot().counters.interval_errors, 5, "R11");
}

#[test]
fn r12_a_different_address_list_is_discarded_in_vrrpv2_unless_sent_by_the_owner() {
    let mut script = Script::started(config(Version::V2, SECOND));
    script.wait(SECOND);
    let before = script.router.next_timeout();
    let advert = Received { addresses: 1, ..script.received(254, HIGHER) };
    let events = repeat(&mut script, advert, 5);
    assert_eq!(
        events,
        [Event::Discarded { reason: Discard::AddressList, source: HIGHER }],
        "R12: logged once"
    );
    assert_eq!(script.router.next_timeout(), before, "R12");

    let advert = Received { addresses: 1, ..script.received(255, HIGHER) };
    let events = repeat(&mut script, advert, 5);
    let changed = Event::MasterChanged { source: HIGHER, priority: 255 };
    assert_eq!(events, [changed, Event::AddressListDiffers { source: HIGHER }], "R12: logged once");
    assert_eq!(script.next(), Some(3 * SECOND + 156 * SECOND / 256), "R12: the owner's advert is accepted");
    assert_eq!(script.router.snapshot().counters.address_list_errors, 10, "R12");
}

#[test]
fn r12_a_different_address_list_is_accepted_in_vrrpv3() {
    for (start, priority) in [(Script::started as fn(_) -> _, 100), (Script::master, 200)] {
        let mut script = start(config(Version::V3, SECOND));
        let advert = Received { addresses: 1, ..script.received(priority, HIGHER) };
        let events = repeat(&mut script, advert, 5);
        assert_eq!(script.state(), State::Backup, "R12");
        assert_eq!(script.router.snapshot().master, Some(HIGHER), "R12");
        let differs = Event::AddressListDiffers { source: HIGHER };
        assert_eq!(events.iter().filter(|event| **event == differs).count(), 1, "R12: logged once");
        assert_eq!(script.router.snapshot().counters.address_list_errors, 5, "R12");
    }
}

#[test]
fn repeated_events_are_returned_once_until_the_master_changes() {
    let mut script = Script::started(config(Version::V3, SECOND));
    let first = Received { interval: 50, addresses: 1, ..script.received(200, HIGHER) };
    assert_eq!(repeat(&mut script, first, 100).len(), 3, "new master, interval, address list");
    let second = Received { source: LOWER, ..first };
    assert_eq!(repeat(&mut script, second, 100).len(), 3, "logged again for a new master");
    let own = Received { source: OURS, ..first };
    assert_eq!(repeat(&mut script, own, 100).len(), 1);
}

#[test]
fn a_losing_advert_is_logged_once_and_counted_each_time() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        let advert = script.received(50, HIGHER);
        let events = repeat(&mut script, advert, 100);
        assert_eq!(events, [Event::LosingAdvert { source: HIGHER, priority: 50 }]);
        assert_eq!(script.router.snapshot().counters.losing_adverts, 100);
    }
}
