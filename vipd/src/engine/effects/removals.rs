//! Removals of addresses, and renewals of the VIPs that the kernel removes along with those
//! addresses.

use vipd_common::address::to_words;
use vipd_common::records::AddressKey;

use super::Effects;
use super::addresses::{Origin, Purpose, Removal, Vip, addition};
use crate::engine::id::{LinkId, RouterId};
use crate::engine::instance::Instance;
use crate::engine::links::Links;
use crate::engine::ownership::{Claim, Difference, compare, is_in_subnet_of};
use crate::engine::topology::Topology;
use crate::netlink::{Address, Change};
use crate::vrrp::VirtualAddress;

impl Effects {
    /// Queues the removal of one VIP of a router that stays master. The VIP must still be among the
    /// addresses of the instance.
    pub(crate) fn remove_one(&mut self, router: RouterId, removed: VirtualAddress, topology: &mut Topology) {
        let Some(instance) = topology.routers.get_mut(router) else { return };
        let is_removed = |key: &mut AddressKey| key.address == to_words(removed.address);
        self.uncovered.extend(instance.covered.extract_if(.., is_removed).map(|key| (instance.row, key)));
        let Topology { links, routers, .. } = &*topology;
        let Some(instance) = routers.get(router) else { return };
        let Some(position) = instance.addresses.iter().position(|vip| *vip == removed) else { return };
        // A reload may already have given the VIP to another master.
        let placed = instance.placed_vip(position);
        let on = instance.vip(position).and_then(|(_, on)| links.get(on));
        let others = on.map_or(&[][..], |link| link.routers_of(removed.address)).iter();
        let mut others = others.filter(|other| **other != router).filter_map(|other| routers.get(*other));
        let is_held = |other: &Instance| {
            other.is_master()
                && (0..other.addresses.len()).any(|position| other.placed_vip(position) == placed)
        };
        if !others.any(is_held) {
            self.remove((router, position), instance, links);
        }
    }

    /// Queues the removal of a VIP from all links on which the VIP may be present, whichever tool
    /// added it. Protected addresses stay, and an owner's addresses stay unless they have vipd's
    /// mark.
    pub(super) fn remove(&mut self, vip: Vip, instance: &Instance, links: &Links) {
        let Some((address, on)) = instance.vip(vip.1) else { return };
        let claim = if instance.is_owner() { Claim::Owned } else { Claim::Unwanted };
        for id in instance.links_of(vip.1) {
            let Some((link, ifindex)) = links.get(id).and_then(|link| Some((link, link.ifindex?))) else {
                continue;
            };
            let origin = Origin::new(id, vip, Purpose::Transition);
            compare(
                address,
                claim,
                &link.addresses,
                |found| link.is_protected(found),
                |difference| {
                    if let Difference::Unwanted(found) = difference {
                        self.enqueue_removal(found, origin);
                    }
                },
            );
            // The addition of the address may still be queued, or its outcome may be unknown.
            if id == on && link.addresses.get(address.address, address.prefix).is_none() {
                let added = Address::vipd(ifindex, address.address, address.prefix);
                self.enqueue_removal(added, origin);
            }
        }
    }

    /// Queues the removal of an address that should not be present. Reports `removal` once the
    /// kernel has acknowledged the change.
    pub(crate) fn remove_unwanted(
        &mut self,
        found: Address,
        link: LinkId,
        vip: Option<Vip>,
        removal: Option<Removal>,
    ) {
        let origin = Origin { link, vip, purpose: Purpose::Reconcile, removal };
        self.enqueue_removal(found, origin);
    }

    /// Returns whether the removal of an address is already queued.
    pub(crate) fn is_being_removed(&self, found: Address) -> bool {
        self.is_proposed(&Change::Remove(found))
    }

    fn enqueue_removal(&mut self, found: Address, origin: Origin) {
        self.enqueue(Change::Remove(found), Some(origin));
        if found.address.is_ipv4() && !found.secondary {
            self.removed_primaries.push((origin.link, found));
        }
    }

    /// Queues the renewal of the masters' VIPs that the kernel removes along with the addresses
    /// whose removal has been queued since the last call.
    ///
    /// Without `promote_secondaries`, the kernel removes all secondary addresses of a subnet along
    /// with the primary address (`__inet_del_ifa` in `net/ipv4/devinet.c`). The renewals follow the
    /// removals, usually in the same batch, so that the VIPs are missing only for microseconds.
    /// Renewing a VIP that is still present changes nothing.
    pub(super) fn renew_dependents(&mut self, topology: &Topology) {
        let mut primaries = std::mem::take(&mut self.removed_primaries);
        for (index, (id, removed)) in primaries.iter().enumerate() {
            let is_same_subnet = |(other, address): &(LinkId, Address)| {
                let is_same = (address.address, address.prefix) == (removed.address, removed.prefix);
                other == id && (is_same || is_in_subnet_of(address, removed))
            };
            let Some(link) = topology.links.get(*id) else { continue };
            if primaries.iter().take(index).any(is_same_subnet) {
                continue;
            }
            for dependent in link.addresses.iter().filter(|other| is_in_subnet_of(other, removed)) {
                if !self.is_being_removed(*dependent) {
                    self.renew(*id, dependent, topology);
                }
            }
        }
        primaries.clear();
        // Reuse the allocation.
        self.removed_primaries = primaries;
    }

    /// Queues the renewal of an address if it is the VIP of a master.
    fn renew(&mut self, link: LinkId, address: &Address, topology: &Topology) {
        let Topology { links, routers, .. } = topology;
        let holders = links.get(link).map_or(&[][..], |link| link.routers_of(address.address));
        for router in holders {
            let Some(instance) = routers.get(*router).filter(|instance| instance.is_master()) else {
                continue;
            };
            let is_renewed = |position: &usize| {
                let found = instance.vip(*position);
                found.is_some_and(|(vip, on)| {
                    on == link && (vip.address, vip.prefix) == (address.address, address.prefix)
                })
            };
            let vip = (0..instance.addresses.len()).find(is_renewed).map(|position| (*router, position));
            if let Some(vip) = vip
                && let Some((change, on)) = addition(vip, instance, links)
            {
                self.enqueue(change, Some(Origin::new(on, vip, Purpose::Renewal)));
            }
        }
    }
}
