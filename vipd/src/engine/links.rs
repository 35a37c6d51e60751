//! The links of the configuration, as netlink reports them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::address_table::AddressTable;
use super::id::{LinkId, RouterId, Slab};
use super::link_io::LinkIo;
use super::ownership::{Primary, dependent};
use crate::netlink::{Address, Notice};
use crate::vrrp::{Family, Fault};
use crate::xdp::Mode;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkRole {
    /// Adverts are sent and received on it.
    Vrrp,
    /// It only carries virtual addresses (`dev`).
    AddressOnly,
    /// It is the macvlan with the virtual MAC of this router; vipd creates it.
    VirtualMac { router: RouterId, parent: LinkId },
}

/// A configured VIP of a link.
#[derive(Debug, Default)]
struct Vip {
    routers: Vec<RouterId>,
    /// One of them owns its addresses (priority 255): it is the interface's own.
    is_own: bool,
}

/// A link of the configuration, and the interface that has its name at present.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not the states of one machine")]
pub(crate) struct Link {
    /// Name of the interface; of a macvlan, a description until it is created.
    pub(crate) name: String,
    pub(crate) role: LinkRole,
    /// Index, while there is an interface of that name.
    pub(crate) ifindex: Option<u32>,
    /// Up and with a carrier.
    pub(crate) running: bool,
    /// Ethernet address; none on links of other kinds.
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) addresses: AddressTable,
    /// Its sockets and XDP attachment, once the service has opened it.
    pub(crate) io: Option<LinkIo>,
    /// Why it could not be opened.
    pub(crate) failure: Option<String>,
    /// The routers whose adverts or addresses are on it.
    pub(crate) routers: Vec<RouterId>,
    /// The service was asked to open it. After a failure the service retries by itself.
    pub(crate) requested: bool,
    /// Stale VIPs of a former run were removed.
    pub(crate) swept: bool,
    /// Something has changed that may concern all its routers.
    pub(crate) changed: bool,
    /// Routers that a change of one of their addresses concerns.
    pub(crate) touched: Vec<RouterId>,
    /// The configured VIPs that may be on it.
    vips: BTreeMap<IpAddr, Vip>,
    /// Its primary addresses may be others now.
    own_changed: bool,
    /// Primary address of IPv4 and of IPv6.
    primaries: [Primary; 2],
    /// Its own IPv4 addresses: those that are no VIPs.
    own: Vec<Address>,
    /// The current dump has named it.
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
            addresses: AddressTable::default(),
            io: None,
            failure: None,
            routers: Vec::new(),
            requested: false,
            swept: false,
            changed: true,
            touched: Vec::new(),
            vips: BTreeMap::new(),
            own_changed: true,
            primaries: [Primary::Missing; 2],
            own: Vec::new(),
            seen: false,
        }
    }

    /// Whether the interface exists, is up and has a carrier.
    pub(crate) fn link_state(&self) -> Result<(), Fault> {
        self.ifindex.ok_or(Fault::NoInterface)?;
        if self.running { Ok(()) } else { Err(Fault::InterfaceDown) }
    }

    /// Whether adverts can be sent and received.
    pub(crate) fn io_state(&self, is_multicast: bool) -> Result<(), Fault> {
        if self.ifindex.is_some() && self.mac.is_none() && is_multicast {
            return Err(Fault::NoHardwareAddress);
        }
        let io = self.io.as_ref().ok_or(Fault::NotAttached)?;
        if io.is_detached { Err(Fault::NotReceiving) } else { Ok(()) }
    }

    /// Whether addresses can be added to it. A macvlan is up only while its router is master.
    pub(crate) fn address_state(&self) -> Result<(), Fault> {
        let ready = self.is_virtual_mac() || (self.running && self.io.is_some());
        if self.ifindex.is_some() && ready { Ok(()) } else { Err(Fault::AddressInterface) }
    }

    /// The source of adverts: `source` where one is configured, else the first IPv4 or link-local
    /// IPv6 address that is no VIP.
    pub(crate) fn primary(&self, family: Family, source: Option<IpAddr>) -> Primary {
        match source {
            Some(source) => Primary::configured(&self.addresses, source),
            None => self.primaries[slot(family)],
        }
    }

    /// Selects the primary addresses again if they may be others now. Returns whether that was the
    /// case.
    pub(crate) fn refresh_primaries(&mut self) -> bool {
        if !std::mem::take(&mut self.own_changed) {
            return false;
        }
        let is_virtual = |address: IpAddr| self.vips.get(&address).is_some_and(|vip| !vip.is_own);
        let select = |family| Primary::select(&self.addresses, family, is_virtual);
        self.primaries = [select(Family::V4), select(Family::V6)];
        let own = self.addresses.iter().filter(|own| own.address.is_ipv4() && !is_virtual(own.address));
        self.own = own.copied().collect();
        true
    }

    /// Whether the interface would lose its primary address with this one, which vipd did not add.
    pub(crate) fn is_protected(&self, found: &Address) -> bool {
        !self.addresses.is_ours(found)
            && (self.primaries[slot(Family::of(found.address))] == Primary::Virtual(found.address)
                || dependent(found, &self.own).is_some())
    }

    /// Whether the interface would lose its primary address with this VIP.
    pub(crate) fn conflicts(&self, vip: IpAddr) -> bool {
        self.addresses.entries(vip).any(|found| self.is_protected(found))
    }

    /// Whether its interface exists, and the service has neither opened it nor failed to.
    pub(crate) fn is_opening(&self) -> bool {
        self.ifindex.is_some() && self.io.is_none() && self.failure.is_none() && !self.is_virtual_mac()
    }

    /// Whether it is a macvlan of vipd's own.
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

    /// Forgets a router.
    pub(crate) fn remove_router(&mut self, router: RouterId) {
        self.routers.retain(|other| *other != router);
        self.touched.retain(|other| *other != router);
        self.vips.retain(|_, vip| {
            vip.routers.retain(|other| *other != router);
            !vip.routers.is_empty()
        });
        (self.changed, self.own_changed) = (true, true);
    }

    /// The routers that have this virtual address on this link.
    pub(crate) fn routers_of(&self, vip: IpAddr) -> &[RouterId] {
        self.vips.get(&vip).map_or(&[], |vip| vip.routers.as_slice())
    }

    /// Mode of the XDP program, while it is attached.
    pub(crate) fn mode(&self) -> Option<Mode> {
        self.io.as_ref().filter(|io| !io.is_detached).and_then(|io| io.mode)
    }

    /// The service has created the macvlan, under this name and index.
    pub(crate) fn created(&mut self, name: String, ifindex: u32) {
        // Unchanged if its parent was opened again for another macvlan.
        self.changed |= self.ifindex != Some(ifindex);
        self.name = name;
        self.ifindex = Some(ifindex);
        self.requested = false;
    }

    fn address_changed(&mut self, address: Address, present: bool) {
        let vip = self.vips.get(&address.address);
        self.touched.extend(vip.into_iter().flat_map(|vip| &vip.routers));
        // A VIP matters for the primary address only where the interface has no other.
        let primary = self.primaries[slot(Family::of(address.address))];
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
        self.changed |=
            self.ifindex != Some(link.ifindex) || self.running != link.running || self.mac != link.mac;
        self.ifindex = Some(link.ifindex);
        self.running = link.running;
        self.mac = link.mac;
        gone
    }

    /// The interface was deleted or renamed.
    fn gone(&mut self) -> Option<Gone> {
        let ifindex = self.ifindex.take()?;
        self.running = false;
        let ours = self.addresses.iter().filter(|found| self.addresses.is_ours(found));
        let stale = ours.copied().collect();
        self.addresses.clear();
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

/// What an interface that was deleted or renamed leaves behind.
pub(crate) struct Gone {
    pub(crate) ifindex: u32,
    /// vipd's addresses on it: a renamed interface still has them.
    pub(crate) stale: Vec<Address>,
    /// For the service to drop.
    pub(crate) io: Option<LinkIo>,
}

/// All links, by identity, by interface index and by name.
pub(crate) struct Links(Slab<LinkId, Link>);

impl Default for Links {
    fn default() -> Self {
        Self(Slab::new())
    }
}

impl Links {
    pub(crate) fn add(&mut self, link: Link) -> LinkId {
        self.0.insert(link)
    }

    /// The link of this name, which is added if it is new. One that only carried addresses takes the more demanding role.
    pub(crate) fn find_or_add(&mut self, name: &str, role: LinkRole) -> LinkId {
        let found = self.0.iter_mut().find(|(_, link)| link.name == name && !link.is_virtual_mac());
        if let Some((id, link)) = found {
            if link.role == LinkRole::AddressOnly && role == LinkRole::Vrrp {
                link.role = role;
            }
            return id;
        }
        self.add(Link::new(name.to_owned(), role))
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Link> {
        self.0.remove(id)
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.0.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.0.get_mut(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> + Clone {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut Link)> {
        self.0.iter_mut()
    }

    /// Slots of the table, for loops that change links on their way.
    pub(crate) fn slots(&self) -> usize {
        self.0.slots()
    }

    pub(crate) fn id_at(&self, slot: usize) -> Option<LinkId> {
        self.0.id_at(slot)
    }

    /// The link whose interface has this index.
    pub(crate) fn by_ifindex(&mut self, ifindex: u32) -> Option<&mut Link> {
        self.0.iter_mut().map(|(_, link)| link).find(|link| link.ifindex == Some(ifindex))
    }

    fn find(&self, matches: impl Fn(&Link) -> bool) -> Option<LinkId> {
        self.0.iter().find(|(_, link)| matches(link)).map(|(id, _)| id)
    }

    /// Applies a notice. Returns the link whose interface is gone by it, if any.
    pub(crate) fn apply(&mut self, notice: &Notice) -> Option<(LinkId, Gone)> {
        match notice {
            Notice::Link(link) => {
                // An interface with this index under another name was renamed, and is gone under the old one.
                let renamed =
                    self.find(|known| known.ifindex == Some(link.ifindex) && known.name != link.name);
                let gone = renamed.and_then(|id| Some((id, self.get_mut(id)?.gone()?)));
                let Some(id) = self.find(|known| known.name == link.name) else { return gone };
                let replaced = self.get_mut(id)?.link_changed(link).map(|gone| (id, gone));
                gone.or(replaced)
            }
            Notice::LinkGone { ifindex } => {
                let id = self.find(|link| link.ifindex == Some(*ifindex))?;
                Some((id, self.get_mut(id)?.gone()?))
            }
            Notice::Address(address) => {
                self.by_ifindex(address.ifindex)?.address_changed(*address, true);
                None
            }
            Notice::AddressGone(address) => {
                self.by_ifindex(address.ifindex)?.address_changed(*address, false);
                None
            }
        }
    }

    /// Before the links of a full dump.
    pub(crate) fn begin_dump(&mut self) {
        for (_, link) in self.0.iter_mut() {
            link.seen = false;
            link.changed = true;
        }
    }

    /// Between the links and the addresses of a full dump. Interfaces that it did not name are gone if `exists` agrees: a
    /// message that could not be parsed must not make an interface disappear. Addresses are read again.
    pub(crate) fn end_links(&mut self, exists: impl Fn(u32, &str) -> bool) -> Vec<(LinkId, Gone)> {
        let mut all = Vec::new();
        for (id, link) in self.0.iter_mut() {
            let known = link.ifindex.is_some_and(|ifindex| exists(ifindex, &link.name));
            if !link.seen && !known {
                all.extend(link.gone().map(|gone| (id, gone)));
            }
            link.addresses.begin_dump();
        }
        all
    }

    /// After the addresses of a full dump.
    pub(crate) fn end_dump(&mut self) {
        for (_, link) in self.0.iter_mut() {
            link.addresses.end_dump();
            link.own_changed = true;
        }
    }
}
