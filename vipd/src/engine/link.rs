//! A link of the configuration, and the interface that currently has its name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::address_table::AddressTable;
use super::id::{LinkId, RouterId};
use super::link_io::LinkIo;
use super::ownership::{Primary, dependent};
use super::unicast_peer::Neighbor;
use crate::netlink::{self, Address};
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
    pub(super) own_changed: bool,
    /// The kernel may have left VRRP's groups on the link.
    pub(super) groups_uncertain: bool,
    /// Primary address of IPv4 and of IPv6.
    primaries: [Primary; 2],
    /// IPv4 addresses of the link that are not VIPs.
    own: Vec<Address>,
    /// The current dump has listed the link.
    pub(super) seen: bool,
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

    pub(super) fn created(&mut self, ifindex: u32) {
        // Unchanged if its parent was opened again for another macvlan.
        self.changed |= self.ifindex != Some(ifindex);
        self.ifindex = Some(ifindex);
        self.failure = None;
        self.requested = false;
    }

    pub(super) fn address_changed(&mut self, address: Address, present: bool) {
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

    pub(super) fn link_changed(&mut self, link: &netlink::Link) -> Option<Gone> {
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
    pub(super) fn gone(&mut self) -> Option<Gone> {
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
