//! The table of configured links, updated from netlink notifications.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::id::{LinkId, Slab};
use super::link::{Gone, Link, LinkRole};
use crate::netlink::{Address, Notice};

/// All links, with lookup by identity, interface index and name.
pub(crate) struct Links {
    slab: Slab<LinkId, Link>,
    by_name: BTreeMap<String, LinkId>,
    by_ifindex: BTreeMap<u32, LinkId>,
}

impl Default for Links {
    fn default() -> Self {
        Self { slab: Slab::new(), by_name: BTreeMap::new(), by_ifindex: BTreeMap::new() }
    }
}

impl Links {
    /// Adds a link without an interface. The interface is found later by name or, for a macvlan,
    /// set by [`macvlan_created`](Self::macvlan_created).
    pub(crate) fn add(&mut self, link: Link) -> LinkId {
        let name = link.name.clone();
        let id = self.slab.insert(link);
        self.by_name.insert(name, id);
        id
    }

    /// Returns the link with this name, after adding it if there is none. If `role` requires it, a
    /// route-only link becomes an address-only link or a VRRP link, and an address-only link
    /// becomes a VRRP link. Routes through a macvlan have a separate route-only link of the same
    /// name, because such routes may have been configured before the macvlan was created.
    pub(crate) fn find_or_add(&mut self, name: &str, role: LinkRole) -> LinkId {
        let Some(id) = self.by_name.get(name).copied() else {
            return self.add(Link::new(name.to_owned(), role));
        };
        if let Some(link) = self.slab.get_mut(id) {
            match (link.role, role) {
                (LinkRole::VirtualMac { .. }, LinkRole::RouteOnly) => {
                    let is_known = |link: &Link| link.role == role && link.name == name;
                    let known = self.iter().find(|(_, link)| is_known(link)).map(|(id, _)| id);
                    return known.unwrap_or_else(|| self.slab.insert(Link::new(name.to_owned(), role)));
                }
                (LinkRole::AddressOnly | LinkRole::RouteOnly, LinkRole::Vrrp)
                | (LinkRole::RouteOnly, LinkRole::AddressOnly) => link.role = role,
                _ => {}
            }
        }
        id
    }

    /// Returns the link that currently has this name.
    pub(super) fn named(&self, name: &str) -> Option<&Link> {
        self.slab.get(*self.by_name.get(name)?)
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.slab.remove(id)?;
        // A macvlan may have been created with the name of a link that is used only for routes.
        if self.by_name.get(&link.name) == Some(&id) {
            self.by_name.remove(&link.name);
        }
        self.forget_ifindex(id, link.ifindex);
        Some(link)
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.slab.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.slab.get_mut(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> + Clone {
        self.slab.iter()
    }

    #[cfg(test)]
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut Link)> {
        self.slab.iter_mut()
    }

    /// Returns the number of slots in the table, for loops that modify links.
    pub(crate) fn slots(&self) -> usize {
        self.slab.slots()
    }

    pub(crate) fn id_at(&self, slot: usize) -> Option<LinkId> {
        self.slab.id_at(slot)
    }

    /// Records the name and index of a macvlan that the service has created for a link. Returns
    /// whether the macvlan is new.
    pub(crate) fn macvlan_created(&mut self, id: LinkId, name: String, ifindex: u32) -> bool {
        let Some(link) = self.slab.get_mut(id) else { return false };
        let is_new = link.ifindex != Some(ifindex) || link.name != name;
        let (former, former_name) = (link.ifindex, std::mem::replace(&mut link.name, name.clone()));
        link.created(ifindex);
        self.by_name.remove(&former_name);
        let namesake = self.by_name.insert(name, id).filter(|namesake| *namesake != id);
        if let Some((namesake, link)) = namesake.and_then(|id| Some((id, self.slab.get_mut(id)?)))
            && link.role == LinkRole::RouteOnly
        {
            link.routes_uncertain = true;
            self.gone(namesake);
        }
        self.forget_ifindex(id, former);
        self.by_ifindex.insert(ifindex, id);
        is_new
    }

    /// Returns the index of the interface for routes whose `dev` is this link: the link's own
    /// interface, or the macvlan with the link's name.
    pub(crate) fn route_ifindex(&self, id: LinkId) -> Option<u32> {
        let link = self.slab.get(id)?;
        let namesake = || self.slab.get(*self.by_name.get(&link.name)?)?.ifindex;
        link.ifindex.or_else(namesake)
    }

    /// Applies a notification. Returns the links that have lost their interface. There are two if
    /// an interface was renamed to the name of a link that still had another interface.
    pub(crate) fn apply(&mut self, notice: &Notice) -> [Option<(LinkId, Gone)>; 2] {
        match notice {
            Notice::Link(link) => {
                // If the index belongs to a link with another name, the interface was renamed, and
                // that link has lost its interface.
                let known = self.by_ifindex.get(&link.ifindex).copied();
                let named = self.by_name.get(&link.name).copied();
                let renamed = known.filter(|known| Some(*known) != named);
                let gone = renamed.and_then(|id| Some((id, self.gone(id)?)));
                let Some((id, named)) = named.and_then(|id| Some((id, self.slab.get_mut(id)?))) else {
                    return [gone, None];
                };
                let replaced = named.link_changed(link).map(|gone| (id, gone));
                self.forget_ifindex(id, replaced.as_ref().map(|(_, gone)| gone.ifindex));
                self.by_ifindex.insert(link.ifindex, id);
                [gone, replaced]
            }
            Notice::LinkGone { ifindex } => {
                let id = self.by_ifindex.get(ifindex).copied();
                [id.and_then(|id| Some((id, self.gone(id)?))), None]
            }
            Notice::Address(address) => {
                self.address_changed(*address, true);
                [None, None]
            }
            Notice::Neighbor { ifindex, address, resolved } => {
                let link = self.by_ifindex.get(ifindex).and_then(|id| self.slab.get_mut(*id));
                if let Some(neighbor) = link.and_then(|link| link.neighbors.get_mut(address)) {
                    neighbor.set_resolved(*resolved);
                }
                [None, None]
            }
            Notice::AddressGone(address) => {
                self.address_changed(*address, false);
                [None, None]
            }
            Notice::RoutingEntry(_) | Notice::RoutingEntryGone(_) | Notice::RouteReplaced(_) => [None, None],
        }
    }

    fn address_changed(&mut self, address: Address, present: bool) {
        let id = self.by_ifindex.get(&address.ifindex).copied();
        if let Some(link) = id.and_then(|id| self.slab.get_mut(id)) {
            link.address_changed(address, present);
        }
    }

    fn gone(&mut self, id: LinkId) -> Option<Gone> {
        let gone = self.slab.get_mut(id)?.gone()?;
        self.forget_ifindex(id, Some(gone.ifindex));
        Some(gone)
    }

    /// Removes the index that a link no longer has, unless it already belongs to another link.
    fn forget_ifindex(&mut self, id: LinkId, ifindex: Option<u32>) {
        if let Some(ifindex) = ifindex
            && self.by_ifindex.get(&ifindex) == Some(&id)
        {
            self.by_ifindex.remove(&ifindex);
        }
    }

    /// Removes the state of neighbors that are no longer unicast peers. `peers` must be sorted.
    pub(crate) fn retain_neighbors(&mut self, peers: &[IpAddr]) {
        for (_, link) in self.slab.iter_mut() {
            link.neighbors.retain(|address, _| peers.binary_search(address).is_ok());
        }
    }

    /// Starts a full dump: marks all links as changed and not seen. Call before the links of the
    /// dump are applied.
    pub(crate) fn begin_dump(&mut self) {
        for (_, link) in self.slab.iter_mut() {
            link.seen = false;
            link.changed = true;
            link.groups_uncertain = true;
        }
    }

    /// Removes interfaces that a full dump did not contain, and clears all addresses. Call this
    /// after the links of the dump have been applied, and before the addresses of the dump are
    /// applied. An interface for which `exists` returns true is kept, because its message may have
    /// failed to parse.
    pub(crate) fn end_links(&mut self, exists: impl Fn(u32, &str) -> bool) -> Vec<(LinkId, Gone)> {
        let mut unnamed = Vec::new();
        for (id, link) in self.slab.iter_mut() {
            if !link.seen && !link.ifindex.is_some_and(|ifindex| exists(ifindex, &link.name)) {
                unnamed.push(id);
            }
            link.addresses.begin_dump();
        }
        unnamed.into_iter().filter_map(|id| Some((id, self.gone(id)?))).collect()
    }

    /// Completes a full dump. Must be called after the addresses of the dump have been applied.
    pub(crate) fn end_dump(&mut self) {
        for (_, link) in self.slab.iter_mut() {
            link.addresses.end_dump();
            link.own_changed = true;
            link.is_looked_up = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::id::{Id as _, RouterId};
    use crate::netlink;
    use crate::vrrp::{Family, Fault};
    use crate::xdp::Framing;

    fn notice(ifindex: u32, name: &str) -> Notice {
        with_mac(ifindex, name, Some([2; 6]), false)
    }

    fn with_mac(ifindex: u32, name: &str, mac: Option<[u8; 6]>, is_point_to_point: bool) -> Notice {
        let name = name.to_owned();
        Notice::Link(netlink::Link { ifindex, name, running: true, mac, is_point_to_point })
    }

    fn address(ifindex: u32) -> Notice {
        Notice::Address(Address::vipd(ifindex, [192, 0, 2, 1].into(), 24))
    }

    fn links() -> (Links, LinkId, LinkId) {
        let mut links = Links::default();
        let eth0 = links.find_or_add("eth0", LinkRole::AddressOnly);
        let eth1 = links.find_or_add("eth1", LinkRole::Vrrp);
        assert_eq!(links.find_or_add("eth0", LinkRole::Vrrp), eth0);
        (links, eth0, eth1)
    }

    fn all_gone(links: &mut Links, notice: &Notice) -> Vec<(LinkId, u32)> {
        links.apply(notice).into_iter().flatten().map(|(id, gone)| (id, gone.ifindex)).collect()
    }

    fn gone(links: &mut Links, notice: &Notice) -> Option<(LinkId, u32)> {
        let all = all_gone(links, notice);
        assert!(all.len() <= 1, "{all:?}");
        all.first().copied()
    }

    fn indices(links: &Links) -> Vec<Option<u32>> {
        links.iter().map(|(_, link)| link.ifindex).collect()
    }

    #[test]
    fn renaming_an_interface_removes_it_from_the_link_with_the_old_name() {
        let (mut links, eth0, eth1) = links();
        assert_eq!(gone(&mut links, &notice(5, "eth0")), None);
        assert_eq!(gone(&mut links, &address(5)), None);
        assert_eq!(gone(&mut links, &notice(5, "eth1")), Some((eth0, 5)));
        assert_eq!(indices(&links), [None, Some(5)]);
        assert_eq!(gone(&mut links, &address(5)), None);
        let addresses = |id| links.get(id).map(|link: &Link| link.addresses.iter().count());
        assert_eq!((addresses(eth0), addresses(eth1)), (Some(0), Some(1)));
        assert_eq!(gone(&mut links, &notice(5, "unrelated")), Some((eth1, 5)));
        assert_eq!(gone(&mut links, &Notice::LinkGone { ifindex: 5 }), None);
    }

    /// `states` are the expected results for multicast and unicast. Even a working interface has
    /// [`Fault::NotAttached`], because the link is not open.
    #[test]
    fn unicast_works_without_ethernet_address_on_point_to_point_interfaces() {
        let (mut links, eth0, _) = links();
        let (supported, unsupported) = (Err(Fault::NotAttached), Err(Fault::NoHardwareAddress));
        for (mac, is_point_to_point, framing, states) in [
            (Some([2; 6]), false, Some(Framing::Ethernet), [supported, supported]),
            (None, true, Some(Framing::Bare), [unsupported, supported]),
            (None, false, None, [unsupported, unsupported]),
        ] {
            links.apply(&with_mac(5, "eth0", mac, is_point_to_point));
            let link = links.get(eth0).expect("it was added");
            assert_eq!(link.framing(), framing);
            assert_eq!(
                [false, true].map(|is_unicast| link.io_state(RouterId::new(0, 0), Family::V4, is_unicast)),
                states
            );
        }
    }

    #[test]
    fn memberships_are_renewed_after_a_lost_address_or_a_dump() {
        let (mut links, eth0, _) = links();
        let vip: IpAddr = [192, 0, 2, 50].into();
        links.get_mut(eth0).expect("it exists").add_router(RouterId::new(0, 0), false, [vip].into_iter());
        links.apply(&notice(5, "eth0"));
        let mut is_uncertain = |cause: &dyn Fn(&mut Links)| {
            links.get_mut(eth0).expect("it exists").groups_uncertain = false;
            cause(&mut links);
            let link = links.get_mut(eth0).expect("it exists");
            assert!(!link.take_groups_uncertain(), "the link is not open");
            link.groups_uncertain
        };
        let own = Address::vipd(5, [192, 0, 2, 1].into(), 24);
        let second = Address::vipd(5, [192, 0, 2, 2].into(), 24);
        let vip = Address::vipd(5, vip, 24);
        for address in [own, second, vip] {
            assert!(!is_uncertain(&|links| drop(links.apply(&Notice::Address(address)))));
        }
        assert!(!is_uncertain(&|links| drop(links.apply(&Notice::AddressGone(vip)))));
        assert!(is_uncertain(&|links| drop(links.apply(&Notice::AddressGone(second)))));
        assert!(is_uncertain(&|links| drop(links.apply(&Notice::AddressGone(own)))));
        assert!(is_uncertain(&Links::begin_dump));
    }

    #[test]
    fn routes_are_checked_after_the_last_ipv4_address_of_their_interface_is_gone() {
        let (mut links, eth0, _) = links();
        let [first, second] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let router = RouterId::new(0, 0);
        links.get_mut(eth0).expect("it exists").add_router(router, false, [first, second].into_iter());
        links.apply(&notice(5, "eth0"));
        let ipv6 = Address::vipd(5, IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]), 64);
        let vips = [first, second].map(|vip| Address::vipd(5, vip, 24));
        for address in [ipv6].into_iter().chain(vips) {
            links.apply(&Notice::Address(address));
        }
        links.get_mut(eth0).expect("it exists").take_routes_uncertain();
        let checked = vips.map(|vip| {
            links.apply(&Notice::AddressGone(vip));
            links.get_mut(eth0).expect("it exists").take_routes_uncertain()
        });
        assert_eq!(checked, [false, true]);
    }

    #[test]
    fn routes_use_the_macvlan_with_the_name_of_their_link() {
        let (mut links, eth0, _) = links();
        let role = LinkRole::VirtualMac { router: RouterId::new(0, 0), parent: eth0 };
        let macvlan = links.add(Link::new("the macvlan of a".to_owned(), role));
        let route = links.find_or_add("vrrp4-1", LinkRole::RouteOnly);
        assert_eq!(links.route_ifindex(route), None);
        for ifindex in [7, 8] {
            // The notification may arrive before the macvlan's name is known.
            links.apply(&notice(ifindex, "vrrp4-1"));
            links.macvlan_created(macvlan, "vrrp4-1".to_owned(), ifindex);
            assert_eq!(links.route_ifindex(route), Some(ifindex));
            assert_eq!(gone(&mut links, &Notice::LinkGone { ifindex }), Some((macvlan, ifindex)));
            assert_eq!(links.route_ifindex(route), None);
        }
        assert_eq!(links.find_or_add("vrrp4-1", LinkRole::RouteOnly), route);
        links.remove(route);
        let added = links.find_or_add("vrrp4-1", LinkRole::RouteOnly);
        assert_eq!(links.find_or_add("vrrp4-1", LinkRole::RouteOnly), added);
        links.macvlan_created(macvlan, "vrrp4-1".to_owned(), 9);
        assert_eq!(links.route_ifindex(added), Some(9));
    }

    #[test]
    fn interfaces_that_swap_names_swap_links() {
        let (mut links, eth0, eth1) = links();
        for (ifindex, name, expected) in [
            (5, "eth0", None),
            (6, "eth1", None),
            (5, "spare", Some((eth0, 5))),
            (6, "eth0", Some((eth1, 6))),
            (5, "eth1", None),
        ] {
            assert_eq!(gone(&mut links, &notice(ifindex, name)), expected, "{name}");
        }
        assert_eq!(indices(&links), [Some(6), Some(5)]);
        assert_eq!(gone(&mut links, &Notice::LinkGone { ifindex: 6 }), Some((eth0, 6)));
    }

    #[test]
    fn dump_after_two_interfaces_swapped_names_closes_both_links() {
        let (mut links, eth0, eth1) = links();
        for found in [notice(5, "eth0"), notice(6, "eth1")] {
            assert_eq!(all_gone(&mut links, &found), []);
        }
        links.begin_dump();
        assert_eq!(all_gone(&mut links, &notice(5, "eth1")), [(eth0, 5), (eth1, 6)]);
        assert_eq!(all_gone(&mut links, &notice(6, "eth0")), []);
        let unnamed = links.end_links(|_, _| panic!("the dump contains both links"));
        assert!(unnamed.is_empty());
        assert_eq!(indices(&links), [Some(6), Some(5)]);
    }

    #[test]
    fn replaced_interface_with_the_same_name_is_found_by_its_new_index() {
        let (mut links, eth0, _) = links();
        links.apply(&notice(5, "eth0"));
        assert_eq!(gone(&mut links, &notice(9, "eth0")), Some((eth0, 5)));
        assert_eq!(
            gone(&mut links, &Notice::LinkGone { ifindex: 5 }),
            None,
            "a late notification about the old interface"
        );
        assert_eq!(indices(&links), [Some(9), None]);
        links.remove(eth0);
        assert_eq!(gone(&mut links, &notice(9, "eth0")), None);
        assert_ne!(links.find_or_add("eth0", LinkRole::Vrrp), eth0);
    }
}
