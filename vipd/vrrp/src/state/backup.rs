//! Backup (RFC 9568 section 6.4.2): monitors the master.
//!
//! S3, S4 and S7 (answering no ARP or ND for the virtual addresses, and accepting no packets for
//! them) need no code because the addresses are not on a backup's interface. S5 needs none because
//! vipd sends no Router Advertisements, and S6 because the macvlan of a backup is down. S8
//! (Shutdown) needs no code because the timer is dropped with the state.

use core::net::IpAddr;

use vipd_common::Timestamp;

use super::{Master, StateData, Transition};
use crate::common::{Common, Repeating};
use crate::config::RouterConfig;
use crate::deviation::down_timer_floor::DownTimerFloor;
use crate::deviation::foreign_priority_zero;
use crate::input::Received;
use crate::interval::{Interval, Nanos, Version};
use crate::output::{Event, Reason, Steady};
use crate::priority::PRIORITY_ZERO;
use crate::reconfigure::rebased;
use crate::saved::{self, ResumeError, SavedAdvert, SavedBackup, SavedSteady};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    /// Time at which Active_Down_Timer fires.
    down_timer: Timestamp,
    /// Time from which Active_Down_Timer is counted: the arrival of an advert, a feed loss, or the
    /// entry into Backup.
    down_from: Timestamp,
    /// Reason to report for the transition when the timer fires: [`Reason::MasterTimeout`],
    /// [`Reason::PriorityZero`] or [`Reason::Preempted`].
    down_reason: Reason,
    /// Active_Adver_Interval: the interval learned from the master, or else the configured
    /// interval.
    active_interval: Interval,
    /// Priority and source of the last accepted advert.
    master: Option<(u8, IpAddr)>,
    /// The last advert discarded since the last accepted advert. It came from a lower-priority
    /// master, which the router preempts if Active_Down_Timer fires.
    discarded: Option<Received>,
    /// The last advert of the master, if it matches the configuration. Adverts that do not match
    /// are counted, so the BPF program must write a record for each.
    unchanged: Option<Steady>,
    floor: Option<DownTimerFloor>,
    /// End of `preempt_delay`, while the router follows a lower-priority master.
    preempt_at: Option<Timestamp>,
}

impl Backup {
    /// Enters Backup with Active_Down_Timer counted from `from`.
    pub(crate) fn new(common: &Common, from: Timestamp) -> Self {
        let active_interval = common.config.interval;
        Self {
            down_timer: from + common.down_interval(active_interval),
            down_from: from,
            down_reason: Reason::MasterTimeout,
            active_interval,
            master: None,
            discarded: None,
            unchanged: None,
            floor: None,
            preempt_at: None,
        }
    }

    /// S9: when Active_Down_Timer fires, sends an advert, adds and announces the addresses, and
    /// transitions to Master. The advert is sent first, because other routers' timers depend on it.
    pub(crate) fn timeout(&self, common: &mut Common, now: Timestamp) -> Option<Transition> {
        if self.down_timer > now {
            return None;
        }
        Some(Self::take_over(common, now, self.down_reason, now.nanos_since(self.down_timer)))
    }

    /// Sends an advert, adds and announces the addresses, and transitions to Master.
    pub(crate) fn take_over(common: &mut Common, now: Timestamp, reason: Reason, late: Nanos) -> Transition {
        common.send_advert();
        common.add_addresses();
        common.announce(common.config.announcements.repeat);
        Transition { to: StateData::Master(Master::new(common, now, reason)), reason, late }
    }

    /// Postpones Active_Down_Timer on behalf of the sync group.
    pub(crate) fn wait(&mut self, until: Timestamp) {
        self.down_timer = until;
        // Disables the fast path, which would compute the deadline from the master's last advert.
        self.unchanged = None;
    }

    /// Returns the time until which this member of a sync group assumes that a master is alive;
    /// `None` after a priority-0 advert, or if this member is about to preempt the only master.
    ///
    /// The returned time is one interval before Active_Down_Timer would fire. When another node
    /// fails, its masters with equal intervals have sent their last adverts less than an interval
    /// apart, so this member does not delay another member's takeover. The returned time is at
    /// least one and a half intervals after the last advert, because the next advert of a running
    /// master may be a little late. It is at most Active_Down_Interval after the last advert.
    pub(crate) fn follows_until(&self, common: &Common) -> Option<Timestamp> {
        let interval = self.active_interval.nanos();
        let down = common.down_interval(self.active_interval);
        let wait = down.saturating_sub(interval).max(interval * 3 / 2).min(down);
        self.follows(common).then(|| self.down_from + wait)
    }

    /// Returns whether Active_Down_Timer waits for the next advert of a master, not for the end of
    /// Skew_Time or for a preemption.
    fn follows(&self, common: &Common) -> bool {
        match self.down_reason {
            Reason::MasterTimeout => true,
            // The router is about to preempt a lower-priority master. If the last accepted advert
            // does not have a lower priority, it came from another master, which the router
            // follows.
            Reason::Preempted => self.master.is_some_and(|(priority, _)| priority >= common.priority),
            _ => false,
        }
    }

    /// Returns the arrival time of the priority-0 advert after which the router takes over.
    pub(crate) fn priority_zero_at(&self) -> Option<Timestamp> {
        (self.down_reason == Reason::PriorityZero).then_some(self.down_from)
    }

    /// Returns whether the last accepted advert would make this router leave Master (S22, S26).
    pub(crate) fn is_outranked(&self, common: &Common) -> bool {
        self.master.is_some_and(|master| master > (common.priority, common.primary))
    }

    /// Returns the time from which Active_Down_Timer is counted.
    pub(crate) fn down_from(&self) -> Timestamp {
        self.down_from
    }

    /// S10 to S13: handles a received advert. Under RFC 3768 section 6.4.2, no interval is learned.
    #[inline]
    pub(crate) fn advert(&mut self, common: &mut Common, advert: &Received) {
        if advert.priority == PRIORITY_ZERO {
            // S10
            self.priority_zero(common, advert);
        } else if !common.preempts() || advert.priority >= common.priority {
            // S11, S13
            self.preempt_at = None;
            self.follow(common, advert);
        } else if self.within_preempt_delay(common, advert) {
            // RFC 8347 hold-time
            self.follow(common, advert);
        } else {
            // S12: discard; Active_Down_Timer keeps running.
            self.discarded = Some(*advert);
            if self.down_reason == Reason::MasterTimeout {
                self.down_reason = Reason::Preempted;
            }
        }
    }

    /// S10, M2: sets Active_Down_Timer to Skew_Time.
    fn priority_zero(&mut self, common: &mut Common, advert: &Received) {
        let master_left = self.down_reason == Reason::PriorityZero;
        let floor = self.floor.as_ref();
        self.discarded = self.discarded.filter(|discarded| discarded.source != advert.source);
        if !master_left && foreign_priority_zero::is_ignored(common.policy, self.master(), floor, advert) {
            common.counters.priority_zero_ignored += 1;
            return;
        }
        self.down_reason = Reason::PriorityZero;
        self.preempt_at = None;
        self.floor = None;
        // Otherwise, a feed loss would return the router to the fast path, and the next advert of a
        // lower-priority master would not restart `preempt_delay`.
        self.unchanged = None;
        self.down_from = advert.arrival;
        self.set_down_timer(common);
    }

    /// S11: adopts the interval (VRRPv3) and restarts Active_Down_Timer.
    #[inline]
    fn follow(&mut self, common: &mut Common, advert: &Received) {
        let Received { arrival, source, priority, .. } = *advert;
        self.down_reason = Reason::MasterTimeout;
        self.discarded = None;
        if self.master.replace((priority, source)).is_none_or(|(_, former)| former != source) {
            common.logged = 0;
            common.events.push_back(Event::MasterChanged { source, priority });
        }
        if common.config.version() == Version::V3
            && let Some(interval) = Interval::from_wire(Version::V3, advert.interval)
        {
            self.active_interval = interval;
            if interval != common.config.interval {
                let event = Event::IntervalAdopted { source, interval: advert.interval };
                common.log_once(Repeating::Interval, event);
            }
        }
        let down_interval = common.down_interval(self.active_interval);
        self.unchanged = common.matches_config(advert).then(|| Steady::of(advert, down_interval));
        self.down_from = arrival;
        self.down_timer = arrival + down_interval;
        if common.policy.down_timer_floor {
            let floor =
                DownTimerFloor::update(self.floor.take(), advert, self.active_interval, common.priority);
            // A floor set by this advert is never later than the timer just set.
            if floor.source() != source {
                self.down_timer = self.down_timer.max(floor.deadline(common.priority));
            }
            self.floor = Some(floor);
        }
    }

    /// Restarts Active_Down_Timer, counted from `from`.
    fn restart_down_timer(&mut self, common: &Common, from: Timestamp) {
        self.down_from = from;
        self.set_down_timer(common);
    }

    /// Sets Active_Down_Timer according to the RFC's formulas (section 6.1), but not earlier than
    /// the floor.
    fn set_down_timer(&mut self, common: &Common) {
        let wait = if self.down_reason == Reason::PriorityZero {
            self.active_interval.skew(common.priority)
        } else {
            common.down_interval(self.active_interval)
        };
        let deadline = self.down_from + wait;
        let floor = self.floor.as_ref().map_or(deadline, |floor| floor.deadline(common.priority));
        self.down_timer = deadline.max(floor);
    }

    /// Returns whether to keep following a lower-priority master, which the router does until
    /// `preempt_delay` has passed since the first advert from a router of lower priority. The owner
    /// does not wait.
    fn within_preempt_delay(&mut self, common: &Common, advert: &Received) -> bool {
        let delay = common.config.preempt_delay;
        if delay == 0 || common.config.is_owner() {
            return false;
        }
        advert.arrival < *self.preempt_at.get_or_insert(advert.arrival + delay)
    }

    /// Handles a loss of adverts, which may have been valid. Assumes that the master is alive.
    pub(crate) fn feed_loss(&mut self, common: &Common, now: Timestamp) {
        self.down_reason = Reason::MasterTimeout;
        self.discarded = None;
        self.restart_down_timer(common, now);
    }

    /// Applies a new priority or configuration: recomputes Active_Down_Timer, and decides again
    /// whether to preempt the master. The router follows a master that it was about to preempt if
    /// that master's priority is no longer lower or the router no longer preempts.
    pub(crate) fn priority_changed(&mut self, common: &mut Common) {
        let is_followed = |advert: &Received| !common.preempts() || advert.priority >= common.priority;
        if let Some(advert) = self.discarded.filter(is_followed) {
            // S11, S13: handled as if the advert had arrived after the change.
            self.preempt_at = None;
            return self.follow(common, &advert);
        }
        self.set_down_timer(common);
        let down_interval = common.down_interval(self.active_interval);
        let followed = |steady: &Steady| !common.preempts() || steady.priority >= common.priority;
        self.unchanged = self.unchanged.filter(followed).map(|steady| Steady { down_interval, ..steady });
    }

    /// Adapts the timers to a new configuration.
    pub(crate) fn reconfigured(&mut self, common: &mut Common, old: &RouterConfig) {
        // M5: the configured interval, until an interval is learned. VRRPv2 backups learn none.
        if common.config.version() == Version::V2 || self.master.is_none() {
            self.active_interval = common.config.interval;
        }
        let delay = common.config.preempt_delay;
        self.preempt_at = self.preempt_at.filter(|_| delay > 0 && common.preempts());
        if let Some(at) = &mut self.preempt_at {
            *at = rebased(*at, old.preempt_delay, delay);
        }
        let from = self.down_from;
        self.unchanged = self.unchanged.filter(|steady| common.matches_config(&steady.at(from)));
        self.priority_changed(common);
    }

    pub(crate) fn save(&self) -> SavedBackup {
        let Self {
            down_timer,
            down_from,
            down_reason,
            active_interval,
            master,
            discarded,
            unchanged,
            floor,
            preempt_at,
        } = self;
        SavedBackup {
            down_timer: saved::nanos(*down_timer),
            down_from: saved::nanos(*down_from),
            down_reason: *down_reason,
            active_interval: active_interval.wire(),
            master: *master,
            discarded: discarded.as_ref().map(SavedAdvert::of),
            unchanged: unchanged.as_ref().map(SavedSteady::of),
            floor: floor.as_ref().map(DownTimerFloor::save),
            preempt_at: preempt_at.map(saved::nanos),
        }
    }

    pub(crate) fn resume(common: &Common, saved: &SavedBackup) -> Result<Self, ResumeError> {
        let (version, units) = (common.config.version(), saved.active_interval);
        let unchanged = saved.unchanged.as_ref().map(SavedSteady::steady).transpose()?;
        let floor = saved.floor.as_ref().map(|floor| DownTimerFloor::resume(version, floor)).transpose()?;
        Ok(Self {
            down_timer: saved::time(saved.down_timer),
            down_from: saved::time(saved.down_from),
            down_reason: saved.down_reason,
            active_interval: Interval::from_wire(version, units).ok_or(ResumeError::Interval(units))?,
            master: saved.master,
            discarded: saved.discarded.as_ref().map(SavedAdvert::advert).transpose()?,
            unchanged: unchanged.filter(|steady| common.matches_config(&steady.at(Timestamp::ZERO))),
            floor,
            preempt_at: saved.preempt_at.map(saved::time),
        })
    }

    /// Returns the unchanged advert of the current master; `None` if the master's next advert could
    /// do more than restart the timer, or must be verified.
    #[inline]
    pub(crate) fn steady(&self, common: &Common) -> Option<Steady> {
        let only_master = self.preempt_at.is_none()
            && self.floor.as_ref().is_none_or(|floor| Some(floor.source()) == self.master());
        let waits = self.down_reason == Reason::MasterTimeout;
        // The router's primary address may since have become the master's address.
        let may_skip = waits && only_master && !common.config.is_verified;
        self.unchanged.filter(|steady| may_skip && steady.source != common.primary)
    }

    pub(crate) fn silent_since(&self, common: &Common, now: Timestamp) -> Option<Timestamp> {
        let is_silent = self.down_timer <= now && self.follows(common);
        is_silent.then_some(self.down_from)
    }

    #[inline]
    pub(crate) fn down_timer(&self) -> Timestamp {
        self.down_timer
    }

    pub(crate) fn active_interval(&self) -> Interval {
        self.active_interval
    }

    pub(crate) fn master(&self) -> Option<IpAddr> {
        self.master.map(|(_, source)| source)
    }

    pub(crate) fn preempt_at(&self) -> Option<Timestamp> {
        self.preempt_at
    }
}
