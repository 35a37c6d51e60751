//! Comparing what should be with what netlink reports: links to open, macvlans to restore, addresses to add or remove.

use std::io;

use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use vipd_common::Timestamp;

use super::Engine;
use super::command::{Report, Request};
use super::id::{LinkId, RouterId};
use super::instance::is_foreign;
use super::links::{Gone, LinkRole};
use crate::netlink::{Change, Notice};
use crate::vrrp::{Input, VirtualAddress};

/// Dumps in a row that may be interrupted by changes.
const DUMP_ATTEMPTS: u32 = 8;

impl Engine {
    /// Applies pending netlink notifications.
    pub(super) fn drain_netlink(&mut self) {
        let (links, mut all_gone) = (&mut self.topology.links, Vec::new());
        match self.monitor.drain(|notice| all_gone.extend(links.apply(&notice))) {
            Ok(false) => {}
            Ok(true) => {
                self.overruns += 1;
                self.resync_needed = true;
                self.reports.send(Report::NetlinkOverrun);
            }
            Err(error) => self.reports.send(Report::NetlinkFailed(error)),
        }
        for (link, gone) in all_gone {
            self.close(link, gone);
        }
        if self.resync_needed
            && let Err(error) = self.resync()
        {
            self.reports.send(Report::NetlinkFailed(error));
        }
    }

    /// After a change of an address has failed: reconciles everything.
    pub(super) fn reconcile_if_due(&mut self, now: Timestamp) {
        if self.reconcile_at.take_if(|at| *at <= now).is_some() {
            self.resync_needed = true;
            for (_, link) in self.topology.links.iter_mut() {
                link.swept = false;
            }
        }
    }

    /// Reads links and addresses again. What is known stays until everything is read; a failure is retried in the next
    /// turn.
    pub(super) fn resync(&mut self) -> io::Result<()> {
        let mut notices = Vec::new();
        let mut attempts = 0;
        // Something changed during the dump and an entry may be missing: read again, as long as that is likely to help.
        while let Err(error) = self.effects.netlink().dump(|notice| notices.push(notice)) {
            attempts += 1;
            if error.kind() != io::ErrorKind::Interrupted || attempts == DUMP_ATTEMPTS {
                return Err(error);
            }
            notices.clear();
        }
        self.resync_needed = false;
        // Links first: one that is gone or renamed still knows its addresses.
        let (links, addresses): (Vec<_>, Vec<_>) =
            notices.iter().partition(|notice| matches!(notice, Notice::Link(_)));
        let known = &mut self.topology.links;
        known.begin_dump();
        let mut all_gone: Vec<_> = links.into_iter().filter_map(|link| known.apply(link)).collect();
        all_gone.extend(known.end_links(exists));
        all_gone.extend(addresses.into_iter().filter_map(|address| known.apply(address)));
        for (link, gone) in all_gone {
            self.close(link, gone);
        }
        Ok(())
    }

    /// Asks the service to close a link whose interface is gone, and removes vipd's addresses from the interface: one that
    /// was merely renamed would go on answering for them.
    fn close(&mut self, link: LinkId, gone: Gone) {
        let Gone { ifindex, stale, io } = gone;
        for address in stale {
            self.effects.change(Change::Remove(address));
        }
        self.request(Request::Close { link, ifindex, io });
    }

    /// Reconciles the links that have changed, and the routers that this concerns.
    pub(super) fn reconcile(&mut self, now: Timestamp) {
        for slot in 0..self.topology.links.slots() {
            let Some(id) = self.topology.links.id_at(slot) else { continue };
            let Some(link) = self.topology.links.get_mut(id) else { continue };
            let changed = std::mem::take(&mut link.changed);
            if !changed && link.touched.is_empty() {
                continue;
            }
            let mut routers = std::mem::take(&mut link.touched);
            if changed {
                routers.clone_from(&link.routers);
                self.open(id);
                self.recreate_macvlan(id);
            }
            routers.sort_unstable();
            routers.dedup();
            for router in routers {
                self.reconcile_router(now, router);
            }
            self.sweep(id);
        }
    }

    /// Asks the service to open a link whose interface has appeared.
    fn open(&mut self, id: LinkId) {
        let Some(link) = self.topology.links.get_mut(id) else { return };
        if link.ifindex.is_none() || link.requested || link.io.is_some() || link.is_virtual_mac() {
            return;
        }
        link.requested = true;
        if let Some(spec) = self.topology.spec(id) {
            self.request(Request::Open(spec));
        }
    }

    /// A macvlan that was deleted externally: its parent is opened again, which creates it.
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

    fn reconcile_router(&mut self, now: Timestamp, id: RouterId) {
        // Compared with what is there, not with who removed it: notices of vipd's own changes arrive here, too.
        let was_master = self.topology.is_master(id);
        self.update_readiness(now, id);
        if was_master && self.topology.is_master(id) {
            self.bring_macvlan_up(id);
            for vip in self.missing(id) {
                self.dispatch(now, id, Input::AddressRemoved(vip));
            }
        }
    }

    /// A master's macvlan that was set down externally.
    fn bring_macvlan_up(&mut self, id: RouterId) {
        let macvlan = self.topology.routers.get(id).and_then(|instance| instance.macvlan);
        let Some(macvlan) = macvlan.and_then(|macvlan| self.topology.links.get(macvlan)) else { return };
        if let (Some(ifindex), false) = (macvlan.ifindex, macvlan.running) {
            self.effects.change(Change::Up { ifindex });
        }
    }

    /// Virtual addresses of a router that are not on their link.
    fn missing(&self, id: RouterId) -> Vec<VirtualAddress> {
        let Some(instance) = self.topology.routers.get(id) else { return Vec::new() };
        let is_present = |vip: VirtualAddress, link: LinkId| {
            let addresses = self.topology.links.get(link).map(|link| &link.addresses);
            addresses.is_some_and(|addresses| {
                addresses.get(vip.address, vip.prefix).is_some()
                    || addresses.entries(vip.address).any(is_foreign)
            })
        };
        instance.vips().filter(|(vip, link)| !is_present(*vip, *link)).map(|(vip, _)| vip).collect()
    }

    /// Removes stale VIPs of a former run from a link, once, when it becomes ours.
    fn sweep(&mut self, id: LinkId) {
        let Some(link) = self.topology.links.get_mut(id) else { return };
        if (link.io.is_none() && !link.is_virtual_mac()) || std::mem::replace(&mut link.swept, true) {
            return;
        }
        let stale: Vec<_> = link.addresses.iter().filter(|found| !is_foreign(found)).copied().collect();
        for found in stale {
            let Some(link) = self.topology.links.get(id) else { return };
            let mut routers = link.routers_of(found.address).iter();
            if routers.any(|router| self.topology.is_master(*router)) {
                continue;
            }
            self.effects.change(Change::Remove(found));
            self.reports.send(Report::StaleVipRemoved(found));
        }
    }
}

/// Whether the kernel still has an interface with this index and name.
fn exists(ifindex: u32, name: &str) -> bool {
    // Without a socket to ask on, assume that it does.
    let Ok(socket) = socket(AddressFamily::INET, SocketType::DGRAM, None) else { return true };
    netdevice::name_to_index(&socket, name) == Ok(ifindex)
}
