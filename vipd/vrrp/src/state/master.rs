//! Master (called Active in RFC 9568 section 6.4.3): answers for the virtual addresses.
//!
//! While the addresses are on the interface, the kernel implements S14 to S18 (answering ARP and ND
//! for the addresses, and accepting and forwarding packets), with two exceptions: vipd sends no
//! Router Advertisements (S15), and if Accept_Mode is false, the BPF program drops packets to the
//! addresses, except ARP and ND (S17, S18).

use vipd_common::Timestamp;

use super::{Backup, StateData, Transition};
use crate::common::{Common, Repeating};
use crate::config::{Announcements, RouterConfig, VirtualAddress};
use crate::deviation::advert_phase;
use crate::deviation::answer_limit::AnswerLimit;
use crate::deviation::last_advert;
use crate::deviation::split_brain::SplitBrain;
use crate::deviation::stall;
use crate::input::{Fault, Received};
use crate::interval::{Nanos, Version};
use crate::output::{Action, Addresses, Event, Reason};
use crate::priority::PRIORITY_ZERO;
use crate::saved::{self, SavedMaster};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Master {
    /// Time at which Adver_Timer fires.
    adver_timer: Timestamp,
    /// Time at which the second burst of announcements is due.
    announce_again: Option<Timestamp>,
    /// Time at which the next refresh of the announcements is due.
    refresh: Option<Timestamp>,
    /// Time at which the last advert was sent or, without one, at which the router became master. A
    /// change of the configuration that would make the router count as stalled sets this to the
    /// time of the change.
    last_sent: Timestamp,
    /// Time at which the router became master, if it preempted a lower-priority master or may have
    /// done so by following its sync group.
    preempted_at: Option<Timestamp>,
    answers: AnswerLimit,
    split_brain: SplitBrain,
    /// Times of the first and the last advert with the same priority from a higher address, while
    /// the sync group keeps the router in Master.
    contested: Option<(Timestamp, Timestamp)>,
    /// Time of the last advert with the same priority from a lower address.
    tie_won: Option<Timestamp>,
}

impl Master {
    /// S1, S9: enters Master with Adver_Timer set to Advertisement_Interval. Called after the
    /// advert and the announcements have been requested.
    pub(crate) fn new(common: &mut Common, now: Timestamp, reason: Reason) -> Self {
        common.counters.master_transitions += 1;
        common.has_yielded = false;
        let Announcements { delay, refresh, .. } = common.config.announcements;
        let has_addresses = common.has_addresses();
        let after = |delay: Nanos| (delay > 0 && has_addresses).then(|| now + delay);
        // M4: a master uses its own configured interval.
        let interval = common.config.interval.nanos();
        Self {
            adver_timer: advert_phase::adver_timer(common.policy, now, interval),
            announce_again: after(delay),
            refresh: after(refresh),
            last_sent: now,
            preempted_at: matches!(reason, Reason::Preempted | Reason::Group).then_some(now),
            answers: AnswerLimit::new(interval),
            split_brain: SplitBrain::default(),
            contested: None,
            tie_won: None,
        }
    }

    /// S19: handles Shutdown or an impediment. Before the transition to Initialize or Fault, sends
    /// a priority-0 advert, unless the interface is missing or down, and removes the addresses.
    pub(crate) fn leave(common: &mut Common, fault: Option<Fault>) {
        if !matches!(fault, Some(Fault::NoInterface | Fault::InterfaceDown)) {
            common.send_priority_zero();
        }
        common.remove_addresses();
    }

    /// Returns the time at which Adver_Timer fires.
    pub(crate) fn adver_timer(&self) -> Timestamp {
        self.adver_timer
    }

    /// S20: handles Adver_Timer, then the announcement timers.
    pub(crate) fn timeout(&mut self, common: &mut Common, now: Timestamp) {
        // S20: send an advert, Adver_Timer := Advertisement_Interval.
        if self.adver_timer <= now {
            common.send_advert();
            self.adver_timer = next(self.adver_timer, common.config.interval.nanos(), now);
        }
        let Announcements { repeat, refresh, refresh_repeat, .. } = common.config.announcements;
        if self.announce_again.take_if(|at| *at <= now).is_some() {
            common.announce(repeat);
        }
        if let Some(at) = self.refresh.as_mut().filter(|at| **at <= now) {
            *at = next(*at, refresh, now);
            common.announce(refresh_repeat);
        }
        if self.split_brain.is_over(now) {
            common.announce(repeat);
            common.events.push_back(Event::Reannounced);
        }
    }

    /// If an advert would be due by `until`, sends it in advance. Adver_Timer keeps its deadline.
    pub(crate) fn suspend(&self, common: &mut Common, until: Timestamp) {
        if self.adver_timer <= until {
            common.send_advert();
        }
    }

    /// S21 to S24, S26: handles a received advert.
    pub(crate) fn advert(
        &mut self,
        common: &mut Common,
        now: Timestamp,
        advert: &Received,
    ) -> Option<Transition> {
        let stalled = self.is_stalled(common, now);
        if advert.priority == PRIORITY_ZERO {
            // S21: send an advert, Adver_Timer := Advertisement_Interval.
            if self.answer(common, now, stalled) {
                let interval = common.config.interval.nanos();
                self.adver_timer = advert_phase::adver_timer(common.policy, now, interval);
            }
            return None;
        }
        // S22, S26: the higher priority wins. At equal priority, the higher source address wins.
        // The new backup then handles the advert: it adopts the interval (VRRPv3) and sets
        // Active_Down_Timer.
        if (advert.priority, advert.source) > (common.priority, common.primary) {
            if last_advert::is_due(common.policy, stalled) {
                common.send_advert();
            }
            return Some(Self::yield_mastership(common, advert.arrival, Reason::HigherPriority));
        }
        if stalled && stall::has_taken_over(&common.config, self.last_sent, advert) {
            return Some(Self::stalled(common, now));
        }
        self.losing_advert(common, now, stalled, advert);
        None
    }

    /// S23: answers a losing advert immediately; Adver_Timer keeps running. In VRRPv2, the advert
    /// is discarded (RFC 3768 section 6.4.3).
    fn losing_advert(&mut self, common: &mut Common, now: Timestamp, stalled: bool, advert: &Received) {
        let Received { source, priority, .. } = *advert;
        common.counters.losing_adverts += 1;
        if priority == common.priority && source < common.primary {
            self.tie_won = Some(now);
        }
        let final_advert = self.is_final_advert(common, now, advert);
        if !final_advert {
            common.log_once(Repeating::LosingAdvert, Event::LosingAdvert { source, priority });
        }
        if common.config.version() == Version::V3 {
            self.answer(common, now, stalled);
        }
        if !final_advert {
            self.competing_master(common, now, advert);
        }
    }

    /// Answers an advert with an advert, within the rate limit. Returns whether the answer was
    /// sent.
    ///
    /// A stalled master does not answer, because the next record may show that another router has
    /// taken over.
    fn answer(&mut self, common: &mut Common, now: Timestamp, stalled: bool) -> bool {
        let granted = !stalled && (!common.policy.answer_limit || self.answers.take(now));
        if granted {
            common.counters.asserts_sent += 1;
            common.send_advert();
        } else {
            common.counters.asserts_suppressed += 1;
        }
        granted
    }

    /// Returns whether a losing advert is the final advert of a master that was preempted less than
    /// an interval ago. Such an advert does not indicate a split brain, and the addresses were just
    /// announced at the takeover.
    fn is_final_advert(&self, common: &Common, now: Timestamp, advert: &Received) -> bool {
        self.preempted_at.is_some_and(|at| now.nanos_since(at) < common.longer_interval(advert))
    }

    /// Records an advert from a competing master. Hosts may have learned that router's MAC, so the
    /// addresses are announced again once that router's adverts stop.
    pub(crate) fn competing_master(&mut self, common: &Common, now: Timestamp, advert: &Received) {
        if common.policy.reannounce_after_split_brain && common.has_addresses() {
            self.split_brain.advert(now, common.longer_interval(advert));
        }
    }

    /// Yields to another master: transitions to Backup with Active_Down_Timer counted from `from`.
    fn yield_mastership(common: &mut Common, from: Timestamp, reason: Reason) -> Transition {
        common.remove_addresses();
        Transition { to: StateData::Backup(Backup::new(common, from)), reason, late: 0 }
    }

    /// Hands over mastership: sends a priority-0 advert, as at Shutdown (S19), and transitions to
    /// Backup.
    pub(crate) fn fail_over(common: &mut Common, now: Timestamp) -> Transition {
        common.send_priority_zero();
        common.has_yielded = true;
        Self::yield_mastership(common, now, Reason::Failover)
    }

    /// Leaves Master because another member of the sync group left Master or, after a change of the
    /// group's members, follows a running master. Sends a priority-0 advert unless this router has
    /// stalled.
    pub(crate) fn follow_group(&self, common: &mut Common, now: Timestamp) -> Transition {
        if !self.is_stalled(common, now) {
            common.send_priority_zero();
        }
        Self::yield_mastership(common, now, Reason::Group)
    }

    /// Treats an advert with the same priority from a higher address as a losing advert, and stays
    /// master.
    pub(crate) fn contest(&mut self, common: &mut Common, now: Timestamp, advert: &Received) {
        let first = self.contested_since(common, now).unwrap_or(now);
        self.contested = Some((first, now));
        self.losing_advert(common, now, self.is_stalled(common, now), advert);
    }

    /// Returns the time of the first advert from another master with the same priority and a higher
    /// address; `None` if there is no such master, or its last advert arrived more than three
    /// intervals ago.
    pub(crate) fn contested_since(&self, common: &Common, now: Timestamp) -> Option<Timestamp> {
        let recent = 3 * common.config.interval.nanos();
        let (first, last) = self.contested?;
        (now.nanos_since(last) <= recent).then_some(first)
    }

    /// Returns whether another master with the same priority and a lower address has sent an advert
    /// within the last three intervals.
    pub(crate) fn wins_tie(&self, common: &Common, now: Timestamp) -> bool {
        self.tie_won.is_some_and(|at| now.nanos_since(at) <= 3 * common.config.interval.nanos())
    }

    fn stalled(common: &mut Common, now: Timestamp) -> Transition {
        common.counters.stalls += 1;
        Self::yield_mastership(common, now, Reason::Stalled)
    }

    /// Handles the loss of valid adverts. After a stall, the lost adverts may have come from a
    /// router that took over. A VRRPv2 owner would have discarded them (R7).
    pub(crate) fn feed_loss(&self, common: &mut Common, now: Timestamp) -> Option<Transition> {
        (!common.discards_all() && self.is_stalled(common, now)).then(|| Self::stalled(common, now))
    }

    pub(crate) fn is_stalled(&self, common: &Common, now: Timestamp) -> bool {
        common.policy.yield_after_stall && stall::is_stalled(&common.config, self.last_sent, now)
    }

    /// Adapts the timers to a new configuration.
    pub(crate) fn reconfigured(
        &mut self,
        common: &Common,
        old: &RouterConfig,
        now: Timestamp,
        was_stalled: bool,
    ) {
        let new = &common.config;
        let interval = new.interval.nanos();
        if interval != old.interval.nanos() {
            self.answers = AnswerLimit::new(interval);
        }
        if interval < old.interval.nanos() {
            let adver_timer = advert_phase::adver_timer(common.policy, now, interval);
            self.adver_timer = self.adver_timer.min(adver_timer);
        }
        if !was_stalled && self.is_stalled(common, now) {
            // A shorter interval must not make the master count as stalled: backups still wait for
            // the old Active_Down_Interval.
            self.last_sent = now;
        }
        let Announcements { delay, refresh, .. } = new.announcements;
        let has_addresses = common.has_addresses();
        if delay == 0 || !has_addresses {
            self.announce_again = None;
        }
        if refresh == 0 || !has_addresses {
            self.refresh = None;
        } else if refresh != old.announcements.refresh || self.refresh.is_none() {
            self.refresh = Some(now + refresh);
        }
    }

    /// Records that the kernel accepted an advert at or after `at`.
    pub(crate) fn advert_sent(&mut self, at: Timestamp) {
        self.last_sent = self.last_sent.max(at);
    }

    /// S14: announces a VIP that was removed externally and has been restored.
    pub(crate) fn address_restored(common: &mut Common, address: VirtualAddress) {
        if common.config.all_addresses().any(|vip| vip == address) {
            let one = Addresses::One(address);
            common.counters.addresses_restored += 1;
            common.actions.push_back(Action::Announce { addresses: one, rounds: 1 });
            common.events.push_back(Event::AddressRestored(address));
        }
    }

    pub(crate) fn save(&self) -> SavedMaster {
        let Self {
            adver_timer,
            announce_again,
            refresh,
            last_sent,
            preempted_at,
            answers,
            split_brain,
            contested,
            tie_won,
        } = self;
        let (answer_tokens, answers_refilled) = answers.save();
        let (competing, announce_at) = split_brain.save();
        SavedMaster {
            adver_timer: saved::nanos(*adver_timer),
            announce_again: announce_again.map(saved::nanos),
            refresh: refresh.map(saved::nanos),
            last_sent: saved::nanos(*last_sent),
            preempted_at: preempted_at.map(saved::nanos),
            answer_tokens,
            answers_refilled: saved::nanos(answers_refilled),
            competing,
            announce_at,
            contested: contested.map(|(first, last)| (saved::nanos(first), saved::nanos(last))),
            tie_won: tie_won.map(saved::nanos),
        }
    }

    pub(crate) fn resume(common: &Common, saved: &SavedMaster) -> Self {
        let interval = common.config.interval.nanos();
        let refilled = saved::time(saved.answers_refilled);
        Self {
            adver_timer: saved::time(saved.adver_timer),
            announce_again: saved.announce_again.map(saved::time),
            refresh: saved.refresh.map(saved::time),
            last_sent: saved::time(saved.last_sent),
            preempted_at: saved.preempted_at.map(saved::time),
            answers: AnswerLimit::resume(interval, saved.answer_tokens, refilled),
            split_brain: SplitBrain::resume(saved.competing, saved.announce_at),
            contested: saved.contested.map(|(first, last)| (saved::time(first), saved::time(last))),
            tie_won: saved.tie_won.map(saved::time),
        }
    }

    pub(crate) fn next_timeout(&self) -> Timestamp {
        let others = [self.announce_again, self.refresh, self.split_brain.deadline()];
        others.into_iter().flatten().fold(self.adver_timer, Timestamp::min)
    }
}

/// Returns the next deadline of a periodic timer. The timer keeps its phase unless it is late by a
/// whole period or more.
fn next(deadline: Timestamp, period: Nanos, now: Timestamp) -> Timestamp {
    let next = deadline + period;
    if next > now { next } else { now + period }
}
