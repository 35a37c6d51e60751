//! Inputs that the RFC does not define (lost records, restored addresses, a new primary address,
//! suspensions), a shutdown before the start, and the reasons for a start.

use super::*;
use crate::Reason;

#[test]
fn feed_loss_in_backup_restarts_active_down_timer() {
    let mut script = Script::started(config(Version::V3, SECOND));
    for round in 0..10 {
        assert_eq!(script.wait(3 * SECOND), []);
        assert_eq!(script.input(Input::FeedLoss), []);
        assert_eq!(script.events.len(), usize::from(round == 0), "logged once");
        assert_eq!(script.next(), Some(3 * SECOND + 156 * SECOND / 256));
    }
}

#[test]
fn a_restored_address_is_announced_in_master_only() {
    let mut script = Script::started(config(Version::V3, SECOND));
    assert_eq!(script.input(Input::AddressRestored(VIPS[0])), [], "Backup");
    let mut script = Script::master(config(Version::V3, SECOND));
    for (count, vip) in [(1, VIPS[0]), (2, VIPS[1])] {
        let one = Addresses::One(vip);
        let announce = Action::Announce { addresses: one, rounds: 1 };
        assert_eq!(script.input(Input::AddressRestored(vip)), [announce]);
        assert_eq!(script.events, [Event::AddressRestored(vip)]);
        assert_eq!(script.router.snapshot().counters.addresses_restored, count);
    }
    let other = VirtualAddress { prefix: 16, ..VIPS[0] };
    assert_eq!(script.input(Input::AddressRestored(other)), [], "not configured");
}

#[test]
fn a_new_primary_address_is_advertised_at_once() {
    let other = IpAddr::from([10, 0, 0, 77]);
    let mut script = Script::master(config(Version::V3, SECOND));
    script.wait(400 * MILLI);
    assert_eq!(script.input(Input::PrimaryAddress(other)), [ADVERT]);
    assert_eq!(script.events, [Event::PrimaryChanged { primary: other }]);
    assert_eq!(script.input(Input::PrimaryAddress(other)), []);
    assert_eq!(script.events, [], "logged once");
    assert_eq!(adverts(&script.wait(SECOND)), [600 * MILLI], "Adver_Timer keeps its phase");
    assert_eq!(script.advert(254, other), [], "S28: the new address is the router's own");
    assert_eq!(
        script.advert(254, OURS),
        [ADVERT, Action::RemoveAddresses],
        "S28: the old address is no longer the router's own"
    );
}

#[test]
fn an_advert_due_during_a_suspension_is_sent_in_advance() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        script.wait(400 * MILLI);
        assert_eq!(script.input(Input::Suspend(script.now + 599 * MILLI)), [], "due after the suspension");
        assert_eq!(script.input(Input::Suspend(script.now + 600 * MILLI)), [ADVERT]);
        assert_eq!(script.events, []);
        assert_eq!(adverts(&script.wait(SECOND)), [600 * MILLI], "Adver_Timer keeps its deadline");
        let mut backup = Script::started(config(version, SECOND));
        assert_eq!(backup.input(Input::Suspend(backup.now + 10 * SECOND)), [], "Backup");
    }
}

#[test]
fn a_shutdown_before_the_start_changes_nothing() {
    let mut script = Script::new(config(Version::V3, SECOND));
    assert_eq!(script.input(Input::Shutdown), []);
    assert_eq!(script.events, []);
}

#[test]
fn the_reason_for_a_start_depends_on_the_fault_that_was_cleared() {
    for (fault, reason) in [
        (Fault::NoInterface, Reason::InterfaceUp),
        (Fault::InterfaceDown, Reason::InterfaceUp),
        (Fault::NoPrimaryAddress, Reason::PrimaryAddress),
        (Fault::NotAttached, Reason::Startup),
    ] {
        let mut script = Script::new(config(Version::V3, SECOND));
        script.input(Input::Impede(fault));
        script.input(Input::PrimaryAddress(OURS));
        script.input(Input::Clear(fault.impediment()));
        assert_eq!(script.router.snapshot().reason, Some(reason), "{fault}");
    }
}
