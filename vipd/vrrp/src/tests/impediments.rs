//! Impediments: the router takes part in elections while it has a primary address and no impediment
//! is set.

use super::*;
use crate::Reason;

/// One fault for each impediment, in the order of [`Impediment`].
const FAULTS: [Fault; 8] = [
    Fault::InterfaceDown,
    Fault::NotReceiving,
    Fault::NoPrimaryAddress,
    Fault::AddressInterface,
    Fault::Tracking,
    Fault::Administrator,
    Fault::Drained,
    Fault::Group,
];

#[test]
fn any_single_impediment_keeps_the_router_out_of_elections() {
    for fault in FAULTS {
        let mut script = Script::master(config(Version::V3, SECOND));
        let actions = script.input(Input::Impede(fault));
        assert_eq!(script.state(), State::Fault(fault));
        if fault == Fault::InterfaceDown {
            assert_eq!(actions, [Action::RemoveAddresses], "nothing can be sent on a link that is down");
        } else {
            assert_eq!(actions, [PRIORITY_ZERO, Action::RemoveAddresses], "S19: {fault}");
        }
        assert_eq!(script.wait(60 * SECOND), [], "S27: {fault}");
        script.input(Input::Clear(fault.impediment()));
        assert_eq!((script.state(), script.events.len()), (State::Backup, 1), "S2: {fault}");
    }
}

#[test]
fn the_router_starts_when_the_last_impediment_is_cleared() {
    for last in FAULTS {
        let mut script = Script::started(config(Version::V3, SECOND));
        for fault in FAULTS {
            script.input(Input::Impede(fault));
        }
        for fault in FAULTS.into_iter().filter(|fault| *fault != last) {
            script.input(Input::Clear(fault.impediment()));
            assert!(matches!(script.state(), State::Fault(_)), "{last} is still set");
        }
        assert_eq!(script.state(), State::Fault(last));
        script.input(Input::Clear(last.impediment()));
        assert_eq!(script.state(), State::Backup);
    }
}

#[test]
fn the_first_impediment_in_order_is_reported() {
    let mut script = Script::started(config(Version::V3, SECOND));
    for fault in FAULTS.into_iter().rev() {
        script.input(Input::Impede(fault));
        assert_eq!(script.state(), State::Fault(fault), "an earlier impediment takes precedence");
    }
    for pair in FAULTS.windows(2) {
        assert!(pair[0].impediment() < pair[1].impediment(), "FAULTS is in order");
        script.input(Input::Clear(pair[0].impediment()));
        assert_eq!(script.state(), State::Fault(pair[1]));
    }
}

#[test]
fn a_lower_precedence_impediment_has_no_visible_effect() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(Input::Impede(Fault::InterfaceDown));
    for fault in [Fault::Tracking, Fault::InterfaceDown] {
        assert_eq!(script.input(Input::Impede(fault)), []);
        assert_eq!((script.state(), script.events.len()), (State::Fault(Fault::InterfaceDown), 0));
    }
    script.input(Input::Clear(Impediment::Tracking));
    assert_eq!((script.state(), script.events.len()), (State::Fault(Fault::InterfaceDown), 0));
}

#[test]
fn a_new_fault_replaces_the_impediments_earlier_fault() {
    let mut script = Script::started(config(Version::V3, SECOND));
    for fault in [Fault::InterfaceDown, Fault::NoInterface] {
        script.input(Input::Impede(fault));
        assert_eq!(script.state(), State::Fault(fault));
        assert_eq!(script.router.impediment(Impediment::Link), Some(fault));
    }
    script.input(Input::Clear(Impediment::Link));
    assert_eq!(script.state(), State::Backup);
    assert_eq!(script.router.impediment(Impediment::Link), None);
}

#[test]
fn without_a_primary_address_a_router_does_not_start() {
    let mut script = Script::new(config(Version::V3, SECOND));
    script.input(Input::Impede(Fault::NotAttached));
    script.input(Input::Clear(Impediment::Io));
    assert_eq!((script.state(), script.next()), (State::Initialize, None));
    script.input(Input::PrimaryAddress(OURS));
    assert_eq!(script.state(), State::Backup);
}

#[test]
fn impediments_set_before_the_primary_address_delay_the_start() {
    let mut script = Script::new(owner(Version::V3, SECOND));
    script.input(Input::Impede(Fault::NotAttached));
    assert_eq!(script.input(Input::PrimaryAddress(OURS)), []);
    let started = script.input(Input::Clear(Impediment::Io));
    assert_eq!(started, [Action::SendAdvert { priority: 255 }, ADD, ANNOUNCE], "S1");
}

#[test]
fn impediments_survive_a_shutdown() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(Input::Impede(Fault::Drained));
    script.input(Input::Shutdown);
    assert_eq!(script.state(), State::Initialize);
    script.input(Input::PrimaryAddress(OURS));
    assert_eq!(script.state(), State::Fault(Fault::Drained));
    script.input(Input::Clear(Impediment::Drained));
    assert_eq!(script.router.snapshot().reason, Some(Reason::Startup));
    assert_eq!(script.state(), State::Backup);
}
