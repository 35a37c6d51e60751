//! Doing what the virtual routers of one turn want done.
//!
//! A turn's actions are carried out together, in three passes over all routers: adverts, addresses, announcements.
//! That keeps each router's own order (RFC 9568 section 6.4: advert, then addresses, then announcement; or the
//! priority-0 advert, then the addresses away), puts every advert ahead of everybody's slower work, and makes few
//! netlink batches of all addresses, whose first announcements do not wait for the last batch. Further announcements are
//! given out a few at a time: between them the engine looks whether an advert is due.

mod addresses;
mod announce;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use vipd_common::Timestamp;
use vipd_common::records::ClosedKey;

use super::instance::{Adverts, Instance};
use super::links::Interface;
use super::message::Report;
use super::port::{Kind, Tag};
use crate::netlink::{Change, Requests};
use crate::packet::announcement;
use crate::vrrp::{Action, State};
use crate::xdp::Closed;
use announce::{Announcer, Packet};

/// Announcements sent before the engine looks for deadlines again.
const ANNOUNCEMENTS: usize = 64;

/// Actions waiting to be carried out, in order.
pub(crate) struct Outbox {
    requests: Requests,
    closed: Closed,
    actions: Vec<(usize, Action)>,
    changes: Vec<Change>,
    /// Macvlans that are to be set down: index, and whether it is wanted up.
    downs: Vec<(u32, Arc<AtomicBool>)>,
    /// Addresses that are to accept again when they are gone.
    opening: Vec<ClosedKey>,
    announcer: Announcer,
    /// Whether an address could not be changed since [`Outbox::take_failure`].
    failed: bool,
    /// Instances whose refused frames were reported, until one goes through.
    refused: Vec<bool>,
    /// Interfaces that have something to send, each once.
    batched: Vec<usize>,
    /// The clock of the turn that is carried out.
    now: Timestamp,
}

impl Outbox {
    pub(crate) fn new(requests: Requests, closed: Closed, instances: usize) -> Self {
        Self {
            requests,
            closed,
            actions: Vec::new(),
            changes: Vec::new(),
            downs: Vec::new(),
            opening: Vec::new(),
            announcer: Announcer::default(),
            failed: false,
            refused: vec![false; instances],
            batched: Vec::new(),
            now: Timestamp::ZERO,
        }
    }

    /// The socket, for dumps.
    pub(crate) fn requests(&mut self) -> &mut Requests {
        &mut self.requests
    }

    /// Takes an instance's action.
    pub(crate) fn push(&mut self, instance: usize, action: Action) {
        self.actions.push((instance, action));
    }

    /// Whether an address could not be changed: then what is there must be compared with what should be.
    pub(crate) fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// Takes a change of an address that no router asked for.
    pub(crate) fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Macvlans to be set down, which takes the kernel too long for this thread.
    pub(crate) fn take_downs(&mut self) -> Vec<(u32, Arc<AtomicBool>)> {
        std::mem::take(&mut self.downs)
    }

    /// Whether an address waits for its first announcement.
    pub(crate) fn is_urgent(&self) -> bool {
        self.announcer.is_urgent()
    }

    /// Whether there are announcements that wait for nothing but their turn.
    pub(crate) fn is_busy(&self) -> bool {
        self.announcer.is_ready()
    }

    /// When a paced announcement is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.announcer.next()
    }

    /// Carries everything out; of the announcements, a first part.
    pub(crate) fn flush(
        &mut self,
        now: Timestamp,
        instances: &mut [Instance],
        interfaces: &mut [Interface],
        mut report: impl FnMut(Report),
    ) {
        if !self.actions.is_empty() || !self.changes.is_empty() {
            self.carry_out(now, instances, interfaces, &mut report);
        }
        self.say(ANNOUNCEMENTS, now, instances, interfaces, |_, _, _| true, &mut report);
    }

    fn carry_out(
        &mut self,
        now: Timestamp,
        instances: &mut [Instance],
        interfaces: &mut [Interface],
        report: &mut impl FnMut(Report),
    ) {
        self.now = now;
        let actions = std::mem::take(&mut self.actions);
        for (index, action) in &actions {
            if let Action::SendAdvert { priority } = action {
                self.advert(*index, *priority, instances, interfaces, report);
            }
        }
        self.send(instances, interfaces, report);
        for (index, action) in &actions {
            self.collect(*index, instances, interfaces, *action);
        }
        for (index, action) in &actions {
            if let Action::Announce { addresses, rounds } = action
                && let Some(instance) = instances.get(*index)
            {
                let interval = instance.settings.announce_interval;
                self.announcer.push(*index, *addresses, *rounds, interval);
            }
        }
        self.apply(now, instances, interfaces, report);
        // Keep the allocation.
        self.actions = actions;
        self.actions.clear();
    }

    /// Puts an advert into its interface's batch, or sends it to the peers.
    fn advert(
        &mut self,
        index: usize,
        priority: u8,
        instances: &mut [Instance],
        interfaces: &mut [Interface],
        report: &mut impl FnMut(Report),
    ) {
        let Some(instance) = instances.get_mut(index) else { return };
        let place = instance.interface;
        let Some(port) = interfaces.get_mut(place).and_then(|found| found.port.as_mut()) else { return };
        let kind = if priority == 0 { Kind::Release } else { Kind::Advert };
        let tag = Tag { instance: index, kind };
        let Some(adverts) = instance.adverts_mut() else { return };
        match adverts {
            Adverts::Multicast(frame) => {
                if port.batch.is_empty() {
                    self.batched.push(place);
                }
                port.batch.push(tag, frame.with_priority(priority));
            }
            Adverts::Unicast(messages) => {
                let Some(socket) = port.unicast.get(&index) else { return };
                // One peer that cannot be reached is no reason to be silent to the others.
                let mut result = Ok(());
                for (peer, message) in messages {
                    result = result.and(socket.send_to(*peer, message.with_priority(priority)));
                }
                self.account(tag, result, instances, report);
            }
        }
    }

    /// Sends the next announcements, up to so many; before one that is not wanted it ends.
    fn say(
        &mut self,
        most: usize,
        now: Timestamp,
        instances: &mut [Instance],
        interfaces: &mut [Interface],
        wanted: impl Fn(Packet, &[Instance], &[Interface]) -> bool,
        report: &mut impl FnMut(Report),
    ) {
        for _ in 0..most {
            let addresses =
                |index: usize| instances.get(index).map_or(&[][..], |one| one.addresses.as_slice());
            let packet =
                self.announcer.pop_if(now, addresses, |packet| wanted(packet, instances, interfaces));
            let Some(packet) = packet else { break };
            self.announce(packet, instances, interfaces);
        }
        self.send(instances, interfaces, report);
    }

    fn announce(&mut self, packet: Packet, instances: &[Instance], interfaces: &mut [Interface]) {
        let Some(instance) = instances.get(packet.instance) else { return };
        // Who has lost the mastership meanwhile has nothing to announce.
        if instance.router.state() != State::Master {
            return;
        }
        let (Some(vip), Some(home)) =
            (instance.addresses.get(packet.position), instance.homes.get(packet.position))
        else {
            return;
        };
        let home_place = *home;
        let Some(home) = interfaces.get(home_place) else { return };
        // An address that is not there must not be announced; it will be when it is.
        if home.find(vip.address).is_none() {
            return;
        }
        // A macvlan's frames leave by its parent's socket, with its own MAC.
        let (speaker, mac) = if home.is_virtual_mac() {
            (instance.interface, Some(instance.virtual_mac()))
        } else {
            (home_place, home.mac)
        };
        let port = interfaces.get_mut(speaker).and_then(|found| found.port.as_mut());
        let (Some(mac), Some(port)) = (mac, port) else { return };
        let kind = match vip.address {
            IpAddr::V4(_) => Kind::Arp,
            IpAddr::V6(_) => Kind::NeighborAdvertisement,
        };
        let tag = Tag { instance: packet.instance, kind };
        if port.batch.is_empty() {
            self.batched.push(speaker);
        }
        port.batch.push(tag, announcement(mac, vip.address).bytes());
    }

    /// Sends what lies in the batches.
    fn send(
        &mut self,
        instances: &mut [Instance],
        interfaces: &mut [Interface],
        report: &mut impl FnMut(Report),
    ) {
        while let Some(place) = self.batched.pop() {
            let Some(port) = interfaces.get_mut(place).and_then(|found| found.port.as_mut()) else {
                continue;
            };
            port.batch.send(&port.socket, |tag, result| self.account(tag, result, instances, report));
        }
    }

    /// Counts a frame that was sent, or tells of one that was refused.
    fn account(
        &mut self,
        tag: Tag,
        result: std::io::Result<()>,
        instances: &mut [Instance],
        report: &mut impl FnMut(Report),
    ) {
        let Some(instance) = instances.get_mut(tag.instance) else { return };
        if let Err(error) = result {
            return self.refuse(tag.instance, instance, error, report);
        }
        match tag.kind {
            Kind::Advert | Kind::Release => {
                instance.router.advert_sent(self.now);
                instance.sent.adverts += 1;
                instance.sent.releases += u64::from(matches!(tag.kind, Kind::Release));
                if let Some(refused) = self.refused.get_mut(tag.instance) {
                    *refused = false;
                }
            }
            Kind::Arp => instance.sent.arps += 1,
            Kind::NeighborAdvertisement => instance.sent.neighbor_advertisements += 1,
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
}
