//! Leases and the fence. This module stores in the BPF program's maps which VIPs this host may use.
//! See [`vipd_common::lease`].
//!
//! ```text
//!  becomes master     begin: VIPs inserted into the program's map unless present, closed if
//!                     accept = false; then VIPs added
//!  advert sent        renew
//!  leaves master      fence, before VIPs are removed
//!  VIPs removed       end
//! ```

use std::collections::BTreeSet;
use std::io;

use vipd_common::Timestamp;
use vipd_common::address::to_words;
use vipd_common::records::AddressKey;

use super::Effects;
use crate::engine::command::{Report, Reports};
use crate::engine::id::RouterId;
use crate::engine::instance::Instance;
use crate::engine::links::Links;
use crate::engine::topology::Topology;
use crate::vrrp::Family;
use crate::xdp::{Addresses, MapError, Row};

impl Effects {
    /// Inserts a router's VIPs into the BPF program's map, unless the map already has them. With
    /// `accept = false`, a VIP that cannot be inserted is not added to an interface either, and is
    /// retried later.
    pub(crate) fn cover(
        &mut self,
        now: Timestamp,
        router: RouterId,
        instance: &mut Instance,
        links: &Links,
        reports: &mut Reports,
    ) {
        let ifindices = ifindices(instance, links);
        if instance.covered_on == ifindices {
            return;
        }
        let result = cover(&mut self.addresses, instance, links);
        self.guard(router, instance, links, reports);
        // Entries that have been inserted again must stay when the pending removal of their VIPs is
        // completed.
        self.uncovered.retain(|(row, key)| *row != instance.row || !instance.covered.contains(key));
        let Err(error) = result else {
            instance.covered_on = ifindices;
            return;
        };
        instance.covered_on.clear();
        instance.sent.address_errors += 1;
        let errno = error.raw_os_error().unwrap_or_default();
        let mut is_new = instance.settings.accept;
        for (position, vip) in instance.addresses.iter().enumerate() {
            if !instance.may_add(vip.address) {
                is_new |= self.retries.refused((router, position), errno, false, now);
            }
        }
        if is_new {
            reports.send(Report::NotCovered { router, error });
        }
    }

    /// Removes the VIPs of a deleted router from the program's map, ends the router's lease, and
    /// deletes the router's record in the guardian's memory.
    pub(crate) fn forget(&mut self, instance: &Instance) {
        for key in &instance.covered {
            self.failed |= self.addresses.remove(*key, instance.row).is_err();
        }
        self.leaving.retain(|(_, row)| *row != instance.row);
        self.leases.end(instance.row);
        if let Some(guardian) = &mut self.guardian {
            guardian.clear(instance.row);
        }
    }

    /// Inserts the VIPs of a new master, or of a master to which a reload adds VIPs, into the
    /// program's map, and begins the router's lease unless it already has one.
    pub(super) fn begin_lease(
        &mut self,
        router: RouterId,
        instance: &mut Instance,
        links: &Links,
        reports: &mut Reports,
    ) {
        self.cover(self.now, router, instance, links, reports);
        let was_leaving = self.leaving.iter().any(|(_, row)| *row == instance.row);
        self.leaving.retain(|(_, row)| *row != instance.row);
        self.leases.set_closed(instance.row, !instance.settings.accept);
        if self.has_fence {
            self.leases.begin(instance.row, self.now);
            if was_leaving {
                // The router has left Master and become master again, perhaps in one turn. Its
                // advert was then sent before `leave` fenced the VIPs.
                self.keep_lease(self.now, instance);
            }
        }
    }

    /// Fences the VIPs of a router that leaves Master, until the VIPs are removed. An address owner
    /// keeps its addresses, which are not fenced.
    pub(super) fn leave(&mut self, router: RouterId, instance: &Instance) {
        if self.has_fence && !instance.is_owner() {
            self.leases.fence(instance.row);
        }
        self.leaving.push((router, instance.row));
    }

    /// Lifts the fence of a router that is still master after an advert was handled or refused. If
    /// the lease has expired, the fence stays until the router sends its next advert.
    pub(crate) fn keep_lease(&mut self, now: Timestamp, instance: &Instance) {
        let row = instance.row;
        if instance.is_master() && self.leases.is_fenced(row) && self.leases.is_valid(row, now) {
            self.leases.lift(row);
        }
    }

    /// Ends the leases of the routers that have left Master and whose VIPs have been removed.
    pub(super) fn end_leases(&mut self, topology: &Topology) {
        if !self.leaving.is_empty() && !self.has_changes() {
            let leases = &self.leases;
            self.leaving.retain(|(router, row)| {
                let has_vips = has_vips(*router, topology);
                if !has_vips {
                    leases.end(*row);
                }
                has_vips
            });
        }
        if self.leases.any_fenced() {
            self.leases.settle();
        }
    }

    /// Returns whether the VIPs of any router are fenced, after [`end_leases`](Self::end_leases).
    #[cfg(test)]
    pub(crate) fn any_fenced(&self) -> bool {
        self.leases.any_fenced()
    }

    /// Returns whether a router has no lease and its VIPs are neither fenced nor closed.
    #[cfg(test)]
    pub(crate) fn is_open(&self, router: RouterId, topology: &Topology) -> bool {
        topology.routers.get(router).is_some_and(|instance| self.leases.is_open(instance.row))
    }

    /// Returns the number of VIPs in the BPF program's map.
    #[cfg(test)]
    pub(crate) fn covered_count(&self) -> usize {
        self.addresses.count()
    }
}

/// Makes a router's entries in the map match its VIPs.
fn cover(map: &mut Addresses, instance: &mut Instance, links: &Links) -> io::Result<()> {
    let wanted = keys(instance, links);
    let row = instance.row;
    let mut result = Ok(());
    let mut record = |outcome: Result<(), MapError>| {
        let is_ok = outcome.is_ok();
        match outcome {
            Ok(()) => {}
            Err(MapError::SyscallError(error)) => result = Err(error.io_error),
            Err(error) => result = Err(io::Error::other(error)),
        }
        is_ok
    };
    // Removes the entries of VIPs that are no longer configured or whose interface has a new index.
    instance.covered.retain(|key| wanted.contains(key) || !record(map.remove(*key, row)));
    for key in wanted {
        // Also inserts entries that are already recorded: a reload may have given the VIP to
        // another router in the meantime.
        if record(map.insert(key, row)) && !instance.covered.contains(&key) {
            instance.covered.push(key);
        }
    }
    result
}

/// Returns the keys of a router's VIPs, on each interface that filters the VIPs.
fn keys(instance: &Instance, links: &Links) -> BTreeSet<AddressKey> {
    let mut keys = BTreeSet::new();
    for (vip, on) in instance.vips() {
        let family = Family::of(vip.address).number();
        let ifindices = instance.filtering_links(on).filter_map(|link| links.get(link)?.ifindex);
        keys.extend(ifindices.map(|ifindex| AddressKey::new(ifindex, family, to_words(vip.address))));
    }
    keys
}

/// Returns the indices of the interfaces that filter a router's VIPs.
fn ifindices(instance: &Instance, links: &Links) -> BTreeSet<u32> {
    let on = instance.vips().flat_map(|(_, on)| instance.filtering_links(on));
    on.filter_map(|link| links.get(link)?.ifindex).collect()
}

/// Returns whether a VIP of a router that has left Master is still present. Ignores VIPs that must
/// not be removed and VIPs that now belong to another master.
fn has_vips(router: RouterId, topology: &Topology) -> bool {
    let Topology { links, routers, .. } = topology;
    let Some(instance) = routers.get(router).filter(|instance| !instance.is_owner()) else { return false };
    let is_held = |other: &RouterId| *other != router && routers.get(*other).is_some_and(Instance::is_master);
    (0..instance.addresses.len()).any(|position| {
        let Some((vip, _)) = instance.vip(position) else { return false };
        instance.links_of(position).filter_map(|id| links.get(id)).any(|link| {
            let mut found = link.addresses.entries(vip.address);
            found.any(|found| !link.is_protected(found)) && !link.routers_of(vip.address).iter().any(is_held)
        })
    })
}

/// A row and one of its entries in the program's map.
pub(super) type Uncovered = (Row, AddressKey);
