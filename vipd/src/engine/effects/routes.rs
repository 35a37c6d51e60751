//! Last pass: routes and policy rules, which exist while their router is master.
//!
//! A router's routes and rules are removed before its addresses, as far as the limit per turn
//! allows, and added after all addresses, so that the source address of a route exists as long as
//! the route. Routers may share an entry, which is removed once no master needs it.
//!
//! The kernel removes IPv4 routes without a notification when their interface goes down. An entry
//! is therefore checked after events that may have removed it, and every 30 s ([`VERIFY_AFTER`]),
//! by adding it again: the kernel returns `EEXIST` if the entry is present. A dump would have to
//! walk the whole table, which may contain a million routes of a routing daemon. The kernel also
//! returns `EEXIST` if another tool has replaced vipd's route, and the notification about the
//! replacement may have been lost. For IPv4, appending the route distinguishes the two cases.
//!
//! Each request takes the rtnl lock, so a separate thread adds and checks the entries. The engine
//! does not change an entry that is in flight in this thread.

mod apply;
mod thread;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::ops::Bound;

use vipd_common::Timestamp;

use crate::config::Realtime;
use crate::engine::id::RouterId;
use crate::engine::links::Links;
use crate::engine::poll::Waker;
use crate::engine::retry::Retries;
use crate::engine::routing::{Stage, Wanted};
use crate::netlink::{Change, Route, RoutingEntry};
use thread::RouteThread;

/// Time between two checks of all entries, in nanoseconds.
const VERIFY_AFTER: u64 = 30_000_000_000;

/// Routes and rules of masters, and routes and rules of former masters that still have to be
/// removed.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    entries: BTreeMap<Wanted, Entry>,
    /// Entries of each master, in the order of its configuration.
    held: BTreeMap<RouterId, Vec<Wanted>>,
    /// Entries without a holder, to be removed from the kernel.
    removals: BTreeSet<Wanted>,
    /// Entries to add, or to check by adding them again.
    additions: BTreeSet<(Stage, Wanted)>,
    /// Changes that were refused, or postponed, for example by their rate limit.
    retries: Retries<Wanted>,
    /// Time of the next check of all entries.
    verify_at: Option<Timestamp>,
    /// Entry from which the check of all entries continues; `None` if no check is in progress.
    unverified: Option<Bound<Wanted>>,
    /// Thread that adds and checks entries; if `None`, the engine does this itself.
    thread: Option<RouteThread>,
    /// The changes that the thread is making.
    in_flight: Option<InFlight>,
}

/// Changes, and the entry to which each change belongs.
#[derive(Debug)]
struct InFlight {
    changes: Vec<Change>,
    subjects: Vec<Wanted>,
}

/// A route or rule in use by masters, or not yet removed from the kernel.
#[derive(Debug, Default)]
struct Entry {
    /// Masters that have the entry in their configuration.
    holders: Vec<RouterId>,
    /// The entry as vipd added it, until vipd removes the entry, or a notification or a check shows
    /// that another tool has replaced it. Another tool may have removed the entry in the meantime.
    added: Option<RoutingEntry>,
    /// Error number of the last attempt to add the entry; `None` if the attempt succeeded, or if
    /// there has been no attempt.
    refused: Option<i32>,
    /// Rate-limit state for checks after external removals: a theoretical arrival time (GCRA).
    checked: Timestamp,
}

/// An entry that is missing although its router is master: its position among the routes and rules
/// of the instance, and the error number of the last attempt to add it.
pub(crate) type Missing = (usize, Option<i32>);

impl Routing {
    /// Starts the thread that adds and checks entries, unless it is running.
    ///
    /// # Errors
    /// Returns an error if the thread's socket cannot be opened or the thread cannot be started.
    pub(crate) fn start_thread(&mut self, waker: Waker, realtime: Realtime) -> io::Result<()> {
        if self.thread.is_none() {
            self.thread = Some(RouteThread::start(waker, realtime)?);
        }
        Ok(())
    }

    /// Ends the thread as a panic would. The engine detects this when it next expects results.
    #[cfg(test)]
    pub(crate) fn end_thread(&mut self) {
        self.thread = Some(RouteThread::ended());
    }

    /// Replaces the entries of a router with `wanted`, which is empty unless the router is master.
    pub(crate) fn set(&mut self, now: Timestamp, router: RouterId, wanted: &[Wanted]) {
        let former = if wanted.is_empty() {
            self.held.remove(&router)
        } else {
            self.held.insert(router, wanted.to_vec())
        };
        let former: BTreeSet<Wanted> = former.into_iter().flatten().collect();
        let wanted: BTreeSet<Wanted> = wanted.iter().copied().collect();
        for entry in former.difference(&wanted) {
            self.release(router, *entry);
        }
        for entry in wanted.difference(&former) {
            self.acquire(router, *entry);
        }
        if !self.held.is_empty() {
            self.verify_at.get_or_insert(now + VERIFY_AFTER);
        }
    }

    /// Takes over the entries that the predecessor added for a master, and schedules a check that
    /// these entries are present.
    pub(crate) fn resume(&mut self, now: Timestamp, router: RouterId, wanted: &[Wanted], links: &Links) {
        self.set(now, router, wanted);
        for wanted in wanted {
            if let Some(entry) = self.entries.get_mut(wanted).filter(|entry| entry.added.is_none()) {
                entry.added = wanted.resolve(links);
            }
        }
    }

    fn acquire(&mut self, router: RouterId, wanted: Wanted) {
        let entry = self.entries.entry(wanted).or_default();
        entry.holders.push(router);
        if self.removals.remove(&wanted) || entry.holders.len() == 1 {
            self.retries.take(wanted);
            self.additions.insert((wanted.stage(), wanted));
        }
    }

    fn release(&mut self, router: RouterId, wanted: Wanted) {
        let Some(entry) = self.entries.get_mut(&wanted) else { return };
        entry.holders.retain(|other| *other != router);
        if !entry.holders.is_empty() {
            return;
        }
        entry.refused = None;
        self.additions.remove(&(wanted.stage(), wanted));
        self.retries.take(wanted);
        if !self.is_in_flight(&wanted) {
            self.discard(wanted);
        }
    }

    /// Discards an entry that has no holder. If vipd has added it, queues its removal from the
    /// kernel.
    fn discard(&mut self, wanted: Wanted) {
        if self.entries.get(&wanted).is_some_and(|entry| entry.added.is_some()) {
            self.removals.insert(wanted);
        } else {
            self.entries.remove(&wanted);
        }
    }

    /// Returns whether the thread is changing an entry, whose state is then unknown.
    fn is_in_flight(&self, wanted: &Wanted) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| in_flight.subjects.contains(wanted))
    }

    /// Queues a check of the entries of a router after an event that may have removed them.
    pub(crate) fn verify(&mut self, router: RouterId) {
        let held = self.held.get(&router).into_iter().flatten();
        self.additions.extend(held.map(|wanted| (wanted.stage(), *wanted)));
    }

    /// Queues a check of the entries of a router after one of its VIPs was added again because the
    /// VIP was missing or may have been missing. Along with a VIP, the kernel removes the IPv4
    /// routes that have the VIP as their source address. IPv6 routes only lose this source address;
    /// such routes are therefore removed and added again.
    pub(crate) fn vip_restored(&mut self, router: RouterId, vip: IpAddr) {
        for wanted in self.held.get(&router).into_iter().flatten() {
            if let Some(Entry { added: Some(RoutingEntry::Route(added)), .. }) = self.entries.get_mut(wanted)
                && added.to.is_ipv6()
                && added.source == Some(vip)
            {
                added.source = None;
            }
        }
        self.verify(router);
    }

    /// Begins a check of all entries.
    pub(crate) fn verify_all(&mut self) {
        self.unverified = Some(Bound::Unbounded);
    }

    /// Returns the next entry to add or check.
    fn next_addition(&mut self) -> Option<Wanted> {
        if let Some((_, wanted)) = self.additions.pop_first() {
            return Some(wanted);
        }
        // Skips entries that are not recorded as added: adding them failed, and is retried
        // separately.
        let mut rest = self.entries.range((self.unverified?, Bound::Unbounded));
        let is_checked = |entry: &Entry| entry.added.is_some() && !entry.holders.is_empty();
        let found = rest.find(|(_, entry)| is_checked(entry)).map(|(wanted, _)| *wanted);
        self.unverified = found.map(Bound::Excluded);
        found
    }

    fn has_additions(&self) -> bool {
        !self.additions.is_empty() || self.unverified.is_some()
    }

    /// Queues a check of an entry after a notification about its removal, which vipd may have
    /// caused itself. Queues at most one check per second after a burst of five, because another
    /// tool may remove the entry each time it is added.
    pub(crate) fn gone(&mut self, now: Timestamp, found: RoutingEntry) {
        const PERIOD: u64 = 1_000_000_000;
        const BURST: u64 = 5;
        let candidates = self.entries.range_mut(Wanted::first_like(found)..);
        for (wanted, entry) in candidates.take_while(|(wanted, _)| wanted.is_like(found)) {
            if entry.holders.is_empty() || entry.added.is_none() {
                continue;
            }
            let next = entry.checked.max(now);
            if next.nanos_since(now) > (BURST - 1) * PERIOD {
                self.retries.postpone(*wanted, now + PERIOD, true);
            } else {
                entry.checked = next + PERIOD;
                self.additions.insert((wanted.stage(), *wanted));
            }
        }
    }

    /// Handles a notification that another tool has replaced one of vipd's routes with a route
    /// that has the same destination and metric. Clears the record that vipd added its route, and
    /// queues another attempt to add it. The attempt fails, and the failure is reported.
    pub(crate) fn replaced(&mut self, found: Route) {
        let found = RoutingEntry::Route(found);
        let candidates = self.entries.range_mut(Wanted::first_like(found)..);
        for (wanted, entry) in candidates.take_while(|(wanted, _)| wanted.is_like(found)) {
            if entry.added.take().is_some() && !entry.holders.is_empty() {
                self.additions.insert((wanted.stage(), *wanted));
            }
        }
    }

    /// Queues the changes whose retry is due, and the periodic check.
    fn queue_due(&mut self, now: Timestamp) {
        for wanted in self.retries.begin_due(now) {
            match self.entries.get(&wanted) {
                Some(entry) if !entry.holders.is_empty() => self.additions.insert((wanted.stage(), wanted)),
                _ => self.removals.insert(wanted),
            };
        }
        if self.verify_at.take_if(|at| *at <= now).is_some() && !self.held.is_empty() {
            self.verify_all();
            self.verify_at = Some(now + VERIFY_AFTER);
        }
    }

    /// Handles changes whose outcome is unknown: assumes that additions have succeeded, and retries
    /// removals. A resync follows, which checks the entries.
    fn assume_added(&mut self, now: Timestamp, changes: &[Change], subjects: &[Wanted]) {
        const PAUSE: u64 = 1_000_000_000;
        for (change, wanted) in changes.iter().zip(subjects) {
            match (change, self.entries.get_mut(wanted)) {
                (Change::AddEntry(added), Some(entry)) => entry.added = Some(*added),
                _ => self.retries.postpone(*wanted, now + PAUSE, false),
            }
        }
    }

    /// Returns whether entries without a holder may have to be removed.
    pub(crate) fn has_removals(&self) -> bool {
        !self.removals.is_empty() || self.in_flight.is_some()
    }

    /// Returns whether there are changes that can be made immediately. When the thread has
    /// completed a batch, it wakes the engine for the next batch.
    pub(super) fn is_busy(&self) -> bool {
        !self.removals.is_empty() || (self.has_additions() && self.in_flight.is_none())
    }

    /// Returns the time at which the next retry or check is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        [self.retries.next(), self.verify_at].into_iter().flatten().min()
    }

    /// Iterates over the entries that a master should have but lacks.
    pub(crate) fn missing(&self, router: RouterId) -> impl Iterator<Item = Missing> {
        let held = self.held.get(&router).into_iter().flatten().enumerate();
        held.filter_map(|(position, wanted)| {
            let entry = self.entries.get(wanted)?;
            (entry.added.is_none() || entry.refused.is_some()).then_some((position, entry.refused))
        })
    }
}

#[cfg(test)]
mod tests;
