//! What an advert does to a virtual router (RFC 9568 sections 6.4.2, 6.4.3 and 7.1; RFC 3768 likewise).

use core::net::IpAddr;

use vipd_common::Timestamp;

use super::{
    Awaiting, Promise, Rival, Router, TOLD_ADDRESS_LIST, TOLD_INTERVAL, TOLD_LOSING, TOLD_OWN_SOURCE,
    TOLD_OWNER, TOLD_OWNER_CONFLICT,
};
use crate::config::{PRIORITY_OWNER, PRIORITY_RELEASE};
use crate::interval::{Interval, Version};
#[cfg(doc)]
use crate::message::Input;
use crate::message::{Discard, Event, Reason, Received, State, Steady};
use crate::timer::Timer;

/// The longest wait after the first losing advert before the segment is told again, nanoseconds.
const REANNOUNCE_MAX: u64 = 100_000_000;
/// The shortest quiet of a rival that does not yield before the segment is told again, nanoseconds.
const LASTING_QUIET: u64 = 1_000_000_000;
/// Adverts of a rival above two in an interval that are still a router's: its first answers come back to back.
const ANSWERS: u64 = 8;

impl Router {
    /// The advert that changes nothing but Active_Down_Timer: the followed master's, as it spoke last. Of any number of
    /// such adverts only the last needs to be handed over, before [`Input::Timeout`] and before an advert that arrived after
    /// it; [`next_timeout`](Self::next_timeout) is then its arrival and [`Steady::patience`].
    pub fn steady(&self) -> Option<Steady> {
        // While another one's promise stands, or preempt_delay runs, each may change something.
        let alone = self.hold_until.is_none()
            && self.promise.is_none_or(|promise| Some(promise.source) == self.master);
        let waits = self.state == State::Backup && self.awaiting == Awaiting::Silence;
        // Our own address may have become the master's.
        self.followed.filter(|steady| waits && alone && steady.source != self.primary)
    }

    pub(super) fn advert(&mut self, now: Timestamp, advert: Received) {
        // A loop, or a duplicate address, is no other router.
        if advert.source != self.primary {
            self.peers.hear(&advert);
        }
        if !matches!(self.state, State::Backup | State::Master) || !self.acceptable(now, &advert) {
            return;
        }
        match self.state {
            State::Backup => self.advert_in_backup(&advert),
            State::Master => self.advert_in_master(now, &advert),
            State::Initialize | State::Fault(_) => {}
        }
        // Told last: a new master or a new state would have it told again.
        if self.conflicts(&advert) {
            self.owner_conflict(advert.source);
        }
        if advert.addresses != self.digest {
            self.tell_once(TOLD_ADDRESS_LIST, Event::AddressListDiffers { source: advert.source });
        }
    }

    /// The checks that need the configuration; the kernel side has done the others.
    fn acceptable(&mut self, now: Timestamp, advert: &Received) -> bool {
        let source = advert.source;
        if source == self.primary {
            self.counters.own_adverts += 1;
            return self.discard(TOLD_OWN_SOURCE, Discard::OwnSource, advert);
        }
        let v2 = self.config.version() == Version::V2;
        // RFC 3768 section 7.1. For VRRPv3, erratum 8298 of RFC 9568 takes the discarding back.
        if v2 && self.config.is_owner() {
            if self.conflicts(advert) {
                self.owner_conflict(source);
            }
            if self.state == State::Master && advert.priority != PRIORITY_RELEASE {
                self.reannounce_when_quiet(now, advert);
            }
            return self.discard(TOLD_OWNER, Discard::Owner, advert);
        }
        if advert.interval != self.config.interval.wire() {
            self.counters.interval_errors += 1;
            if v2 {
                return self.discard(TOLD_INTERVAL, Discard::Interval, advert);
            }
        }
        if advert.addresses != self.digest {
            self.counters.address_list_errors += 1;
            if v2 && advert.priority != PRIORITY_OWNER {
                return self.discard(TOLD_ADDRESS_LIST, Discard::AddressList, advert);
            }
        }
        true
    }

    /// Whether a second router claims to own the virtual addresses: several should be told of (RFC 9568 section 8.3.2).
    fn conflicts(&self, advert: &Received) -> bool {
        self.config.is_owner() && advert.priority == PRIORITY_OWNER
    }

    fn owner_conflict(&mut self, source: IpAddr) {
        self.counters.owner_conflicts += 1;
        self.tell_once(TOLD_OWNER_CONFLICT, Event::OwnerConflict { source });
    }

    fn discard(&mut self, bit: u8, reason: Discard, advert: &Received) -> bool {
        self.tell_once(bit, Event::Discarded { reason, source: advert.source });
        false
    }

    fn advert_in_backup(&mut self, advert: &Received) {
        if advert.priority == PRIORITY_RELEASE {
            self.released(advert);
        } else if !self.preempts() || advert.priority >= self.config.priority {
            self.hold_until = None;
            self.follow(advert);
            self.await_master(advert);
        } else if self.holds(advert) {
            self.follow(advert);
            self.await_master(advert);
        } else if self.awaiting == Awaiting::Silence {
            // Of lower priority: ignored, so that the timer runs out and we take over.
            self.awaiting = Awaiting::Preemption;
        }
    }

    /// Priority 0: Active_Down_Timer := Skew_Time (RFC 9568 section 6.4.2).
    ///
    /// Not the RFC's: it binds priority 0 to no master. Whoever leaves, a second master in a segment that heals, say,
    /// would set the timer of every backup. The true master answers at once (section 6.4.3), but the skew of priority
    /// 254 at 10 ms is 78 µs, and its answer would come too late. So while a followed master is not silent, the leaving
    /// of another router is counted, and no more. Should that one have been the master after all, Active_Down_Timer
    /// still brings the takeover.
    fn released(&mut self, advert: &Received) {
        let promised = self.promise.is_some_and(|promise| promise.source == advert.source);
        let foreign = !promised && self.master.is_some_and(|master| master != advert.source);
        if foreign && self.awaiting != Awaiting::Release {
            self.counters.foreign_releases += 1;
            return;
        }
        self.awaiting = Awaiting::Release;
        self.hold_until = None;
        self.promise = None;
        let skew = self.active_interval.skew(self.config.priority);
        self.timers.set(Timer::MasterDown, advert.arrival + skew);
    }

    fn advert_in_master(&mut self, now: Timestamp, advert: &Received) {
        if advert.priority == PRIORITY_RELEASE {
            self.send_advert(now);
            self.timers.set(Timer::Advert, now + self.config.interval.nanos());
            return;
        }
        // The tie-break compares sources (RFC 9568 section 6.4.3).
        let wins = advert.priority > self.config.priority
            || (advert.priority == self.config.priority && advert.source > self.primary);
        if wins {
            // Not the RFC's: one last losing advert. Two masters that heal may have the winner heard first; without
            // this the winner would never learn that there was another, and hosts would keep the loser's MAC.
            if !self.was_silent_until(advert.arrival) {
                self.send_advert(now);
            }
            self.become_backup(now, advert.arrival, Reason::HigherPriority);
            self.follow(advert);
            self.await_master(advert);
        } else if self.was_silent_until(advert.arrival) {
            // This process was held up past the deadline of every backup, and one of them has rightly taken
            // over. Yield to it; with Preempt_Mode the timer brings the mastership back in good order.
            self.counters.stalls += 1;
            self.become_backup(now, now, Reason::Stalled);
            self.advert_in_backup(advert);
        } else {
            self.assert(now, advert);
        }
    }

    /// A second master of lower precedence.
    fn assert(&mut self, now: Timestamp, advert: &Received) {
        self.counters.losing_adverts += 1;
        let farewell = self.has_just_preempted(now, advert);
        if !farewell {
            self.tell_once(
                TOLD_LOSING,
                Event::LosingAdvert { source: advert.source, priority: advert.priority },
            );
        }
        // RFC 9568 section 6.4.3 answers at once; RFC 3768 section 6.4.3 discards.
        if self.config.version() == Version::V3 {
            if self.asserts.take(now) {
                self.counters.asserts_sent += 1;
                self.send_advert(now);
            } else {
                self.counters.asserts_suppressed += 1;
            }
        }
        if !farewell {
            self.reannounce_when_quiet(now, advert);
        }
    }

    /// Whether a losing advert is the last one of the master that was preempted in good order: the segment was told
    /// less than an interval ago.
    fn has_just_preempted(&self, now: Timestamp, advert: &Received) -> bool {
        self.reason == Some(Reason::Preempted) && now.nanos_since(self.since) < self.longer_interval(advert)
    }

    /// The longer of our interval and an advert's, nanoseconds.
    fn longer_interval(&self, advert: &Received) -> u64 {
        let theirs = Interval::from_wire(self.config.version(), advert.interval).map_or(0, Interval::nanos);
        self.config.interval.nanos().max(theirs)
    }

    /// Hosts may have learned the other master's MAC: tell them again once it has been quiet for long enough to
    /// have yielded. One that adverts on for a second, or after that, does not hear us, and one that adverts more often than
    /// any router is none. There is nothing to be won from announcing at each of its pauses: then only after more than one
    /// interval, and a second, without an advert.
    fn reannounce_when_quiet(&mut self, now: Timestamp, advert: &Received) {
        if !self.has_addresses() {
            return;
        }
        let interval = self.longer_interval(advert);
        let new = Rival { since: now, heard: now, adverts: 1, lasts: false };
        let rival = match self.rival {
            Some(rival) if self.timers.get(Timer::Reannounce).is_some() => {
                let (adverts, lasted) = (rival.adverts + 1, now.nanos_since(rival.since));
                let floods = adverts > ANSWERS + 2 * lasted / interval;
                let lasts = rival.lasts || floods || lasted > LASTING_QUIET.max(3 * interval);
                Rival { heard: now, adverts, lasts, ..rival }
            }
            Some(rival) => Rival { lasts: now.nanos_since(rival.heard) <= 2 * interval, ..new },
            None => new,
        };
        let lasts = rival.lasts;
        self.rival = Some(rival);
        let quiet = interval * 3 / 2;
        let quiet = if lasts { quiet.max(LASTING_QUIET) } else { quiet.min(REANNOUNCE_MAX) };
        self.timers.set(Timer::Reannounce, now + quiet);
    }

    /// Whether a master of lower priority is still to be followed: `preempt_delay` (RFC 8347 `hold-time`) is counted from
    /// its first advert. The owner does not wait.
    fn holds(&mut self, advert: &Received) -> bool {
        let delay = self.config.preempt_delay;
        if delay == 0 || self.config.is_owner() {
            return false;
        }
        advert.arrival < *self.hold_until.get_or_insert(advert.arrival + delay)
    }

    /// Active_Down_Timer := Active_Down_Interval (RFC 9568 section 6.4.2).
    ///
    /// Not the RFC's alone: where intervals differ, the last advert of a master that yields, or one that a switch has held
    /// back, teaches its shorter interval. The timer would run out before the true master is due again. So an advert
    /// moves it before what a master that outranks its sender has promised only once that promise is over or taken back.
    /// It is over when the next advert of the one that gave it is missing: whoever promised and died delays no takeover
    /// by more than that.
    fn await_master(&mut self, advert: &Received) {
        let Received { arrival, source, priority, .. } = *advert;
        // Of the two masters this one stays (RFC 9568 section 6.4.3); a new priority of the same one is its own.
        let stays = |promise: &Promise| {
            promise.deadline > arrival
                && promise.source != source
                && (promise.priority, promise.source) > (priority, source)
        };
        self.promise = self.promise.filter(stays).or_else(|| {
            let deadline = arrival + self.active_interval.master_down(self.config.priority, 1);
            Some(Promise { source, priority, deadline })
        });
        self.restart_master_down(arrival);
    }

    /// Preempt_Mode; the owner always preempts (RFC 9568 section 6.1).
    fn preempts(&self) -> bool {
        self.config.preempt || self.config.is_owner()
    }

    /// The sender is the master: its interval is adopted in VRRPv3 (RFC 9568 section 6.4.2).
    fn follow(&mut self, advert: &Received) {
        self.awaiting = Awaiting::Silence;
        if self.master != Some(advert.source) {
            self.master = Some(advert.source);
            self.told = 0;
            self.events.push_back(Event::MasterChanged { source: advert.source, priority: advert.priority });
        }
        if self.config.version() == Version::V3
            && let Some(interval) = Interval::from_wire(Version::V3, advert.interval)
        {
            self.active_interval = interval;
            if interval != self.config.interval {
                let event = Event::IntervalAdopted { source: advert.source, interval: advert.interval };
                self.tell_once(TOLD_INTERVAL, event);
            }
        }
        let patience = self.master_down_interval();
        self.followed = self.is_flawless(advert).then(|| Steady::of(advert, patience));
    }

    /// Whether nothing about it is counted or told.
    fn is_flawless(&self, advert: &Received) -> bool {
        advert.interval == self.config.interval.wire()
            && advert.addresses == self.digest
            && !self.conflicts(advert)
    }
}
