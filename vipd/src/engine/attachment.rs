//! Noticing that an XDP program was detached externally.
//!
//! The kernel sends no notification when a BPF link is detached. A router that receives no adverts
//! would elect itself, so its link is probed before each election, and otherwise once an advert
//! interval when the engine is awake anyway. A backup needs no more: without adverts its
//! master-down timer wakes the engine.

use vipd_common::Timestamp;

use super::Engine;
use super::command::{Report, Request};
use super::id::{LinkId, RouterId};
use crate::vrrp::State;

impl Engine {
    /// Probes the links whose last probe was an advert interval ago.
    pub(super) fn probe_links(&mut self, now: Timestamp) {
        for slot in 0..self.topology.links.slots() {
            let Some(id) = self.topology.links.id_at(slot) else { continue };
            let io = self.topology.links.get(id).and_then(|link| link.io.as_ref());
            if io.is_some_and(|io| now >= io.probed + io.probe_interval) {
                self.probe(now, id);
            }
        }
    }

    /// Probes the link of a router whose timer has fired in Backup: the router is about to become
    /// master. If its program is detached, the routers of the link are impeded instead.
    pub(super) fn probe_before_election(&mut self, now: Timestamp, router: RouterId) {
        let Some(instance) = self.topology.routers.get(router) else { return };
        let link = instance.link;
        if instance.router.state() == State::Backup && self.probe(now, link) {
            self.reconcile(now);
        }
    }

    /// Probes a link, at most once a turn. Returns whether its program was detached since the last
    /// probe. The service then attaches it again.
    fn probe(&mut self, now: Timestamp, id: LinkId) -> bool {
        let Some(link) = self.topology.links.get_mut(id) else { return false };
        let Some(io) = link.io.as_mut().filter(|io| io.probed < now && !io.is_detached) else { return false };
        io.probed = now;
        if io.probe.as_ref().is_none_or(|probe| probe.is_attached()) {
            return false;
        }
        io.is_detached = true;
        link.changed = true;
        self.reports.send(Report::XdpDetached { interface: link.name.clone() });
        if let Some(spec) = self.topology.spec(id) {
            self.request(Request::Open(spec));
        }
        true
    }
}
