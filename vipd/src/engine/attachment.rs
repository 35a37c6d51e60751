//! Detects BPF programs that were detached externally, or that no longer run first at their hook.
//!
//! The kernel sends no notification when a BPF link is detached (neither for XDP nor for TCX), or
//! when another program is attached before vipd's. A router that then receives no adverts would
//! elect itself. The [`prober`](super::prober) thread therefore queries the kernel.
//!
//! Every advert that arrives proves that the program is attached. A link with backups is therefore
//! probed only when the next advert is overdue by half an interval, or after 1.5 s without adverts.
//! With advert intervals of up to 1 s, there are no probes in the steady state. With intervals of a
//! third of a second or more, the engine wakes up when an advert would become overdue. With shorter
//! intervals, the engine checks for overdue adverts only when it is awake anyway, and at least
//! every half second: a wake-up costs hundreds of times as much CPU time as an unchanged advert,
//! and an election, a few intervals later, requests its own probe in any case.
//!
//! A link without backups usually receives no adverts, and is probed once a second. Probing at the
//! advert interval would cost about half as much CPU time as sending the adverts, and a master that
//! misses adverts causes problems only if another router takes over within that second.
//!
//! Before an election, a probe must have found the program attached. The probe must have begun at
//! least one and a half advert intervals after the last advert. If the master-down interval is
//! shorter than that (possible only with `down_after_adverts = 1`), the probe must not have begun
//! before the timer fired. Such a probe proves that the master's adverts are actually missing. An
//! advert that was recorded in the ring after the earliest valid start of a probe, for example a
//! priority-0 advert, is also sufficient proof. If there is no proof yet, a probe is requested when
//! the engine wakes up within the spin window before the deadline, and again when the timer fires
//! if the proof is still missing. For a router that is not on the fast path, a probe is requested
//! only when the timer fires. Before a member of a sync group makes the group master, the same
//! proof is required for the group's other backups.
//!
//! An election without proof waits for a probe. A probe takes microseconds, unless another process
//! holds the rtnl lock, which adding the VIPs would have to wait for anyway.

use vipd_common::Timestamp;

use super::Engine;
use super::command::{Report, Request};
use super::id::{LinkId, RouterId, Slab};
use super::instance::Instance;
use super::links::Links;
use super::prober::Attachment;
use super::topology::Topology;
use crate::vrrp::{Input, State};
use crate::xdp::{Position, Row, Steady};

/// Delay in nanoseconds before retrying an election that waits for a probe. Usually, the probe's
/// result wakes the engine earlier.
const ELECTION_RETRY: u64 = 10_000_000;
/// Maximum time without adverts before a link with backups is probed, in nanoseconds: one and a
/// half times the default interval.
const OVERDUE_MAX: u64 = 1_500_000_000;
/// Minimum time without adverts before the engine wakes up for the check, in nanoseconds. With an
/// interval of 100 ms, a backup wakes up more often anyway, for its deadline.
const WAKE_MIN: u64 = 500_000_000;
/// Time between two probes of a link without backups, in nanoseconds.
const PERIOD: u64 = 1_000_000_000;

/// Decides when to probe the attachment of a link.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Arrival time of the last advert that was recorded in the ring.
    received_at: Timestamp,
    requested_at: Timestamp,
    /// The backup with the shortest advert interval. The next advert of this backup's master is
    /// expected first.
    followed: Option<Followed>,
    /// Whether `followed` was selected after the last recorded advert. The first advert
    /// that a backup receives is always recorded, and so is every advert with a new interval.
    is_selected: bool,
    /// Time at which the next advert becomes overdue if none arrives before then.
    overdue_at: Timestamp,
    /// Time at which to wake up for the check.
    wake_at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Followed {
    row: Row,
    /// Advert interval, in nanoseconds.
    interval: u64,
}

impl Watch {
    /// Stores the arrival time of an advert that was recorded in the ring.
    pub(super) fn received(&mut self, arrival: Timestamp) {
        self.received_at = self.received_at.max(arrival);
        self.is_selected = false;
    }

    /// Returns the time without adverts, in nanoseconds, after which the next advert is overdue.
    fn overdue_after(&self) -> u64 {
        self.followed.map_or(PERIOD, |Followed { interval, .. }| (interval + interval / 2).min(OVERDUE_MAX))
    }

    /// Returns whether to probe the link now. `backups` returns the row and advert interval of each
    /// backup on the link, and `arrival` returns the arrival time of a row's last unchanged advert.
    fn is_due<I: Iterator<Item = (Row, u64)>>(
        &mut self,
        now: Timestamp,
        backups: impl FnOnce() -> I,
        arrival: impl Fn(Row) -> Timestamp,
    ) -> bool {
        if now < self.overdue_at {
            return false;
        }
        let known = self.received_at.max(self.requested_at);
        let mut last = self.followed.map_or(known, |Followed { row, .. }| arrival(row).max(known));
        if !self.is_selected || now >= last + self.overdue_after() {
            self.is_selected = true;
            self.followed = None;
            for (row, interval) in backups() {
                last = last.max(arrival(row));
                if self.followed.is_none_or(|shortest| interval < shortest.interval) {
                    self.followed = Some(Followed { row, interval });
                }
            }
        }
        let overdue_after = self.overdue_after();
        let is_due = now >= last + overdue_after;
        if is_due {
            self.requested_at = now;
            last = now;
        }
        self.overdue_at = last + overdue_after;
        self.wake_at = last + overdue_after.max(WAKE_MIN);
        is_due
    }
}

impl Engine {
    /// Finds links whose program is detached or runs after another program, marks their routers for
    /// reconciliation, and requests that the program be attached again. If attachments do not last,
    /// the pauses between such requests grow. Also requests probes of links on which an advert is
    /// overdue, and of links without backups that are due for their periodic probe. Returns whether
    /// any routers must be reconciled.
    pub(super) fn check_attachments(&mut self, now: Timestamp) -> bool {
        let mut has_changes = false;
        self.check_attachments_at = None;
        let grace_ended = self.grace_ends.take_if(|ends| *ends <= now).is_some();
        for slot in 0..self.topology.links.slots() {
            let Some(id) = self.topology.links.id_at(slot) else { continue };
            let Some(link) = self.topology.links.get_mut(id) else { continue };
            let Some(io) = &mut link.io else { continue };
            let Some(attachment) = &io.attachment else { continue };
            let position = attachment.position();
            if position != Position::First {
                let is_new = io.detached_at.is_none();
                link.changed |= grace_ended || is_new;
                has_changes |= grace_ended || is_new;
                if is_new {
                    io.detached_at = Some(now);
                    let lasted = link.reattachment.lost(now);
                    let interface = link.name.clone();
                    self.reports.send(Report::ProgramLost { interface, position, lasted });
                }
                if link.reattachment.take_due(now) {
                    self.reattach(id);
                } else if let Some(next) = link.reattachment.next() {
                    self.check_attachments_by(next);
                }
                continue;
            }
            let routers = &self.topology.routers;
            let backups = || backups(&link.routers, id, routers);
            if io.watch.is_due(now, backups, |row| self.steady.last_arrival(row)) {
                self.prober.request(attachment);
            }
            let next = io.watch.wake_at;
            self.check_attachments_by(next);
        }
        has_changes
    }

    fn check_attachments_by(&mut self, at: Timestamp) {
        self.check_attachments_at = Some(self.check_attachments_at.map_or(at, |known| known.min(at)));
    }

    fn reattach(&mut self, id: LinkId) {
        if let Some(spec) = self.topology.spec(id) {
            self.request(Request::Reattach(spec));
        }
    }

    /// Returns whether a router whose timer has fired may handle the timeout now. If the router is
    /// a backup, and the proof of attachment is missing for this router or for another backup of
    /// its sync group, requests the missing probes and postpones the timeout.
    pub(super) fn may_elect(&mut self, now: Timestamp, id: RouterId) -> bool {
        let backup = |instance: &&Instance| instance.router.state() == State::Backup;
        let Some(instance) = self.topology.routers.get(id).filter(backup) else { return true };
        // The entry in the schedule may be outdated: the router's actual deadline may be later.
        if instance.router.next_timeout().is_none_or(|next| next > now) {
            return true;
        }
        let waiting = self.waiting.iter().position(|(waiting, _)| *waiting == id);
        let since = waiting.and_then(|position| self.waiting.get(position)).map_or(now, |(_, since)| *since);
        let mut is_proven = true;
        for attachment in unproven(&self.topology, &self.steady, id, since) {
            self.prober.request_awaited(attachment);
            is_proven = false;
        }
        match waiting {
            Some(position) if is_proven => drop(self.waiting.swap_remove(position)),
            None if !is_proven => self.waiting.push((id, since)),
            _ => {}
        }
        if !is_proven {
            self.schedule.postpone(id, now + ELECTION_RETRY, &instance.router);
        }
        is_proven
    }

    /// Dispatches the timeouts of elections whose missing proof has arrived in the meantime.
    pub(super) fn elect_waiting(&mut self, now: Timestamp) {
        for position in (0..self.waiting.len()).rev() {
            let Some((id, since)) = self.waiting.get(position).copied() else { continue };
            if unproven(&self.topology, &self.steady, id, since).next().is_none() {
                self.waiting.swap_remove(position);
                if let Some(drop) = self.lost_advert(now, id) {
                    self.dispatch(now.max(drop), id, Input::FeedLoss);
                } else {
                    // Has no effect if an advert has arrived in the meantime.
                    self.dispatch(now, id, Input::Timeout);
                }
            }
        }
    }
}

/// Returns the attachments that must be probed before a backup whose timer fires at `at` becomes
/// master: those without a recent proof among the backup's own attachment and the attachments of
/// the other backups of its sync group, which would also become masters.
pub(super) fn unproven<'a>(
    topology: &'a Topology,
    steady: &Steady,
    id: RouterId,
    at: Timestamp,
) -> impl Iterator<Item = &'a Attachment> {
    let routers = &topology.routers;
    let own = routers.get(id).and_then(|own| attachment(&topology.links, own, needed_probe(at, own)));
    let others = topology.other_members(id).filter_map(move |other| {
        let other = routers.get(other)?;
        let needed = needed_probe(at, other);
        // An unchanged advert also proves that the program is attached.
        attachment(&topology.links, other, needed).filter(|_| steady.last_arrival(other.row) < needed)
    });
    own.into_iter().chain(others)
}

/// Returns the row and the advert interval in nanoseconds of each backup on a link.
fn backups<'a>(
    on_link: &'a [RouterId],
    link: LinkId,
    routers: &'a Slab<RouterId, Instance>,
) -> impl Iterator<Item = (Row, u64)> {
    let instances = on_link.iter().filter_map(|id| routers.get(*id));
    let backups =
        instances.filter(move |instance| instance.link == link && instance.router.state() == State::Backup);
    backups.map(|instance| (instance.row, instance.router.active_interval().nanos()))
}

/// Returns the earliest start of a probe that counts for an election at `deadline`.
fn needed_probe(deadline: Timestamp, instance: &Instance) -> Timestamp {
    let snapshot = instance.router.snapshot();
    let interval = snapshot.active_interval.nanos();
    let age = snapshot.master_down_interval.saturating_sub(interval + interval / 2);
    Timestamp::from_nanos(deadline.as_nanos().saturating_sub(age))
}

/// Returns the attachment of a backup's link if it must be probed before an election. Returns
/// `None` if no probe has found the program detached or behind another program, and either the last
/// completed probe began at or after `needed`, or an advert that arrived at or after `needed` was
/// recorded in the ring. Also returns `None` if the router is not a backup, if its link is not
/// open, or if its program is already recorded as lost (`detached_at`): in the last two cases, the
/// router is or becomes impeded.
fn attachment<'a>(links: &'a Links, instance: &Instance, needed: Timestamp) -> Option<&'a Attachment> {
    if instance.router.state() != State::Backup {
        return None;
    }
    let io = links.get(instance.link)?.io.as_ref()?;
    let attachment = io.attachment.as_deref().filter(|_| io.detached_at.is_none())?;
    let proven_at = attachment.attached_at().max(io.watch.received_at);
    // If a probe found the program detached or running after another program, the election is
    // postponed: the router becomes impeded in the next turn.
    (attachment.position() != Position::First || proven_at < needed).then_some(attachment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * MS)
    }

    fn row(number: u32) -> Row {
        Row::new(number).expect("rows start at 1")
    }

    /// Returns the times up to `end` at which a link is probed. `backups` contains the advert
    /// interval of each backup, `last` is the time after which no more adverts arrive, and `awake`
    /// is the interval at which the engine wakes up anyway. All times are in milliseconds.
    fn probed(watch: &mut Watch, end: u64, backups: &[u64], last: u64, awake: u64) -> Vec<u64> {
        let rows = || (1..).map(row).zip(backups.iter().map(|interval| interval * MS));
        let mut probed = Vec::new();
        let mut now = 0;
        loop {
            now = (watch.wake_at.as_nanos() / MS).min((now / awake + 1) * awake);
            if now > end {
                return probed;
            }
            let arrival = |row: Row| {
                let interval = backups[row.number() as usize - 1];
                at(now.min(last) / interval * interval)
            };
            if watch.is_due(at(now), rows, arrival) {
                probed.push(now);
            }
        }
    }

    fn watch_from(start: u64) -> Watch {
        let start = at(start);
        Watch { requested_at: start, overdue_at: start, wake_at: start, ..Watch::default() }
    }

    const ASLEEP: u64 = u64::MAX / 2;

    #[test]
    fn adverts_make_probes_unnecessary() {
        for backups in [&[100][..], &[10], &[1_000], &[2_000, 100], &[500, 600, 700]] {
            for awake in [ASLEEP, 26, 1] {
                let probed = probed(&mut watch_from(10_000), 20_000, backups, 20_000, awake);
                assert!(probed.is_empty(), "{backups:?}: {probed:?}");
            }
        }
    }

    #[test]
    fn overdue_advert_causes_a_probe() {
        for (backups, awake, expected) in [
            (&[1_000][..], ASLEEP, 21_500),
            (&[400], ASLEEP, 20_600),
            (&[2_000, 400], ASLEEP, 20_600),
            (&[100], 50, 20_150),
            (&[10], 5, 20_015),
        ] {
            let probed = probed(&mut watch_from(10_000), 30_000, backups, 20_000, awake);
            assert_eq!(probed.first().copied(), Some(expected), "{backups:?}");
        }
    }

    #[test]
    fn short_intervals_do_not_wake_the_engine() {
        let mut watch = watch_from(10_000);
        let probed = probed(&mut watch, 30_000, &[100], 20_000, ASLEEP);
        assert!(probed.first().is_some_and(|first| (20_400..=20_500).contains(first)), "{probed:?}");
        let mut watch = watch_from(10_000);
        let mut wakeups = 0;
        // Interval 100 ms, priority 100: each deadline is 361 ms after the last advert.
        for deadline in (10_361..20_000).step_by(300) {
            wakeups += usize::from(watch.wake_at < at(deadline) && watch.wake_at > at(10_000));
            watch.is_due(at(deadline), || std::iter::once((row(1), 100 * MS)), |_| at(deadline / 100 * 100));
        }
        assert_eq!(wakeups, 0);
    }

    #[test]
    fn link_without_adverts_is_probed_periodically() {
        assert_eq!(probed(&mut watch_from(0), 3_500, &[], 0, ASLEEP), [1_000, 2_000, 3_000]);
        assert_eq!(probed(&mut watch_from(0), 3_500, &[40_000], 0, ASLEEP), [1_500, 3_000]);
        let mut watch = watch_from(0);
        watch.received(at(700));
        assert_eq!(
            probed(&mut watch, 2_900, &[], 0, ASLEEP),
            [1_700, 2_700],
            "a recorded advert postpones the probe"
        );
    }
}
