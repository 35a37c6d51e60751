//! The links of the configuration, as netlink reports them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::address_table::AddressTable;
use super::id::{LinkId, RouterId, Slab};
use super::link_io::LinkIo;
use super::ownership::{Primary, dependent};
use super::unicast_peer::Neighbor;
use crate::netlink::{Address, Notice};
use crate::vrrp::{Family, Fault};
use crate::xdp::{Framing, Mode};

/// The purpose of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkRole {
    /// The link sends and receives adverts.
    Vrrp,
    /// The link is used for virtual addresses only (`dev`).
    AddressOnly,
    /// The link is the macvlan with the virtual MAC of this router; vipd creates the macvlan.
    VirtualMac { router: RouterId, parent: LinkId },
}

/// A configured VIP of a link.
#[derive(Debug, Default)]
struct Vip {
    routers: Vec<RouterId>,
    /// One of the VIP's routers is the address owner (priority 255), so the VIP is the interface's
    /// own address.
    is_own: bool,
}

/// A configured link, and the interface that currently has its name.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not the states of one machine")]
pub(crate) struct Link {
    /// Name of the interface; of a macvlan, a description until it is created.
    pub(crate) name: String,
    pub(crate) role: LinkRole,
    /// Index, while there is an interface of that name.
    pub(crate) ifindex: Option<u32>,
    /// Up with carrier.
    pub(crate) running: bool,
    /// Ethernet address; none on links of other kinds.
    pub(crate) mac: Option<[u8; 6]>,
    is_point_to_point: bool,
    pub(crate) addresses: AddressTable,
    /// Sockets and XDP attachment of the link, once the service has opened it.
    pub(crate) io: Option<LinkIo>,
    /// The unicast peers in a subnet of its routers' sources.
    pub(crate) neighbors: BTreeMap<IpAddr, Neighbor>,
    /// Why the link could not be opened.
    pub(crate) failure: Option<String>,
    /// Routers whose adverts or addresses are on the link.
    pub(crate) routers: Vec<RouterId>,
    /// The service was requested to open it, and retries by itself after a failure.
    pub(crate) requested: bool,
    /// Stale VIPs of a former run were removed.
    pub(crate) swept: bool,
    /// A change may affect all its routers.
    pub(crate) changed: bool,
    /// Routers affected by a change of one of their addresses.
    pub(crate) touched: Vec<RouterId>,
    /// Configured VIPs that may be on the link.
    vips: BTreeMap<IpAddr, Vip>,
    /// The link's primary addresses may have changed.
    own_changed: bool,
    /// The kernel may have left VRRP's groups on the link.
    groups_uncertain: bool,
    /// Primary address of IPv4 and of IPv6.
    primaries: [Primary; 2],
    /// IPv4 addresses of the link that are not VIPs.
    own: Vec<Address>,
    /// The current dump has listed the link.
    seen: bool,
}

impl Link {
    pub(crate) fn new(name: String, role: LinkRole) -> Self {
        Self {
            name,
            role,
            ifindex: None,
            running: false,
            mac: None,
            is_point_to_point: false,
            addresses: AddressTable::default(),
            io: None,
            neighbors: BTreeMap::new(),
            failure: None,
            routers: Vec::new(),
            requested: false,
            swept: false,
            changed: true,
            touched: Vec::new(),
            vips: BTreeMap::new(),
            own_changed: true,
            groups_uncertain: false,
            primaries: [Primary::Missing; 2],
            own: Vec::new(),
            seen: false,
        }
    }

    /// Returns whether the interface exists, is up and has a carrier.
    pub(crate) fn link_state(&self) -> Result<(), Fault> {
        self.ifindex.ok_or(Fault::NoInterface)?;
        if self.running { Ok(()) } else { Err(Fault::InterfaceDown) }
    }

    /// Returns the header that the link's frames start with, or `None` if the XDP program cannot
    /// parse them: InfiniBand, or a GRE interface without a remote address, whose frames start with
    /// the outer header.
    pub(crate) fn framing(&self) -> Option<Framing> {
        match self.mac {
            Some(_) => Some(Framing::Ethernet),
            None => self.is_point_to_point.then_some(Framing::Bare),
        }
    }

    /// Returns whether adverts of a family can be sent and received: multicast ones only with an
    /// Ethernet address.
    pub(crate) fn io_state(&self, family: Family, is_unicast: bool) -> Result<(), Fault> {
        let is_parsed = match self.framing() {
            Some(Framing::Ethernet) => true,
            Some(Framing::Bare) => is_unicast,
            None => false,
        };
        if self.ifindex.is_some() && !is_parsed {
            return Err(Fault::NoHardwareAddress);
        }
        let io = self.io.as_ref().ok_or(Fault::NotAttached)?;
        if io.detached_at.is_some() || self.unjoined(family).is_some() {
            Err(Fault::NotReceiving)
        } else {
            Ok(())
        }
    }

    /// Returns why the multicast group of a family cannot be joined.
    pub(crate) fn unjoined(&self, family: Family) -> Option<&str> {
        let unjoined = &self.io.as_ref()?.unjoined;
        unjoined.iter().find(|(other, _)| *other == family).map(|(_, reason)| reason.as_str())
    }

    /// Returns whether addresses can be added to the link. A macvlan is up only while its router is
    /// master.
    pub(crate) fn address_state(&self) -> Result<(), Fault> {
        let ready = self.is_virtual_mac() || (self.running && self.io.is_some());
        if self.ifindex.is_some() && ready { Ok(()) } else { Err(Fault::AddressInterface) }
    }

    /// Returns the source of adverts: `source` where one is configured, else the first IPv4 or
    /// link-local IPv6 address that is not a VIP.
    pub(crate) fn primary(&self, family: Family, source: Option<IpAddr>) -> Primary {
        match source {
            Some(source) => Primary::configured(&self.addresses, source),
            None => self.primaries[slot(family)],
        }
    }

    /// Reselects the primary addresses if they may have changed. Returns whether they were
    /// reselected.
    pub(crate) fn refresh_primaries(&mut self) -> bool {
        if !std::mem::take(&mut self.own_changed) {
            return false;
        }
        let is_virtual = |address: IpAddr| self.vips.get(&address).is_some_and(|vip| !vip.is_own);
        let select = |family| Primary::select(&self.addresses, family, is_virtual);
        let former = std::mem::replace(&mut self.primaries, [select(Family::V4), select(Family::V6)]);
        let is_own = |primary: &Primary| matches!(primary, Primary::Own(_));
        self.groups_uncertain |=
            former.iter().zip(&self.primaries).any(|(former, now)| !is_own(former) && is_own(now));
        let own = self.addresses.iter().filter(|own| own.address.is_ipv4() && !is_virtual(own.address));
        self.own = own.copied().collect();
        true
    }

    /// Returns whether to renew its group memberships: it is open, and since the last call it came
    /// up, got or lost an address of its own, or was read again. The kernel leaves all groups when
    /// it removes IPv4 or IPv6 from an interface (an MTU below 68 or 1280), and all addresses with
    /// them.
    pub(crate) fn take_groups_uncertain(&mut self) -> bool {
        self.io.is_some() && std::mem::take(&mut self.groups_uncertain)
    }

    /// Returns whether removing this address would also remove the interface's primary address,
    /// which vipd did not add.
    pub(crate) fn is_protected(&self, found: &Address) -> bool {
        !self.addresses.is_ours(found)
            && (self.primaries[slot(Family::of(found.address))] == Primary::Virtual(found.address)
                || dependent(found, &self.own).is_some())
    }

    /// Returns whether the interface would lose its primary address with this VIP.
    pub(crate) fn conflicts(&self, vip: IpAddr) -> bool {
        self.addresses.entries(vip).any(|found| self.is_protected(found))
    }

    /// Returns whether its interface exists, and the service has neither opened it nor failed to.
    pub(crate) fn is_opening(&self) -> bool {
        self.ifindex.is_some() && self.io.is_none() && self.failure.is_none() && !self.is_virtual_mac()
    }

    /// Returns whether it is a macvlan of vipd's own.
    pub(crate) fn is_virtual_mac(&self) -> bool {
        matches!(self.role, LinkRole::VirtualMac { .. })
    }

    /// Registers a router that has these virtual addresses on this link.
    pub(crate) fn add_router(
        &mut self,
        router: RouterId,
        is_owner: bool,
        vips: impl Iterator<Item = IpAddr>,
    ) {
        self.routers.push(router);
        for vip in vips {
            let vip = self.vips.entry(vip).or_default();
            vip.routers.push(router);
            vip.is_own |= is_owner;
        }
        (self.changed, self.own_changed) = (true, true);
    }

    /// Removes a router.
    pub(crate) fn remove_router(&mut self, router: RouterId) {
        self.routers.retain(|other| *other != router);
        self.touched.retain(|other| *other != router);
        self.vips.retain(|_, vip| {
            vip.routers.retain(|other| *other != router);
            !vip.routers.is_empty()
        });
        (self.changed, self.own_changed) = (true, true);
    }

    /// Returns the routers that have this virtual address on this link.
    pub(crate) fn routers_of(&self, vip: IpAddr) -> &[RouterId] {
        self.vips.get(&vip).map_or(&[], |vip| vip.routers.as_slice())
    }

    /// Returns the mode of the XDP program, while it is attached.
    pub(crate) fn mode(&self) -> Option<Mode> {
        self.io.as_ref().filter(|io| io.detached_at.is_none()).and_then(|io| io.mode)
    }

    fn created(&mut self, ifindex: u32) {
        // Unchanged if its parent was opened again for another macvlan.
        self.changed |= self.ifindex != Some(ifindex);
        self.ifindex = Some(ifindex);
        self.failure = None;
        self.requested = false;
    }

    fn address_changed(&mut self, address: Address, present: bool) {
        let vip = self.vips.get(&address.address);
        self.touched.extend(vip.into_iter().flat_map(|vip| &vip.routers));
        // A VIP matters for the primary address only where the interface has no other.
        let primary = self.primaries[slot(Family::of(address.address))];
        self.groups_uncertain |= !present && vip.is_none_or(|vip| vip.is_own);
        self.own_changed |= vip.is_none_or(|vip| vip.is_own) || !matches!(primary, Primary::Own(_));
        if present {
            self.addresses.insert(address);
        } else {
            self.addresses.remove(address.address, address.prefix);
        }
    }

    fn link_changed(&mut self, link: &crate::netlink::Link) -> Option<Gone> {
        self.seen = true;
        let gone = self.ifindex.filter(|ifindex| *ifindex != link.ifindex).and_then(|_| self.gone());
        self.groups_uncertain |= link.running && !self.running;
        self.changed |= self.ifindex != Some(link.ifindex)
            || (self.running, self.mac) != (link.running, link.mac)
            || self.is_point_to_point != link.is_point_to_point;
        self.ifindex = Some(link.ifindex);
        self.running = link.running;
        self.mac = link.mac;
        self.is_point_to_point = link.is_point_to_point;
        gone
    }

    /// Records that the interface was deleted or renamed.
    fn gone(&mut self) -> Option<Gone> {
        let ifindex = self.ifindex.take()?;
        self.running = false;
        let ours = self.addresses.iter().filter(|found| self.addresses.is_ours(found));
        let stale = ours.copied().collect();
        self.addresses.clear();
        self.neighbors.clear();
        self.failure = None;
        self.requested = false;
        self.swept = false;
        (self.changed, self.own_changed) = (true, true);
        Some(Gone { ifindex, stale, io: self.io.take() })
    }
}

fn slot(family: Family) -> usize {
    usize::from(family == Family::V6)
}

/// The remains of an interface that was deleted or renamed.
pub(crate) struct Gone {
    pub(crate) ifindex: u32,
    /// vipd's addresses on the interface: a renamed interface still has them.
    pub(crate) stale: Vec<Address>,
    /// Link I/O for the service to drop.
    pub(crate) io: Option<LinkIo>,
}

/// All links, by identity, by interface index and by name.
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
    /// Adds a link whose interface is not known yet.
    pub(crate) fn add(&mut self, link: Link) -> LinkId {
        let name = link.name.clone();
        let id = self.slab.insert(link);
        self.by_name.insert(name, id);
        id
    }

    /// Returns the link of this name, which is added if it is new. A link that only carried
    /// addresses takes the more demanding role.
    pub(crate) fn find_or_add(&mut self, name: &str, role: LinkRole) -> LinkId {
        let Some(id) = self.by_name.get(name).copied() else {
            return self.add(Link::new(name.to_owned(), role));
        };
        if role == LinkRole::Vrrp
            && let Some(link) = self.slab.get_mut(id)
            && link.role == LinkRole::AddressOnly
        {
            link.role = role;
        }
        id
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.slab.remove(id)?;
        self.by_name.remove(&link.name);
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

    /// Returns the number of slots of the table, for loops that change links while iterating.
    pub(crate) fn slots(&self) -> usize {
        self.slab.slots()
    }

    pub(crate) fn id_at(&self, slot: usize) -> Option<LinkId> {
        self.slab.id_at(slot)
    }

    /// Records that the service has created the macvlan of a link, with this name and index.
    pub(crate) fn macvlan_created(&mut self, id: LinkId, name: String, ifindex: u32) {
        let Some(link) = self.slab.get_mut(id) else { return };
        let (former, former_name) = (link.ifindex, std::mem::replace(&mut link.name, name.clone()));
        link.created(ifindex);
        self.by_name.remove(&former_name);
        self.by_name.insert(name, id);
        self.forget_ifindex(id, former);
        self.by_ifindex.insert(ifindex, id);
    }

    /// Applies a notification. Returns the links that lost their interface: two if an interface was
    /// renamed to the name of another link.
    pub(crate) fn apply(&mut self, notice: &Notice) -> [Option<(LinkId, Gone)>; 2] {
        match notice {
            Notice::Link(link) => {
                // An interface with a known index and a different name was renamed, so the link
                // with the old name has lost it.
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

    /// Removes an index that a link no longer has, unless another link has it by now.
    fn forget_ifindex(&mut self, id: LinkId, ifindex: Option<u32>) {
        if let Some(ifindex) = ifindex
            && self.by_ifindex.get(&ifindex) == Some(&id)
        {
            self.by_ifindex.remove(&ifindex);
        }
    }

    /// Removes the state of neighbors that are no longer unicast peers (sorted).
    pub(crate) fn retain_neighbors(&mut self, peers: &[IpAddr]) {
        for (_, link) in self.slab.iter_mut() {
            link.neighbors.retain(|address, _| peers.binary_search(address).is_ok());
        }
    }

    /// Marks all links as not yet seen, before the links of a full dump are inserted.
    pub(crate) fn begin_dump(&mut self) {
        for (_, link) in self.slab.iter_mut() {
            link.seen = false;
            link.changed = true;
            link.groups_uncertain = true;
        }
    }

    /// Removes the interfaces that a full dump did not list, and clears all addresses. Called
    /// between the links and the addresses of the dump. An unlisted interface is gone only if
    /// `exists` agrees: a message that could not be parsed must not make an interface disappear.
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

    /// Completes a full dump. Called after its addresses were inserted.
    pub(crate) fn end_dump(&mut self) {
        for (_, link) in self.slab.iter_mut() {
            link.addresses.end_dump();
            link.own_changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::id::Id as _;
    use crate::netlink;

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
    fn a_renamed_interface_is_gone_under_its_old_name() {
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

    /// Each case lists the expected state for multicast and for unicast. Neither link has been
    /// opened.
    #[test]
    fn unicast_needs_no_ethernet_address_on_a_point_to_point_interface() {
        let (mut links, eth0, _) = links();
        let (opens, cannot) = (Err(Fault::NotAttached), Err(Fault::NoHardwareAddress));
        for (mac, is_point_to_point, framing, states) in [
            (Some([2; 6]), false, Some(Framing::Ethernet), [opens, opens]),
            (None, true, Some(Framing::Bare), [cannot, opens]),
            (None, false, None, [cannot, cannot]),
        ] {
            links.apply(&with_mac(5, "eth0", mac, is_point_to_point));
            let link = links.get(eth0).expect("it was added");
            assert_eq!(link.framing(), framing);
            assert_eq!([false, true].map(|is_unicast| link.io_state(Family::V4, is_unicast)), states);
        }
    }

    #[test]
    fn groups_are_uncertain_after_the_loss_of_an_own_address_and_after_a_dump() {
        let (mut links, eth0, _) = links();
        let vip: IpAddr = [192, 0, 2, 50].into();
        links.get_mut(eth0).expect("it exists").add_router(RouterId::new(0, 0), false, [vip].into_iter());
        links.apply(&notice(5, "eth0"));
        let mut is_uncertain = |cause: &dyn Fn(&mut Links)| {
            links.get_mut(eth0).expect("it exists").groups_uncertain = false;
            cause(&mut links);
            let link = links.get_mut(eth0).expect("it exists");
            assert!(!link.take_groups_uncertain(), "it is not open");
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
    fn two_interfaces_that_swap_their_names_swap_their_links() {
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
    fn names_that_were_swapped_before_a_dump_close_both_links() {
        let (mut links, eth0, eth1) = links();
        for found in [notice(5, "eth0"), notice(6, "eth1")] {
            assert_eq!(all_gone(&mut links, &found), []);
        }
        links.begin_dump();
        assert_eq!(all_gone(&mut links, &notice(5, "eth1")), [(eth0, 5), (eth1, 6)]);
        assert_eq!(all_gone(&mut links, &notice(6, "eth0")), []);
        let unnamed = links.end_links(|_, _| panic!("both are in the dump"));
        assert!(unnamed.is_empty());
        assert_eq!(indices(&links), [Some(6), Some(5)]);
    }

    #[test]
    fn a_replaced_interface_of_the_same_name_is_found_by_its_new_index() {
        let (mut links, eth0, _) = links();
        links.apply(&notice(5, "eth0"));
        assert_eq!(gone(&mut links, &notice(9, "eth0")), Some((eth0, 5)));
        assert_eq!(
            gone(&mut links, &Notice::LinkGone { ifindex: 5 }),
            None,
            "the late notice of the old one"
        );
        assert_eq!(indices(&links), [Some(9), None]);
        links.remove(eth0);
        assert_eq!(gone(&mut links, &notice(9, "eth0")), None);
        assert_ne!(links.find_or_add("eth0", LinkRole::Vrrp), eth0);
    }
}
