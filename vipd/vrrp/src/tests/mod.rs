//! Tests of the state machine. Their names and messages cite the items of the conformance suite
//! (`tests/conformance/items/items.md`):
//!
//! * S1 and S2: Startup; S3 to S13: Backup; S14 to S26: Master, in the order of RFC 9568 section
//!   6.4. S27: adverts and stale timers are ignored in Initialize. S28: adverts from the router's
//!   own address are ignored.
//! * M1 to M5: the timers (section 6.1). T7: the interval in sent adverts. R7, R11 and R12: the
//!   checks of section 7.1 that depend on the configuration. P2: several owners (section 8.3.2).
//!   F7: IPv4 and IPv6 virtual routers with the same VRID.
//!
//! S3, S7, S14 and S17 (answering ARP for the virtual addresses, and accepting packets to these
//! addresses) reduce to one invariant: the addresses are on the interface in Master and in no other
//! state. [`Script`] checks this invariant after each input. S4, S5, S15 and S18 concern IPv6, and
//! S6 and S16 concern frames to the virtual MAC: the core has no action for them.
//!
//! Tests of the deviations from the RFC are in `deviation/`.

mod extensions;
mod group;
mod impediments;
mod inputs;
mod ipv6;
mod join;
mod owners;
mod priority;
mod receive;
mod reconfigure;
mod saved;
mod states;
mod table;
mod timers;

pub(crate) use std::net::{IpAddr, Ipv4Addr};

pub(crate) use vipd_common::Timestamp;
pub(crate) use vipd_common::parse::{ChecksumForm, address_digest};

pub(crate) use crate::{
    Action, Addresses, Event, Family, Fault, Impediment, Input, Interval, Policy, Received, Router,
    RouterConfig, State, Version, VirtualAddress,
};

pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MILLI;

/// The primary address of the router under test.
pub(crate) const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
/// Primary addresses below and above [`OURS`].
pub(crate) const LOWER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(crate) const HIGHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));

pub(crate) const VIPS: [VirtualAddress; 2] = [
    VirtualAddress { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 50)), prefix: 24 },
    VirtualAddress { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 51)), prefix: 32 },
];

pub(crate) const ADVERT: Action = Action::SendAdvert { priority: 100 };
const PRIORITY_ZERO: Action = Action::SendAdvert { priority: 0 };
const ADD: Action = Action::AddAddresses(Addresses::All);
pub(crate) const ANNOUNCE: Action = Action::Announce { addresses: Addresses::All, rounds: 5 };

/// Both versions of VRRP, for tests with intervals of whole seconds, which both versions can
/// encode.
pub(crate) const VERSIONS: [Version; 2] = [Version::V2, Version::V3];

/// Returns a configuration with priority 100, preemption and two addresses.
pub(crate) fn config(version: Version, interval: u64) -> RouterConfig {
    let interval = Interval::from_nanos(version, interval).expect("a valid interval");
    RouterConfig::new(51, Family::V4, interval, VIPS.to_vec())
}

pub(crate) fn owner(version: Version, interval: u64) -> RouterConfig {
    RouterConfig { priority: 255, ..config(version, interval) }
}

/// vipd's policy, except that every interval is exact, so that the expected times are round
/// numbers.
const EXACT: Policy = Policy { group_adverts: false, ..Policy::VIPD };

/// A router and its clock. The kernel accepts every advert that the router sends.
pub(crate) struct Script {
    pub(crate) router: Router,
    pub(crate) now: Timestamp,
    /// Events of the last input or wait.
    pub(crate) events: Vec<Event>,
    /// Whether the virtual addresses are on the interface.
    has_addresses: bool,
}

impl Script {
    pub(crate) fn new(config: RouterConfig) -> Self {
        Self::new_with(config, EXACT)
    }

    pub(crate) fn new_with(config: RouterConfig, policy: Policy) -> Self {
        let now = Timestamp::from_nanos(1000 * SECOND);
        Self { router: Router::with_policy(config, policy), now, events: Vec::new(), has_addresses: false }
    }

    /// Creates a script whose router has a primary address: in Backup, in Master if it is the
    /// owner, or in Initialize within `startup_delay`.
    pub(crate) fn started(config: RouterConfig) -> Self {
        Self::started_with(config, EXACT)
    }

    pub(crate) fn started_with(config: RouterConfig, policy: Policy) -> Self {
        let mut script = Self::new_with(config, policy);
        script.input(Input::PrimaryAddress(OURS));
        script
    }

    /// Creates a script whose router has just become master.
    pub(crate) fn master(config: RouterConfig) -> Self {
        Self::master_with(config, EXACT)
    }

    pub(crate) fn master_with(config: RouterConfig, policy: Policy) -> Self {
        let mut script = Self::started_with(config, policy);
        if script.state() == State::Backup {
            script.now = script.router.next_timeout().expect("Active_Down_Timer");
            script.input(Input::Timeout);
        }
        assert_eq!(script.state(), State::Master);
        script
    }

    pub(crate) fn state(&self) -> State {
        self.router.state()
    }

    /// Returns the time from now to the next timeout in nanoseconds; `None` if no timer is running.
    pub(crate) fn next(&self) -> Option<u64> {
        self.router.next_timeout().map(|at| at.nanos_since(self.now))
    }

    /// Passes one input to the router and returns the actions.
    pub(crate) fn input(&mut self, input: Input) -> Vec<Action> {
        self.events.clear();
        self.step(input)
    }

    /// Advances time and handles each timer exactly when it is due. Returns the actions, each with
    /// the time since the start of the wait in nanoseconds.
    pub(crate) fn wait(&mut self, nanos: u64) -> Vec<(u64, Action)> {
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

    /// Advances time without handling timers, as if the process were not scheduled.
    pub(crate) fn stall(&mut self, nanos: u64) {
        self.now = self.now + nanos;
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        self.router.handle(self.now, input);
        let actions: Vec<_> = std::iter::from_fn(|| self.router.poll_action()).collect();
        self.events.extend(std::iter::from_fn(|| self.router.poll_event()));
        for action in &actions {
            match action {
                Action::AddAddresses(Addresses::All) => {
                    assert!(!self.has_addresses, "S9: addresses added twice");
                    self.has_addresses = true;
                }
                Action::RemoveAddresses => {
                    assert!(self.has_addresses, "S19, S22: addresses removed twice");
                    self.has_addresses = false;
                }
                Action::AddAddresses(Addresses::One(_))
                | Action::RemoveAddress(_)
                | Action::Announce { .. } => {
                    assert!(self.has_addresses, "S3: only a master announces");
                }
                Action::SendAdvert { .. } => self.router.advert_sent(self.now),
            }
        }
        let configured = self.router.config().all_addresses().next().is_some();
        let expected = self.state() == State::Master && configured;
        assert_eq!(self.has_addresses, expected, "S3, S7, S14, S17: addresses only in Master");
        actions
    }

    /// Returns an advert that arrives now, with this router's configured interval and the addresses
    /// [`VIPS`].
    pub(crate) fn received(&self, priority: u8, source: IpAddr) -> Received {
        let interval = self.router.config().interval.wire();
        let addresses = address_digest(VIPS.iter().map(|vip| vip.address));
        Received { arrival: self.now, source, priority, interval, addresses, checksum: ChecksumForm::V2 }
    }

    pub(crate) fn advert(&mut self, priority: u8, source: IpAddr) -> Vec<Action> {
        let advert = self.received(priority, source);
        self.input(Input::Advert(advert))
    }
}

/// Returns the times at which adverts were sent, from the result of [`Script::wait`].
pub(crate) fn adverts(actions: &[(u64, Action)]) -> Vec<u64> {
    let sent = actions.iter().filter(|(_, action)| matches!(action, Action::SendAdvert { .. }));
    sent.map(|(at, _)| *at).collect()
}

/// Returns the times at which addresses were announced, from the result of [`Script::wait`].
pub(crate) fn announcements(actions: &[(u64, Action)]) -> Vec<u64> {
    let sent = actions.iter().filter(|(_, action)| matches!(action, Action::Announce { .. }));
    sent.map(|(at, _)| *at).collect()
}
