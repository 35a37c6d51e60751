//! The virtual routers and links, and which router uses which link.
//!
//! This module does no I/O. The engine adds and removes routers here while others run, and sends
//! the resulting requests to the service.

use std::net::IpAddr;
use std::sync::Arc;

use super::groups::Group;
use super::id::{LinkId, RouterId, Slab};
use super::instance::Instance;
use super::link::{Link, LinkRole};
use super::link_spec::{LinkSpec, RouterSpec, preference};
use super::links::Links;
use super::routing::Wanted;
use crate::config;
use crate::config::settings::{Transport, XdpMode};
use crate::vrrp::Family;
use crate::xdp::Row;
use crate::xdp::Rows;

/// The virtual routers, and the links used for their adverts, addresses and routes.
pub(crate) struct Topology {
    pub(crate) links: Links,
    pub(crate) routers: Slab<RouterId, Instance>,
    /// Sync groups.
    pub(super) groups: Vec<Group>,
    /// Links that a reload in progress needs, kept even while no router uses them.
    reserved: Vec<LinkId>,
    rows: Rows,
    /// Number of rows of removed routers that have not been released yet.
    unreleased: usize,
    /// The most recent router of each row.
    by_row: Vec<Option<RouterId>>,
}

/// The result of a [change](Topology::change_router) of a router's settings.
pub(crate) struct Changed {
    /// New position of each former VIP, or `None` if the VIP was removed.
    pub(crate) positions: Vec<Option<usize>>,
    /// Whether links were added.
    pub(crate) has_new_links: bool,
    /// Links that were removed because no router uses them.
    pub(crate) unused: Vec<(LinkId, Link)>,
}

/// The BPF program's maps have no free row for another virtual router.
#[derive(Debug, thiserror::Error)]
#[error(
    "no room for instance {name}: all {capacity} rows of the BPF program's maps are in use; restart vipd to enlarge them"
)]
pub(crate) struct NoRoom {
    name: String,
    capacity: u32,
}

impl Topology {
    /// Returns the unicast peers of all routers, sorted and without duplicates.
    pub(crate) fn unicast_peers(&self) -> Vec<IpAddr> {
        let transports = self.routers.iter().map(|(_, instance)| &instance.settings.transport);
        let peers = transports.filter_map(|transport| match transport {
            Transport::Unicast(peers) => Some(peers.iter().map(|peer| peer.address)),
            Transport::Multicast => None,
        });
        let mut peers: Vec<_> = peers.flatten().collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// Returns whether a router has routes or policy rules.
    pub(crate) fn uses_routing(&self) -> bool {
        self.routers.iter().any(|(_, instance)| !instance.routing.is_empty())
    }

    /// Creates an empty topology whose routers take their rows from `rows`.
    pub(crate) fn new(rows: Rows) -> Self {
        Self {
            links: Links::default(),
            routers: Slab::new(),
            groups: Vec::new(),
            reserved: Vec::new(),
            rows,
            unreleased: 0,
            by_row: Vec::new(),
        }
    }

    /// Adds a virtual router in Initialize, and any links that it needs and that do not exist yet.
    ///
    /// # Errors
    /// [`NoRoom`] if the BPF program's maps are full.
    pub(crate) fn add_router(&mut self, settings: Arc<config::Instance>) -> Result<RouterId, NoRoom> {
        let Some(row) = self.rows.allocate() else {
            return Err(NoRoom { name: settings.name.clone(), capacity: self.rows.capacity() });
        };
        Ok(self.add_router_in(row, settings))
    }

    /// Adds a virtual router in the row that it had in the predecessor. Returns `None` if the row
    /// does not exist or is in use.
    pub(crate) fn add_inherited_router(
        &mut self,
        row: Row,
        settings: Arc<config::Instance>,
    ) -> Option<RouterId> {
        self.rows.allocate_exactly(row).then(|| self.add_router_in(row, settings))
    }

    fn add_router_in(&mut self, row: Row, settings: Arc<config::Instance>) -> RouterId {
        let links = &mut self.links;
        let router = self.routers.insert_with(|router| {
            let link = links.find_or_add(&settings.interface, LinkRole::Vrrp);
            let macvlan = settings.virtual_mac.map(|_| {
                let role = LinkRole::VirtualMac { router, parent: link };
                links.add(Link::new(format!("the macvlan of {}", settings.name), role))
            });
            let vip_links = vip_links(links, &settings, link, macvlan);
            let routing = Wanted::all(&settings, links);
            Instance::new(settings, row, link, vip_links, macvlan, routing)
        });
        let position = row.number() as usize;
        self.by_row.resize(self.by_row.len().max(position + 1), None);
        if let Some(slot) = self.by_row.get_mut(position) {
            *slot = Some(router);
        }
        self.register(router);
        router
    }

    /// Adds a router and its VIPs to the links that it uses.
    fn register(&mut self, router: RouterId) {
        for link in self.links_of(router) {
            let Some(instance) = self.routers.get(router) else { continue };
            if let Some(found) = self.links.get_mut(link) {
                // The VIPs of a macvlan may also be on its parent, where another tool may have
                // added them.
                let own = |on: LinkId| on == link || (link == instance.link && Some(on) == instance.macvlan);
                let vips = instance.vips().filter(|(_, on)| own(*on));
                found.add_router(router, instance.is_owner(), vips.map(|(vip, _)| vip.address));
            }
        }
    }

    /// Replaces the settings of a router that keeps its link, and adds and removes links for its
    /// VIPs and routes.
    pub(crate) fn change_router(
        &mut self,
        router: RouterId,
        settings: Arc<config::Instance>,
    ) -> Option<Changed> {
        let former = self.links_of(router);
        let known_links = self.links.iter().count();
        let instance = self.routers.get_mut(router)?;
        let vip_links = vip_links(&mut self.links, &settings, instance.link, instance.macvlan);
        let routing = Wanted::all(&settings, &mut self.links);
        let has_new_links = self.links.iter().count() > known_links;
        let positions = instance.change(settings, vip_links, routing);
        for link in &former {
            if let Some(link) = self.links.get_mut(*link) {
                link.remove_router(router);
            }
        }
        self.register(router);
        Some(Changed { positions, has_new_links, unused: self.remove_unused(former) })
    }

    /// Finds or adds the links on which these settings place VIPs, and reserves these links until
    /// [`release_links`](Self::release_links). Returns whether a link must be opened.
    pub(super) fn reserve_links<'a>(&mut self, all: impl Iterator<Item = &'a config::Instance>) -> bool {
        let mut is_new = false;
        for name in all.flat_map(vip_interfaces) {
            // A link that was used only for routes is not open.
            let is_open = self.links.named(name).is_some_and(|link| link.role != LinkRole::RouteOnly);
            let id = self.links.find_or_add(name, LinkRole::AddressOnly);
            self.reserved.push(id);
            if let Some(link) = self.links.get_mut(id).filter(|_| !is_open) {
                (link.changed, is_new) = (true, true);
            }
        }
        is_new
    }

    /// Ends the reservation of links. Removes and returns the links that no router uses.
    pub(super) fn release_links(&mut self) -> Vec<(LinkId, Link)> {
        let reserved = std::mem::take(&mut self.reserved);
        self.remove_unused(reserved)
    }

    /// Returns whether a link on which these settings place VIPs is being opened for the first
    /// time.
    pub(super) fn is_opening_vip_links(&self, settings: &config::Instance) -> bool {
        let mut links = vip_interfaces(settings).filter_map(|name| self.links.named(name));
        links.any(Link::is_opening)
    }

    /// Removes the given links, except reserved links and links that a router uses. Returns the
    /// removed links.
    fn remove_unused(&mut self, links: Vec<LinkId>) -> Vec<(LinkId, Link)> {
        let mut unused = Vec::new();
        for id in links {
            let is_unused = self.links.get(id).is_some_and(|link| link.routers.is_empty());
            if is_unused && !self.reserved.contains(&id) {
                unused.extend(self.links.remove(id).map(|link| (id, link)));
            }
        }
        unused
    }

    /// Removes a virtual router and the links that no other router uses. The router's row stays
    /// allocated until [`release`](Self::release), because the BPF program may still write to it.
    pub(crate) fn remove_router(&mut self, router: RouterId) -> Option<(Instance, Vec<(LinkId, Link)>)> {
        let links = self.links_of(router);
        let instance = self.routers.remove(router)?;
        self.unreleased += 1;
        for id in &links {
            if let Some(link) = self.links.get_mut(*id) {
                link.remove_router(router);
            }
        }
        Some((instance, self.remove_unused(links)))
    }

    /// Releases the row of a removed router. Call this once the BPF program no longer uses the row.
    pub(crate) fn release(&mut self, row: Row) {
        self.unreleased -= 1;
        self.rows.release(row);
    }

    /// Returns whether rows of removed routers have yet to be released.
    pub(crate) fn awaits_rows(&self) -> bool {
        self.unreleased > 0
    }

    /// Returns the most recent router with this row. If that router has been removed, its identity
    /// no longer resolves.
    pub(crate) fn router_at(&self, row: Row) -> Option<RouterId> {
        self.by_row.get(row.number() as usize).copied().flatten()
    }

    /// Returns the links that a router uses for adverts, addresses or routes, without duplicates.
    fn links_of(&self, router: RouterId) -> Vec<LinkId> {
        let Some(instance) = self.routers.get(router) else { return Vec::new() };
        let mut links: Vec<_> = [instance.link]
            .into_iter()
            .chain(instance.vip_links.iter().copied())
            .chain(instance.macvlan)
            .chain(instance.routing.iter().filter_map(|wanted| wanted.link))
            .collect();
        links.sort_unstable();
        links.dedup();
        links
    }

    /// Describes a link for the service to open. Returns `None` if its interface does not exist.
    pub(crate) fn spec(&self, id: LinkId) -> Option<LinkSpec> {
        let link = self.links.get(id)?;
        let routers = link.routers.iter().filter_map(|router| Some((*router, self.routers.get(*router)?)));
        let vrrp = routers.filter(|(_, instance)| instance.link == id);
        // The XDP mode is configured per interface, so it is the same for all routers on the
        // interface.
        let xdp = vrrp.clone().next().map_or(XdpMode::Auto, |(_, instance)| instance.settings.xdp);
        let routers = vrrp.map(|(router, instance)| RouterSpec {
            router,
            name: instance.settings.name.clone(),
            entry: instance.xdp_entry(),
            unicast_source: match instance.settings.transport {
                Transport::Multicast => None,
                Transport::Unicast(_) => instance.settings.source,
            },
            macvlan: instance.macvlan,
        });
        Some(LinkSpec {
            link: id,
            ifindex: link.ifindex?,
            name: link.name.clone(),
            xdp: preference(xdp),
            framing: link.framing().unwrap_or_default(),
            routers: routers.collect(),
        })
    }
}

/// Returns the interfaces of VIPs that are not on the interface of their instance.
fn vip_interfaces(settings: &config::Instance) -> impl Iterator<Item = &str> {
    settings.placements.iter().filter_map(|placement| placement.interface.as_deref())
}

/// Returns the link of each VIP, adding links that do not exist yet.
fn vip_links(
    links: &mut Links,
    settings: &config::Instance,
    link: LinkId,
    macvlan: Option<LinkId>,
) -> Vec<LinkId> {
    let vips = settings.placements.iter().zip(settings.router.all_addresses());
    let vip_links = vips.map(|(placement, vip)| match &placement.interface {
        Some(name) => links.find_or_add(name, LinkRole::AddressOnly),
        // A virtual MAC belongs to one address family (RFC 9568 section 7.3).
        None => macvlan.filter(|_| Family::of(vip.address) == settings.router.family).unwrap_or(link),
    });
    vip_links.collect()
}

#[cfg(test)]
mod tests;
