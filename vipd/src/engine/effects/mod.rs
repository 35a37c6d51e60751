//! Carrying out the actions of the virtual routers.
//!
//! The actions of a turn are carried out together, in three passes over all routers: adverts,
//! addresses, announcements. This keeps the order of each router (RFC 9568 section 6.4: advert,
//! then addresses, then announcement; or priority-0 advert, then removal), sends every advert
//! before any slower work, and combines all addresses into few netlink batches. An address is
//! announced as soon as netlink has acknowledged it; further announcements are sent a few at a
//! time, so that adverts that are due meanwhile are not late.

mod addresses;
mod adverts;
mod announce;
mod announcer;
mod closed;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use vipd_common::Timestamp;
use vipd_common::records::ClosedKey;

use super::command::{Report, Reports};
use super::id::{LinkId, RouterId};
use super::instance::Instance;
use super::link_io::{FrameKind, Tag};
use super::retry::Retries;
use super::topology::Topology;
use crate::netlink::{Change, Requests};
use crate::vrrp::Action;
use crate::xdp::Closed;
use addresses::Origin;
pub(crate) use addresses::{Added, MACVLAN, Removal, Vip};
use announcer::Announcer;

/// Limits on the work of a turn besides its adverts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Address changes.
    pub(crate) changes: usize,
    /// Announcements after the first of each address.
    pub(crate) announcements: usize,
}

/// A change of an address: index, address, prefix length, and whether it is added.
type Proposal = (u32, IpAddr, u8, bool);

/// The actions of one turn, and the announcements of earlier ones that are still to be sent.
pub(crate) struct Effects {
    netlink: Requests,
    closed: Closed,
    actions: Vec<(RouterId, Action)>,
    changes: Vec<Change>,
    /// Number of changes that were made.
    applied: usize,
    /// Origin of each change.
    origins: Vec<Option<Origin>>,
    /// The address changes among them.
    proposed: BTreeSet<Proposal>,
    /// Changes that the kernel refused.
    pub(super) retries: Retries<Vip>,
    /// VIPs that were added without a transition, since [`Effects::take_added`].
    added: Vec<Added>,
    /// Macvlans to set down: index, and a flag that is set if the macvlan is wanted up again.
    downs: Vec<(u32, Arc<AtomicBool>)>,
    /// Addresses to remove from the map of closed VIPs once they are removed from the interface.
    reopen: Vec<(RouterId, ClosedKey)>,
    announcer: Announcer,
    /// Unicast peers whose neighbor entries are to be read.
    unchecked: VecDeque<(LinkId, IpAddr)>,
    /// An address could not be changed since [`Effects::take_failure`].
    failed: bool,
    /// Links whose batch holds frames, each once.
    batched: Vec<LinkId>,
    /// Time of the current turn.
    now: Timestamp,
}

impl Effects {
    pub(crate) fn new(netlink: Requests, closed: Closed) -> Self {
        Self {
            netlink,
            closed,
            actions: Vec::new(),
            changes: Vec::new(),
            applied: 0,
            origins: Vec::new(),
            proposed: BTreeSet::new(),
            retries: Retries::default(),
            added: Vec::new(),
            downs: Vec::new(),
            reopen: Vec::new(),
            announcer: Announcer::default(),
            unchecked: VecDeque::new(),
            failed: false,
            batched: Vec::new(),
            now: Timestamp::ZERO,
        }
    }

    /// Returns the netlink socket for requests.
    pub(crate) fn netlink(&mut self) -> &mut Requests {
        &mut self.netlink
    }

    /// Adds an action of a router to this turn.
    pub(crate) fn push(&mut self, router: RouterId, action: Action) {
        self.actions.push((router, action));
    }

    /// Adds a change that is not an action of a router.
    pub(crate) fn change(&mut self, change: Change) {
        self.enqueue(change, None);
    }

    /// Returns the VIPs that were added without a transition, to be announced.
    pub(crate) fn take_added(&mut self) -> Vec<Added> {
        std::mem::take(&mut self.added)
    }

    /// Returns whether an address could not be changed since the last call: then wanted and present
    /// must be reconciled.
    pub(crate) fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// Returns macvlans to set down, which takes too long for this thread. Empty until their
    /// addresses are removed.
    pub(crate) fn take_downs(&mut self) -> Vec<(u32, Arc<AtomicBool>)> {
        if self.has_changes() { Vec::new() } else { std::mem::take(&mut self.downs) }
    }

    /// Returns whether an address waits for its first announcement.
    pub(crate) fn is_urgent(&self) -> bool {
        self.announcer.is_urgent()
    }

    /// Returns whether changes can be made, announcements sent or neighbors checked at once.
    pub(crate) fn is_busy(&self) -> bool {
        self.has_changes() || self.announcer.is_ready() || !self.unchecked.is_empty()
    }

    /// Returns when a paced announcement is due or a refused change is tried again.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        [self.announcer.next(), self.retries.next()].into_iter().flatten().min()
    }

    /// Returns the number of VIPs to which the XDP program drops packets.
    #[cfg(test)]
    pub(crate) fn closed_count(&self) -> usize {
        self.closed.count()
    }

    #[cfg(test)]
    pub(crate) fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Returns whether address changes are still to be made.
    pub(crate) fn has_changes(&self) -> bool {
        self.applied < self.changes.len()
    }

    /// Sends all adverts, and makes address changes and sends announcements up to their budgets.
    pub(crate) fn flush(
        &mut self,
        now: Timestamp,
        budget: Budget,
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        self.now = now;
        if !self.actions.is_empty() || self.has_changes() {
            let actions = std::mem::take(&mut self.actions);
            self.send_adverts(&actions, topology, reports);
            self.collect_changes(&actions, topology, reports);
            self.queue_announcements(&actions, topology);
            self.apply_changes(budget.changes, now, topology, reports);
            // Keep the allocation.
            self.actions = actions;
            self.actions.clear();
        }
        // While changes are pending, the next announcement may be for an address that is not added
        // yet.
        let all_made = !self.has_changes();
        self.announce(budget.announcements, now, topology, reports, all_made);
        self.check_neighbors(topology);
    }

    /// Sends the frames in the batches.
    fn send_batches(&mut self, topology: &mut Topology, reports: &mut Reports) {
        let (Topology { links, routers, .. }, now) = (topology, self.now);
        for id in self.batched.drain(..) {
            let Some(io) = links.get_mut(id).and_then(|link| link.io.as_mut()) else { continue };
            io.batch.send(&io.socket, |tag, result| {
                account(now, tag, result, routers.get_mut(tag.router), reports);
            });
        }
    }
}

/// Counts a frame that was sent, or reports one that was refused.
fn account(
    now: Timestamp,
    tag: Tag,
    result: io::Result<()>,
    instance: Option<&mut Instance>,
    reports: &mut Reports,
) {
    let Some(instance) = instance else { return };
    match result {
        Ok(()) => {
            instance.count_sent(now, tag.kind);
            if matches!(tag.kind, FrameKind::Advert | FrameKind::PriorityZero) {
                instance.refusal_reported = false;
            }
        }
        Err(error) => report_refused(tag.router, error, instance, reports),
    }
}

/// Counts a refused frame, and reports it unless frames of the router have been refused since its
/// last advert was sent.
fn report_refused(router: RouterId, error: io::Error, instance: &mut Instance, reports: &mut Reports) {
    instance.sent.send_errors += 1;
    if !std::mem::replace(&mut instance.refusal_reported, true) {
        reports.send(Report::SendRefused { router, error });
    }
}
