//! Pass 1: adverts. The multicast adverts of a link are sent in batches of up to 64 per system
//! call, and unicast adverts with one system call per peer.

use super::{Effects, renew, report_refused};
use crate::engine::command::Reports;
use crate::engine::id::RouterId;
use crate::engine::instance::Adverts;
use crate::engine::link_io::{FrameKind, Tag};
use crate::engine::topology::Topology;
use crate::vrrp::Action;

impl Effects {
    pub(super) fn send_adverts(
        &mut self,
        actions: &[(RouterId, Action)],
        topology: &mut Topology,
        reports: &mut Reports,
    ) {
        for (router, action) in actions {
            if let Action::SendAdvert { priority } = action {
                self.advert(*router, *priority, topology, reports);
            }
        }
        self.send_batches(topology, reports);
    }

    /// Adds an advert to the batch of its link, or sends it to the unicast peers.
    fn advert(&mut self, router: RouterId, priority: u8, topology: &mut Topology, reports: &mut Reports) {
        let Some(instance) = topology.routers.get_mut(router) else { return };
        let id = instance.link;
        let Some(link) = topology.links.get_mut(id) else { return };
        let (Some(io), neighbors) = (link.io.as_mut(), &mut link.neighbors) else { return };
        let kind = if priority == 0 { FrameKind::PriorityZero } else { FrameKind::Advert };
        let tag = Tag { router, kind };
        let Some(adverts) = instance.complete_adverts(priority) else { return };
        match adverts {
            Adverts::Multicast(frame) => {
                if io.batch.is_empty() {
                    self.batched.push(id);
                }
                io.batch.push(tag, frame.bytes());
            }
            Adverts::Unicast(peers) => {
                let Some(socket) = io.unicast.get(&router) else { return };
                let mut refused = None;
                let mut is_sent = false;
                for peer in peers {
                    if let Some(solicitation) = peer.solicitation()
                        && neighbors.entry(peer.address).or_default().solicit(self.now)
                    {
                        if io.batch.is_empty() {
                            self.batched.push(id);
                        }
                        io.batch.push(Tag { router, kind: FrameKind::Solicitation }, solicitation.bytes());
                    }
                    match socket.send_to(peer.address, peer.advert.bytes()) {
                        Ok(()) => is_sent = true,
                        Err(error) => refused = Some(error),
                    }
                }
                // Sending to one peer is enough to count the frame and renew the lease.
                if is_sent {
                    instance.count_sent(self.now, tag.kind);
                    if matches!(kind, FrameKind::Advert) {
                        renew(self.now, instance, self.has_fence.then_some(&self.leases));
                    }
                }
                match refused {
                    Some(error) => report_refused(tag.router, error, instance, reports),
                    None => instance.refusal_reported = false,
                }
            }
        }
        if let (Some(guardian), Some(sequence)) = (&self.guardian, instance.sent_sequence()) {
            guardian.set_sequence(instance.row, sequence);
        }
    }
}
