//! Compares the wanted state with the state reported by netlink, and opens links, restores
//! macvlans, and adds or removes addresses accordingly.

use std::io;

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use vipd_common::Timestamp;

use super::command::{Report, Request};
use super::effects::{Added, MACVLAN, Removal, Vip};
use super::id::{LinkId, RouterId};
use super::link::{Gone, LinkRole};
use super::ownership::{Claim, Difference, compare};
use super::routing::destinations;
use super::topology::Topology;
use super::{BUDGET, Engine, RECONCILE_AFTER};
use crate::netlink::{Address, Change, Drained, Notice, PROTO_VIPD};
use crate::process::several_agents_run;
use crate::vrrp::{Action, Addresses, Input};

/// Maximum number of netlink notifications applied per turn, so that adverts are sent on time.
/// Reading a notification takes a system call. The limit must not be lower than the number of
/// address changes per turn, because each change causes a notification.
const NETLINK_BUDGET: usize = 128;
const _: () = assert!(NETLINK_BUDGET >= BUDGET.changes);

impl Engine {
    /// Applies pending netlink notifications, up to [`NETLINK_BUDGET`]. Returns whether more may be
    /// pending.
    pub(super) fn drain_netlink(&mut self, now: Timestamp) -> bool {
        let (links, mut all_gone) = (&mut self.topology.links, Vec::new());
        let routing = &mut self.effects.routing;
        let drained = self.monitor.drain(NETLINK_BUDGET, |notice| match notice {
            Notice::RoutingEntryGone(found) => routing.gone(now, found),
            Notice::RouteReplaced(found) => routing.replaced(found),
            notice => all_gone.extend(links.apply(&notice).into_iter().flatten()),
        });
        let drained = drained.unwrap_or_else(|error| {
            // Notifications may have been lost, so a resync is needed. The resync is delayed,
            // because most causes of such errors persist for a while.
            self.reconcile_at.get_or_insert(now + RECONCILE_AFTER);
            self.reports.send(Report::NetlinkFailed(error));
            Drained::default()
        });
        if drained.overrun {
            self.overruns += 1;
            self.reports.send(Report::NetlinkOverrun);
        }
        self.resync_needed |= drained.overrun || drained.appeared;
        for (link, gone) in all_gone {
            self.close(link, gone);
        }
        self.resync_if_needed(now);
        drained.more
    }

    /// Reads links and addresses again if needed. After a failure, tries again after a pause,
    /// because a dump takes milliseconds and most causes of failures persist for a while.
    pub(super) fn resync_if_needed(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.resync_needed)
            && let Err(error) = self.resync()
        {
            self.reconcile_at.get_or_insert(now + RECONCILE_AFTER);
            self.reports.send(Report::NetlinkFailed(error));
        }
    }

    /// Requests a resync if the pause after a failed change, dump or read of notifications is over.
    pub(super) fn reconcile_if_due(&mut self, now: Timestamp) {
        if self.reconcile_at.take_if(|at| *at <= now).is_some() {
            self.resync_needed = true;
        }
    }

    /// Reads links and addresses again. The links are updated only after everything has been read.
    pub(super) fn resync(&mut self) -> io::Result<()> {
        let mut notices = Vec::new();
        let peers = self.topology.unicast_peers();
        self.monitor.watch_peers(&peers)?;
        self.topology.links.retain_neighbors(&peers);
        // A macvlan has no interface name until it is created.
        let created =
            self.topology.links.iter().filter(|(_, link)| link.ifindex.is_some() || !link.is_virtual_mac());
        let names: Vec<&str> = created.map(|(_, link)| link.name.as_str()).collect();
        self.effects.netlink().read(&mut self.monitor, &names, |notice| notices.push(notice))?;
        // Links are applied before addresses, because an interface's addresses belong to the link
        // that currently has its name.
        let (links, addresses): (Vec<_>, Vec<_>) =
            notices.iter().partition(|notice| matches!(notice, Notice::Link(_)));
        let known = &mut self.topology.links;
        known.begin_dump();
        let mut all_gone: Vec<_> = links.into_iter().flat_map(|link| known.apply(link)).flatten().collect();
        all_gone.extend(known.end_links(exists));
        all_gone.extend(addresses.into_iter().flat_map(|address| known.apply(address)).flatten());
        known.end_dump();
        for (link, gone) in all_gone {
            self.close(link, gone);
        }
        self.prepare_routing()?;
        self.watch_routing()?;
        // Notifications about removed routes may have been lost.
        self.effects.routing.verify_all();
        Ok(())
    }

    /// Starts the thread that adds routes and rules, if the present configuration contains any.
    pub(super) fn prepare_routing(&mut self) -> io::Result<()> {
        if self.topology.uses_routing() {
            self.effects.routing.start_thread(self.poll.waker(), self.realtime)?;
        }
        Ok(())
    }

    /// Subscribes to notifications about the routes and rules of the present configuration, or
    /// unsubscribes if there are none.
    pub(super) fn watch_routing(&mut self) -> io::Result<()> {
        self.monitor.watch_routing(destinations(&self.topology).as_deref())
    }

    /// Requests that the service close a link whose interface was deleted or renamed, and removes
    /// vipd's addresses. Otherwise, the host would continue to answer ARP requests and Neighbor
    /// Solicitations for these addresses on a renamed interface.
    fn close(&mut self, link: LinkId, gone: Gone) {
        let Gone { ifindex, stale, io } = gone;
        for address in stale {
            self.effects.change(Change::Remove(address));
        }
        if self.topology.links.get(link).is_none_or(|link| link.role != LinkRole::RouteOnly) {
            self.request(Request::Close { link, ifindex, io });
        }
    }

    /// Reconciles the links that have changed and the routers affected by the changes.
    pub(super) fn reconcile(&mut self, now: Timestamp) {
        self.retry_refused(now);
        for slot in 0..self.topology.links.slots() {
            let Some(id) = self.topology.links.id_at(slot) else { continue };
            let Some(link) = self.topology.links.get_mut(id) else { continue };
            let changed = std::mem::take(&mut link.changed);
            let own_changed = link.refresh_primaries();
            if link.take_groups_uncertain()
                && let Some(spec) = self.topology.spec(id)
            {
                self.request(Request::RenewGroups(spec));
            }
            let Some(link) = self.topology.links.get_mut(id) else { continue };
            if link.take_routes_uncertain() {
                self.check_routes(id);
            }
            let Some(link) = self.topology.links.get_mut(id) else { continue };
            if !changed && !own_changed && link.touched.is_empty() {
                continue;
            }
            let mut touched = std::mem::take(&mut link.touched);
            if changed {
                touched.clone_from(&link.routers);
            }
            if changed || own_changed {
                let routers = link.routers.clone();
                if changed {
                    self.open(id);
                    self.recreate_macvlan(id);
                }
                for router in routers {
                    if changed {
                        self.cover(now, router);
                    }
                    self.update_readiness(now, router);
                }
            }
            touched.sort_unstable();
            touched.dedup();
            for router in touched.drain(..) {
                self.reconcile_vips(now, router);
            }
            if let Some(link) = self.topology.links.get_mut(id) {
                // Keeps the vector's allocation.
                link.touched = touched;
            }
            self.sweep(id);
        }
    }

    /// Queues a check of the routes that use a link, and publishes the records of their routers to
    /// the guardian again, because the interface index may have changed. Routes through a macvlan
    /// may belong to another link of the same name.
    fn check_routes(&mut self, id: LinkId) {
        let Topology { links, routers, .. } = &self.topology;
        let Some(name) = links.get(id).map(|link| &link.name) else { return };
        let namesakes = links.iter().filter(|(_, link)| link.name == *name);
        for router in namesakes.flat_map(|(_, link)| &link.routers) {
            self.effects.routing.verify(*router);
            if let Some(instance) = routers.get(*router).filter(|instance| !instance.routing.is_empty()) {
                self.effects.guard(*router, instance, links, &mut self.reports);
            }
        }
    }

    /// Updates a router's VIPs in the BPF program's map after the index of an interface may have
    /// changed.
    fn cover(&mut self, now: Timestamp, router: RouterId) {
        let Topology { links, routers, .. } = &mut self.topology;
        if let Some(instance) = routers.get_mut(router) {
            self.effects.cover(now, router, instance, links, &mut self.reports);
        }
    }

    /// Retries refused and postponed changes that are due. A change remains recorded until it
    /// succeeds or becomes obsolete.
    fn retry_refused(&mut self, now: Timestamp) {
        if self.effects.retries.next().is_none_or(|next| next > now) {
            return;
        }
        for vip in self.effects.retries.begin_due(now) {
            let is_different = match vip {
                (router, MACVLAN) => self.set_macvlan_up(now, router),
                vip => self.reconcile_vip(now, vip),
            };
            if !is_different {
                self.effects.retries.take(vip);
            }
        }
    }

    /// Requests that the service open a link whose interface has appeared.
    pub(super) fn open(&mut self, id: LinkId) {
        let Some(link) = self.topology.links.get_mut(id) else { return };
        if link.ifindex.is_none() || link.requested || link.io.is_some() || !link.is_opened() {
            return;
        }
        link.requested = true;
        if let Some(spec) = self.topology.spec(id) {
            self.request(Request::Open(spec));
        }
    }

    /// If a macvlan does not exist although its parent is open, for example because the macvlan was
    /// deleted externally, requests that the parent be opened again, which also creates the
    /// macvlan.
    fn recreate_macvlan(&mut self, id: LinkId) {
        let Some(link) = self.topology.links.get_mut(id) else { return };
        let (LinkRole::VirtualMac { parent, .. }, None, false) = (link.role, link.ifindex, link.requested)
        else {
            return;
        };
        if self.topology.links.get(parent).is_none_or(|parent| parent.io.is_none()) {
            return;
        }
        if let Some(spec) = self.topology.spec(parent) {
            self.request(Request::Open(spec));
            if let Some(link) = self.topology.links.get_mut(id) {
                link.requested = true;
            }
        }
    }

    /// Compares the VIPs of a router with the addresses that are present, and corrects the
    /// differences. Also runs after vipd's own changes, when their notifications arrive.
    fn reconcile_vips(&mut self, now: Timestamp, id: RouterId) {
        let Some(instance) = self.topology.routers.get(id) else { return };
        let count = instance.addresses.len();
        self.set_macvlan_up(now, id);
        for position in 0..count {
            self.reconcile_vip(now, (id, position));
        }
    }

    /// Reconciles one VIP. Returns whether there was a difference. Does nothing while the router's
    /// link is not open: another agent may serve the interface, and the VIP may belong to that
    /// agent.
    fn reconcile_vip(&mut self, now: Timestamp, vip: Vip) -> bool {
        let Some(instance) = self.topology.routers.get(vip.0) else { return false };
        let Some((address, on)) = instance.vip(vip.1) else { return false };
        if self.topology.links.get(instance.link).is_none_or(|link| link.io.is_none()) {
            return false;
        }
        let mut differences = Vec::new();
        for id in instance.links_of(vip.1) {
            let Some(link) = self.topology.links.get(id).filter(|link| link.ifindex.is_some()) else {
                continue;
            };
            let claim = match (instance.is_master() && id == on, instance.is_owner()) {
                // An address owner's VIP may be present with a prefix length other than the
                // configured one.
                (true, true) if link.addresses.contains(address.address) => continue,
                (true, _) => Claim::Held,
                (false, true) => Claim::Owned,
                (false, false) => Claim::Unwanted,
            };
            compare(
                address,
                claim,
                &link.addresses,
                |found| link.is_protected(found),
                |difference| {
                    differences.push((id, difference));
                },
            );
        }
        for (link, difference) in &differences {
            match difference {
                Difference::Missing => {
                    self.effects.restore(vip, now, &mut self.topology, &mut self.reports);
                }
                Difference::Unwanted(found) => self.remove_unwanted(now, *link, vip, *found),
            }
        }
        !differences.is_empty()
    }

    fn remove_unwanted(&mut self, now: Timestamp, link: LinkId, vip: Vip, found: Address) {
        if self.effects.retries.is_pending(vip, now) || self.effects.is_being_removed(found) {
            return;
        }
        let Some(instance) = self.topology.routers.get_mut(vip.0) else { return };
        if let Some(at) = instance.correct(vip.1, now) {
            return self.effects.retries.postpone(vip, at, false);
        }
        let is_master = instance.is_master();
        let is_swept = self.topology.links.get(link).is_some_and(|link| link.swept);
        let removal = match (found.protocol == PROTO_VIPD, is_swept) {
            (false, _) if is_master => Some(Removal::OnParent(vip.0)),
            (false, _) => Some(Removal::NotMaster(vip.0)),
            (true, false) => Some(Removal::Stale),
            // The VIP was added in this run, and its removal was refused earlier.
            (true, true) => None,
        };
        self.effects.remove_unwanted(found, link, Some(vip), removal);
    }

    /// Announces VIPs that were added outside of a state transition. Returns whether there are any.
    pub(super) fn announce_added(&mut self, now: Timestamp) -> bool {
        let added = self.effects.take_added();
        for Added { vip: (id, position), is_restored } in &added {
            let Some(instance) = self.topology.routers.get(*id).filter(|instance| instance.is_master())
            else {
                continue;
            };
            let Some((vip, _)) = instance.vip(*position) else { continue };
            if *is_restored {
                self.effects.routing.vip_restored(*id, vip.address);
                self.dispatch(now, *id, Input::AddressRestored(vip));
            } else {
                let rounds = instance.router.config().announcements.repeat;
                self.effects.push(*id, Action::Announce { addresses: Addresses::One(vip), rounds });
            }
        }
        !added.is_empty()
    }

    /// Brings a master's macvlan up if it is down. Returns whether it was down.
    fn set_macvlan_up(&mut self, now: Timestamp, router: RouterId) -> bool {
        let master = self.topology.routers.get(router).filter(|instance| instance.is_master());
        let Some(id) = master.and_then(|instance| instance.macvlan) else { return false };
        let macvlan = self.topology.links.get(id).filter(|link| !link.running);
        let Some(ifindex) = macvlan.and_then(|link| link.ifindex) else { return false };
        self.effects.set_up(now, router, id, ifindex);
        true
    }

    /// Removes stale VIPs (of a previous run or of a removed router) that are no longer configured.
    /// Runs once after the link has been opened, and again if VIPs of a removed router are still
    /// present on the link. Does nothing if another agent runs in this network namespace, because
    /// the VIPs may belong to that agent.
    fn sweep(&mut self, id: LinkId) {
        let Some(link) = self.topology.links.get_mut(id) else { return };
        if (link.io.is_none() && !link.is_virtual_mac()) || std::mem::replace(&mut link.swept, true) {
            return;
        }
        let unassigned =
            |found: &&Address| found.protocol == PROTO_VIPD && link.routers_of(found.address).is_empty();
        let stale: Vec<Address> = link.addresses.iter().filter(unassigned).copied().collect();
        if stale.is_empty() || several_agents_run() {
            return;
        }
        for found in stale {
            self.effects.remove_unwanted(found, id, None, Some(Removal::Stale));
        }
    }
}

/// Returns whether the kernel still has an interface with this index and name.
fn exists(ifindex: u32, name: &str) -> bool {
    // If no socket can be opened for the request, assume that the interface exists.
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    socket.map_or(true, |socket| netdevice::name_to_index(socket, name) == Ok(ifindex))
}
