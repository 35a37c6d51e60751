//! The LAN: adverts in transit, each with its own delay.

use std::net::IpAddr;

use vipd::vrrp::Received;
use vipd_common::parse::ChecksumForm;

use crate::host::Record;
use crate::trace::What;
use crate::world::{Due, World};

/// Delay, loss and reordering of adverts in the LAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Lost, in percent.
    pub(crate) loss: u64,
    /// Delivered twice, in percent.
    pub(crate) twice: u64,
    /// Adverts from one host to another may arrive out of order.
    pub(crate) reorders: bool,
}

/// An advert in transit, decoded: the core has no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Letter {
    source: IpAddr,
    priority: u8,
    interval: u16,
    addresses: u64,
}

impl World {
    /// Sends an advert to every other member of the virtual router in the same LAN partition.
    pub(crate) fn send(&mut self, from: usize, priority: u8) {
        let sender = &self.members[from];
        let (host, group) = (sender.host, sender.group);
        let interval = sender.router.config().interval.wire();
        let letter = Letter { source: sender.address, priority, interval, addresses: sender.digest };
        self.trace.add(self.now, host, Some(group), What::Sent(priority));
        self.tally.adverts += 1;
        let part = self.hosts[host].part;
        for index in 0..self.groups[group].members.len() {
            let to = self.groups[group].members[index];
            if to == from || self.hosts[self.members[to].host].part != part {
                continue;
            }
            if self.random.between(1, 100) > self.weather.loss {
                self.post(from, index, to, letter);
            }
            if self.random.between(1, 100) <= self.weather.twice {
                self.post(from, index, to, letter);
            }
        }
    }

    /// Posts an advert with its own delay. A switch keeps the order of frames from one host to
    /// another, and a router that shuts down relies on that order: backups would follow an advert
    /// that arrived after the priority-0 advert.
    fn post(&mut self, from: usize, index: usize, to: usize, letter: Letter) {
        let mut arrival = self.now + self.random.between(self.delay / 10, self.delay);
        let last = &mut self.members[from].last_arrival[index];
        if !self.weather.reorders {
            arrival = arrival.max(*last);
        }
        *last = arrival.max(*last);
        self.plan(arrival, Due::Arrival(to, letter));
    }

    pub(crate) fn arrive(&mut self, to: usize, letter: Letter) {
        let index = self.members[to].host;
        let host = &mut self.hosts[index];
        if !host.up && !host.left {
            return;
        }
        let Letter { source, priority, interval, addresses } = letter;
        let arrival = host.clock.shows(self.now);
        let checksum = ChecksumForm::V2;
        let advert = Received { arrival, source, priority, interval, addresses, checksum };
        let member = &mut self.members[to];
        // An unchanged advert leaves only its arrival.
        if member.fast_path.published().is_some_and(|steady| steady.at(arrival) == advert) {
            member.slot.arrival = arrival;
            return;
        }
        host.ring.push(Record { member: to, advert, before: member.slot.arrival });
        if self.hosts[index].stalled_until.is_none() {
            self.drain_ring(index);
            self.publish_fast_paths(index);
        }
    }
}
