//! The LAN, which delivers each advert with its own delay.

use std::net::IpAddr;

use vipd::vrrp::Received;
use vipd_common::lease::fences;
use vipd_common::parse::ChecksumForm;

use crate::Defect;
use crate::host::Record;
use crate::trace::TraceEvent;
use crate::world::{Due, World};

/// Loss, duplication and reordering of adverts in the LAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LanConditions {
    /// Percentage of adverts that are lost.
    pub(crate) loss: u64,
    /// Percentage of adverts that are delivered twice.
    pub(crate) duplication: u64,
    /// Whether adverts of a virtual router from one host to another may arrive out of order.
    /// Adverts of different virtual routers always may.
    pub(crate) reorders: bool,
}

/// An advert in transit, in decoded form, as the core receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InTransit {
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
        let in_transit = InTransit { source: sender.address, priority, interval, addresses: sender.digest };
        self.trace.add(self.now, host, Some(group), TraceEvent::Sent(priority));
        self.tally.adverts += 1;
        let partition = self.hosts[host].partition;
        for index in 0..self.groups[group].members.len() {
            let to = self.groups[group].members[index];
            if to == from || self.hosts[self.members[to].host].partition != partition {
                continue;
            }
            if self.random.between(1, 100) > self.conditions.loss {
                self.deliver(from, index, to, in_transit);
            }
            if self.random.between(1, 100) <= self.conditions.duplication {
                self.deliver(from, index, to, in_transit);
            }
        }
    }

    /// Schedules the arrival of an advert after a random delay. Unless `reorders` is set, adverts
    /// of a virtual router between two hosts arrive in order, as through a switch. A clean shutdown
    /// relies on this order: if a router's last regular advert arrived after its priority-0 advert,
    /// backups would follow that router again.
    fn deliver(&mut self, from: usize, index: usize, to: usize, in_transit: InTransit) {
        let mut arrival = self.now + self.random.between(self.delay / 10, self.delay);
        let last = &mut self.members[from].last_arrival[index];
        if !self.conditions.reorders {
            arrival = arrival.max(*last);
        }
        *last = arrival.max(*last);
        self.plan(arrival, Due::Arrival(to, in_transit));
    }

    pub(crate) fn arrive(&mut self, to: usize, in_transit: InTransit) {
        let index = self.members[to].host;
        let host = &mut self.hosts[index];
        if !host.up && !host.left {
            return;
        }
        let InTransit { source, priority, interval, addresses } = in_transit;
        let arrival = host.clock.shows(self.now);
        let checksum = ChecksumForm::V2;
        let advert = Received { arrival, source, priority, interval, addresses, checksum };
        let member = &mut self.members[to];
        if self.defect != Defect::NoFence && fences(&member.lease, priority, arrival.as_nanos()).is_some() {
            member.lease.fenced = 1;
            self.count_answering(self.members[to].group);
        }
        let member = &mut self.members[to];
        // For an unchanged advert, the BPF program stores only the arrival time.
        if member.fast_path.published().is_some_and(|steady| steady.at(arrival) == advert) {
            member.slot.arrival = arrival;
            return;
        }
        self.hosts[index].ring.push(Record { member: to, advert, before: member.slot.arrival });
        if self.hosts[index].stalled_until.is_none() {
            self.drain_ring(index);
            self.publish_fast_paths(index);
        }
    }
}
