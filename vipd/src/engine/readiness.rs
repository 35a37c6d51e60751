//! Derives the impediments of a router from the state of its interfaces.

use std::net::IpAddr;

use vipd_common::Timestamp;

use super::Engine;
use super::authentication::Authentication;
use super::id::{LinkId, RouterId};
use super::link::Link;
use super::ownership::Primary;
use super::topology::Topology;
use crate::vrrp::{Action, Addresses, Fault, Impediment, Input, State};

/// The impediments that depend on interfaces, in the order of `Readiness::faults`.
const KINDS: [Impediment; 4] =
    [Impediment::Link, Impediment::Io, Impediment::PrimaryAddress, Impediment::AddressInterface];

/// The state of a router's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    faults: [Option<Fault>; 4],
    /// Source of the router's adverts.
    pub(crate) primary: Option<IpAddr>,
}

impl Readiness {
    /// Returns the readiness of a router, or `None` if the router or its link does not exist.
    ///
    /// After the BPF program of a master is detached, or another program runs before it, the master
    /// continues for one master-down interval. By then, vipd's program is usually attached first
    /// again, and stepping down earlier would only move the VIPs back and forth.
    pub(crate) fn of(now: Timestamp, id: RouterId, topology: &Topology) -> Option<Self> {
        let instance = topology.routers.get(id)?;
        let link = topology.links.get(instance.link)?;
        let others = instance.vip_links.iter().chain(&instance.macvlan).filter(|on| **on != instance.link);
        let mut others = others.filter_map(|on| topology.links.get(*on));
        let family = instance.router.config().family;
        let is_graced = instance.grace_ends(link).is_some_and(|ends| now < ends);
        Some(Self::new(
            link.link_state(),
            if is_graced { Ok(()) } else { link.io_state(id, family, instance.is_unicast()) },
            link.primary(family, instance.settings.source),
            others.try_for_each(Link::address_state),
            instance.conflict(&topology.links).is_some(),
        ))
    }

    /// Derives the faults of a router.
    ///
    /// * `link`: whether its VRRP interface is up.
    /// * `io`: whether adverts can be sent and received on this interface.
    /// * `primary`: the source of its adverts.
    /// * `others`: whether VIPs can be added to its other interfaces.
    /// * `has_conflict`: whether removing a VIP would make an interface lose its primary address,
    ///   or one of its own addresses that is secondary to the VIP.
    fn new(
        link: Result<(), Fault>,
        io: Result<(), Fault>,
        primary: Primary,
        others: Result<(), Fault>,
        has_conflict: bool,
    ) -> Self {
        let (source, fault) = match primary {
            _ if has_conflict => (None, Some(Fault::PrimaryIsVirtual)),
            Primary::Own(address) => (Some(address), None),
            Primary::Virtual(_) | Primary::Missing => (None, Some(Fault::NoPrimaryAddress)),
        };
        Self { faults: [link.err(), io.err(), fault, others.err()], primary: source }
    }

    /// Returns whether there is no fault.
    pub(crate) fn is_ready(&self) -> bool {
        self.faults == [None; 4]
    }

    /// Returns the inputs that update a router's impediments to match this readiness. `known`
    /// contains the faults that the router has now, in the order of [`KINDS`]. New impediments
    /// come first, so that the router does not start in between.
    pub(crate) fn inputs(self, known: [Option<Fault>; KINDS.len()]) -> impl Iterator<Item = Input> {
        let changed: [_; KINDS.len()] =
            std::array::from_fn(|kind| (known[kind] != self.faults[kind]).then_some(self.faults[kind]));
        let impede = changed.into_iter().flatten().flatten().map(Input::Impede);
        let cleared = KINDS.into_iter().zip(changed).filter(|(_, changed)| *changed == Some(None));
        // The input that sets the primary address also clears the corresponding impediment.
        let cleared = cleared.filter(|(kind, _)| *kind != Impediment::PrimaryAddress);
        let primary = self.primary.map(Input::PrimaryAddress);
        impede.chain(primary).chain(cleared.map(|(kind, _)| Input::Clear(kind)))
    }
}

impl Engine {
    /// Updates a router's impediments from its links. If its interfaces have no fault, prepares the
    /// router's frames, even if other impediments remain.
    pub(super) fn update_readiness(&mut self, now: Timestamp, id: RouterId) {
        if self.is_starting(id) {
            return;
        }
        let Some(readiness) = Readiness::of(now, id, &self.topology) else { return };
        let Some(instance) = self.topology.routers.get_mut(id) else { return };
        let grace = self.topology.links.get(instance.link).and_then(|link| instance.grace_ends(link));
        if let Some(ends) = grace.filter(|ends| now < *ends) {
            self.grace_ends = Some(self.grace_ends.map_or(ends, |next| next.min(ends)));
        }
        let is_unicast = instance.is_unicast();
        let was_ready = matches!(instance.router.state(), State::Backup | State::Master);
        if readiness.is_ready()
            && let Some(primary) = readiness.primary
        {
            let link = self.topology.links.get(instance.link);
            let mac = link.and_then(|link| link.mac);
            let entry = link.and_then(|link| link.addresses.entries(primary).next());
            let former = instance
                .primary()
                .or_else(|| instance.authentication.as_mut().and_then(Authentication::take_former_source));
            if instance.prepare(mac, primary, entry.map(|entry| entry.prefix)) && instance.is_master() {
                // Other hosts may have cached the old MAC for the VIPs.
                let rounds = instance.router.config().announcements.repeat;
                self.effects.push(id, Action::Announce { addresses: Addresses::All, rounds });
            }
            // Not needed for unicast: replays from a former address of this router are dropped,
            // because that address does not belong to a peer.
            if let Some(former) = former.filter(|former| *former != primary && !is_unicast) {
                self.leave_source(now, id, former);
            }
            if let Some(instance) = self.topology.routers.get(id) {
                self.publish_own_source(instance);
            }
            let Some(instance) = self.topology.routers.get_mut(id) else { return };
            // `cover`, `check_routes` and reloads publish the record after other changes that
            // affect it.
            let guarded_for = Some((mac, primary, instance.fence(&self.topology.links)));
            if instance.guarded_for != guarded_for {
                instance.guarded_for = guarded_for;
                self.effects.guard(id, instance, &self.topology.links, &mut self.reports);
            }
            if is_unicast && !was_ready {
                self.effects.announce_source(now, id, primary, &mut self.topology);
            }
        }
        let Some(instance) = self.topology.routers.get(id) else { return };
        let known = KINDS.map(|kind| instance.router.impediment(kind));
        for input in readiness.inputs(known) {
            self.dispatch(now, id, input);
        }
    }

    /// Returns whether a router is still in Initialize because one of its links is being opened for
    /// the first time, or because its VRRP interface is being opened again to add this router.
    /// Neither is a fault.
    fn is_starting(&self, id: RouterId) -> bool {
        let Some(instance) = self.topology.routers.get(id) else { return false };
        let link = |link: &LinkId| self.topology.links.get(*link);
        let mut links = instance.vip_links.iter().chain([&instance.link]);
        instance.router.state() == State::Initialize
            && (links.any(|id| link(id).is_some_and(Link::is_opening))
                || link(&instance.link).is_some_and(|link| link.is_opening_for(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn inputs(readiness: Readiness, known: [Option<Fault>; 4]) -> Vec<Input> {
        readiness.inputs(known).collect()
    }

    #[test]
    fn impediments_are_set_before_others_are_cleared() {
        let readiness = Readiness::new(
            Ok(()),
            Err(Fault::NotReceiving),
            Primary::Own(ADDRESS),
            Err(Fault::AddressInterface),
            false,
        );
        assert!(!readiness.is_ready());
        let known =
            [Some(Fault::InterfaceDown), Some(Fault::NotAttached), Some(Fault::NoPrimaryAddress), None];
        assert_eq!(
            inputs(readiness, known),
            [
                Input::Impede(Fault::NotReceiving),
                Input::Impede(Fault::AddressInterface),
                Input::PrimaryAddress(ADDRESS),
                Input::Clear(Impediment::Link),
            ]
        );
    }

    #[test]
    fn known_impediments_are_not_repeated() {
        let faults =
            [Some(Fault::NoInterface), Some(Fault::NotAttached), Some(Fault::NoPrimaryAddress), None];
        let readiness =
            Readiness::new(Err(Fault::NoInterface), Err(Fault::NotAttached), Primary::Missing, Ok(()), false);
        assert_eq!(inputs(readiness, faults), []);
        assert_eq!(inputs(readiness, [None; 4]).len(), 3);
    }

    #[test]
    fn vip_is_not_used_as_source() {
        let readiness = |primary, conflict| Readiness::new(Ok(()), Ok(()), primary, Ok(()), conflict);
        let fault = |primary, conflict| inputs(readiness(primary, conflict), [None; 4]);
        assert_eq!(fault(Primary::Virtual(ADDRESS), true), [Input::Impede(Fault::PrimaryIsVirtual)]);
        assert_eq!(fault(Primary::Virtual(ADDRESS), false), [Input::Impede(Fault::NoPrimaryAddress)]);
        assert_eq!(fault(Primary::Own(ADDRESS), true), [Input::Impede(Fault::PrimaryIsVirtual)]);
        assert!(readiness(Primary::Own(ADDRESS), false).is_ready());
    }
}
