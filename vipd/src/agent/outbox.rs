//! Doing what the virtual routers of one turn want done.
//!
//! A turn's actions are carried out together, in three passes over all routers: adverts, addresses, announcements.
//! That keeps each router's own order (RFC 9568 section 6.4: advert, then addresses, then announcement; or the
//! priority-0 advert, then the addresses away), puts every advert ahead of everybody's slower work, and makes one
//! netlink batch of all addresses.

use super::instance::{Instance, is_foreign};
use super::interface::Interface;
use super::message::Report;
use crate::netlink::{Address, Change, Requests};
use crate::vrrp::{Action, Addresses, State, VirtualAddress};

/// Actions waiting to be carried out, in order.
pub(super) struct Outbox {
    requests: Requests,
    actions: Vec<(usize, Action)>,
    changes: Vec<Change>,
    /// Whether an address could not be changed since [`Outbox::take_failure`].
    failed: bool,
    /// Instances whose refused frames were reported, until one goes through.
    refused: Vec<bool>,
}

impl Outbox {
    pub(super) fn new(requests: Requests, instances: usize) -> Self {
        Self {
            requests,
            actions: Vec::new(),
            changes: Vec::new(),
            failed: false,
            refused: vec![false; instances],
        }
    }

    /// The socket, for dumps.
    pub(super) fn requests(&mut self) -> &mut Requests {
        &mut self.requests
    }

    /// Takes an instance's action.
    pub(super) fn push(&mut self, instance: usize, action: Action) {
        self.actions.push((instance, action));
    }

    /// Whether an address could not be changed: then what is there must be compared with what should be.
    pub(super) fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// Takes a change of an address that no router asked for.
    pub(super) fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Carries everything out.
    pub(super) fn flush(
        &mut self,
        instances: &mut [Instance],
        interfaces: &[Interface],
        mut report: impl FnMut(Report),
    ) {
        if self.actions.is_empty() && self.changes.is_empty() {
            return;
        }
        let actions = std::mem::take(&mut self.actions);
        for (index, action) in &actions {
            if let Action::SendAdvert { priority } = action {
                self.advert(*index, *priority, instances, interfaces, &mut report);
            }
        }
        for (index, action) in &actions {
            self.collect(instances.get(*index), interfaces, *action);
        }
        self.apply(instances, interfaces, &mut report);
        // An address that is not there must not be announced; it will be when it is.
        let announced: &[_] = if self.failed { &[] } else { &actions };
        let rounds = announced.iter().map(|(_, action)| match action {
            Action::Announce { rounds, .. } => *rounds,
            _ => 0,
        });
        for round in 0..rounds.max().unwrap_or(0) {
            for (index, action) in announced {
                if let Action::Announce { addresses, rounds } = action
                    && round < *rounds
                {
                    self.announce(*index, *addresses, instances, interfaces, &mut report);
                }
            }
        }
        // Keep the allocation.
        self.actions = actions;
        self.actions.clear();
    }

    fn advert(
        &mut self,
        index: usize,
        priority: u8,
        instances: &mut [Instance],
        interfaces: &[Interface],
        report: &mut impl FnMut(Report),
    ) {
        let Some(instance) = instances.get_mut(index) else { return };
        let Some(port) = interfaces.get(instance.interface).and_then(|found| found.port.as_ref()) else {
            return;
        };
        let Some(frames) = instance.frames() else { return };
        match port.socket.send(frames.advert.with_priority(priority)) {
            Ok(()) => {
                instance.sent.adverts += 1;
                instance.sent.releases += u64::from(priority == 0);
                if let Some(refused) = self.refused.get_mut(index) {
                    *refused = false;
                }
            }
            Err(error) => self.refuse(index, instance, error, report),
        }
    }

    fn announce(
        &mut self,
        index: usize,
        addresses: Addresses,
        instances: &mut [Instance],
        interfaces: &[Interface],
        report: &mut impl FnMut(Report),
    ) {
        let Some(instance) = instances.get_mut(index) else { return };
        let Some(port) = interfaces.get(instance.interface).and_then(|found| found.port.as_ref()) else {
            return;
        };
        // Who has lost the mastership in the same turn has nothing to announce.
        if instance.router.state() != State::Master {
            return;
        }
        for position in 0..instance.router.config().virtual_addresses.len() {
            let Some(vip) = instance.router.config().virtual_addresses.get(position).copied() else { return };
            if matches!(addresses, Addresses::One(only) if only != vip) {
                continue;
            }
            let Some(frames) = instance.frames() else { return };
            match port.socket.send(frames.announcement(vip.address).bytes()) {
                Ok(()) => instance.sent.arps += 1,
                Err(error) => self.refuse(index, instance, error, report),
            }
        }
    }

    fn refuse(
        &mut self,
        index: usize,
        instance: &mut Instance,
        error: std::io::Error,
        report: &mut impl FnMut(Report),
    ) {
        instance.sent.send_errors += 1;
        if let Some(refused) = self.refused.get_mut(index)
            && !std::mem::replace(refused, true)
        {
            report(Report::SendRefused { instance: index, error });
        }
    }

    /// The changes of addresses that an action asks for.
    fn collect(&mut self, instance: Option<&Instance>, interfaces: &[Interface], action: Action) {
        let Some(instance) = instance else { return };
        let Some(interface) = interfaces.get(instance.interface) else { return };
        let Some(ifindex) = interface.ifindex else { return };
        let all = instance.router.config().virtual_addresses.as_slice();
        let (vips, add) = match &action {
            Action::AddAddresses(Addresses::All) => (all, true),
            Action::AddAddresses(Addresses::One(vip)) => (std::slice::from_ref(vip), true),
            Action::RemoveAddresses => (all, false),
            Action::SendAdvert { .. } | Action::Announce { .. } => return,
        };
        for vip in vips {
            if interface.find(vip.address).is_some_and(is_foreign) {
                continue;
            }
            let address = on(ifindex, *vip);
            self.changes.push(if add { Change::Add(address) } else { Change::Remove(address) });
        }
    }

    fn apply(
        &mut self,
        instances: &mut [Instance],
        interfaces: &[Interface],
        report: &mut impl FnMut(Report),
    ) {
        if self.changes.is_empty() {
            return;
        }
        let mut refused = false;
        let result = self.requests.apply(&self.changes, |change, error| {
            refused = true;
            let address = *change.address();
            let holder = instances.iter_mut().find(|instance| {
                let interface = interfaces.get(instance.interface);
                interface.is_some_and(|found| found.ifindex == Some(address.ifindex))
                    && instance.is_virtual(address.address)
            });
            if let Some(instance) = holder {
                instance.sent.address_errors += 1;
            }
            let error = error.raw_os_error().map_or_else(
                || std::io::Error::new(error.kind(), error.to_string()),
                std::io::Error::from_raw_os_error,
            );
            report(Report::AddressRefused { address, error });
        });
        self.failed |= refused || result.is_err();
        if let Err(error) = result {
            report(Report::NetlinkFailed(error));
        }
        self.changes.clear();
    }
}

/// A virtual address on an interface, as vipd puts it there.
fn on(ifindex: u32, vip: VirtualAddress) -> Address {
    Address { ifindex, address: vip.address, prefix: vip.prefix, protocol: crate::netlink::PROTO_VIPD }
}
