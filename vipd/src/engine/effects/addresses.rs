//! Pass 2: addresses. Changes are sent to netlink in batches, and each address is announced once
//! its batch is acknowledged.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vipd_common::Timestamp;

use super::announcer::Packet;
use super::{Effects, Proposal};
use crate::config::settings::{Placement, Scope};
use crate::engine::command::{Report, Reports};
use crate::engine::id::{LinkId, RouterId};
use crate::engine::instance::Instance;
use crate::engine::links::Links;
use crate::engine::topology::Topology;
use crate::netlink::{self, Address, Attributes, BATCH, Change, Label};
use crate::vrrp::{Action, Addresses};

/// A VIP: its router, and its position in the router's list of addresses.
pub(crate) type Vip = (RouterId, usize);

/// A position that stands for the router's macvlan instead of a VIP.
pub(crate) const MACVLAN: usize = usize::MAX;

/// Origin of a change to an address or a macvlan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) link: LinkId,
    /// `None` for an address that is no longer configured.
    pub(super) vip: Option<Vip>,
    pub(super) purpose: Purpose,
    /// The removal to log once the kernel has acknowledged the change.
    pub(super) removal: Option<Removal>,
}

impl Origin {
    pub(super) fn new(link: LinkId, vip: Vip, purpose: Purpose) -> Self {
        Self { link, vip: Some(vip), purpose, removal: None }
    }
}

/// A removal to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// A VIP that another tool added while the router is not master.
    NotMaster(RouterId),
    /// A VIP that another tool added on the parent of the router's macvlan, while the router is
    /// master.
    OnParent(RouterId),
    /// A stale VIP of a previous run, or a VIP of a router that a reload has removed.
    Stale,
}

/// Reason for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An action of a router.
    Transition,
    /// A difference between the wanted and the present addresses.
    Reconcile,
    /// The kernel may remove the VIP along with another address.
    Renewal,
}

/// A VIP that was added outside of a transition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    pub(crate) vip: Vip,
    /// Whether the address had been added before and was removed externally.
    pub(crate) is_restored: bool,
}

impl Effects {
    /// Queues the changes that the actions require.
    pub(super) fn collect_changes(
        &mut self,
        actions: &[(RouterId, Action)],
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        for (router, action) in actions {
            match action {
                Action::AddAddresses(which) => self.collect(*router, *which, true, topology, reports),
                Action::RemoveAddresses => self.collect(*router, Addresses::All, false, topology, reports),
                // Removals of single addresses have been queued by `remove_one`.
                Action::RemoveAddress(_) | Action::SendAdvert { .. } | Action::Announce { .. } => {}
            }
        }
    }

    fn collect(
        &mut self,
        router: RouterId,
        which: Addresses,
        add: bool,
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        let Topology { links, routers, .. } = topology;
        let Some(instance) = routers.get_mut(router) else { return };
        if add {
            self.begin_lease(router, instance, links, reports);
        } else {
            self.announcer.silence(router);
            self.leave(router, instance);
            self.retries.take((router, MACVLAN));
        }
        let macvlan = instance.macvlan.and_then(|macvlan| Some((macvlan, links.get(macvlan)?.ifindex?)));
        if let Some((link, ifindex)) = macvlan {
            instance.wanted_up.store(add, Ordering::SeqCst);
            if add {
                let origin = Origin::new(link, (router, MACVLAN), Purpose::Transition);
                self.enqueue(Change::Up { ifindex }, Some(origin));
            } else {
                self.downs.push((ifindex, Arc::clone(&instance.wanted_up)));
            }
        }
        if !add {
            self.routing.set(self.now, router, &[]);
        } else if matches!(which, Addresses::All) {
            self.routing.set(self.now, router, &instance.routing);
        }
        let instance = &*instance;
        for (position, vip) in instance.addresses.iter().enumerate() {
            if !matches!(which, Addresses::All) && which != Addresses::One(*vip) {
                continue;
            }
            let vip = (router, position);
            if add {
                if let Some((change, link)) = addition(vip, instance, links) {
                    self.enqueue(change, Some(Origin::new(link, vip, Purpose::Transition)));
                }
            } else {
                self.retries.take(vip);
                self.remove(vip, instance, links);
            }
        }
    }

    /// Updates the positions in pending work after a router's list of VIPs has changed. `positions`
    /// has the new position of each former VIP, or `None` if the VIP was removed.
    pub(crate) fn renumber(&mut self, router: RouterId, positions: &[Option<usize>]) {
        let renumbered = |vip: Vip| match vip {
            (other, position) if other == router && position != MACVLAN => {
                Some((router, positions.get(position).copied().flatten()?))
            }
            other => Some(other),
        };
        for origin in self.origins.iter_mut().flatten() {
            origin.vip = origin.vip.and_then(renumbered);
        }
        self.added.retain_mut(|added| renumbered(added.vip).map(|vip| added.vip = vip).is_some());
        self.retries.rekey(renumbered);
        self.announcer.restart_round(router);
    }

    /// Queues the addition of a VIP that is missing although its router is master.
    pub(crate) fn restore(
        &mut self,
        vip: Vip,
        now: Timestamp,
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        let Topology { links, routers, .. } = topology;
        let Some(instance) = routers.get_mut(vip.0) else { return };
        if self.retries.is_pending(vip, now) {
            return;
        }
        if instance.vip(vip.1).is_some_and(|(vip, _)| !instance.may_add(vip.address)) {
            self.cover(now, vip.0, instance, links, reports);
        }
        let Some((change, link)) = addition(vip, instance, links) else {
            if !self.retries.is_pending(vip, now) {
                self.retries.take(vip);
            }
            return;
        };
        if self.is_proposed(&change) || self.is_queued(vip, instance) {
            return;
        }
        if let Some(at) = instance.correct(vip.1, now) {
            return self.retries.postpone(vip, at, true);
        }
        self.enqueue(change, Some(Origin::new(link, vip, Purpose::Reconcile)));
    }

    /// Queues a change that brings up the macvlan of a master.
    pub(crate) fn set_up(&mut self, now: Timestamp, router: RouterId, link: LinkId, ifindex: u32) {
        let (change, vip) = (Change::Up { ifindex }, (router, MACVLAN));
        let is_pending = self.changes.iter().skip(self.applied).any(|pending| *pending == change);
        if !is_pending && !self.retries.is_pending(vip, now) {
            self.enqueue(change, Some(Origin::new(link, vip, Purpose::Reconcile)));
        }
    }

    pub(super) fn is_proposed(&self, change: &Change) -> bool {
        proposal(change).is_some_and(|proposal| self.proposed.contains(&proposal))
    }

    /// Returns whether an action that adds the VIP has been queued since the last flush.
    fn is_queued(&self, (router, position): Vip, instance: &Instance) -> bool {
        let Some((vip, _)) = instance.vip(position) else { return false };
        let adds = |action: &Action| match action {
            Action::AddAddresses(which) => [Addresses::All, Addresses::One(vip)].contains(which),
            _ => false,
        };
        self.actions.iter().any(|(other, action)| *other == router && adds(action))
    }

    /// Queues a change. Skips a [`Purpose::Reconcile`] change that is already queued.
    pub(super) fn enqueue(&mut self, change: Change, origin: Option<Origin>) {
        if let Some(proposal) = proposal(&change) {
            let is_new = self.proposed.insert(proposal);
            if !is_new && origin.is_some_and(|origin| origin.purpose == Purpose::Reconcile) {
                return;
            }
        }
        self.changes.push(change);
        self.origins.push(origin);
    }

    /// Applies up to `max` of the queued changes, in order, and announces each address that was
    /// added.
    pub(super) fn apply_changes(
        &mut self,
        max: usize,
        now: Timestamp,
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        let (changes, origins) = (std::mem::take(&mut self.changes), std::mem::take(&mut self.origins));
        let next = self.applied..changes.len().min(self.applied + max);
        self.applied = next.end;
        let (due, from) =
            (changes.get(next.clone()).unwrap_or_default(), origins.get(next).unwrap_or_default());
        self.netlink.submit(due);
        for (batch, origins) in due.chunks(BATCH).zip(from.chunks(BATCH)) {
            self.acknowledge(now, batch, origins, topology, reports);
            self.announce(batch.len(), now, topology, reports, false);
        }
        // Reuse the allocations for the next changes.
        (self.changes, self.origins) = (changes, origins);
        if self.has_changes() {
            return;
        }
        self.applied = 0;
        self.changes.clear();
        self.origins.clear();
        self.proposed.clear();
        for (row, key) in std::mem::take(&mut self.uncovered) {
            self.failed |= self.addresses.remove(key, row).is_err();
        }
    }

    /// Waits for the acknowledgment of a batch, and records the resulting addresses.
    fn acknowledge(
        &mut self,
        now: Timestamp,
        changes: &[Change],
        origins: &[Option<Origin>],
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        let Topology { links, routers, .. } = topology;
        let mut refused = [false; BATCH];
        let (retries, refusals) = (&mut self.retries, &mut self.refusals);
        let result = self.netlink.wait(changes, |change, error| {
            let index = changes.iter().position(|other| ptr::eq(other, change)).unwrap_or_default();
            refused[index] = true;
            *refusals += 1;
            let origin = origins.get(index).copied().flatten();
            let vip = origin.and_then(|origin| origin.vip);
            // A change that belongs to no VIP is not retried, so every failure is logged. Examples
            // are changes that limit a lifetime, and removals of addresses that are no longer
            // configured or whose interface was renamed.
            let is_logged = vip.is_none_or(|vip| {
                if let Some(instance) = routers.get_mut(vip.0) {
                    instance.sent.address_errors += 1;
                }
                let errno = error.raw_os_error().unwrap_or_default();
                let restores = origin.is_some_and(|origin| origin.purpose == Purpose::Reconcile);
                retries.refused(vip, errno, restores, now)
            });
            if !is_logged {
                return;
            }
            let is_added = matches!(change, Change::Add(..));
            match (change.address(), vip) {
                (Some(address), _) => {
                    reports.send(Report::AddressRefused { address: *address, is_added, error });
                }
                (None, Some((router, _))) => reports.send(Report::MacvlanRefused { router, error }),
                (None, None) => {}
            }
        });
        if let Err(error) = result {
            self.failed = true;
            self.refusals += 1;
            return reports.send(Report::NetlinkFailed(error));
        }
        // Does not wait for notifications: the kernel sends notifications about IPv6 addresses
        // later, from a work queue.
        for ((change, origin), _) in changes.iter().zip(origins).zip(refused).filter(|(_, refused)| !refused)
        {
            let Some(origin) = *origin else { continue };
            let Some(address) = change.address() else {
                origin.vip.and_then(|macvlan| self.retries.take(macvlan));
                continue;
            };
            match origin.removal {
                Some(Removal::NotMaster(router)) => {
                    reports.send(Report::VipRemoved { router, address: *address, is_master: false });
                }
                Some(Removal::OnParent(router)) => {
                    reports.send(Report::VipRemoved { router, address: *address, is_master: true });
                }
                Some(Removal::Stale) => reports.send(Report::StaleVipRemoved(*address)),
                None => {}
            }
            let Some(link) = links.get_mut(origin.link) else { continue };
            if matches!(change, Change::Remove(_)) {
                link.addresses.remove(address.address, address.prefix);
                continue;
            }
            let Some(vip) = origin.vip else { continue };
            let restores = self.retries.take(vip);
            match origin.purpose {
                Purpose::Transition => link.addresses.insert_added(*address),
                Purpose::Reconcile => {
                    link.addresses.insert_added(*address);
                    self.added.push(Added { vip, is_restored: restores.unwrap_or(true) });
                }
                Purpose::Renewal => {
                    link.addresses.renew(*address);
                    self.routing.vip_restored(vip.0, address.address);
                }
            }
        }
    }
}

/// Returns the change that adds a VIP, and its link. Returns `None` if the VIP cannot or must not
/// be added.
pub(super) fn addition(vip: Vip, instance: &Instance, links: &Links) -> Option<(Change, LinkId)> {
    let (address, _) = instance.vip(vip.1)?;
    if !instance.may_add(address.address) {
        return None;
    }
    let (address, attributes, on) = placed(vip, instance, links)?;
    Some((Change::Add(address, attributes), on))
}

/// Returns a VIP as vipd adds it to its link. Returns `None` if the link has no interface, or if
/// another tool has added the address to the interface and vipd must not change it: an address of
/// an owner, or a protected address (`Link::is_protected`).
pub(super) fn placed(vip: Vip, instance: &Instance, links: &Links) -> Option<(Address, Attributes, LinkId)> {
    let (address, on) = instance.vip(vip.1)?;
    let placement = instance.settings.placements.get(vip.1)?;
    let link = links.get(on)?;
    let ours = |found: &Address| link.addresses.is_ours(found);
    // The addresses of an owner belong to the interface and must not be changed.
    let is_own = instance.is_owner() && !link.addresses.entries(address.address).all(ours);
    // Another tool has added this address to the interface. It is the interface's primary address,
    // or one of the interface's own addresses is secondary to it. Adding it with the same prefix
    // length would give it vipd's mark, so that it would no longer be protected.
    let is_primary = !instance.is_owner() && link.conflicts(address.address);
    if is_own || is_primary {
        return None;
    }
    Some((Address::vipd(link.ifindex?, address.address, address.prefix), attributes(placement), on))
}

/// Returns the identity of an address change; `None` for a change to a link.
fn proposal(change: &Change) -> Option<Proposal> {
    let address = change.address()?;
    Some((address.ifindex, address.address, address.prefix, matches!(change, Change::Add(..))))
}

/// Returns whether the VIP that a packet announces is present on its link.
pub(super) fn is_present(packet: Packet, topology: &Topology) -> bool {
    let vip = topology.routers.get(packet.router).and_then(|instance| instance.vip(packet.position));
    vip.is_some_and(|(vip, link)| {
        topology.links.get(link).is_some_and(|link| link.addresses.contains(vip.address))
    })
}

/// Returns the netlink attributes for a VIP.
fn attributes(placement: &Placement) -> Attributes {
    Attributes {
        label: placement.label.as_deref().and_then(Label::new),
        scope: match placement.scope {
            Scope::Global => netlink::Scope::Global,
            Scope::Link => netlink::Scope::Link,
            Scope::Host => netlink::Scope::Host,
        },
        broadcast: placement.broadcast,
        deprecated: placement.deprecated,
        no_prefix_route: false,
        lifetime: None,
    }
}
