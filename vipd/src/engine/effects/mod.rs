//! Carries out the actions of the virtual routers.
//!
//! The actions of a turn are carried out together, in passes over all routers: adverts, addresses,
//! and announcements. The passes preserve the order required for each router (RFC 9568 section 6.4:
//! advert, addresses, announcement; or priority-0 advert, removal). Routes and policy rules are
//! removed before the addresses, as far as the limit per turn allows, and added after the first
//! announcements. All adverts are sent before any slower work, and address changes are combined
//! into a few netlink batches. An address is announced as soon as netlink has acknowledged it.
//! Further announcements are limited per turn, so that they do not delay adverts.

mod addresses;
mod adverts;
mod announce;
mod announcer;
mod guard;
mod leases;
mod lifetimes;
mod removals;
mod routes;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use vipd_common::Timestamp;

use super::clock;
use super::command::{Report, Reports};
use super::id::{LinkId, RouterId};
use super::instance::Instance;
use super::link_io::{FrameKind, Tag};
use super::retry::Retries;
use super::topology::Topology;
use crate::guardian;
use crate::netlink::{Address, Change, Requests};
use crate::vrrp::Action;
use crate::xdp::{Addresses, Leases, Row};
use addresses::Origin;
pub(crate) use addresses::{Added, MACVLAN, Removal, Vip};
use announcer::Announcer;
pub(crate) use announcer::PacedBurst;
use leases::Uncovered;
pub(crate) use routes::Missing;
use routes::Routing;

/// Limits on the work per turn. Adverts are not limited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Maximum number of address changes, including the first announcement of each added address.
    pub(crate) changes: usize,
    /// Maximum number of further announcements.
    pub(crate) announcements: usize,
    /// Maximum number of changes to routes and rules.
    pub(crate) routing: usize,
}

/// Identifies an address change: interface index, address, prefix length, and whether the address
/// is added.
type Proposal = (u32, IpAddr, u8, bool);

/// The pending actions, address changes and announcements.
pub(crate) struct Effects {
    netlink: Requests,
    /// The BPF program's map of VIPs.
    addresses: Addresses,
    /// Leases and filters of the BPF program.
    leases: Leases,
    /// Whether leases are kept, so that the BPF program can fence VIPs.
    has_fence: bool,
    /// Publishes the routers' records to the guardian, if there is one.
    pub(super) guardian: Option<guardian::Writer>,
    actions: Vec<(RouterId, Action)>,
    changes: Vec<Change>,
    /// Number of entries of `changes` that have been applied.
    applied: usize,
    /// Origin of each entry of `changes`.
    origins: Vec<Option<Origin>>,
    /// The address changes in `changes`, to find duplicates.
    proposed: BTreeSet<Proposal>,
    /// Primary IPv4 addresses whose removal has been queued since the last
    /// [`renew_dependents`](Effects::renew_dependents).
    removed_primaries: Vec<(LinkId, Address)>,
    /// Changes that were refused, or postponed by their rate limit.
    pub(super) retries: Retries<Vip>,
    /// VIPs added outside of a transition since the last [`Effects::take_added`].
    added: Vec<Added>,
    /// Macvlans to bring down: interface index, and whether the macvlan must be up again.
    downs: Vec<(u32, Arc<AtomicBool>)>,
    /// Entries to remove from the map of VIPs once the VIPs are removed from the interface, each
    /// with the row of its router. A reload may already have given the VIP to another router.
    uncovered: Vec<Uncovered>,
    /// Routers that have left Master and whose VIPs are still being removed.
    leaving: Vec<(RouterId, Row)>,
    announcer: Announcer,
    /// Routes and policy rules of masters.
    pub(super) routing: Routing,
    /// Unicast peers whose neighbor entries must be read.
    unchecked: VecDeque<(LinkId, IpAddr)>,
    /// Whether a change has failed since the last [`Effects::take_failure`].
    failed: bool,
    /// Number of changes that the kernel has refused, and of batches without an acknowledgment.
    refusals: u64,
    /// Links whose batch contains frames, without duplicates.
    batched: Vec<LinkId>,
    /// Time of the current turn.
    now: Timestamp,
    /// Time at which the first [`flush`](Effects::flush) of the current turn began.
    flush_began: Timestamp,
}

impl Effects {
    pub(crate) fn new(
        netlink: Requests,
        addresses: Addresses,
        leases: Leases,
        has_fence: bool,
        guardian: Option<guardian::Writer>,
    ) -> Self {
        Self {
            netlink,
            addresses,
            leases,
            has_fence,
            guardian,
            actions: Vec::new(),
            changes: Vec::new(),
            applied: 0,
            origins: Vec::new(),
            proposed: BTreeSet::new(),
            removed_primaries: Vec::new(),
            retries: Retries::default(),
            added: Vec::new(),
            downs: Vec::new(),
            uncovered: Vec::new(),
            leaving: Vec::new(),
            announcer: Announcer::default(),
            routing: Routing::default(),
            unchecked: VecDeque::new(),
            failed: false,
            refusals: 0,
            batched: Vec::new(),
            now: Timestamp::ZERO,
            flush_began: clock::now(),
        }
    }

    /// Returns the netlink socket for requests.
    pub(crate) fn netlink(&mut self) -> &mut Requests {
        &mut self.netlink
    }

    /// Queues an action of a router.
    pub(crate) fn push(&mut self, router: RouterId, action: Action) {
        self.actions.push((router, action));
    }

    /// Queues a change without an origin. If the kernel refuses the change, the change is not
    /// retried.
    pub(crate) fn change(&mut self, change: Change) {
        self.enqueue(change, None);
    }

    /// Returns the VIPs that have been added outside of a transition since the last call and must
    /// be announced.
    pub(crate) fn take_added(&mut self) -> Vec<Added> {
        std::mem::take(&mut self.added)
    }

    /// Returns whether a change has failed since the last call, in which case addresses must be
    /// reconciled.
    pub(crate) fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// Returns the number of changes to addresses that have been refused or have failed so far.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Returns the macvlans that the service must bring down, because bringing down a macvlan would
    /// block the engine for too long. Returns none while address changes are pending.
    pub(crate) fn take_downs(&mut self) -> Vec<(u32, Arc<AtomicBool>)> {
        if self.has_changes() { Vec::new() } else { std::mem::take(&mut self.downs) }
    }

    /// Returns whether the first announcement of an address can be sent immediately.
    pub(crate) fn is_urgent(&self) -> bool {
        self.announcer.is_urgent()
    }

    /// Returns whether there is work that can be done immediately.
    pub(crate) fn is_busy(&self) -> bool {
        self.has_changes()
            || self.announcer.is_ready()
            || !self.unchecked.is_empty()
            || self.routing.is_busy()
    }

    /// Returns whether no work is pending except paced announcements and retries.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_busy()
            && self.actions.is_empty()
            && self.added.is_empty()
            && self.downs.is_empty()
            && self.uncovered.is_empty()
            && !self.routing.has_removals()
    }

    pub(crate) fn announcer(&mut self) -> &mut Announcer {
        &mut self.announcer
    }

    /// Iterates over the routers that have left Master and whose leases have not ended.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = RouterId> + '_ {
        self.leaving.iter().map(|(router, _)| *router)
    }

    /// Records a router that left Master in the predecessor. The router's lease ends once its VIPs
    /// are removed.
    pub(crate) fn keep_leaving(&mut self, router: RouterId, row: Row) {
        self.leaving.push((router, row));
    }

    /// Returns the time at which the next paced announcement, retry or check of routes is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        [self.announcer.next(), self.retries.next(), self.routing.next()].into_iter().flatten().min()
    }

    /// Makes the current turn exceed the time limit for announcements.
    #[cfg(test)]
    pub(crate) fn make_late(&mut self) {
        self.flush_began = Timestamp::ZERO;
    }

    #[cfg(test)]
    pub(crate) fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Returns whether changes are pending.
    pub(crate) fn has_changes(&self) -> bool {
        self.applied < self.changes.len()
    }

    /// Sends all adverts, then applies changes and sends announcements within the budget. Routes
    /// and rules are removed before addresses, within a separate budget that limits the delay.
    pub(crate) fn flush(
        &mut self,
        now: Timestamp,
        budget: Budget,
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        // No adverts are read between two flushes of a turn, so the flushes share one time limit.
        if self.now != now {
            self.flush_began = clock::now();
        }
        self.now = now;
        let removed;
        if self.actions.is_empty() && !self.has_changes() {
            self.take_routing_results(now, topology, reports);
            removed = self.remove_routing(budget.routing, now, topology, reports);
        } else {
            let actions = std::mem::take(&mut self.actions);
            self.send_adverts(&actions, topology, reports);
            // Adverts are sent first, because handling the results may require requests to the
            // kernel.
            self.take_routing_results(now, topology, reports);
            self.collect_changes(&actions, topology, reports);
            self.renew_dependents(topology);
            self.queue_announcements(&actions, topology);
            removed = self.remove_routing(budget.routing, now, topology, reports);
            self.apply_changes(budget.changes, now, topology, reports);
            // Reuse the allocation for the next turn.
            self.actions = actions;
            self.actions.clear();
        }
        // While changes are pending, the next announcement may be for an address that has not been
        // added yet.
        let all_made = !self.has_changes();
        self.announce(budget.announcements, now, topology, reports, all_made);
        self.check_neighbors(topology);
        self.end_leases(topology);
        if all_made && !self.is_urgent() {
            self.add_routing(budget.routing - removed, now, topology, reports);
        }
    }

    /// Sends the frames in the batches of all links.
    fn send_batches(&mut self, topology: &mut Topology, reports: &mut Reports) {
        let (Topology { links, routers, .. }, now) = (topology, self.now);
        let leases = self.has_fence.then_some(&self.leases);
        for id in self.batched.drain(..) {
            let Some(io) = links.get_mut(id).and_then(|link| link.io.as_mut()) else { continue };
            io.batch.send(&io.socket, |tag, result| {
                account(now, tag, result, routers.get_mut(tag.router), leases, reports);
            });
        }
    }
}

/// Counts a sent frame, or counts and reports a refused frame. A sent advert also renews the
/// master's lease.
fn account(
    now: Timestamp,
    tag: Tag,
    result: io::Result<()>,
    instance: Option<&mut Instance>,
    leases: Option<&Leases>,
    reports: &mut Reports,
) {
    let Some(instance) = instance else { return };
    match result {
        Ok(()) => {
            instance.count_sent(now, tag.kind);
            if matches!(tag.kind, FrameKind::Advert) {
                renew(now, instance, leases);
            }
            if matches!(tag.kind, FrameKind::Advert | FrameKind::PriorityZero) {
                instance.refusal_reported = false;
            }
        }
        Err(error) => report_refused(tag.router, error, instance, reports),
    }
}

/// Renews the lease of a master that has sent an advert.
fn renew(now: Timestamp, instance: &Instance, leases: Option<&Leases>) {
    if let Some(leases) = leases.filter(|_| instance.is_master()) {
        leases.renew(instance.row, now + instance.lease(), instance.router.priority());
    }
}

/// Counts a refused frame. Reports only the router's first refused frame since its last successful
/// advert.
fn report_refused(router: RouterId, error: io::Error, instance: &mut Instance, reports: &mut Reports) {
    instance.sent.send_errors += 1;
    if !std::mem::replace(&mut instance.refusal_reported, true) {
        reports.send(Report::SendRefused { router, error });
    }
}
