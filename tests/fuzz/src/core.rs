//! One virtual router under any inputs at any times: it never panics, and does and says only what its state allows.

mod scene;

use arbitrary::{Arbitrary, Unstructured};
use vipd::vrrp::{
    Action, Addresses, Counters, Event, Input, Interval, Received, Router, Snapshot, State, Version,
};
use vipd_common::Timestamp;

use scene::{Configuration, Step};

/// Where the clock stops here, nanoseconds: 146 years of uptime. Timers saturate at the end of the clock, four times as
/// far, and would be due for ever.
const END_OF_TIME: u64 = 1 << 62;
/// The most that one input may tell: a conflict, a change, a master, an interval, an address list.
const MOST_EVENTS: usize = 5;

#[derive(Debug, Arbitrary)]
struct Scene {
    configuration: Configuration,
    /// When the process starts, nanoseconds of uptime.
    start: u32,
    steps: Vec<Step>,
}

/// An input is a configuration, and what happens then.
///
/// # Panics
/// When the router does what its state does not allow.
pub fn run(input: &[u8]) {
    let Ok(scene) = Scene::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let mut watched =
        Watched::new(Router::new(scene.configuration.build()), Timestamp::from_nanos(scene.start.into()));
    for step in &scene.steps {
        watched.take(step);
    }
}

/// A router, and what must be true of it.
struct Watched {
    router: Router,
    now: Timestamp,
    /// Whether the addresses are on the interface.
    held: bool,
    /// Answers to losing adverts that had been sent when this mastership began, and when that was.
    mastership: (Timestamp, u64),
}

impl Watched {
    fn new(router: Router, now: Timestamp) -> Self {
        Self { router, now, held: false, mastership: (now, 0) }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Pass(span) => self.pass(self.now, span.nanos()),
            Step::Serve(span) => {
                let deadline = self.router.next_timeout().unwrap_or(self.now).max(self.now);
                self.pass(deadline, span.nanos());
                self.give(Input::Timeout);
            }
            Step::Timeout => {
                self.give(Input::Timeout);
            }
            Step::Give(piece, times) => {
                for time in 0..=times % 8 {
                    let input = piece.input(self.now, self.router.config());
                    let events = self.give(input);
                    // The first may change the state, the second the master; from then on it is no news.
                    let news = !piece.is_from_the_wire() || time < 2;
                    assert!(news || events == 0, "{events} events of {input:?} again");
                }
            }
        }
    }

    fn pass(&mut self, from: Timestamp, nanos: u64) {
        self.now = Timestamp::from_nanos((from + nanos).as_nanos().min(END_OF_TIME));
    }

    /// One input, and everything that must be true of what it does: the number of its events.
    fn give(&mut self, input: Input) -> usize {
        let before = self.router.snapshot();
        let due = self.router.next_timeout().is_some_and(|at| at <= self.now);
        self.router.handle(self.now, input);
        let after = self.router.snapshot();
        if after.state == State::Master && before.state != State::Master {
            self.mastership = (self.now, before.counters.asserts_sent);
        }

        let actions: Vec<_> = std::iter::from_fn(|| self.router.poll_action()).collect();
        for action in actions.iter().copied() {
            self.check_action(action, before.state, after.state);
        }
        if self.router.config().all_addresses().next().is_none() {
            assert!(!self.held && !actions.iter().any(is_about_addresses), "there are none");
        } else {
            assert_eq!(
                self.held,
                after.state == State::Master,
                "addresses with the mastership, and only then"
            );
        }
        let events: Vec<_> = std::iter::from_fn(|| self.router.poll_event()).collect();
        check_events(&events, before.state, after.state);

        check_transition(input, due, &before, &after);
        if is_silent(input, due, before.state) {
            assert!(
                actions.is_empty() && events.is_empty(),
                "{input:?} in {}: {actions:?}, {events:?}",
                before.state
            );
            assert_eq!((before.state, before.counters), (after.state, after.counters));
        }
        self.check_timers(input, &after);
        self.check_counters(&before.counters, &after.counters);
        if let (Input::Advert(advert), State::Backup, State::Backup) = (input, before.state, after.state) {
            self.check_follows(&advert, &before, &after);
        }
        events.len()
    }

    fn check_action(&mut self, action: Action, before: State, after: State) {
        match action {
            Action::SendAdvert { priority: 0 } => {
                assert!(before == State::Master && after != State::Master, "priority 0 is for leaving");
                let none = self.router.config().all_addresses().next().is_none();
                assert!(self.held || none, "the last advert goes before the addresses");
            }
            Action::SendAdvert { priority } => {
                // One that yields says so with its last advert, before its addresses go.
                let none = self.router.config().all_addresses().next().is_none();
                let yields = before == State::Master && after == State::Backup && (self.held || none);
                assert!(after == State::Master || yields, "an advert from {before} to {after}");
                assert_eq!(priority, self.router.config().priority);
            }
            Action::AddAddresses(Addresses::All) => {
                assert!(after == State::Master && !self.held, "addresses are added once");
                self.held = true;
            }
            Action::RemoveAddresses => {
                assert!(before == State::Master && self.held, "addresses are removed once");
                self.held = false;
            }
            Action::AddAddresses(Addresses::One(address)) => {
                assert!(self.held && self.router.config().all_addresses().any(|vip| vip == address));
            }
            Action::Announce { rounds, .. } => assert!(self.held && rounds > 0, "only a master announces"),
        }
    }

    fn check_timers(&self, input: Input, after: &Snapshot) {
        let next = self.router.next_timeout();
        let participates = matches!(after.state, State::Backup | State::Master) || after.starts_at.is_some();
        assert!(after.starts_at.is_none() || after.state == State::Initialize, "it has started already");
        assert_eq!(next.is_some(), participates, "a timer in {}", after.state);
        assert_eq!(after.master_down_at.is_some(), after.state == State::Backup);
        assert!(after.since <= self.now, "since the future");
        if input == Input::Timeout {
            assert!(next.is_none_or(|at| at > self.now), "a served timer is due again");
        }
        if after.state == State::Master {
            let longest = self.now + self.router.config().interval.nanos();
            assert!(
                next.is_some_and(|at| at <= longest),
                "a master that is silent for more than its interval"
            );
        }
    }

    fn check_counters(&self, before: &Counters, after: &Counters) {
        for (before, after) in cells(before).into_iter().zip(cells(after)) {
            assert!((before..=before + 1).contains(&after), "a counter went from {before} to {after}");
        }
        let (since, sent) = self.mastership;
        let period = self.router.config().interval.nanos().min(100_000_000);
        // The bucket refills at fixed times: one more can fall into a window that is no multiple of the period.
        let most = 3 + self.now.nanos_since(since) / period + 1;
        assert!(after.asserts_sent - sent <= most, "{} answers, {most} allowed", after.asserts_sent - sent);
    }

    /// RFC 9568 section 6.4.2: a backup that hears its master again waits anew, from when the advert arrived.
    fn check_follows(&self, advert: &Received, before: &Snapshot, after: &Snapshot) {
        let config = self.router.config();
        let interval = Interval::from_wire(Version::V3, advert.interval);
        let own = after.counters.own_adverts > before.counters.own_adverts;
        let (Version::V3, Some(interval), false) = (config.version(), interval, own) else { return };
        let preempts = config.preempt || config.is_owner();
        let foreign = after.counters.foreign_releases > before.counters.foreign_releases;
        assert!(!foreign || before.master.is_some_and(|master| master != advert.source), "the master left");
        let wait = if foreign {
            assert_eq!(before.master_down_at, after.master_down_at, "another router's leaving");
            return;
        } else if advert.priority == 0 {
            before.active_interval.skew(config.priority)
        } else if advert.priority >= config.priority || !preempts {
            assert_eq!(after.master, Some(advert.source), "{advert:?} is not followed");
            interval.master_down(config.priority, config.down_after_adverts)
        } else if after.hold_until.is_some_and(|until| advert.arrival < until) {
            assert!(config.preempt_delay > 0 && !config.is_owner(), "a lesser master is followed");
            interval.master_down(config.priority, config.down_after_adverts)
        } else {
            assert_eq!(before.master_down_at, after.master_down_at, "a lesser master puts nothing off");
            return;
        };
        let deadline = Some(advert.arrival + wait);
        // What a master that outranks this one has promised is kept; nothing else puts the takeover off.
        let promised = advert.priority > 0 && before.master.is_some() && after.master_down_at > deadline;
        assert!(promised || after.master_down_at == deadline, "{advert:?}: {after:?}");
    }
}

fn is_about_addresses(action: &Action) -> bool {
    !matches!(action, Action::SendAdvert { .. })
}

fn check_events(events: &[Event], before: State, after: State) {
    assert!(events.len() <= MOST_EVENTS, "{events:?}");
    let mut at = before;
    for event in events {
        if let Event::StateChanged { from, to, .. } = *event {
            assert!(from == at && to != from, "{events:?} in {at}");
            at = to;
        }
    }
    assert_eq!(at, after, "each change is told: {events:?}");
}

/// Which states an input may lead from and to (RFC 9568 section 6.4).
fn check_transition(input: Input, due: bool, before: &Snapshot, after: &Snapshot) {
    let (from, to) = (before.state, after.state);
    let allowed = from == to
        || match (from, to) {
            (State::Initialize | State::Fault(_), State::Backup | State::Master) => {
                matches!(input, Input::Available { .. }) || (input == Input::Timeout && due)
            }
            // The start is put off.
            (State::Fault(_), State::Initialize) => {
                input == Input::Shutdown
                    || (matches!(input, Input::Available { .. }) && after.starts_at.is_some())
            }
            (State::Backup, State::Master) => input == Input::Timeout && due,
            (State::Master, State::Backup) => matches!(input, Input::Advert(_) | Input::FeedLoss),
            (_, State::Initialize) => input == Input::Shutdown,
            (_, State::Fault(fault)) => input == Input::Unavailable(fault),
            (State::Backup, State::Backup) | (State::Master, State::Master) => true,
        };
    assert!(allowed, "from {from} to {to} by {input:?}");
}

/// Whether an input must change nothing: a timeout that is not due, and whatever comes to one that takes no part.
fn is_silent(input: Input, due: bool, state: State) -> bool {
    match state {
        State::Backup | State::Master => input == Input::Timeout && !due,
        State::Initialize if due => false,
        State::Initialize | State::Fault(_) => {
            !matches!(input, Input::Available { .. } | Input::Unavailable(_) | Input::Shutdown)
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
