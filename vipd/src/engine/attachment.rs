//! XDP programs that were detached externally.
//!
//! The kernel sends no notification when a BPF link is detached, and a router that receives no
//! adverts would elect itself. The [`prober`](super::prober) thread therefore queries the kernel,
//! and an election needs a result recent enough to prove that the master's adverts were missing: a
//! probe that found the program attached and began at least one and a half advert intervals after
//! the last advert. With intervals of 100 ms or more, the periodic probes provide a recent result.
//! With shorter intervals, a probe is requested when the engine begins to spin for the deadline.
//!
//! An election without a recent result waits for a probe. That happens only while another process
//! holds the rtnl lock for longer than an interval. Waiting costs nothing: VIPs cannot be added in
//! that time either, because adding an address takes the same lock.

use vipd_common::Timestamp;

use super::Engine;
use super::command::{Report, Request};
use super::id::{LinkId, RouterId};
use super::instance::Instance;
use super::links::Links;
use super::prober::Attachment;
use crate::vrrp::{Input, State};

/// Nanoseconds after which an election that waits for a probe is considered again; the result
/// itself wakes the engine.
const ELECTION_RETRY: u64 = 10_000_000;

impl Engine {
    /// Impedes the routers of links whose program was found detached, and requests that it be
    /// attached again.
    pub(super) fn check_attachments(&mut self, now: Timestamp) {
        let grace_ended = self.grace_ends.take_if(|ends| *ends <= now).is_some();
        for slot in 0..self.topology.links.slots() {
            let Some(id) = self.topology.links.id_at(slot) else { continue };
            let Some(link) = self.topology.links.get_mut(id) else { continue };
            let Some(io) = &mut link.io else { continue };
            if io.detached_at.is_some() {
                link.changed |= grace_ended;
            } else if io.attachment.as_ref().is_some_and(|attachment| attachment.is_detached()) {
                io.detached_at = Some(now);
                link.changed = true;
                self.reports.send(Report::XdpDetached { interface: link.name.clone() });
                self.reattach(id);
            }
        }
    }

    fn reattach(&mut self, id: LinkId) {
        if let Some(spec) = self.topology.spec(id) {
            self.request(Request::Reattach(spec));
        }
    }

    /// Returns whether a router whose timer has fired may handle the timeout now. The election of a
    /// backup without a recent probe waits.
    pub(super) fn may_elect(&mut self, now: Timestamp, id: RouterId) -> bool {
        let Some(instance) = self.topology.routers.get(id) else { return true };
        // The deadline of a heap entry may have moved.
        if instance.router.next_timeout().is_none_or(|next| next > now) {
            return true;
        }
        let waiting = self.waiting.iter().position(|(waiting, _)| *waiting == id);
        let needed = waiting
            .and_then(|position| self.waiting.get(position))
            .map_or_else(|| needed_probe(now, instance), |(_, needed)| *needed);
        let Some(attachment) = attachment(&self.topology.links, instance, needed) else {
            if let Some(position) = waiting {
                self.waiting.swap_remove(position);
            }
            return true;
        };
        self.prober.request(attachment);
        if waiting.is_none() {
            self.waiting.push((id, needed));
        }
        self.schedule.postpone(id, now + ELECTION_RETRY, &instance.router);
        false
    }

    /// Handles the elections whose probe has completed.
    pub(super) fn elect_waiting(&mut self, now: Timestamp) {
        for position in (0..self.waiting.len()).rev() {
            let Some((id, needed)) = self.waiting.get(position).copied() else { continue };
            let instance = self.topology.routers.get(id);
            if instance.is_none_or(|instance| attachment(&self.topology.links, instance, needed).is_none()) {
                self.waiting.swap_remove(position);
                // Has no effect if an advert has arrived in the meantime.
                self.dispatch(now, id, Input::Timeout);
            }
        }
    }
}

/// Returns when the probe before an election at `deadline` must have begun.
pub(super) fn needed_probe(deadline: Timestamp, instance: &Instance) -> Timestamp {
    let snapshot = instance.router.snapshot();
    let interval = snapshot.active_interval.nanos();
    let age = snapshot.master_down_interval.saturating_sub(interval + interval / 2);
    Timestamp::from_nanos(deadline.as_nanos().saturating_sub(age))
}

/// Returns the attachment of a backup's link, unless a probe that began at `needed` or later found
/// it attached.
pub(super) fn attachment<'a>(
    links: &'a Links,
    instance: &Instance,
    needed: Timestamp,
) -> Option<&'a Attachment> {
    if instance.router.state() != State::Backup {
        return None;
    }
    let io = links.get(instance.link)?.io.as_ref()?;
    let attachment = io.attachment.as_deref().filter(|_| io.detached_at.is_none())?;
    // If the program was just found detached, the router is impeded in the next turn.
    (attachment.is_detached() || attachment.attached_at() < needed).then_some(attachment)
}
