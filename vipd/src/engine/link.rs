//! A configured link and the state of the interface that currently has its name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::address_table::AddressTable;
use super::id::{LinkId, RouterId};
use super::link_io::LinkIo;
use super::ownership::{Primary, dependent};
use super::reattachment::Reattachment;
use super::unicast_peer::Neighbor;
use crate::netlink::{self, Address};
use crate::vrrp::{Family, Fault};
use crate::xdp::{Framing, Mode, Position};

/// The purpose of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkRole {
    /// The link sends and receives adverts.
    Vrrp,
    /// The link is used for VIPs (`dev`), and possibly for routes, but not for adverts.
    AddressOnly,
    /// The link is used only for routes (`dev`). The service does not open it.
    RouteOnly,
    /// The link is a macvlan that vipd creates for the virtual MAC of this router.
    VirtualMac { router: RouterId, parent: LinkId },
}

/// A configured VIP on a link.
#[derive(Debug, Default)]
struct Vip {
    routers: Vec<RouterId>,
    /// Whether one of the routers is the address owner (priority 255), in which case the VIP is the
    /// interface's own address.
    is_own: bool,
}

/// A configured link and the state of the interface that currently has its name.
#[expect(clippy::struct_excessive_bools, reason = "independent flags, not the states of one state machine")]
pub(crate) struct Link {
    /// Interface name, or a description of a macvlan that has not been created yet.
    pub(crate) name: String,
    pub(crate) role: LinkRole,
    /// Interface index, or `None` if no interface has this name.
    pub(crate) ifindex: Option<u32>,
    /// Whether the interface is up and has a carrier.
    pub(crate) running: bool,
    /// Ethernet address, or `None` if the interface has none.
    pub(crate) mac: Option<[u8; 6]>,
    is_point_to_point: bool,
    pub(crate) addresses: AddressTable,
    /// Sockets and XDP attachment of the link, once the service has opened it.
    pub(crate) io: Option<LinkIo>,
    /// Schedule for attaching the BPF program again after it was lost.
    pub(super) reattachment: Reattachment,
    /// Unicast peers that are in the same subnet as the source of the adverts sent to them.
    pub(crate) neighbors: BTreeMap<IpAddr, Neighbor>,
    /// Why the link could not be opened, or why the macvlan could not be created.
    pub(crate) failure: Option<String>,
    /// Routers that use the link for adverts, addresses or routes.
    pub(crate) routers: Vec<RouterId>,
    /// Whether opening the link has been requested. After a failure, the service retries on its
    /// own.
    pub(crate) requested: bool,
    /// Whether the link has been swept for stale VIPs, which stem from a previous run or from a
    /// router that a reload has removed.
    pub(crate) swept: bool,
    /// Whether there was a change that may affect all routers of the link.
    pub(crate) changed: bool,
    /// Routers whose addresses have changed.
    pub(crate) touched: Vec<RouterId>,
    /// Configured VIPs that may be on the link.
    vips: BTreeMap<IpAddr, Vip>,
    /// Whether the link's primary addresses may have changed.
    pub(super) own_changed: bool,
    /// Whether the kernel may have dropped the link's membership in the VRRP groups.
    pub(super) groups_uncertain: bool,
    /// Whether the kernel may have removed routes that use the link.
    pub(super) routes_uncertain: bool,
    /// The primary IPv4 and IPv6 addresses.
    primaries: [Primary; 2],
    /// IPv4 addresses that belong to the interface itself.
    own: Vec<Address>,
    /// Whether the current dump has listed the link.
    pub(super) seen: bool,
    /// Whether the interface has been searched for since the link was added.
    pub(super) is_looked_up: bool,
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
            reattachment: Reattachment::default(),
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
            routes_uncertain: false,
            primaries: [Primary::Missing; 2],
            own: Vec::new(),
            seen: false,
            is_looked_up: false,
        }
    }

    /// Checks that the interface exists, is up and has a carrier.
    pub(crate) fn link_state(&self) -> Result<(), Fault> {
        self.ifindex.ok_or(Fault::NoInterface)?;
        if self.running { Ok(()) } else { Err(Fault::InterfaceDown) }
    }

    /// Returns the header with which the link's frames start, or `None` if the BPF program cannot
    /// parse the frames. This applies to InfiniBand interfaces, for example, and to GRE interfaces
    /// without a remote address, whose frames start with the outer header.
    pub(crate) fn framing(&self) -> Option<Framing> {
        match self.mac {
            Some(_) => Some(Framing::Ethernet),
            None => self.is_point_to_point.then_some(Framing::Bare),
        }
    }

    /// Checks that adverts of a router can be sent and received. Multicast requires an Ethernet
    /// address.
    pub(crate) fn io_state(&self, router: RouterId, family: Family, is_unicast: bool) -> Result<(), Fault> {
        let is_parsed = match self.framing() {
            Some(Framing::Ethernet) => true,
            Some(Framing::Bare) => is_unicast,
            None => false,
        };
        if self.ifindex.is_some() && !is_parsed {
            return Err(Fault::NoHardwareAddress);
        }
        let serves = |io: &&LinkIo| io.routers.contains(&router);
        let io = self.io.as_ref().filter(serves).ok_or(Fault::NotAttached)?;
        if io.detached_at.is_some() || self.unjoined(family, is_unicast).is_some() {
            Err(Fault::NotReceiving)
        } else {
            Ok(())
        }
    }

    /// Returns why the multicast group of a family could not be joined, or `None` if no join failed
    /// or the group is not needed.
    fn unjoined(&self, family: Family, is_unicast: bool) -> Option<&str> {
        if is_unicast {
            return None;
        }
        let unjoined = &self.io.as_ref()?.unjoined;
        unjoined.iter().find(|(other, _)| *other == family).map(|(_, reason)| reason.as_str())
    }

    /// Returns why a router's adverts cannot be sent or received, or why an open link could not be
    /// opened again, in which case the routers that it already served continue. Returns `None` if
    /// there is no failure or the failure needs no description.
    pub(crate) fn failure(&self, family: Family, is_unicast: bool) -> Option<String> {
        let known = self.failure.clone().or_else(|| self.unjoined(family, is_unicast).map(str::to_owned));
        known.or_else(|| {
            let io = self.io.as_ref().filter(|io| io.detached_at.is_some())?;
            let position = io.attachment.as_ref()?.position();
            (position == Position::Behind).then(|| {
                format!("another program runs before vipd's BPF program at TC ingress of {}", self.name)
            })
        })
    }

    /// Checks that addresses can be added to the link. A macvlan may be down, because it is up only
    /// while its router is master.
    pub(crate) fn address_state(&self) -> Result<(), Fault> {
        let ready = self.is_virtual_mac() || (self.running && self.io.is_some());
        if self.ifindex.is_some() && ready { Ok(()) } else { Err(Fault::AddressInterface) }
    }

    /// Returns the source of adverts: the configured `source` if there is one, otherwise the first
    /// IPv4 or link-local IPv6 address that is not a VIP, or is a VIP of an address owner.
    pub(crate) fn primary(&self, family: Family, source: Option<IpAddr>) -> Primary {
        match source {
            Some(source) => Primary::configured(&self.addresses, source),
            None => self.primaries[slot(family)],
        }
    }

    /// Selects the primary addresses again, if they may have changed. Returns whether a new
    /// selection was made.
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

    /// Returns whether the link is open and its group memberships must be renewed. The memberships
    /// must be renewed if, since the last call, the link came up, gained a primary address or lost
    /// an address of its own, or a full dump began. When the kernel disables IPv4 or IPv6 on an
    /// interface (for example because the interface's MTU falls below 68 or 1280), the kernel
    /// removes the addresses and drops all memberships.
    pub(crate) fn take_groups_uncertain(&mut self) -> bool {
        self.io.is_some() && std::mem::take(&mut self.groups_uncertain)
    }

    /// Returns whether an address must not be removed: vipd did not add it, and its removal would
    /// make the interface lose its primary address or one of its own addresses that is secondary to
    /// the removed address.
    pub(crate) fn is_protected(&self, found: &Address) -> bool {
        !self.addresses.is_ours(found)
            && (self.primaries[slot(Family::of(found.address))] == Primary::Virtual(found.address)
                || dependent(found, &self.own).is_some())
    }

    /// Returns whether removing this VIP would make the interface lose its primary address, or
    /// one of its own addresses that is secondary to the VIP.
    pub(crate) fn conflicts(&self, vip: IpAddr) -> bool {
        self.addresses.entries(vip).any(|found| self.is_protected(found))
    }

    /// Returns whether the service has yet to complete its first attempt to open the link since the
    /// interface appeared. Also true until the interface has been searched for; false if it does
    /// not exist, and always false for a macvlan.
    pub(crate) fn is_opening(&self) -> bool {
        let may_exist = self.ifindex.is_some() || !self.is_looked_up;
        may_exist && self.io.is_none() && self.failure.is_none() && !self.is_virtual_mac()
    }

    /// Returns whether the link is being opened again for a router that was added.
    pub(crate) fn is_opening_for(&self, router: RouterId) -> bool {
        let is_served = |io: &LinkIo| io.routers.contains(&router);
        self.failure.is_none() && self.io.as_ref().is_some_and(|io| !is_served(io))
    }

    /// Returns whether the service opens the link for adverts or announcements. The service creates
    /// a macvlan when it opens the macvlan's parent.
    pub(crate) fn is_opened(&self) -> bool {
        matches!(self.role, LinkRole::Vrrp | LinkRole::AddressOnly)
    }

    /// Returns whether the link is a macvlan created by vipd.
    pub(crate) fn is_virtual_mac(&self) -> bool {
        matches!(self.role, LinkRole::VirtualMac { .. })
    }

    /// Registers a router that uses this link, and the router's VIPs on this link.
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

    /// Unregisters a router.
    pub(crate) fn remove_router(&mut self, router: RouterId) {
        self.routers.retain(|other| *other != router);
        self.touched.retain(|other| *other != router);
        self.vips.retain(|_, vip| {
            vip.routers.retain(|other| *other != router);
            !vip.routers.is_empty()
        });
        (self.changed, self.own_changed) = (true, true);
    }

    /// Returns the routers that have this VIP on this link.
    pub(crate) fn routers_of(&self, vip: IpAddr) -> &[RouterId] {
        self.vips.get(&vip).map_or(&[], |vip| vip.routers.as_slice())
    }

    /// Returns the mode of the BPF program; `None` unless it is attached and first at its hook.
    pub(crate) fn mode(&self) -> Option<Mode> {
        self.io.as_ref().filter(|io| io.detached_at.is_none()).and_then(|io| io.mode)
    }

    /// Returns whether routes that use the link must be checked. The routes must be checked if,
    /// since the last call, the link's interface appeared, came up, went down or was replaced (also
    /// by a macvlan with the link's name). The same applies if, since the last call, the interface
    /// lost its last IPv4 address or an address of its own (any address that is not a VIP, or an
    /// owner's VIP).
    pub(crate) fn take_routes_uncertain(&mut self) -> bool {
        std::mem::take(&mut self.routes_uncertain)
    }

    pub(super) fn created(&mut self, ifindex: u32) {
        // The macvlan may already be known if its parent was opened again for another macvlan.
        self.changed |= self.ifindex != Some(ifindex);
        self.ifindex = Some(ifindex);
        self.failure = None;
        self.requested = false;
    }

    pub(super) fn address_changed(&mut self, address: Address, present: bool) {
        let vip = self.vips.get(&address.address);
        self.touched.extend(vip.into_iter().flat_map(|vip| &vip.routers));
        // A VIP affects the primary address only if the interface has no address of its own.
        let primary = self.primaries[slot(Family::of(address.address))];
        let is_own_lost = !present && vip.is_none_or(|vip| vip.is_own);
        self.groups_uncertain |= is_own_lost;
        self.routes_uncertain |= is_own_lost;
        self.own_changed |= vip.is_none_or(|vip| vip.is_own) || !matches!(primary, Primary::Own(_));
        if present {
            self.addresses.insert(address);
        } else {
            self.addresses.removal_notified(address.address, address.prefix);
            // When an interface loses its last IPv4 address, the kernel removes all IPv4 routes
            // that use the interface (`fib_inetaddr_event` in `net/ipv4/fib_frontend.c`), without a
            // notification.
            let has_ipv4 = || self.addresses.iter().any(|other| other.address.is_ipv4());
            self.routes_uncertain |= address.address.is_ipv4() && !has_ipv4();
        }
    }

    pub(super) fn link_changed(&mut self, link: &netlink::Link) -> Option<Gone> {
        self.seen = true;
        let gone = self.ifindex.filter(|ifindex| *ifindex != link.ifindex).and_then(|_| self.gone());
        self.groups_uncertain |= link.running && !self.running;
        self.routes_uncertain |= link.running != self.running || self.ifindex != Some(link.ifindex);
        self.changed |= self.ifindex != Some(link.ifindex)
            || (self.running, self.mac) != (link.running, link.mac)
            || self.is_point_to_point != link.is_point_to_point;
        self.ifindex = Some(link.ifindex);
        self.running = link.running;
        self.mac = link.mac;
        self.is_point_to_point = link.is_point_to_point;
        gone
    }

    /// Records that the interface was deleted or renamed, and returns its state for cleanup.
    /// Returns `None` if the link had no interface.
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
        self.reattachment = Reattachment::default();
        (self.changed, self.own_changed) = (true, true);
        Some(Gone { ifindex, stale, io: self.io.take() })
    }
}

fn slot(family: Family) -> usize {
    usize::from(family == Family::V6)
}

/// State to clean up after an interface was deleted or renamed.
pub(crate) struct Gone {
    pub(crate) ifindex: u32,
    /// Addresses that vipd added. A renamed interface still has them.
    pub(crate) stale: Vec<Address>,
    /// Link I/O for the service to drop.
    pub(crate) io: Option<LinkIo>,
}
