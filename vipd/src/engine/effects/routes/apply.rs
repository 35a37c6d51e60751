//! Sends the requests for routes and rules, and records their results.

use std::sync::Arc;

use vipd_common::Timestamp;

use super::thread::{self, Refusal, Results, RouteThread};
use super::{Entry, InFlight, Wanted};
use crate::config;
use crate::engine::command::{Report, Reports};
use crate::engine::effects::Effects;
use crate::engine::id::{RouterId, Slab};
use crate::engine::instance::Instance;
use crate::engine::topology::Topology;
use crate::netlink::{Change, RoutingEntry};

impl Effects {
    /// Records the results of the changes that the thread has made.
    pub(in crate::engine::effects) fn take_routing_results(
        &mut self,
        now: Timestamp,
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        if self.routing.in_flight.is_some()
            && let Some(results) = self.routing.thread.as_ref().and_then(RouteThread::try_receive)
        {
            self.record_in_flight(results, now, topology, reports);
        }
    }

    /// Waits for the changes that the thread is making, and records their results.
    pub(crate) fn await_routing(&mut self, now: Timestamp, topology: &mut Topology, reports: &mut Reports) {
        if self.routing.in_flight.is_some()
            && let Some(results) = self.routing.thread.as_ref().map(RouteThread::receive)
        {
            self.record_in_flight(results, now, topology, reports);
        }
    }

    fn record_in_flight(
        &mut self,
        results: Results,
        now: Timestamp,
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        let Some(InFlight { changes, subjects }) = self.routing.in_flight.take() else { return };
        if results.is_err() {
            // The next resync starts another thread.
            self.routing.thread = None;
        }
        self.record(&changes, &subjects, results, now, topology, reports);
    }

    /// Queues the retries that are due, and removes up to `max` of the entries without a holder.
    /// Rules are removed first, so that no rule refers to a table without its routes. Returns the
    /// number of requests.
    pub(in crate::engine::effects) fn remove_routing(
        &mut self,
        max: usize,
        now: Timestamp,
        topology: &mut Topology,
        reports: &mut Reports,
    ) -> usize {
        self.routing.queue_due(now);
        if self.routing.removals.is_empty() {
            return 0;
        }
        let (mut changes, mut subjects) = (Vec::new(), Vec::new());
        while changes.len() < max
            && let Some(wanted) = self.routing.removals.pop_last()
        {
            if let Some(added) = self.routing.entries.get(&wanted).and_then(|entry| entry.added) {
                changes.push(Change::RemoveEntry(added));
                subjects.push(wanted);
            } else {
                self.routing.retries.take(wanted);
                self.routing.entries.remove(&wanted);
            }
        }
        let results = thread::apply(&mut self.netlink, &changes);
        self.record(&changes, &subjects, results, now, topology, reports);
        changes.len()
    }

    /// Adds entries, or checks the presence of entries by adding them again, with up to `max`
    /// requests. Routes come before rules.
    pub(in crate::engine::effects) fn add_routing(
        &mut self,
        max: usize,
        now: Timestamp,
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        if !self.routing.has_additions() || self.routing.in_flight.is_some() {
            return;
        }
        let (mut changes, mut subjects) = (Vec::new(), Vec::new());
        // An entry may need two requests.
        while changes.len() + 1 < max
            && let Some(wanted) = self.routing.next_addition()
        {
            // The check of all entries may return an entry that is already in the batch. If the
            // entry has moved, removing it twice would clear the record that vipd added it.
            if subjects.contains(&wanted) {
                continue;
            }
            let Some(entry) = self.routing.entries.get(&wanted) else { continue };
            let Some(resolved) = wanted.resolve(&topology.links) else {
                self.refused(wanted, libc::ENODEV, None, now, topology, reports);
                continue;
            };
            // The interface's name now belongs to another interface, or the source address was
            // lost.
            let moved = entry.added.filter(|added| *added != resolved).map(Change::RemoveEntry);
            let append = match (entry.added, resolved) {
                (Some(_), RoutingEntry::Route(route)) if route.to.is_ipv4() && moved.is_none() => {
                    Some(Change::AppendRoute(route))
                }
                _ => None,
            };
            for change in moved.into_iter().chain([Change::AddEntry(resolved)]).chain(append) {
                changes.push(change);
                subjects.push(wanted);
            }
        }
        if changes.is_empty() {
            return;
        }
        if let Some(thread) = &self.routing.thread {
            thread.submit(&changes);
            self.routing.in_flight = Some(InFlight { changes, subjects });
        } else {
            let results = thread::apply(&mut self.netlink, &changes);
            self.record(&changes, &subjects, results, now, topology, reports);
        }
    }

    /// Records the results of changes, removes appended routes that the kernel has accepted, and
    /// discards entries without holders.
    fn record(
        &mut self,
        changes: &[Change],
        subjects: &[Wanted],
        results: Results,
        now: Timestamp,
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        let mut replaced = Vec::new();
        match results {
            Ok(refusals) => {
                for ((change, wanted), refusal) in changes.iter().zip(subjects).zip(refusals) {
                    match (change, refusal) {
                        (Change::AppendRoute(route), None) => {
                            replaced.push((Change::RemoveEntry(RoutingEntry::Route(*route)), *wanted));
                        }
                        (change, refusal) => {
                            self.record_one(change, *wanted, refusal, now, topology, reports);
                        }
                    }
                }
            }
            Err(error) => {
                self.failed = true;
                reports.send(Report::NetlinkFailed(error));
                self.routing.assume_added(now, changes, subjects);
            }
        }
        // Another tool has replaced these routes. The tool's routes stay, and the routes that vipd
        // has appended are removed.
        for (change, wanted) in replaced {
            let results = thread::apply(&mut self.netlink, &[change]);
            self.record(&[change], &[wanted], results, now, topology, reports);
            self.refused(wanted, libc::EEXIST, None, now, topology, reports);
        }
        // An entry may have lost its last holder (a router that needs the entry) in the meantime.
        for wanted in subjects {
            let is_unwanted = |entry: &Entry| entry.holders.is_empty();
            if self.routing.entries.get(wanted).is_some_and(is_unwanted)
                && !self.routing.retries.is_pending(*wanted, now)
            {
                self.routing.discard(*wanted);
            }
        }
    }

    fn record_one(
        &mut self,
        change: &Change,
        wanted: Wanted,
        refusal: Option<Refusal>,
        now: Timestamp,
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        match (change, refusal) {
            (Change::RemoveEntry(_), None) => {
                self.routing.retries.take(wanted);
                if let Some(entry) = self.routing.entries.get_mut(&wanted) {
                    entry.added = None;
                }
            }
            (Change::RemoveEntry(entry), Some((errno, _)))
                if self.routing.retries.refused(wanted, errno, false, now) =>
            {
                reports.send(Report::RoutingNotRemoved { entry: *entry, errno });
            }
            (Change::AddEntry(entry), None) => self.added(wanted, *entry, topology, reports),
            (Change::AddEntry(entry), Some((libc::EEXIST, _))) if self.has_added(wanted, *entry) => {
                self.routing.retries.take(wanted);
                if let Some(known) = self.routing.entries.get_mut(&wanted) {
                    known.refused = None;
                }
            }
            (Change::AddEntry(_), Some((errno, explanation))) => {
                self.refused(wanted, errno, explanation, now, topology, reports);
            }
            _ => {}
        }
    }

    fn has_added(&self, wanted: Wanted, entry: RoutingEntry) -> bool {
        self.routing.entries.get(&wanted).is_some_and(|known| known.added == Some(entry))
    }

    /// Records that an entry was added, and reports the entry as restored if vipd had added it
    /// before.
    fn added(&mut self, wanted: Wanted, added: RoutingEntry, topology: &mut Topology, reports: &mut Reports) {
        self.routing.retries.take(wanted);
        let Some(entry) = self.routing.entries.get_mut(&wanted) else { return };
        entry.refused = None;
        if entry.added.replace(added).is_none() {
            return;
        }
        for router in &entry.holders {
            if let Some(instance) = topology.routers.get_mut(*router) {
                instance.sent.routes_restored += 1;
            }
        }
        if let Some((settings, position)) = subject(&entry.holders, wanted, &topology.routers) {
            reports.send(Report::RoutingRestored { settings, position });
        }
    }

    /// Records that an entry could not be added, and reports the failure unless the last attempt
    /// failed in the same way. A missing interface is reported only at the second attempt, because
    /// a newly configured interface may not be known at the first attempt.
    fn refused(
        &mut self,
        wanted: Wanted,
        errno: i32,
        explanation: Option<Box<str>>,
        now: Timestamp,
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        const FIRST_PAUSE: u64 = 1_000_000_000;
        let Some(entry) = self.routing.entries.get_mut(&wanted) else { return };
        if entry.holders.is_empty() {
            return;
        }
        let is_first = entry.refused.replace(errno).is_none();
        if is_first && wanted.resolve(&topology.links).is_none() {
            return self.routing.retries.postpone(wanted, now + FIRST_PAUSE, false);
        }
        for router in &entry.holders {
            if let Some(instance) = topology.routers.get_mut(*router) {
                instance.sent.route_errors += 1;
            }
        }
        if self.routing.retries.refused(wanted, errno, false, now)
            && let Some((settings, position)) = subject(&entry.holders, wanted, &topology.routers)
        {
            reports.send(Report::RoutingRefused { settings, position, errno, explanation });
        }
    }
}

/// Returns the settings of the first router that holds the entry, and the position of the entry
/// among the routes and rules of that router.
fn subject(
    holders: &[RouterId],
    wanted: Wanted,
    routers: &Slab<RouterId, Instance>,
) -> Option<(Arc<config::Instance>, usize)> {
    let instance = routers.get(*holders.first()?)?;
    let position = instance.routing.iter().position(|other| *other == wanted)?;
    Some((Arc::clone(&instance.settings), position))
}
