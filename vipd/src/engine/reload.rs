//! Removes, changes and adds virtual routers while others run.
//!
//! Removals come first: a row, a VRID or an address may move from a removed router to another
//! router. A link whose routers have changed is opened again only once per reload. Until its link
//! has been opened again, an added router stays in Initialize, because the BPF program does not
//! accept its VRID. A router that is added with a fault, for example because it is drained, goes
//! into Fault immediately.
//!
//! A reload takes several turns, so that the adverts of other routers are not delayed. First, the
//! addresses of removed routers are removed within the budget of each turn. Then, up to
//! [`ROUTERS_PER_TURN`] routers are removed, changed or added per turn. If changed routers need
//! further interfaces for new VIPs, these interfaces are opened first. Otherwise, a running router
//! would go into Fault, or would add its new VIPs without announcing them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;
use vipd_common::Timestamp;

use super::Engine;
use super::authentication::Former;
use super::command::{Added, Addition, Change, Changes, Report, Request};
use super::id::{LinkId, RouterId};
use super::link::{Link, LinkRole};
use crate::config::operate::Group;
use crate::vrrp::{Input, State};

/// Maximum number of routers to remove, change and add per turn. Each router takes about 10 µs.
const ROUTERS_PER_TURN: usize = 32;

/// A reload in progress.
pub(super) struct Reload {
    /// Routers that have been stopped and must be removed.
    removed: VecDeque<RouterId>,
    /// Routers to change. Routers that lose addresses, routes or rules come first, because other
    /// routers may gain these entries.
    changed: VecDeque<Change>,
    /// Whether the links of the VIPs of all changed routers exist and are reserved.
    has_links: bool,
    /// Routers to add, in order.
    remaining: VecDeque<Addition>,
    added: Vec<Added>,
    /// The sequences of removed routers.
    former: Vec<Former>,
    /// All sync groups after the reload.
    groups: Vec<Arc<Group>>,
    /// Links to open again.
    links: BTreeSet<LinkId>,
    /// Whether there may be new interfaces or unicast peers.
    needs_resync: bool,
    reply: oneshot::Sender<Vec<Added>>,
}

impl Engine {
    /// Begins to apply the difference between two configurations: stops the removed routers, which
    /// send their priority-0 adverts and then remove their addresses. Replies with the added
    /// routers once all of them have been added.
    pub(super) fn reload(&mut self, now: Timestamp, changes: Changes, reply: oneshot::Sender<Vec<Added>>) {
        let Changes { removed, changed, added, groups } = changes;
        for router in &removed {
            self.leave_group(now, *router);
            self.dispatch(now, *router, Input::Shutdown);
        }
        self.reloads.push_back(Reload {
            needs_resync: !removed.is_empty() || !added.is_empty(),
            removed: removed.into(),
            changed: changed.into(),
            has_links: false,
            remaining: added.into(),
            added: Vec::new(),
            former: Vec::new(),
            links: BTreeSet::new(),
            groups,
            reply,
        });
    }

    /// Continues the oldest reload. Returns whether another turn is needed, because there is more
    /// to do, or because the changes have caused actions.
    pub(super) fn continue_reload(&mut self, now: Timestamp) -> bool {
        // The addresses of stopped routers must be removed before the routers themselves.
        if self.reloads.is_empty() || self.effects.has_changes() {
            return false;
        }
        let Some(mut reload) = self.reloads.pop_front() else { return false };
        if !std::mem::replace(&mut reload.has_links, true) {
            let changed = reload.changed.iter();
            if self.topology.reserve_links(changed.map(|change| &*change.settings)) {
                // The next turn finds the interfaces of the new links and opens the links.
                self.resync_needed = true;
                self.reloads.push_front(reload);
                return true;
            }
        }
        let mut budget = ROUTERS_PER_TURN;
        while budget > 0
            && let Some(router) = reload.removed.pop_front()
        {
            budget -= 1;
            if self.topology.routers.get(router).is_some_and(|one| one.router.state() != State::Initialize) {
                // The stopped router has started again, because its interface changed.
                self.dispatch(now, router, Input::Shutdown);
                reload.removed.push_back(router);
                break;
            }
            reload.former.extend(self.topology.routers.get(router).and_then(Former::of));
            reload.links.extend(self.remove_router(router));
        }
        let topology = &self.topology;
        let is_opening = |change: &Change| topology.is_opening_vip_links(&change.settings);
        let possible = if reload.removed.is_empty() { budget } else { 0 };
        let ready = reload.changed.iter().take(possible).take_while(|change| !is_opening(change)).count();
        for change in reload.changed.drain(..ready).collect::<Vec<_>>() {
            budget -= 1;
            let reconfigured = self.reconfigure(now, change);
            reload.links.extend(reconfigured.reopen);
            reload.needs_resync |= reconfigured.has_new_links;
        }
        let mut awaits_rows = false;
        while budget > 0
            && !awaits_rows
            && reload.removed.is_empty()
            && reload.changed.is_empty()
            && let Some(addition) = reload.remaining.pop_front()
        {
            budget -= 1;
            match self.topology.add_router(Arc::clone(&addition.settings)) {
                Ok(router) => {
                    let Some(instance) = self.topology.routers.get(router) else { continue };
                    reload.links.insert(instance.link);
                    let Addition { settings, faults, priority } = addition;
                    reload.added.push(Added { router, row: instance.row, settings });
                    self.reserve(router);
                    self.continue_sequences(router, &reload.former);
                    for fault in faults {
                        self.dispatch(now, router, Input::Impede(fault));
                    }
                    self.dispatch(now, router, Input::Priority(priority));
                }
                // Continues once the service has released a row.
                Err(_) if self.topology.awaits_rows() => {
                    reload.remaining.push_front(addition);
                    budget += 1;
                    awaits_rows = true;
                }
                Err(error) => self.reports.send(Report::NoRoom(error)),
            }
        }
        if !(reload.removed.is_empty() && reload.changed.is_empty() && reload.remaining.is_empty()) {
            self.reloads.push_front(reload);
            return budget < ROUTERS_PER_TURN;
        }
        let unused = self.topology.release_links();
        self.close_unused(unused);
        self.regroup(now, &reload.groups);
        for link in reload.links {
            self.reopen(link);
        }
        // If subscribing fails, the next resync tries again.
        self.resync_needed |= self.watch_routing().is_err() || reload.needs_resync;
        // Fails if the service is stopping.
        let _ = reload.reply.send(reload.added);
        true
    }

    /// Removes a router that has been stopped, and releases its resources. Returns the router's
    /// link, unless the link was removed along with the router.
    fn remove_router(&mut self, router: RouterId) -> Option<LinkId> {
        self.schedule.remove(router);
        self.dirty.retain(|other| *other != router);
        self.waiting.retain(|(other, _)| *other != router);
        self.sweep_links_of(router);
        let (instance, unused) = self.topology.remove_router(router)?;
        self.effects.forget(&instance);
        let ifindex = self.topology.links.get(instance.link).and_then(|link| link.ifindex);
        let ifindex = ifindex.or_else(|| {
            let own = unused.iter().find(|(id, _)| *id == instance.link);
            own.and_then(|(_, link)| link.ifindex)
        });
        self.request(Request::Forget { ifindex, entry: instance.xdp_entry(), row: instance.row });
        self.close_unused(unused);
        self.topology.links.get(instance.link).map(|_| instance.link)
    }

    /// Requests that the service close links without routers.
    pub(super) fn close_unused(&self, unused: Vec<(LinkId, Link)>) {
        for (id, link) in unused {
            if link.role != LinkRole::RouteOnly
                && let Link { ifindex: Some(ifindex), io, .. } = link
            {
                self.request(Request::Close { link: id, ifindex, io });
            }
        }
    }

    /// Schedules a sweep of the links on which addresses of a removed router are still present: the
    /// kernel may have refused to remove them.
    fn sweep_links_of(&mut self, router: RouterId) {
        let Some(instance) = self.topology.routers.get(router) else { return };
        for (vip, on) in instance.vips() {
            if let Some(link) = self.topology.links.get_mut(on)
                && link.addresses.contains(vip.address)
            {
                link.swept = false;
            }
        }
    }

    /// Requests that the service open a link again for its present routers, if opening it has been
    /// requested before. Otherwise, the link is opened once its interface exists.
    fn reopen(&mut self, id: LinkId) {
        let is_open = self.topology.links.get(id).is_some_and(|link| link.requested);
        if let (true, Some(spec)) = (is_open, self.topology.spec(id)) {
            self.request(Request::Open(spec));
        }
    }
}
