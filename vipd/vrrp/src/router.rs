//! A virtual router: dispatches inputs to its state and applies transitions.
//!
//! ```text
//!                          Startup, priority < 255
//!            ┌────────────────────────────────────────────┐
//!            │                                            ▼
//!     ┌──────┴───────┐    Shutdown, impediment     ┌─────────────┐
//!     │  Initialize  │◄────────────────────────────┤   Backup    │
//!     │   or Fault   │                             └──┬───────▲──┘
//!     └──┬───────▲───┘            Active_Down_Timer   │       │  higher priority,
//!        │       │                                    ▼       │  or stalled
//!        │       │  Shutdown, impediment (priority 0)  ┌──────┴──────┐
//!        │       └─────────────────────────────────────┤   Master    │
//!        └────────────────────────────────────────────►│             │
//!                          Startup, priority 255       └─────────────┘
//! ```
//!
//! A sync group also causes transitions between Backup and Master, and a failover request causes a
//! transition from Master to Backup.

use core::net::IpAddr;

use vipd_common::Timestamp;

use crate::common::{Common, Repeating};
use crate::config::RouterConfig;
use crate::deviation::Policy;
use crate::input::{Fault, GroupInput, Impediment, Input, Received};
use crate::interval::Interval;
use crate::output::{Action, Discard, Event, Reason, State, Steady};
use crate::peers::Peer;
use crate::priority::{self, PRIORITY_ZERO};
use crate::receive;
use crate::snapshot::Snapshot;
use crate::state::{Backup, Initialize, Master, StateData, Transition, startup};

/// One virtual router on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    pub(crate) common: Common,
    pub(crate) state: StateData,
}

impl Router {
    /// Creates a router in [`State::Initialize`]. The router starts once it has a primary address
    /// and no impediment, and `startup_delay` has passed.
    pub fn new(config: RouterConfig) -> Self {
        Self::with_policy(config, Policy::default())
    }

    /// Creates a router with the given policy instead of [`Policy::VIPD`].
    pub fn with_policy(config: RouterConfig, policy: Policy) -> Self {
        Self { common: Common::new(config, policy), state: StateData::Initialize(Initialize::default()) }
    }

    /// Handles one input. `now` must never decrease. Drain [`poll_action`](Self::poll_action) and
    /// [`poll_event`](Self::poll_event) afterwards.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        debug_assert!(
            self.common.actions.is_empty() && self.common.events.is_empty(),
            "actions and events must be drained before the next input"
        );
        match input {
            Input::Advert(advert) => self.advert(now, &advert),
            Input::Timeout => self.timeout(now),
            Input::FeedLoss => self.feed_loss(now),
            Input::AddressRestored(address) => {
                if let StateData::Master(_) = self.state {
                    Master::address_restored(&mut self.common, address);
                }
            }
            Input::PrimaryAddress(primary) => self.primary_address(now, primary),
            Input::Impede(fault) => {
                self.common.impediments.set(fault);
                self.reassess(now);
            }
            Input::Clear(kind) => {
                self.common.impediments.clear(kind);
                self.reassess(now);
            }
            Input::Priority(priority) => self.set_priority(priority),
            Input::Failover => self.fail_over(now),
            Input::Suspend(until) => {
                if let StateData::Master(master) = &self.state {
                    master.suspend(&mut self.common, until);
                }
            }
            Input::Group(input) => self.group(now, input),
            Input::Shutdown => self.shutdown(now),
        }
    }

    /// Records that the advert requested by the last input was accepted by the kernel at or after
    /// `at`. Do not call this for an advert that the kernel refused: other routers did not receive
    /// it.
    #[inline]
    pub fn advert_sent(&mut self, at: Timestamp) {
        if let StateData::Master(master) = &mut self.state {
            master.advert_sent(at);
        }
    }

    /// Returns the next action that the last input caused; `None` if no action is left.
    #[inline]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.common.actions.pop_front()
    }

    /// Returns the next event that the last input caused; `None` if no event is left.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.common.events.pop_front()
    }

    /// Returns the time at which to call [`handle`](Self::handle) with [`Input::Timeout`]; `None`
    /// if no timer is running.
    #[inline]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.state.next_timeout()
    }

    /// Returns the time from which a backup's Active_Down_Timer was counted, if the timer has fired
    /// because no advert of a followed master has arrived since: the arrival of the last accepted
    /// advert, a later feed loss, or the entry into Backup. `None` if the router is not backup, or
    /// if the timer runs or has fired for another reason: priority 0, or the preemption of the only
    /// master.
    pub fn silent_since(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.state {
            StateData::Backup(backup) => backup.silent_since(&self.common, now),
            StateData::Initialize(_) | StateData::Fault(_) | StateData::Master(_) => None,
        }
    }

    /// Returns the time at which Adver_Timer fires; `None` unless the router is master.
    pub fn adver_timer(&self) -> Option<Timestamp> {
        match &self.state {
            StateData::Master(master) => Some(master.adver_timer()),
            StateData::Initialize(_) | StateData::Fault(_) | StateData::Backup(_) => None,
        }
    }

    /// Returns the unchanged advert of the current master; `None` if each advert must be passed in.
    ///
    /// Of consecutive unchanged adverts, only the last needs to be passed in. Pass it in before any
    /// input that arrived after it. [`next_timeout`](Self::next_timeout) then returns that advert's
    /// arrival time plus [`Steady::down_interval`].
    #[inline]
    pub fn steady(&self) -> Option<Steady> {
        match &self.state {
            StateData::Backup(backup) => backup.steady(&self.common),
            StateData::Initialize(_) | StateData::Fault(_) | StateData::Master(_) => None,
        }
    }

    /// Returns the current state.
    #[inline]
    pub fn state(&self) -> State {
        self.state.state()
    }

    /// Returns the effective priority, which a master sends in its adverts.
    #[inline]
    pub fn priority(&self) -> u8 {
        self.common.priority
    }

    /// Returns Active_Adver_Interval in Backup, and the configured interval in other states.
    #[inline]
    pub fn active_interval(&self) -> Interval {
        match &self.state {
            StateData::Backup(backup) => backup.active_interval(),
            StateData::Initialize(_) | StateData::Fault(_) | StateData::Master(_) => {
                self.common.config.interval
            }
        }
    }

    /// Returns the fault set for this kind of impediment, if any.
    pub fn impediment(&self, kind: Impediment) -> Option<Fault> {
        self.common.impediments.get(kind)
    }

    /// Returns the router's own fault: the fault of the first impediment other than
    /// [`Impediment::Group`].
    pub fn own_fault(&self) -> Option<Fault> {
        self.common.impediments.first().filter(|fault| *fault != Fault::Group)
    }

    /// Returns the configuration, as last set by [`reconfigure`](Self::reconfigure).
    #[inline]
    pub fn config(&self) -> &RouterConfig {
        &self.common.config
    }

    /// Returns the other routers that have sent valid adverts for this virtual router: at most 16,
    /// those whose last adverts are the latest.
    pub fn peers(&self) -> &[Peer] {
        self.common.peers.all()
    }

    /// Returns the state, timers and counters for reports.
    pub fn snapshot(&self) -> Snapshot {
        let Common { priority, reason, since, counters, .. } = &self.common;
        let (backup, starts_at) = match &self.state {
            StateData::Backup(backup) => (Some(backup), None),
            StateData::Initialize(initialize) => (None, initialize.starts_at),
            StateData::Fault(_) | StateData::Master(_) => (None, None),
        };
        let active_interval = self.active_interval();
        Snapshot {
            state: self.state(),
            reason: *reason,
            since: *since,
            priority: *priority,
            preempts: self.common.preempts(),
            master: backup.and_then(Backup::master),
            active_interval,
            master_down_interval: self.common.down_interval(active_interval),
            skew: active_interval.skew(*priority),
            master_down_at: backup.map(Backup::down_timer),
            hold_until: backup.and_then(Backup::preempt_at),
            starts_at,
            counters: *counters,
        }
    }

    /// Handles an advert (RFC 9568 sections 7.1, 6.4.2 and 6.4.3).
    fn advert(&mut self, now: Timestamp, advert: &Received) {
        let common = &mut self.common;
        if advert.source != common.primary {
            common.peers.record(advert);
        }
        let transition = match &mut self.state {
            // S27
            StateData::Initialize(_) | StateData::Fault(_) => return,
            StateData::Backup(backup) => {
                if receive::check(common, advert).is_err() {
                    return;
                }
                backup.advert(common, advert);
                None
            }
            StateData::Master(master) => match receive::check(common, advert) {
                Ok(()) => master.advert(common, now, advert),
                Err(Discard::Owner) if advert.priority != PRIORITY_ZERO => {
                    return master.competing_master(common, now, advert);
                }
                Err(_) => return,
            },
        };
        if let Some(transition) = transition {
            self.apply(now, transition);
            if let StateData::Backup(backup) = &mut self.state {
                backup.advert(&mut self.common, advert);
            }
        }
        receive::log_mismatch(&mut self.common, advert);
    }

    fn timeout(&mut self, now: Timestamp) {
        let transition = match &mut self.state {
            StateData::Initialize(initialize) => initialize.timeout(&mut self.common, now),
            StateData::Fault(_) => None,
            StateData::Backup(backup) => backup.timeout(&mut self.common, now),
            StateData::Master(master) => {
                master.timeout(&mut self.common, now);
                None
            }
        };
        if let Some(transition) = transition {
            self.apply(now, transition);
        }
    }

    fn feed_loss(&mut self, now: Timestamp) {
        let transition = match &mut self.state {
            StateData::Initialize(_) | StateData::Fault(_) => return,
            StateData::Backup(backup) => {
                backup.feed_loss(&self.common, now);
                None
            }
            StateData::Master(master) => match master.feed_loss(&mut self.common, now) {
                None => return,
                stalled => stalled,
            },
        };
        if let Some(transition) = transition {
            self.apply(now, transition);
        }
        self.common.log_once(Repeating::FeedLoss, Event::FeedLoss);
    }

    fn primary_address(&mut self, now: Timestamp, primary: IpAddr) {
        let changed = core::mem::replace(&mut self.common.primary, primary) != primary;
        self.common.has_primary = true;
        if changed && matches!(self.state, StateData::Backup(_) | StateData::Master(_)) {
            self.common.events.push_back(Event::PrimaryChanged { primary });
        }
        if changed && matches!(self.state, StateData::Master(_)) {
            // Other routers compare source addresses (S26), so the new address is advertised
            // immediately.
            self.common.send_advert();
        }
        self.common.impediments.clear(Fault::NoPrimaryAddress.impediment());
        self.reassess(now);
    }

    fn set_priority(&mut self, priority: u8) {
        if self.common.config.is_owner() {
            return;
        }
        self.common.set_priority(priority::clamped(priority), self.common.group_priority);
        if let StateData::Backup(backup) = &mut self.state {
            backup.priority_changed(&mut self.common);
        }
    }

    fn fail_over(&mut self, now: Timestamp) {
        if let StateData::Master(_) = self.state
            && !self.common.config.is_owner()
        {
            let transition = Master::fail_over(&mut self.common, now);
            self.apply(now, transition);
        }
    }

    fn group(&mut self, now: Timestamp, input: GroupInput) {
        let transition = match (input, &mut self.state) {
            (GroupInput::Priority(priority), state) => {
                self.common.set_priority(self.common.own_priority, priority);
                if let StateData::Backup(backup) = state {
                    backup.priority_changed(&mut self.common);
                }
                None
            }
            (GroupInput::Lead, StateData::Backup(_)) => {
                Some(Backup::take_over(&mut self.common, now, Reason::Group, 0))
            }
            (GroupInput::Yield, StateData::Master(master)) => {
                Some(master.follow_group(&mut self.common, now))
            }
            (GroupInput::Wait(until), StateData::Backup(backup)) => {
                backup.wait(until);
                None
            }
            (GroupInput::Contest(advert), StateData::Master(master)) => {
                if advert.source != self.common.primary {
                    self.common.peers.record(&advert);
                }
                if receive::check(&mut self.common, &advert).is_ok() {
                    master.contest(&mut self.common, now, &advert);
                    receive::log_mismatch(&mut self.common, &advert);
                }
                None
            }
            _ => None,
        };
        if let Some(transition) = transition {
            self.apply(now, transition);
        }
    }

    fn shutdown(&mut self, now: Timestamp) {
        self.common.has_primary = false;
        if let StateData::Initialize(initialize) = &mut self.state {
            initialize.starts_at = None;
            return;
        }
        self.leave(now, StateData::Initialize(Initialize::default()), Reason::Shutdown);
    }

    /// Starts or stops the router after its impediments or primary address have changed.
    fn reassess(&mut self, now: Timestamp) {
        match (self.common.impediments.first(), &self.state) {
            (Some(fault), StateData::Fault(current)) if *current == fault => {}
            (Some(fault), _) => self.leave(now, StateData::Fault(fault), Reason::Fault(fault)),
            (None, StateData::Initialize(_) | StateData::Fault(_)) if self.common.has_primary => {
                self.start(now);
            }
            (None, StateData::Fault(fault)) => {
                let reason = start_reason(*fault);
                self.leave(now, StateData::Initialize(Initialize::default()), reason);
            }
            (None, _) => {}
        }
    }

    /// Starts the router (a Startup event), or makes it wait in Initialize until `startup_delay`
    /// has passed.
    fn start(&mut self, now: Timestamp) {
        let reason = match self.state {
            StateData::Fault(fault) => start_reason(fault),
            _ => Reason::Startup,
        };
        let delay = self.common.config.startup_delay;
        let starts_at = *self.common.starts_at.get_or_insert(now + delay);
        if starts_at <= now {
            let transition = startup(&mut self.common, now, reason, 0);
            return self.apply(now, transition);
        }
        let waiting = Initialize { starts_at: Some(starts_at) };
        match &mut self.state {
            StateData::Initialize(initialize) => *initialize = waiting,
            _ => self.leave(now, StateData::Initialize(waiting), reason),
        }
    }

    /// Transitions to Initialize or Fault.
    fn leave(&mut self, now: Timestamp, to: StateData, reason: Reason) {
        self.common.has_yielded = false;
        self.common.group_takeover_failed = false;
        if let StateData::Master(_) = self.state {
            let fault = match to {
                StateData::Fault(fault) => Some(fault),
                _ => None,
            };
            Master::leave(&mut self.common, fault);
        }
        self.apply(now, Transition { to, reason, late: 0 });
    }

    fn apply(&mut self, now: Timestamp, transition: Transition) {
        let Transition { to, reason, late } = transition;
        let from = self.state();
        if let StateData::Master(master) = &self.state {
            // Only the time before a competing master appeared counts, because the sync group may
            // have kept this router in Master although it was losing the tie.
            let uncontested = master.contested_since(&self.common, now).unwrap_or(now);
            let lasted = uncontested.nanos_since(self.common.since);
            if lasted > self.common.down_interval(self.common.config.interval) {
                self.common.group_takeover_failed = false;
            } else if (self.common.reason, reason) == (Some(Reason::Group), Reason::HigherPriority) {
                self.common.group_takeover_failed = true;
            }
        }
        self.state = to;
        let to = self.state();
        self.common.reason = Some(reason);
        self.common.since = now;
        self.common.logged = 0;
        self.common.events.push_back(Event::StateChanged { from, to, reason, late });
    }
}

/// Returns the reason to report for a start after `fault` has been cleared.
fn start_reason(fault: Fault) -> Reason {
    match fault {
        Fault::NoInterface | Fault::InterfaceDown => Reason::InterfaceUp,
        Fault::NoPrimaryAddress | Fault::PrimaryIsVirtual => Reason::PrimaryAddress,
        _ => Reason::Startup,
    }
}
