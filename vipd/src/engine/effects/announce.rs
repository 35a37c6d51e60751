//! Pass 3: announcements (gratuitous ARP for IPv4, unsolicited Neighbor Advertisements for IPv6).

use std::net::IpAddr;

use vipd_common::Timestamp;

use super::Effects;
use super::addresses::is_present;
use super::announcer::Packet;
use crate::engine::clock;
use crate::engine::command::Reports;
use crate::engine::id::{LinkId, RouterId};
use crate::engine::instance::{Adverts, Instance};
use crate::engine::link_io::{FrameKind, LinkIo, Tag};
use crate::engine::topology::Topology;
use crate::packet::announcement;
use crate::vrrp::Action;

/// Time limit for the announcements of a turn, in nanoseconds, counted from the turn's first flush.
/// Any remaining announcements wait for the next turn. Netlink requests may take a long time,
/// because the kernel's rtnl lock is global: any change to an interface of the host delays them.
const LATE: u64 = 5_000_000;
/// Maximum number of neighbor entries read per turn.
const NEIGHBORS: usize = 4;

impl Effects {
    /// Queues the announcements that the actions require.
    pub(super) fn queue_announcements(&mut self, actions: &[(RouterId, Action)], topology: &Topology) {
        for (router, action) in actions {
            if let Action::Announce { addresses, rounds } = action
                && let Some(instance) = topology.routers.get(*router)
            {
                let interval = instance.settings.announce_interval;
                self.announcer.push(*router, *addresses, *rounds, interval);
            }
        }
    }

    /// Sends up to `max` announcements. While changes are pending (`all_made` is false),
    /// announcements of addresses that have not been added yet must wait. Announcements of
    /// addresses that the kernel refused are skipped; such addresses are announced once a retry
    /// succeeds. After [`LATE`], announcements wait for the next turn, which first handles the
    /// adverts received in the meantime: another router may have become master.
    pub(super) fn announce(
        &mut self,
        max: usize,
        now: Timestamp,
        topology: &mut Topology,
        reports: &mut Reports,
        all_made: bool,
    ) {
        // The loop only fills the batches, so a single reading of the clock suffices.
        let max = if clock::now() > self.flush_began + LATE { 0 } else { max };
        for _ in 0..max {
            let addresses = |router: RouterId| {
                topology.routers.get(router).map_or(&[][..], |instance| instance.addresses.as_slice())
            };
            let retries = &self.retries;
            let packet = self.announcer.pop_if(now, addresses, |packet| {
                all_made
                    || is_present(packet, topology)
                    || retries.is_pending((packet.router, packet.position), now)
            });
            let Some(packet) = packet else { break };
            self.add_announcement(packet, topology);
        }
        self.announcer.resume();
        self.send_batches(topology, reports);
    }

    /// Announces the source address of a router's unicast adverts on the router's link, and
    /// solicits the router's peers. The frames immediately update the peers' neighbor entries for
    /// this node and this node's entries for the peers, including entries that failed while the
    /// link was down.
    pub(crate) fn announce_source(
        &mut self,
        now: Timestamp,
        router: RouterId,
        source: IpAddr,
        topology: &mut Topology,
    ) {
        let Some(id) = topology.routers.get(router).map(|instance| instance.link) else { return };
        let Some(link) = topology.links.get_mut(id) else { return };
        let (Some(mac), Some(io)) = (link.mac, link.io.as_mut()) else { return };
        let neighbors = &mut link.neighbors;
        self.add_frame(id, io, Tag { router, kind: kind_of(source) }, mac, source);
        let Some(Adverts::Unicast(peers)) = topology.routers.get(router).and_then(Instance::adverts) else {
            return;
        };
        for peer in peers {
            if let Some(solicitation) = peer.solicitation()
                && neighbors.entry(peer.address).or_default().solicit_at_start(now)
            {
                self.unchecked.push_back((id, peer.address));
                io.batch.push(Tag { router, kind: FrameKind::Solicitation }, solicitation.bytes());
            }
        }
    }

    /// Reads the neighbor entries of unicast peers whose link has come up, because the kernel sends
    /// no notifications about existing entries. Limited per turn, so that adverts are not delayed:
    /// each request may wait for the rtnl lock.
    pub(super) fn check_neighbors(&mut self, topology: &mut Topology) {
        for (id, peer) in self.unchecked.drain(..self.unchecked.len().min(NEIGHBORS)) {
            let Some(link) = topology.links.get_mut(id) else { continue };
            if let (Some(ifindex), Some(neighbor)) = (link.ifindex, link.neighbors.get_mut(&peer)) {
                neighbor.set_resolved(self.netlink.is_resolved(ifindex, peer).unwrap_or(false));
            }
        }
    }

    fn add_frame(&mut self, via: LinkId, io: &mut LinkIo, tag: Tag, mac: [u8; 6], address: IpAddr) {
        if io.batch.is_empty() {
            self.batched.push(via);
        }
        io.batch.push(tag, announcement(mac, address).bytes());
    }

    fn add_announcement(&mut self, packet: Packet, topology: &mut Topology) {
        let Topology { links, routers, .. } = topology;
        // A router that is no longer master must not announce its VIPs.
        let Some(instance) = routers.get(packet.router).filter(|instance| instance.is_master()) else {
            return;
        };
        let Some((vip, on)) = instance.vip(packet.position) else { return };
        // A VIP that is not present yet is announced once it has been added.
        let Some(link) = links.get(on).filter(|link| link.addresses.contains(vip.address)) else { return };
        // Frames of a macvlan are sent on the parent's socket, with the virtual MAC as source.
        let (via, mac) = if link.is_virtual_mac() {
            (instance.link, Some(instance.virtual_mac()))
        } else {
            (on, link.mac)
        };
        let io = links.get_mut(via).and_then(|link| link.io.as_mut());
        let (Some(mac), Some(io)) = (mac, io) else { return };
        let tag = Tag { router: packet.router, kind: kind_of(vip.address) };
        self.add_frame(via, io, tag, mac, vip.address);
    }
}

fn kind_of(address: IpAddr) -> FrameKind {
    match address {
        IpAddr::V4(_) => FrameKind::GratuitousArp,
        IpAddr::V6(_) => FrameKind::NeighborAdvertisement,
    }
}
