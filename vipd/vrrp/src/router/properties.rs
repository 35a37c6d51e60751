//! What holds for every sequence of inputs, however odd.

use std::net::{IpAddr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use vipd_common::Timestamp;
use vipd_common::parse::ChecksumForm;

use super::tests::{MILLI, SECOND, VIPS, config};
use super::{Counters, Router};
use crate::{
    Action, Addresses, Announcements, Event, Family, Fault, Input, Reason, Received, RouterConfig, State,
    Version, VirtualAddress,
};

#[derive(Clone, Debug)]
enum Op {
    /// Time passes, and nobody serves the timers.
    Pass(u64),
    /// To the next deadline, and this much further before the timer is served.
    Late(u64),
    /// A timeout that may be early.
    Timeout,
    /// Some input, this many times.
    Repeat(Piece, u8),
}

#[derive(Clone, Debug)]
enum Piece {
    Available(u8),
    Unavailable(Fault),
    Shutdown,
    Advert { age: u64, source: u8, priority: u8, interval: u16, same_addresses: bool },
    FeedLoss,
    Removed(bool),
}

fn priority() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(99), Just(100), Just(101), Just(255), any::<u8>()]
}

fn piece() -> impl Strategy<Value = Piece> {
    let age = prop_oneof![Just(0), 0..50 * MILLI, 0..10 * SECOND, any::<u64>()];
    let interval = prop_oneof![Just(1u16), Just(100), 0u16..5000, any::<u16>()];
    let faults = [Fault::NoInterface, Fault::InterfaceDown, Fault::NoPrimaryAddress, Fault::NotAttached];
    prop_oneof![
        3 => (1u8..5).prop_map(Piece::Available),
        1 => proptest::sample::select(faults.to_vec()).prop_map(Piece::Unavailable),
        1 => Just(Piece::Shutdown),
        12 => (age, 0u8..6, priority(), interval, any::<bool>()).prop_map(
            |(age, source, priority, interval, same_addresses)| Piece::Advert {
                age, source, priority, interval, same_addresses
            }
        ),
        2 => Just(Piece::FeedLoss),
        2 => any::<bool>().prop_map(Piece::Removed),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => prop_oneof![0..20 * MILLI, 0..5 * SECOND, 0..600 * SECOND].prop_map(Op::Pass),
        4 => prop_oneof![Just(0), 0..MILLI, 0..10 * SECOND].prop_map(Op::Late),
        1 => Just(Op::Timeout),
        8 => (piece(), 1u8..6).prop_map(|(piece, times)| Op::Repeat(piece, times)),
    ]
}

/// A delay or a period: none, short or long.
fn span() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 1 => 1..SECOND, 1 => 0..1000 * SECOND]
}

fn announcements() -> impl Strategy<Value = Announcements> {
    (1u8.., span(), span(), 1u8..).prop_map(|(repeat, delay, refresh, refresh_repeat)| Announcements {
        repeat,
        delay,
        refresh,
        refresh_repeat,
    })
}

const EXCLUDED: VirtualAddress = VirtualAddress { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 };

/// The advertised addresses and the excluded ones: some of each, or none.
fn addresses(family: Family) -> impl Strategy<Value = (Vec<VirtualAddress>, Vec<VirtualAddress>)> {
    let virtual_addresses = match family {
        Family::V4 => VIPS.to_vec(),
        Family::V6 => vec![VirtualAddress { address: source(Family::V6, 0x50), prefix: 64 }],
    };
    let kept = |list: Vec<_>| move |keep: bool| if keep { list.clone() } else { Vec::new() };
    let advertised = proptest::bool::weighted(0.8).prop_map(kept(virtual_addresses));
    (advertised, any::<bool>().prop_map(kept(vec![EXCLUDED])))
}

fn configuration() -> impl Strategy<Value = RouterConfig> {
    let v3 = prop_oneof![Just(10 * MILLI), Just(SECOND), Just(40_950 * MILLI)].prop_flat_map(|interval| {
        (Just((Version::V3, interval)), prop_oneof![Just(Family::V4), Just(Family::V6)])
    });
    let v2 = prop_oneof![Just(SECOND), Just(255 * SECOND)]
        .prop_map(|interval| ((Version::V2, interval), Family::V4));
    let priority = prop_oneof![Just(100u8), Just(255), 1u8..=254];
    let adverts = prop_oneof![2 => Just(3u8), 1 => 1u8..=100];
    let times = (any::<bool>(), span(), span(), adverts);
    let timing =
        prop_oneof![v3, v2].prop_flat_map(|(timing, family)| (Just((timing, family)), addresses(family)));
    (timing, priority, times, announcements()).prop_map(
        |((((version, interval), family), listed), priority, times, announcements)| {
            let (virtual_addresses, excluded_addresses) = listed;
            let (preempt, preempt_delay, startup_delay, down_after_adverts) = times;
            RouterConfig {
                family,
                priority,
                preempt,
                preempt_delay,
                startup_delay,
                down_after_adverts,
                announcements,
                virtual_addresses,
                excluded_addresses,
                ..config(version, interval)
            }
        },
    )
}

/// An address on the segment.
fn source(family: Family, last: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 0, 0, last]),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into())),
    }
}

/// A router, and what must be true of it.
struct Watched {
    router: Router,
    now: Timestamp,
    /// Whether the addresses are on the interface.
    held: bool,
    /// Stopped, and not started again.
    stopped: bool,
    /// When its interface could carry adverts for the first time.
    first: Option<Timestamp>,
    /// When this mastership began, and the answers counted then.
    mastership: (Timestamp, u64),
    counters: Counters,
}

impl Watched {
    /// One input: the number of events.
    fn give(&mut self, input: Input) -> usize {
        let before = self.router.state();
        let held_back = self.router.snapshot().hold_until;
        self.router.handle(self.now, input);
        let after = self.router.state();
        match input {
            Input::Shutdown => self.stopped = true,
            Input::Available { .. } => {
                self.stopped = false;
                self.first.get_or_insert(self.now);
            }
            _ => {}
        }
        if after == State::Master && before != State::Master {
            self.mastership = (self.now, self.counters.asserts_sent);
        }
        while let Some(action) = self.router.poll_action() {
            self.check(action, before, after);
        }
        let holds = after == State::Master && self.router.config().all_addresses().next().is_some();
        assert_eq!(self.held, holds, "addresses with the mastership and only then");
        self.check_delays(before, after, held_back);
        assert!(self.router.peers().len() <= 16, "the wire does not fill the memory");
        self.check_counters();
        let events: Vec<_> = std::iter::from_fn(|| self.router.poll_event()).collect();
        assert!(events.len() <= 5, "conflict, change, master, interval, addresses at most: {events:?}");
        self.check_steady();
        let changes = events.iter().filter(|event| matches!(event, Event::StateChanged { .. })).count();
        assert_eq!(changes, usize::from(before != after), "each change is told: {events:?}");
        events.len()
    }

    fn check_delays(&self, before: State, after: State, held_back: Option<Timestamp>) {
        let participates = matches!(after, State::Backup | State::Master);
        let snapshot = self.router.snapshot();
        let waits = snapshot.starts_at.is_some();
        assert_eq!(self.router.next_timeout().is_some(), participates || waits, "a timer in {after}");
        assert!(!waits || after == State::Initialize, "it has started");
        if participates {
            let delayed =
                self.first.is_some_and(|first| self.now >= first + self.router.config().startup_delay);
            assert!(delayed, "startup_delay");
        }
        // RFC 8347 hold-time: until it is over, a lower master is followed, and only its silence ends that.
        if before == State::Backup && after == State::Master && snapshot.reason == Some(Reason::Preempted) {
            assert!(held_back.is_none_or(|until| self.now >= until), "preempt_delay");
        }
        let delayed = self.router.config().preempt_delay > 0 && !self.router.config().is_owner();
        assert!(
            snapshot.hold_until.is_none() || (delayed && after == State::Backup),
            "preempt_delay in {after}"
        );
    }

    /// Of adverts that say nothing new only the last matters, and it moves the deadline by what was said.
    fn check_steady(&self) {
        let Some(steady) = self.router.steady() else { return };
        let (mut all, mut last) = (self.router.clone(), self.router.clone());
        let times = [1, 7 * MILLI, 3 * steady.patience / 4].map(|after| self.now + after);
        for time in times {
            all.handle(time, Input::Advert(steady.at(time)));
            assert_eq!((all.poll_action(), all.poll_event()), (None, None), "{steady:?}");
            assert_eq!(all.steady(), Some(steady));
            assert_eq!(all.next_timeout(), Some(time + steady.patience));
        }
        last.handle(times[2], Input::Advert(steady.at(times[2])));
        assert_eq!(format!("{all:?}"), format!("{last:?}"), "the first two have left a trace");
    }

    fn check(&mut self, action: Action, before: State, after: State) {
        match action {
            Action::SendAdvert { priority: 0 } => {
                assert!(before == State::Master && after != State::Master, "priority 0 is for leaving");
            }
            Action::SendAdvert { priority } => {
                // One that yields says so with its last advert, before its addresses go.
                let has_addresses = self.router.config().all_addresses().next().is_some();
                let yields = before == State::Master && after == State::Backup && self.held == has_addresses;
                assert!(after == State::Master || yields, "only a master adverts");
                assert_eq!(priority, self.router.config().priority);
                assert!(!self.stopped, "nothing but priority 0 after a stop");
            }
            Action::AddAddresses(Addresses::All) => {
                assert!(after == State::Master && !self.held);
                self.held = true;
            }
            Action::RemoveAddresses => {
                assert!(before == State::Master && self.held, "removed once");
                self.held = false;
            }
            Action::AddAddresses(Addresses::One(_)) => assert!(self.held),
            Action::Announce { rounds, .. } => assert!(self.held && rounds > 0),
        }
    }

    fn check_counters(&mut self) {
        let new = self.router.snapshot().counters;
        let old = std::mem::replace(&mut self.counters, new);
        for (old, new) in cells(&old).into_iter().zip(cells(&new)) {
            assert!(old <= new, "a counter went back");
        }
        let (since, sent) = self.mastership;
        let period = self.router.config().interval.nanos().min(100 * MILLI);
        // The bucket refills at fixed times: one more can fall into a window that is no multiple of the period.
        let most = 3 + self.now.nanos_since(since) / period + 1;
        assert!(new.asserts_sent - sent <= most, "S23: {} answers, {most} allowed", new.asserts_sent - sent);
    }

    fn repeat(&mut self, piece: &Piece, times: u8) {
        for time in 0..times {
            let (input, from_the_wire) = self.input(piece);
            let events = self.give(input);
            // The first may change the state, the second the master; from then on it is no news.
            assert!(!from_the_wire || time < 2 || events == 0, "{events} events of {piece:?} again");
        }
    }

    fn input(&self, piece: &Piece) -> (Input, bool) {
        let source = |last| source(self.router.config().family, last);
        match *piece {
            Piece::Available(last) => (Input::Available { primary: source(last) }, false),
            Piece::Unavailable(fault) => (Input::Unavailable(fault), false),
            Piece::Shutdown => (Input::Shutdown, false),
            Piece::FeedLoss => (Input::FeedLoss, true),
            Piece::Removed(ours) => {
                let other = VirtualAddress { prefix: 9, ..VIPS[0] };
                let first = self.router.config().all_addresses().next();
                (Input::AddressRemoved(first.filter(|_| ours).unwrap_or(other)), false)
            }
            Piece::Advert { age, source: last, priority, interval, same_addresses } => {
                let arrival = Timestamp::from_nanos(self.now.as_nanos().saturating_sub(age));
                let addresses = if same_addresses { self.router.digest } else { 1 };
                let received = Received {
                    arrival,
                    source: source(last),
                    priority,
                    interval,
                    addresses,
                    checksum: ChecksumForm::V2,
                };
                (Input::Advert(received), true)
            }
        }
    }
}

fn cells(counters: &Counters) -> [u64; 11] {
    let Counters {
        master_transitions,
        interval_errors,
        address_list_errors,
        owner_conflicts,
        own_adverts,
        losing_adverts,
        asserts_sent,
        asserts_suppressed,
        foreign_releases,
        stalls,
        addresses_restored,
    } = *counters;
    [
        master_transitions,
        interval_errors,
        address_list_errors,
        owner_conflicts,
        own_adverts,
        losing_adverts,
        asserts_sent,
        asserts_suppressed,
        foreign_releases,
        stalls,
        addresses_restored,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_the_invariants_hold(config in configuration(), ops in vec(op(), 1..80), boot in 0..100 * SECOND) {
        let mut watched = Watched {
            router: Router::new(config),
            now: Timestamp::from_nanos(boot),
            held: false,
            stopped: true,
            first: None,
            mastership: (Timestamp::ZERO, 0),
            counters: Counters::default(),
        };
        let primary = source(watched.router.config().family, 2);
        watched.give(Input::Available { primary });
        for op in &ops {
            match op {
                Op::Pass(nanos) => watched.now = watched.now + *nanos,
                Op::Late(nanos) => {
                    if let Some(at) = watched.router.next_timeout() {
                        watched.now = watched.now.max(at) + *nanos;
                    }
                    watched.give(Input::Timeout);
                    let next = watched.router.next_timeout();
                    prop_assert!(next.is_none_or(|at| at > watched.now), "a served timer is not due again");
                }
                Op::Timeout => {
                    watched.give(Input::Timeout);
                }
                Op::Repeat(piece, times) => watched.repeat(piece, *times),
            }
        }
    }
}
