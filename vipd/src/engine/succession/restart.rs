//! The engine's part of a restart by systemd: no process runs the routers until the next one has
//! started.
//!
//! A backup that takes over in the meantime is the only router that uses the VIPs, because the BPF
//! programs stay attached and fence the VIPs on this host. If no process starts, the kernel removes
//! the VIPs at the end of their lifetime, except VIPs that belong to an interface (of an address
//! owner), whose lifetimes are not limited.

use super::super::Engine;
use super::super::id::RouterId;
use crate::vrrp::RouterConfig;
use crate::vrrp::config::DOWN_AFTER_ADVERTS;
use crate::xdp::FenceLevel;

/// Time without adverts, in nanoseconds, that every master's backups must tolerate. A start takes a
/// fraction of it.
const MIN_DOWN_INTERVAL: u64 = 1_000_000_000;
const SECOND: u64 = 1_000_000_000;

impl Engine {
    /// Returns the reason, if any, why the state must not be left to a later process. A clean
    /// shutdown is then better for clients, because backups take over after Skew_Time.
    pub(in crate::engine) fn restart_defect(&self) -> Option<String> {
        // The kernel would not remove the VIPs of a router that has left Master, because their
        // lifetimes are not limited.
        if let Some(instance) = self.effects.leaving().find_map(|id| self.topology.routers.get(id)) {
            return Some(format!(
                "{} is no longer master, but its VIPs have not been removed yet; the log has the reason",
                instance.settings.name
            ));
        }
        let mut masters = self.topology.routers.iter().filter(|(_, instance)| instance.is_master());
        masters.find_map(|(_, instance)| {
            let name = &instance.settings.name;
            // Other routers may use the RFC's factor of 3.
            let config = instance.router.config();
            let down_interval = down_interval(config, config.down_after_adverts.min(DOWN_AFTER_ADVERTS));
            if down_interval < MIN_DOWN_INTERVAL {
                return Some(format!(
                    "the backups of {name} take over after {} ms without adverts, and a restart may take longer",
                    down_interval / 1_000_000
                ));
            }
            match instance.fence(&self.topology.links) {
                Some(FenceLevel::Full) => None,
                _ => Some(format!("the VIPs of {name} cannot be fenced while no process runs")),
            }
        })
    }

    /// Queues changes to the lifetimes of the masters' VIPs. If `is_limited`, the lifetimes are
    /// limited to about the time in which backups take over. Otherwise, the limits are removed.
    pub(super) fn limit_lifetimes(&mut self, is_limited: bool) {
        let masters = self.topology.routers.iter().filter(|(_, instance)| instance.is_master());
        let masters: Vec<(RouterId, u32)> =
            masters.map(|(id, instance)| (id, lifetime(instance.router.config()))).collect();
        for (router, lifetime) in masters {
            self.effects.set_lifetimes(router, is_limited.then_some(lifetime), &self.topology);
        }
    }
}

/// Returns the time in seconds within which every backup with the same `down_after_adverts` has
/// taken over. Skew_Time is shorter than an interval; a second is added because the kernel counts
/// lifetimes in whole seconds.
fn lifetime(config: &RouterConfig) -> u32 {
    let until_takeover = down_interval(config, config.down_after_adverts) + config.interval.nanos();
    u32::try_from(until_takeover.div_ceil(SECOND) + 1).unwrap_or(u32::MAX)
}

/// Returns the time, in nanoseconds and without Skew_Time, after which a backup that has missed
/// this number of adverts takes over.
fn down_interval(config: &RouterConfig, missed_adverts: u8) -> u64 {
    config.interval.nanos() * u64::from(missed_adverts)
}
