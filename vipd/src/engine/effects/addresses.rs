//! Pass 2: addresses. The changes of a turn go to netlink in batches, and each address is announced once its batch is
//! acknowledged.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vipd_common::Timestamp;
use vipd_common::address::wide;
use vipd_common::records::ClosedKey;

use super::Effects;
use super::announcer::Packet;
use crate::config::settings::{Placement, Scope};
use crate::engine::command::{Report, Reports};
use crate::engine::id::RouterId;
use crate::engine::instance::{Instance, is_foreign};
use crate::engine::links::Links;
use crate::engine::topology::Topology;
use crate::netlink::{self, Address, Attributes, BATCH, Change};
use crate::vrrp::{Action, Addresses, Family};
use crate::xdp::Closed;

impl Effects {
    /// Collects the changes that the actions ask for.
    pub(super) fn collect_changes(&mut self, actions: &[(RouterId, Action)], topology: &mut Topology) {
        for (router, action) in actions {
            match action {
                Action::AddAddresses(which) => self.collect(*router, *which, true, topology),
                Action::RemoveAddresses => self.collect(*router, Addresses::All, false, topology),
                Action::SendAdvert { .. } | Action::Announce { .. } => {}
            }
        }
    }

    fn collect(&mut self, router: RouterId, which: Addresses, add: bool, topology: &mut Topology) {
        let Topology { links, routers, .. } = topology;
        let Some(instance) = routers.get_mut(router) else { return };
        if add {
            self.failed |= close(&mut self.closed, instance, links).is_err();
        } else {
            self.announcer.silence(router);
            self.reopen.append(&mut instance.closed);
        }
        let macvlan = instance.macvlan.and_then(|macvlan| links.get(macvlan)?.ifindex);
        if let Some(ifindex) = macvlan {
            instance.wanted_up.store(add, Ordering::SeqCst);
            if add {
                self.changes.push(Change::Up { ifindex });
            } else {
                self.downs.push((ifindex, Arc::clone(&instance.wanted_up)));
            }
        }
        for ((vip, link), placement) in instance.vips().zip(&instance.settings.placements) {
            let Some(link) = links.get(link) else { continue };
            let Some(ifindex) = link.ifindex else { continue };
            let wanted = matches!(which, Addresses::All) || which == Addresses::One(vip);
            if !wanted || link.addresses.entries(vip.address).any(is_foreign) {
                continue;
            }
            // An address that the XDP program does not drop packets to yet must not be added with `accept = false`.
            let closed = instance.closed.iter().any(|key| key.address == wide(vip.address));
            if add && !instance.settings.accept && !closed {
                continue;
            }
            let address = Address::vipd(ifindex, vip.address, vip.prefix);
            self.changes.push(if add {
                Change::Add(address, attributes(placement))
            } else {
                Change::Remove(address)
            });
        }
    }

    /// Makes the collected changes, and announces each address that was added.
    pub(super) fn apply_changes(&mut self, now: Timestamp, topology: &mut Topology, reports: &mut Reports) {
        let changes = std::mem::take(&mut self.changes);
        self.netlink.ask(&changes);
        for batch in changes.chunks(BATCH) {
            self.acknowledge(batch, topology, reports);
            self.announce(batch.len(), now, topology, reports, is_present);
        }
        // Keep the allocation.
        self.changes = changes;
        self.changes.clear();
        for key in std::mem::take(&mut self.reopen) {
            self.failed |= self.closed.open(key).is_err();
        }
    }

    /// Waits for the answers to a batch, and records what is there now.
    fn acknowledge(&mut self, batch: &[Change], topology: &mut Topology, reports: &mut Reports) {
        let Topology { links, routers, .. } = topology;
        let mut refused = Vec::new();
        let result = self.netlink.answer(batch, |change, error| {
            refused.push(change.clone());
            let error = copy_of(error);
            let Some(address) = change.address().copied() else {
                return reports.send(Report::NetlinkFailed(error));
            };
            let owners = links.by_ifindex(address.ifindex);
            let owners = owners.map_or(&[][..], |link| link.routers_of(address.address));
            if let Some(instance) = owners.first().and_then(|router| routers.get_mut(*router)) {
                instance.sent.address_errors += 1;
            }
            reports.send(Report::AddressRefused { address, error });
        });
        self.failed |= !refused.is_empty() || result.is_err();
        match result {
            // The kernel has answered; its notice of an IPv6 address comes later, from a work queue.
            Ok(()) => {
                for change in batch.iter().filter(|change| !refused.contains(change)) {
                    let Some(address) = change.address() else { continue };
                    if let Some(link) = links.by_ifindex(address.ifindex) {
                        link.record(*address, matches!(change, Change::Add(..)));
                    }
                }
            }
            Err(error) => reports.send(Report::NetlinkFailed(error)),
        }
    }
}

/// Has the XDP program drop packets to a router's addresses before they are added (Accept_Mode false).
fn close(closed: &mut Closed, instance: &mut Instance, links: &Links) -> Result<(), ()> {
    let ifindex = links.get(instance.link).and_then(|link| link.ifindex);
    let (Some(ifindex), false) = (ifindex, instance.settings.accept) else { return Ok(()) };
    let mut result = Ok(());
    for vip in &instance.addresses {
        let family = Family::of(vip.address).number();
        let key = ClosedKey { ifindex, family, zero: [0; 3], address: wide(vip.address) };
        if instance.closed.contains(&key) {
            continue;
        }
        match closed.close(key, instance.row) {
            Ok(()) => instance.closed.push(key),
            Err(_) => result = Err(()),
        }
    }
    result
}

/// Whether the address that a packet announces is on its link.
fn is_present(packet: Packet, topology: &Topology) -> bool {
    let vip = topology.routers.get(packet.router).and_then(|instance| instance.vip(packet.position));
    vip.is_some_and(|(vip, link)| {
        topology.links.get(link).is_some_and(|link| link.addresses.contains(vip.address))
    })
}

fn copy_of(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// How an address is added.
fn attributes(placement: &Placement) -> Attributes {
    Attributes {
        label: placement.label.clone(),
        scope: match placement.scope {
            Scope::Global => netlink::Scope::Global,
            Scope::Link => netlink::Scope::Link,
            Scope::Host => netlink::Scope::Host,
        },
        broadcast: placement.broadcast,
        deprecated: placement.deprecated,
        no_prefix_route: false,
    }
}
