//! The state machine of one virtual router (RFC 9568 section 6.4, RFC 3768 section 6.4).
//!
//! ```text
//!                       Available, priority < 255
//!            ┌────────────────────────────────────────────┐
//!            │                                            ▼
//!     ┌──────┴───────┐          Shutdown           ┌─────────────┐
//!     │  Initialize  │◄────────────────────────────┤   Backup    │
//!     │  (or Fault)  │                             └──┬───────▲──┘
//!     └──┬───────▲───┘            Active_Down_Timer   │       │  higher priority,
//!        │       │                                    ▼       │  or stalled
//!        │       │  Shutdown (priority 0)          ┌──────────┴──┐
//!        │       └─────────────────────────────────┤   Master    │
//!        └────────────────────────────────────────►│             │
//!                       Available, priority 255    └─────────────┘
//! ```

mod addresses;
mod advert;
mod peers;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;
mod snapshot;
#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd_common::Timestamp;
use vipd_common::parse::address_digest;

use super::config::{DOWN_AFTER_ADVERTS, Family, PRIORITY_RELEASE, RouterConfig};
use super::interval::Interval;
use super::limit::Limit;
use super::message::{Action, Event, Fault, Input, Reason, State, Steady};
use super::timer::{Timer, Timers};
use peers::Peers;

pub use peers::Peer;
pub use snapshot::{Counters, Snapshot};

/// Why Active_Down_Timer runs as it does; it becomes the reason of the takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaiting {
    /// The master is silent, so far as we know.
    Silence,
    /// The master has left.
    Release,
    /// The master is of lower priority.
    Preemption,
}

/// Another master of lower precedence, while we are master.
#[derive(Clone, Copy, Debug)]
struct Rival {
    /// When it was first heard.
    since: Timestamp,
    /// When it was last heard.
    heard: Timestamp,
    /// How often since then.
    adverts: u64,
    /// It does not yield: it was still there after a second, or after the segment had been told again; or it is no router.
    lasts: bool,
}

/// Until when the next advert of a master is not missing.
#[derive(Clone, Copy, Debug)]
struct Promise {
    source: IpAddr,
    priority: u8,
    deadline: Timestamp,
}

/// One virtual router on one interface.
#[derive(Clone, Debug)]
pub struct Router {
    config: RouterConfig,
    /// Digest of the configured addresses.
    digest: u64,
    state: State,
    reason: Option<Reason>,
    since: Timestamp,
    primary: IpAddr,
    /// Active_Adver_Interval (RFC 9568 section 6.1).
    active_interval: Interval,
    awaiting: Awaiting,
    /// Of the followed master, or of another one that outranks it and whose time is not over.
    promise: Option<Promise>,
    master: Option<IpAddr>,
    /// What it said last, unless each time that it says so is to be counted.
    followed: Option<Steady>,
    last_sent: Timestamp,
    timers: Timers,
    asserts: Limit,
    rival: Option<Rival>,
    /// Until when a master of lower priority is followed.
    hold_until: Option<Timestamp>,
    /// When it starts, known from the first time that its interface can carry adverts.
    starts_at: Option<Timestamp>,
    /// Which repeating events were told already, a bit each.
    told: u8,
    counters: Counters,
    peers: Peers,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

impl Router {
    /// A virtual router in [`State::Initialize`].
    pub fn new(config: RouterConfig) -> Self {
        let digest = address_digest(config.virtual_addresses.iter().map(|vip| vip.address));
        Self {
            digest,
            state: State::Initialize,
            reason: None,
            since: Timestamp::ZERO,
            primary: match config.family {
                Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
                Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
            },
            active_interval: config.interval,
            awaiting: Awaiting::Silence,
            promise: None,
            master: None,
            followed: None,
            last_sent: Timestamp::ZERO,
            timers: Timers::default(),
            asserts: Limit::new(config.interval.nanos()),
            rival: None,
            hold_until: None,
            starts_at: None,
            told: 0,
            counters: Counters::default(),
            peers: Peers::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            config,
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// Who else has sent valid adverts for it.
    pub fn peers(&self) -> &[Peer] {
        self.peers.all()
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes one input in. `now` never goes back. Afterwards drain [`poll_action`](Self::poll_action) and
    /// [`poll_event`](Self::poll_event).
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        debug_assert!(self.actions.is_empty() && self.events.is_empty(), "drain before the next input");
        match input {
            Input::Available { primary } => self.available(now, primary),
            Input::Unavailable(fault) => self.unavailable(now, fault),
            Input::Shutdown => self.leave(now, State::Initialize, Reason::Shutdown),
            Input::Advert(advert) => self.advert(now, advert),
            Input::FeedLoss => self.feed_loss(now),
            Input::AddressRemoved(address) => self.address_removed(address),
            Input::Timeout => self.timeout(now),
        }
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next thing to tell, if any.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to come back with [`Input::Timeout`].
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// What it is like now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            state: self.state,
            reason: self.reason,
            since: self.since,
            master: self.master,
            active_interval: self.active_interval,
            master_down_interval: self.master_down_interval(),
            skew: self.active_interval.skew(self.config.priority),
            master_down_at: self.timers.get(Timer::MasterDown),
            hold_until: self.hold_until,
            starts_at: self.timers.get(Timer::Startup),
            counters: self.counters,
        }
    }

    /// RFC 9568 section 6.4.1, or a new primary address.
    fn available(&mut self, now: Timestamp, primary: IpAddr) {
        let changed = core::mem::replace(&mut self.primary, primary) != primary;
        let reason = match self.state {
            State::Fault(Fault::NoInterface | Fault::InterfaceDown) => Reason::InterfaceUp,
            State::Fault(Fault::NoPrimaryAddress) => Reason::PrimaryAddress,
            _ => Reason::Startup,
        };
        match self.state {
            State::Initialize | State::Fault(_) => {
                let starts_at = *self.starts_at.get_or_insert(now + self.config.startup_delay);
                if now < starts_at {
                    self.timers.set(Timer::Startup, starts_at);
                    if self.state != State::Initialize {
                        self.change(now, State::Initialize, reason, 0);
                    }
                } else {
                    self.start(now, reason, 0);
                }
            }
            State::Backup | State::Master if changed => {
                self.events.push_back(Event::PrimaryChanged { primary });
                if self.state == State::Master {
                    // The backups compare sources (RFC 9568 section 6.4.3): let them know the new one at once.
                    self.send_advert(now);
                }
            }
            State::Backup | State::Master => {}
        }
    }

    /// RFC 9568 section 6.4.1: the owner is master at once.
    fn start(&mut self, now: Timestamp, reason: Reason, late: u64) {
        self.timers.stop_all();
        if self.config.is_owner() {
            return self.become_master(now, reason, late);
        }
        self.active_interval = self.config.interval;
        self.awaiting = Awaiting::Silence;
        self.change(now, State::Backup, reason, late);
        self.restart_master_down(now);
    }

    fn unavailable(&mut self, now: Timestamp, fault: Fault) {
        if self.state != State::Fault(fault) {
            self.leave(now, State::Fault(fault), Reason::Fault(fault));
        }
    }

    /// Leaves Backup or Master; from Master with priority 0 (RFC 9568 section 6.4.3).
    fn leave(&mut self, now: Timestamp, to: State, reason: Reason) {
        self.timers.stop_all();
        if self.state == State::Master {
            // Over a dead link nothing can be said, and nobody needs to hear it.
            if !matches!(to, State::Fault(Fault::NoInterface | Fault::InterfaceDown)) {
                self.actions.push_back(Action::SendAdvert { priority: PRIORITY_RELEASE });
            }
            self.remove_addresses();
        }
        self.master = None;
        if self.state != to {
            self.change(now, to, reason, 0);
        }
    }

    fn timeout(&mut self, now: Timestamp) {
        while let Some((timer, deadline)) = self.timers.expire(now) {
            match timer {
                Timer::MasterDown => {
                    let reason = match self.awaiting {
                        Awaiting::Silence => Reason::MasterTimeout,
                        Awaiting::Release => Reason::PriorityZero,
                        Awaiting::Preemption => Reason::Preempted,
                    };
                    self.become_master(now, reason, now.nanos_since(deadline));
                }
                Timer::Advert => {
                    self.send_advert(now);
                    self.timers.set_next(Timer::Advert, deadline, self.config.interval.nanos(), now);
                }
                Timer::Startup => self.start(now, Reason::Startup, now.nanos_since(deadline)),
                Timer::AnnounceAgain => self.announce(self.config.announcements.repeat),
                Timer::Refresh => {
                    self.announce(self.config.announcements.refresh_repeat);
                    self.timers.set_next(Timer::Refresh, deadline, self.config.announcements.refresh, now);
                }
                Timer::Reannounce => {
                    self.announce(self.config.announcements.repeat);
                    self.events.push_back(Event::Reannounced);
                }
            }
        }
    }

    /// RFC 9568 section 6.4.2: first the advert, then the addresses, then the announcement.
    fn become_master(&mut self, now: Timestamp, reason: Reason, late: u64) {
        self.timers.stop_all();
        self.master = None;
        self.counters.master_transitions += 1;
        self.asserts = Limit::new(self.config.interval.nanos());
        self.rival = None;
        // What the last master taught is of no use any more.
        self.active_interval = self.config.interval;
        self.change(now, State::Master, reason, late);
        self.send_advert(now);
        self.timers.set(Timer::Advert, now + self.config.interval.nanos());
        self.take_addresses(now);
    }

    /// To Backup from Master, with Active_Down_Timer running from `from`.
    fn become_backup(&mut self, now: Timestamp, from: Timestamp, reason: Reason) {
        self.timers.stop_all();
        self.remove_addresses();
        self.awaiting = Awaiting::Silence;
        self.change(now, State::Backup, reason, 0);
        self.restart_master_down(from);
    }

    /// Active_Down_Timer := Active_Down_Interval, from the arrival of the advert that restarts it; not before what was
    /// promised.
    fn restart_master_down(&mut self, from: Timestamp) {
        let deadline = from + self.master_down_interval();
        let promised = self.promise.map_or(deadline, |promise| promise.deadline);
        self.timers.set(Timer::MasterDown, deadline.max(promised));
    }

    fn send_advert(&mut self, now: Timestamp) {
        self.last_sent = now;
        self.actions.push_back(Action::SendAdvert { priority: self.config.priority });
    }

    /// Active_Down_Interval, nanoseconds.
    fn master_down_interval(&self) -> u64 {
        self.active_interval.master_down(self.config.priority, self.config.down_after_adverts)
    }

    /// Adverts were lost on their way. They were valid, so a master is alive; in Master, if we were silent for so
    /// long that another router may have taken over, we cannot know that none did.
    fn feed_loss(&mut self, now: Timestamp) {
        match self.state {
            State::Backup => {
                self.awaiting = Awaiting::Silence;
                self.restart_master_down(now);
            }
            State::Master if self.was_silent_until(now) => {
                self.counters.stalls += 1;
                self.become_backup(now, now, Reason::Stalled);
            }
            State::Master | State::Initialize | State::Fault(_) => return,
        }
        self.tell_once(TOLD_FEED_LOSS, Event::FeedLoss);
    }

    /// Whether at `at` we had been silent for so long that a backup may have taken over: no backup does before as many
    /// intervals as all routers are configured with, or three, where another one has kept the RFC's number.
    fn was_silent_until(&self, at: Timestamp) -> bool {
        let intervals = u64::from(self.config.down_after_adverts.min(DOWN_AFTER_ADVERTS));
        at.nanos_since(self.last_sent) >= intervals * self.config.interval.nanos()
    }

    fn change(&mut self, now: Timestamp, to: State, reason: Reason, late: u64) {
        let from = core::mem::replace(&mut self.state, to);
        self.reason = Some(reason);
        self.since = now;
        self.told = 0;
        self.hold_until = None;
        self.promise = None;
        self.followed = None;
        self.events.push_back(Event::StateChanged { from, to, reason, late });
    }

    fn tell_once(&mut self, bit: u8, event: Event) {
        if self.told & bit == 0 {
            self.told |= bit;
            self.events.push_back(event);
        }
    }
}

// One bit for each kind of event that the wire can repeat without end.
const TOLD_OWN_SOURCE: u8 = 1;
const TOLD_INTERVAL: u8 = 2;
const TOLD_ADDRESS_LIST: u8 = 4;
const TOLD_OWNER: u8 = 8;
const TOLD_LOSING: u8 = 16;
const TOLD_FEED_LOSS: u8 = 32;
const TOLD_OWNER_CONFLICT: u8 = 64;
