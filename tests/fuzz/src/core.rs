//! A virtual router that receives arbitrary inputs at arbitrary times never panics, and takes only
//! actions that its state allows.

mod check;
mod scene;

use arbitrary::{Arbitrary, Unstructured};
use vipd::vrrp::{Action, Addresses, Fault, Input, Policy, Router, Snapshot, State};
use vipd_common::Timestamp;

use scene::{Configuration, KINDS, Step, primary};

/// Maximum time in nanoseconds: 146 years of uptime, a quarter of the range of the clock. Timers
/// saturate at the end of the range, where they would always be due.
const END_OF_TIME: u64 = 1 << 62;

/// Runs one input: a configuration, the uptime at the start, and steps until the bytes are used up.
///
/// # Panics
/// Panics if the router takes an action that its state does not allow.
pub fn run(input: &[u8]) {
    let mut bytes = Unstructured::new(input);
    let Ok((configuration, start)) = <(Configuration, u32)>::arbitrary(&mut bytes) else { return };
    let mut routers = [Policy::VIPD, Policy::RFC].map(|policy| {
        let router = Router::with_policy(configuration.build(), policy);
        Watched::new(router, policy, Timestamp::from_nanos(start.into()))
    });
    while !bytes.is_empty() {
        let Ok(step) = Step::arbitrary(&mut bytes) else { return };
        for watched in &mut routers {
            watched.perform(&step);
        }
    }
}

/// A router, and the state that the checks need.
struct Watched {
    router: Router,
    policy: Policy,
    now: Timestamp,
    /// Whether the VIPs are on the interface.
    has_addresses: bool,
    /// Start of the current mastership, and the number of answers sent before it.
    mastership: (Timestamp, u64),
    /// Time at which the router first had a primary address and no impediments: the start of
    /// `startup_delay`.
    startable: Option<Timestamp>,
    /// Whether a primary address was reported since the last shutdown.
    has_primary: bool,
}

impl Watched {
    fn new(router: Router, policy: Policy, now: Timestamp) -> Self {
        Self {
            router,
            policy,
            now,
            has_addresses: false,
            mastership: (now, 0),
            startable: None,
            has_primary: false,
        }
    }

    fn perform(&mut self, step: &Step) {
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
                let input = piece.input(self.now, self.router.config());
                self.repeat(input, *times, piece.is_from_the_wire());
            }
            Step::Advert(advert, times) => {
                let advert = advert.received(self.now, self.router.config());
                self.repeat(Input::Advert(advert), *times, true);
            }
            Step::Recover(last) => {
                for kind in KINDS {
                    self.give(Input::Clear(kind));
                }
                self.give(Input::PrimaryAddress(primary(self.router.config(), *last)));
            }
        }
    }

    fn repeat(&mut self, input: Input, times: u8, is_from_the_wire: bool) {
        for time in 0..=times % 8 {
            let events = self.give(input);
            // The first input may change the state, and the second may change the master; further
            // repetitions must not be logged.
            assert!(!is_from_the_wire || time < 2 || events == 0, "{events} events for repeated {input:?}");
        }
    }

    fn pass(&mut self, from: Timestamp, nanos: u64) {
        self.now = Timestamp::from_nanos((from + nanos).as_nanos().min(END_OF_TIME));
    }

    /// Passes one input to the router and checks the result. Returns the number of events.
    fn give(&mut self, input: Input) -> usize {
        let before = self.router.snapshot();
        let due = self.router.next_timeout().is_some_and(|at| at <= self.now);
        let adver_timer = self.router.adver_timer();
        self.router.handle(self.now, input);
        let after = self.router.snapshot();
        if after.state == State::Master && before.state != State::Master {
            self.mastership = (self.now, before.counters.asserts_sent);
        }
        let actions: Vec<_> = std::iter::from_fn(|| self.router.poll_action()).collect();
        let events: Vec<_> = std::iter::from_fn(|| self.router.poll_event()).collect();

        for action in &actions {
            self.check_action(*action, before.state, after.state);
        }
        let configured = self.router.config().all_addresses().next().is_some();
        assert_eq!(self.has_addresses, configured && after.state == State::Master, "VIPs in Master only");
        check::events(&events, before.state, after.state);
        check::transition(input, due, &before, &after);
        if let Input::Suspend(until) = input {
            let is_due = adver_timer.is_some_and(|at| at <= until);
            assert_eq!((actions.len(), events.len()), (usize::from(is_due), 0), "{actions:?}, {events:?}");
        }
        if check::has_no_effect(input, due, before.state) {
            assert!(
                actions.is_empty() && events.is_empty(),
                "{input:?} in {}: {actions:?}, {events:?}",
                before.state
            );
            assert_eq!((before.state, before.counters), (after.state, after.counters));
        }
        check::timers(&self.router, self.now, input, &after);
        check::counters(&before.counters, &after.counters);
        self.check_readiness(input, &after);
        if self.policy.answer_limit {
            check::answers(self.router.config(), self.now, self.mastership, &after.counters);
        }
        if let (Input::Advert(advert), State::Backup, State::Backup) = (input, before.state, after.state) {
            check::follows(self.router.config(), self.policy, &advert, &before, &after);
        }
        check::preempt_delay(self.router.config(), self.now, &before, &after);
        check::steady(&self.router, self.now);
        assert!(self.router.peers().len() <= 16, "the number of peers is bounded");
        events.len()
    }

    fn check_action(&mut self, action: Action, before: State, after: State) {
        let configured = self.router.config().all_addresses().next().is_some();
        match action {
            Action::SendAdvert { priority: 0 } => {
                assert!(
                    before == State::Master && after != State::Master,
                    "priority 0 without leaving Master"
                );
                assert!(self.has_addresses || !configured, "priority 0 after removing the VIPs");
            }
            Action::SendAdvert { priority } => {
                // A router that yields may send a last advert before its VIPs are removed.
                let yields = before == State::Master && after == State::Backup;
                let allowed = yields && self.policy.last_advert_on_yield && self.has_addresses == configured;
                assert!(after == State::Master || allowed, "an advert from {before} to {after}");
                assert_eq!(priority, self.router.snapshot().priority);
                self.router.advert_sent(self.now);
            }
            Action::AddAddresses(Addresses::All) => {
                assert!(
                    configured && after == State::Master && !self.has_addresses,
                    "VIPs added twice or outside Master"
                );
                self.has_addresses = true;
            }
            Action::RemoveAddresses => {
                assert!(
                    before == State::Master && self.has_addresses,
                    "VIPs removed twice or outside Master"
                );
                self.has_addresses = false;
            }
            Action::RemoveAddress(address) => {
                unreachable!("{address} removed without a change of configuration")
            }
            Action::AddAddresses(Addresses::One(address)) => {
                let own = self.router.config().all_addresses().any(|vip| vip == address);
                assert!(self.has_addresses && own);
            }
            Action::Announce { rounds, .. } => {
                assert!(self.has_addresses && rounds > 0, "only a master announces");
            }
        }
    }

    /// Checks that the router takes part in elections only if it has a primary address and no
    /// impediments, and `startup_delay` has passed. With a primary address and no impediments, it
    /// must take part, or its start must be scheduled.
    fn check_readiness(&mut self, input: Input, after: &Snapshot) {
        match input {
            Input::PrimaryAddress(_) => self.has_primary = true,
            Input::Shutdown => self.has_primary = false,
            _ => {}
        }
        let first: Option<Fault> = KINDS.into_iter().find_map(|kind| self.router.impediment(kind));
        let ready = self.has_primary && first.is_none();
        let takes_part = matches!(after.state, State::Backup | State::Master);
        assert!(!takes_part || ready, "{} with {first:?}", after.state);
        if let State::Fault(fault) = after.state {
            assert_eq!(Some(fault), first, "Fault has the first impediment");
        }
        if ready {
            let startable = *self.startable.get_or_insert(self.now);
            let delay_over = self.now >= startable + self.router.config().startup_delay;
            assert!(!takes_part || delay_over, "startup_delay");
            assert!(takes_part || after.starts_at.is_some(), "no impediments, but no start is scheduled");
        }
    }
}
