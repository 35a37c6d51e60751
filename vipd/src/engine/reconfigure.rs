//! Changes the settings of a virtual router without a transition.
//!
//! The new settings differ only in properties that can be changed while the router runs. A change
//! to the router's identity, address ownership, transport, interface setup or `accept`, or to the
//! settings of a VIP, requires a restart of the router.

use vipd_common::Timestamp;

use super::Engine;
use super::command::Change;
use super::id::LinkId;
use crate::vrrp::Action;

/// The work that remains after a change.
#[derive(Debug, Default)]
pub(super) struct Reconfigured {
    /// Link to open again, because the router's entry in the BPF program has changed.
    pub(super) reopen: Option<LinkId>,
    /// Whether the router uses links that did not exist before.
    pub(super) has_new_links: bool,
}

impl Engine {
    /// Applies new settings to a router. A master adds and announces new addresses and removes
    /// former addresses. Routes and rules are updated in the same way, and the master's next advert
    /// has the new contents.
    pub(super) fn reconfigure(&mut self, now: Timestamp, change: Change) -> Reconfigured {
        let Change { router: id, settings, priority } = change;
        // An unchanged advert that has already arrived is handled under the former settings.
        self.dispatch_unchanged(now, id);
        let Some(instance) = self.topology.routers.get_mut(id) else { return Reconfigured::default() };
        if !instance.router.reconfigure(now, settings.router.clone(), priority) {
            debug_assert!(false, "the service restarts a router with such a change");
            return Reconfigured::default();
        }
        let actions: Vec<_> = std::iter::from_fn(|| instance.router.poll_action()).collect();
        let former_entry = instance.xdp_entry();
        // Former addresses are removed while their positions are still known, and before new
        // addresses are added.
        for action in &actions {
            if let Action::RemoveAddress(vip) = action {
                self.effects.remove_one(id, *vip, &mut self.topology);
            }
        }
        let Some(reconfigured) = self.topology.change_router(id, settings) else {
            return Reconfigured::default();
        };
        self.effects.renumber(id, &reconfigured.positions);
        if let Some(instance) = self.topology.routers.get(id).filter(|instance| instance.is_master()) {
            self.effects.routing.set(now, id, &instance.routing);
        }
        // If the thread cannot be started, the next resync tries again.
        self.resync_needed |= self.prepare_routing().is_err();
        self.close_unused(reconfigured.unused);
        for action in actions {
            self.effects.push(id, action);
        }
        self.publish_window(id);
        if let Some(instance) = self.topology.routers.get(id) {
            // The anti-replay settings may have changed.
            self.republish_senders(instance);
            self.effects.guard(id, instance, &self.topology.links, &mut self.reports);
        }
        self.settle(now, id);
        self.member_changed(id);
        self.follow_up(now);
        let Some(instance) = self.topology.routers.get(id) else { return Reconfigured::default() };
        let reopen = (instance.xdp_entry() != former_entry).then_some(instance.link);
        Reconfigured { reopen, has_new_links: reconfigured.has_new_links }
    }
}
