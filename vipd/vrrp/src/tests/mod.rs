//! The state machine, item by item.
//!
//! Names and messages carry the letters of these items:
//!
//! * S1 and S2 Startup, S3 to S13 Backup, S14 to S26 Master, in the order of RFC 9568 section 6.4;
//!   S27 nothing happens in Initialize, S28 an advert from our own address is none.
//! * M1 to M5: the timers (section 6.1), T7: what interval is sent, R7, R11 and R12: the checks of section 7.1
//!   that need the configuration.
//!
//! S3, S7, S14 and S17 (who answers and accepts for the virtual addresses) come down to one thing here: the
//! addresses are on the interface in Master and at no other time. [`Script`] checks that after each input. S4, S5,
//! S15 and S18 are about IPv6, S6 and S16 about frames to a virtual MAC: the core has no action for them.

mod driver;
mod healing;
mod ipv6;
mod owners;
mod policy;
mod receive;
mod release;
mod states;
mod table;
mod timers;

use std::net::{IpAddr, Ipv4Addr};

use vipd_common::Timestamp;
use vipd_common::parse::{ChecksumForm, address_digest};

use crate::{
    Action, Addresses, Event, Family, Fault, Input, Interval, Received, Router, RouterConfig, State, Version,
    VirtualAddress,
};

pub(super) const MILLI: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1000 * MILLI;

pub(super) const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
pub(super) const LOWER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(super) const HIGHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));

pub(super) const VIPS: [VirtualAddress; 2] = [
    VirtualAddress { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 50)), prefix: 24 },
    VirtualAddress { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 51)), prefix: 32 },
];

const ADVERT: Action = Action::SendAdvert { priority: 100 };
const RELEASE: Action = Action::SendAdvert { priority: 0 };
const ADD: Action = Action::AddAddresses(Addresses::All);
const ANNOUNCE: Action = Action::Announce { addresses: Addresses::All, rounds: 5 };

/// Both versions, with an interval that both can say.
const VERSIONS: [Version; 2] = [Version::V2, Version::V3];

pub(super) fn digest() -> u64 {
    address_digest(VIPS.iter().map(|vip| vip.address))
}

/// Priority 100, preemption, two addresses.
pub(super) fn config(version: Version, interval: u64) -> RouterConfig {
    let interval = Interval::from_nanos(version, interval).expect("the test's interval is one");
    RouterConfig::new(51, Family::V4, interval, VIPS.to_vec())
}

fn owner(version: Version, interval: u64) -> RouterConfig {
    RouterConfig { priority: 255, ..config(version, interval) }
}

/// A router and its clock.
pub(super) struct Script {
    router: Router,
    now: Timestamp,
    /// Of the last input or wait.
    events: Vec<Event>,
    /// Whether the virtual addresses are on the interface.
    held: bool,
}

impl Script {
    fn new(config: RouterConfig) -> Self {
        let now = Timestamp::from_nanos(1000 * SECOND);
        Self { router: Router::new(config), now, events: Vec::new(), held: false }
    }

    /// Started: in Backup, or as owner in Master.
    fn started(config: RouterConfig) -> Self {
        let mut script = Self::new(config);
        script.input(Input::PrimaryAddress(OURS));
        script
    }

    /// In Master since this moment.
    fn master(config: RouterConfig) -> Self {
        let mut script = Self::started(config);
        if script.state() == State::Backup {
            script.now = script.router.next_timeout().expect("Backup has a timer");
            script.input(Input::Timeout);
        }
        assert_eq!(script.state(), State::Master);
        script
    }

    fn state(&self) -> State {
        self.router.state()
    }

    /// Nanoseconds from now to the next timeout.
    fn next(&self) -> Option<u64> {
        self.router.next_timeout().map(|at| at.nanos_since(self.now))
    }

    /// Hands one input over and returns the actions.
    fn input(&mut self, input: Input) -> Vec<Action> {
        self.events.clear();
        self.step(input)
    }

    /// Lets time pass, with every timer served when it is due: the actions, and after how long.
    fn wait(&mut self, nanos: u64) -> Vec<(u64, Action)> {
        self.events.clear();
        let start = self.now;
        let end = start + nanos;
        let mut actions = Vec::new();
        while let Some(at) = self.router.next_timeout().filter(|at| *at <= end) {
            self.now = at;
            let after = at.nanos_since(start);
            actions.extend(self.step(Input::Timeout).into_iter().map(|action| (after, action)));
        }
        self.now = end;
        actions
    }

    /// Lets time pass with nobody to serve a timer, as when the process is held up.
    /// Clears an impediment, as a fresh look at the interface does.
    fn clear(&mut self, fault: Fault) -> Vec<Action> {
        let actions = self.input(Input::PrimaryAddress(OURS));
        if self.state() == State::Fault(fault) {
            self.input(Input::Clear(fault.impediment()))
        } else {
            actions
        }
    }

    fn stall(&mut self, nanos: u64) {
        self.now = self.now + nanos;
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        self.router.handle(self.now, input);
        let actions: Vec<_> = std::iter::from_fn(|| self.router.poll_action()).collect();
        self.events.extend(std::iter::from_fn(|| self.router.poll_event()));
        for action in &actions {
            match action {
                Action::AddAddresses(Addresses::All) => {
                    assert!(!self.held, "S9: the addresses are added once");
                    self.held = true;
                }
                Action::RemoveAddresses => {
                    assert!(self.held, "S19, S22: the addresses are removed once");
                    self.held = false;
                }
                Action::AddAddresses(Addresses::One(_)) | Action::Announce { .. } => {
                    assert!(self.held, "S3: nothing is announced without mastership");
                }
                Action::SendAdvert { .. } => self.router.advert_sent(self.now),
            }
        }
        let holds = self.state() == State::Master && self.router.config().all_addresses().next().is_some();
        assert_eq!(self.held, holds, "S3, S7, S14, S17: addresses in Master only");
        actions
    }

    /// An advert that arrives now, in all but priority and source like ours.
    fn received(&self, priority: u8, source: IpAddr) -> Received {
        let interval = self.router.config().interval.wire();
        Received {
            arrival: self.now,
            source,
            priority,
            interval,
            addresses: digest(),
            checksum: ChecksumForm::V2,
        }
    }

    fn advert(&mut self, priority: u8, source: IpAddr) -> Vec<Action> {
        let advert = self.received(priority, source);
        self.input(Input::Advert(advert))
    }
}

/// Only the adverts among timed actions, with their times.
fn adverts(actions: &[(u64, Action)]) -> Vec<u64> {
    let sent = actions.iter().filter(|(_, action)| matches!(action, Action::SendAdvert { .. }));
    sent.map(|(at, _)| *at).collect()
}

/// Only the announcements among timed actions, with their times.
fn announcements(actions: &[(u64, Action)]) -> Vec<u64> {
    let sent = actions.iter().filter(|(_, action)| matches!(action, Action::Announce { .. }));
    sent.map(|(at, _)| *at).collect()
}
