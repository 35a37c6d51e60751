//! Addresses: what a turn's actions mean for netlink, in one batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vipd_common::Timestamp;
use vipd_common::address::wide;
use vipd_common::records::ClosedKey;

use super::Outbox;
use crate::config::settings::{Placement, Scope};
use crate::engine::effects::announce::Packet;
use crate::engine::instance::{Instance, is_foreign};
use crate::engine::links::Interface;
use crate::engine::message::Report;
use crate::netlink::{self, Address, Attributes, BATCH, Change};
use crate::vrrp::{Action, Addresses, Family};

impl Outbox {
    /// The changes that an action asks for.
    pub(crate) fn collect(
        &mut self,
        index: usize,
        instances: &mut [Instance],
        interfaces: &[Interface],
        action: Action,
    ) {
        let Some(instance) = instances.get_mut(index) else { return };
        let (which, add) = match action {
            Action::AddAddresses(which) => (which, true),
            Action::RemoveAddresses => (Addresses::All, false),
            Action::SendAdvert { .. } | Action::Announce { .. } => return,
        };
        if add {
            self.close(instance, interfaces, index);
        } else {
            self.announcer.silence(index);
            self.opening.append(&mut instance.closed);
        }
        if let Some(ifindex) = macvlan(instance, interfaces) {
            instance.wanted_up.store(add, Ordering::SeqCst);
            if add {
                self.changes.push(Change::Up { ifindex });
            } else {
                self.downs.push((ifindex, Arc::clone(&instance.wanted_up)));
            }
        }
        let placements = instance.settings.placements.iter();
        for ((vip, home), placement) in instance.addresses.iter().zip(&instance.homes).zip(placements) {
            let Some(home) = interfaces.get(*home) else { continue };
            let Some(ifindex) = home.ifindex else { continue };
            let wanted = matches!(which, Addresses::All) || which == Addresses::One(*vip);
            if !wanted || home.find(vip.address).is_some_and(is_foreign) {
                continue;
            }
            // An address whose door could not be closed is not opened.
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

    /// Accept_Mode false: the kernel side drops what is for the addresses from before they are there.
    fn close(&mut self, instance: &mut Instance, interfaces: &[Interface], index: usize) {
        let ifindex = interfaces.get(instance.interface).and_then(|found| found.ifindex);
        let (Some(ifindex), false) = (ifindex, instance.settings.accept) else { return };
        let row = u32::try_from(index + 1).unwrap_or_default();
        for vip in &instance.addresses {
            let family = Family::of(vip.address).number();
            let key = ClosedKey { ifindex, family, zero: [0; 3], address: wide(vip.address) };
            if instance.closed.contains(&key) {
                continue;
            }
            match self.closed.close(key, row) {
                Ok(()) => instance.closed.push(key),
                Err(_) => self.failed = true,
            }
        }
    }

    /// Until they are gone.
    fn open(&mut self) {
        for key in std::mem::take(&mut self.opening) {
            self.failed |= self.closed.open(key).is_err();
        }
    }

    /// Makes the collected changes. An address is announced as soon as it is there, if it is its turn.
    pub(crate) fn apply(
        &mut self,
        now: Timestamp,
        instances: &mut [Instance],
        interfaces: &mut [Interface],
        report: &mut impl FnMut(Report),
    ) {
        let changes = std::mem::take(&mut self.changes);
        self.requests.ask(&changes);
        for some in changes.chunks(BATCH) {
            self.make(some, instances, interfaces, report);
            self.say(some.len(), now, instances, interfaces, is_there, report);
        }
        // Keep the allocation.
        self.changes = changes;
        self.changes.clear();
        self.open();
    }

    fn make(
        &mut self,
        changes: &[Change],
        instances: &mut [Instance],
        interfaces: &mut [Interface],
        report: &mut impl FnMut(Report),
    ) {
        let mut refused = Vec::new();
        let result = self.requests.answer(changes, |change, error| {
            refused.push(change.clone());
            let error = error.raw_os_error().map_or_else(
                || std::io::Error::new(error.kind(), error.to_string()),
                std::io::Error::from_raw_os_error,
            );
            let Some(address) = change.address().copied() else {
                report(Report::NetlinkFailed(error));
                return;
            };
            let home = interfaces.iter().position(|found| found.ifindex == Some(address.ifindex));
            let holder = instances
                .iter_mut()
                .find(|instance| home.is_some_and(|home| instance.holds(home, address.address)));
            if let Some(instance) = holder {
                instance.sent.address_errors += 1;
            }
            report(Report::AddressRefused { address, error });
        });
        self.failed |= !refused.is_empty() || result.is_err();
        match result {
            // The kernel has answered; its notice of an IPv6 address comes later, by a work queue.
            Ok(()) => {
                let made = changes.iter().filter(|change| !refused.contains(change));
                for (change, address) in made.filter_map(|change| Some((change, change.address()?))) {
                    let home = interfaces.iter_mut().find(|found| found.ifindex == Some(address.ifindex));
                    if let Some(home) = home {
                        home.note(*address, matches!(change, Change::Add(..)));
                    }
                }
            }
            Err(error) => report(Report::NetlinkFailed(error)),
        }
    }
}

/// Whether what a packet announces is on its interface.
fn is_there(packet: Packet, instances: &[Instance], interfaces: &[Interface]) -> bool {
    let Some(instance) = instances.get(packet.instance) else { return false };
    let home = instance.homes.get(packet.position).and_then(|home| interfaces.get(*home));
    let vip = instance.addresses.get(packet.position);
    home.zip(vip).is_some_and(|(home, vip)| home.find(vip.address).is_some())
}

/// Index of the instance's macvlan, if it has one.
fn macvlan(instance: &Instance, interfaces: &[Interface]) -> Option<u32> {
    let found = interfaces.get(instance.macvlan?)?;
    found.ifindex
}

/// How an address is put there.
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
