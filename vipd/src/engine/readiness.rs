//! Whether a virtual router can take part: the impediments that its links put in its way.

use std::net::IpAddr;

use vipd_common::Timestamp;

use super::Engine;
use super::id::RouterId;
use super::links::Link;
use super::topology::Topology;
use crate::vrrp::{Action, Addresses, Fault, Impediment, Input};

/// What the links of a router have to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    link: Result<(), Fault>,
    /// MAC of the VRRP interface.
    io: Result<[u8; 6], Fault>,
    primary: Result<IpAddr, Fault>,
    /// The links that its addresses are on.
    addresses: Result<(), Fault>,
}

impl Readiness {
    /// Of a router; none if it, or its link, does not exist.
    pub(crate) fn of(id: RouterId, topology: &Topology) -> Option<Self> {
        let instance = topology.routers.get(id)?;
        let link = topology.links.get(instance.link)?;
        // The virtual addresses of an owner are the interface's own; those of other routers come and go.
        let is_virtual = |address| {
            let routers = link.routers_of(address).iter().filter_map(|id| topology.routers.get(*id));
            routers.into_iter().any(|instance| !instance.is_owner())
        };
        let family = instance.router.config().family;
        let carrying = instance.vip_links.iter().chain(&instance.macvlan);
        let mut carrying = carrying.filter_map(|id| topology.links.get(*id));
        Some(Self {
            link: link.link_state(),
            io: link.io_state(),
            primary: link.primary(family, instance.settings.source, is_virtual),
            addresses: carrying.try_for_each(Link::address_state),
        })
    }

    /// The MAC and the primary address to send from, if nothing is in the way.
    fn ready(&self) -> Option<([u8; 6], IpAddr)> {
        self.link.ok()?;
        self.addresses.ok()?;
        self.io.ok().zip(self.primary.ok())
    }

    fn faults(&self) -> [(Impediment, Option<Fault>); 4] {
        [
            (Impediment::Link, self.link.err()),
            (Impediment::Io, self.io.err()),
            (Impediment::PrimaryAddress, self.primary.err()),
            (Impediment::AddressInterface, self.addresses.err()),
        ]
    }
}

impl Engine {
    /// Gives a router the impediments of its links, and prepares its frames if there are none.
    pub(super) fn update_readiness(&mut self, now: Timestamp, id: RouterId) {
        let Some(readiness) = Readiness::of(id, &self.topology) else { return };
        if let (Some((mac, primary)), Some(instance)) = (readiness.ready(), self.topology.routers.get_mut(id))
            && instance.prepare(mac, primary)
            && instance.is_master()
        {
            // Hosts have the addresses at the old MAC.
            let rounds = instance.router.config().announcements.repeat;
            self.effects.push(id, Action::Announce { addresses: Addresses::All, rounds });
        }
        let faults = readiness.faults();
        // Those that are set go first, so that the router does not start in between.
        for (kind, fault) in faults.iter().filter(|(_, fault)| fault.is_some()) {
            self.set_impediment(now, id, *kind, *fault);
        }
        if let Ok(primary) = readiness.primary {
            self.dispatch(now, id, Input::PrimaryAddress(primary));
        }
        for (kind, fault) in faults {
            self.set_impediment(now, id, kind, fault);
        }
    }

    fn set_impediment(&mut self, now: Timestamp, id: RouterId, kind: Impediment, fault: Option<Fault>) {
        let known = self.topology.routers.get(id).map(|instance| instance.router.impediment(kind));
        if known.is_some_and(|known| known != fault) {
            self.dispatch(now, id, fault.map_or(Input::Clear(kind), Input::Impede));
        }
    }
}
