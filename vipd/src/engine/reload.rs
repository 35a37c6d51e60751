//! Adds and removes virtual routers while others run.
//!
//! Removals come first: a row, a VRID or an address may move from a removed router to an added one. A
//! link whose routers have changed is opened again once, however many of them there are. An added router
//! stays in Initialize until then, because the BPF program does not know its VRID yet.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;
use vipd_common::Timestamp;

use super::Engine;
use super::command::{Added, Changes, Report, Request};
use super::id::{LinkId, RouterId};
use super::link::Link;
use crate::config;
use crate::vrrp::Input;

/// Routers that are being added, in order.
pub(super) struct Additions {
    remaining: VecDeque<Arc<config::Instance>>,
    added: Vec<Added>,
    reply: oneshot::Sender<Vec<Added>>,
}

impl Engine {
    /// Applies the difference between two configurations. Replies with the added routers once all of
    /// them have been added.
    pub(super) fn reload(&mut self, now: Timestamp, changes: Changes, reply: oneshot::Sender<Vec<Added>>) {
        let Changes { removed, added } = changes;
        self.stop_routers(now, &removed);
        let links: BTreeSet<_> =
            removed.into_iter().filter_map(|router| self.remove_router(router)).collect();
        for link in links {
            self.reopen(link);
        }
        self.additions.push_back(Additions { remaining: added.into(), added: Vec::new(), reply });
        self.add_routers();
    }

    /// Adds the waiting routers. If no row is free, the rest are added when the rows of removed routers
    /// have been released.
    pub(super) fn add_routers(&mut self) {
        let mut changed = BTreeSet::new();
        while let Some(mut additions) = self.additions.pop_front() {
            while let Some(settings) = additions.remaining.pop_front() {
                match self.topology.add_router(Arc::clone(&settings)) {
                    Ok(router) => {
                        let Some(instance) = self.topology.routers.get(router) else { continue };
                        changed.insert(instance.link);
                        additions.added.push(Added { router, row: instance.row, settings });
                    }
                    Err(_) if self.topology.awaits_rows() => {
                        additions.remaining.push_front(settings);
                        break;
                    }
                    Err(error) => self.reports.send(Report::NoRoom(error)),
                }
            }
            if !additions.remaining.is_empty() {
                self.additions.push_front(additions);
                break;
            }
            // Fails if the service is stopping.
            let _ = additions.reply.send(additions.added);
        }
        self.reserve();
        for link in changed {
            self.reopen(link);
        }
        // There may be new interfaces and new unicast peers.
        self.resync_needed = true;
    }

    /// Sends the priority-0 adverts of all routers, and then removes their addresses.
    fn stop_routers(&mut self, now: Timestamp, routers: &[RouterId]) {
        for router in routers {
            self.dispatch(now, *router, Input::Shutdown);
        }
        self.flush_all(now);
        self.publish_fast_paths(now);
    }

    /// Removes a router that has been stopped, and releases its resources. Returns its link if other
    /// routers use it.
    fn remove_router(&mut self, router: RouterId) -> Option<LinkId> {
        self.schedule.remove(router);
        self.dirty.retain(|other| *other != router);
        self.waiting.retain(|(other, _)| *other != router);
        self.sweep_leftovers(router);
        let (instance, unused) = self.topology.remove_router(router)?;
        let ifindex = self.topology.links.get(instance.link).and_then(|link| link.ifindex);
        let ifindex = ifindex.or_else(|| {
            let own = unused.iter().find(|(id, _)| *id == instance.link);
            own.and_then(|(_, link)| link.ifindex)
        });
        self.request(Request::Forget { ifindex, entry: instance.xdp_entry(), row: instance.row });
        for (id, link) in unused {
            if let Link { ifindex: Some(ifindex), io, .. } = link {
                self.request(Request::Close { link: id, ifindex, io });
            }
        }
        self.topology.links.get(instance.link).map(|_| instance.link)
    }

    /// Lets the next sweep remove the addresses of a router whose removal the kernel has refused.
    fn sweep_leftovers(&mut self, router: RouterId) {
        let Some(instance) = self.topology.routers.get(router) else { return };
        for (vip, on) in instance.vips() {
            if let Some(link) = self.topology.links.get_mut(on)
                && link.addresses.contains(vip.address)
            {
                link.swept = false;
            }
        }
    }

    /// Requests that a link be opened again for its present routers, if it has been opened before.
    /// Otherwise, it is opened once its interface exists.
    fn reopen(&mut self, id: LinkId) {
        let is_open = self.topology.links.get(id).is_some_and(|link| link.requested);
        if let (true, Some(spec)) = (is_open, self.topology.spec(id)) {
            self.request(Request::Open(spec));
        }
    }
}
