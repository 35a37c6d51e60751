//! Configuration changes to a running router that need no transition.

use vipd_common::Timestamp;
use vipd_common::parse::address_digest;

use crate::config::RouterConfig;
use crate::interval::Nanos;
use crate::output::{Action, Addresses};
use crate::priority;
use crate::router::Router;
use crate::state::StateData;

impl RouterConfig {
    /// Returns whether [`Router::reconfigure`] can change a router from this configuration to
    /// `new`. If it cannot, the router must be removed and added again: other routers treat a
    /// different VRID, family or version as a different virtual router, and an owner starts in
    /// Master.
    pub fn can_change_to(&self, new: &Self) -> bool {
        let identity = |config: &Self| (config.vrid, config.family, config.version(), config.is_owner());
        identity(self) == identity(new)
    }
}

impl Router {
    /// Changes the configuration without a transition. Returns `false` and changes nothing unless
    /// [`RouterConfig::can_change_to`] allows the change.
    ///
    /// `priority` is the effective priority, because the caller owns the weights of tracked
    /// objects: pass `priority::effective(config.priority, weights)`. It is applied like
    /// [`Input::Priority`](crate::Input::Priority).
    ///
    /// The contract of [`handle`](Self::handle) applies: pass in earlier adverts first, and drain
    /// the actions and events afterwards. Only announcements are sent immediately:
    ///
    /// * A master removes and adds only the addresses that differ, and announces the added
    ///   addresses. The master's next advert carries the new priority, interval and addresses.
    ///   Adver_Timer keeps running, but a shorter interval applies immediately.
    /// * A backup recomputes its running Active_Down_Timer and `preempt_delay` from the times at
    ///   which they were set. A VRRPv3 backup keeps the interval learned from the master.
    /// * A router that waits in Initialize recomputes the end of `startup_delay`. If that time has
    ///   passed, the router starts at the next timeout.
    #[must_use = "a change that is not possible in place needs a new router"]
    pub fn reconfigure(&mut self, now: Timestamp, config: RouterConfig, priority: u8) -> bool {
        let common = &mut self.common;
        debug_assert!(
            common.actions.is_empty() && common.events.is_empty(),
            "actions and events must be drained before a change of configuration"
        );
        if !common.config.can_change_to(&config) {
            return false;
        }
        let priority = if config.is_owner() { config.priority } else { priority::clamped(priority) };
        if common.config == config && common.own_priority == priority {
            return true;
        }
        let was_stalled = match &self.state {
            StateData::Master(master) => master.is_stalled(common, now),
            _ => false,
        };
        let old = core::mem::replace(&mut common.config, config);
        common.set_priority(priority, common.group_priority);
        if old.interval != common.config.interval || old.virtual_addresses != common.config.virtual_addresses
        {
            common.digest = address_digest(common.config.virtual_addresses.iter().map(|vip| vip.address));
            // Mismatches with the new configuration are logged even if others were logged before.
            common.logged = 0;
        }
        // Once `startup_delay` has passed, a longer value has no effect.
        if let Some(at) = common.starts_at.as_mut().filter(|at| **at > now) {
            *at = rebased(*at, old.startup_delay, common.config.startup_delay);
        }
        match &mut self.state {
            StateData::Initialize(initialize) => {
                if initialize.starts_at.is_some() {
                    initialize.starts_at = common.starts_at;
                }
            }
            StateData::Fault(_) => {}
            StateData::Backup(backup) => backup.reconfigured(common, &old),
            StateData::Master(master) => {
                for vip in
                    old.all_addresses().filter(|vip| !common.config.all_addresses().any(|new| new == *vip))
                {
                    common.actions.push_back(Action::RemoveAddress(vip));
                }
                let is_new = |vip: &_| !old.all_addresses().any(|old| old == *vip);
                let rounds = common.config.announcements.repeat;
                for vip in common.config.all_addresses().filter(is_new) {
                    let one = Addresses::One(vip);
                    common.actions.push_back(Action::AddAddresses(one));
                    common.actions.push_back(Action::Announce { addresses: one, rounds });
                }
                master.reconfigured(common, &old, now, was_stalled);
            }
        }
        true
    }
}

/// Returns the deadline that a timer would have if it had been set to `new` instead of `old`.
pub(crate) fn rebased(deadline: Timestamp, old: Nanos, new: Nanos) -> Timestamp {
    Timestamp::from_nanos(deadline.as_nanos().saturating_sub(old)) + new
}
