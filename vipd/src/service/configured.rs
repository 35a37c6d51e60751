//! The instances that the engine may be running.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Instance;
use crate::engine::routing::is_configured;
use crate::netlink::Requests;

/// The instances whose VIPs may be on the interfaces, in the order of the configuration. Used for
/// reports, and for removing VIPs, routes and rules if the engine fails or, in a restart, is not
/// started.
#[derive(Clone, Debug, Default)]
pub(super) struct Configured(Arc<Mutex<Vec<Arc<Instance>>>>);

impl Configured {
    /// Adds instances before they are sent to the engine.
    pub(super) fn add(&self, instances: &[Arc<Instance>]) {
        self.lock().extend_from_slice(instances);
    }

    /// Replaces all instances. The engine has already removed the VIPs of instances that are no
    /// longer listed.
    pub(super) fn replace(&self, instances: &[Arc<Instance>]) {
        *self.lock() = instances.to_vec();
    }

    /// Returns the positions of the instances in the configuration, by name.
    pub(super) fn positions(&self) -> HashMap<String, usize> {
        self.lock().iter().enumerate().map(|(position, one)| (one.name.clone(), position)).collect()
    }

    /// Returns the names of the interfaces and the VIPs of all instances.
    pub(super) fn interfaces_and_vips(&self) -> (Vec<String>, Vec<IpAddr>) {
        let instances = self.lock();
        let devices = |one: &Arc<Instance>| -> Vec<String> {
            let others = one.placements.iter().filter_map(|placement| placement.interface.clone());
            others.chain([one.interface.clone()]).collect()
        };
        let vips = instances.iter().flat_map(|one| one.router.all_addresses()).map(|vip| vip.address);
        (instances.iter().flat_map(devices).collect(), vips.collect())
    }

    /// Removes the routes and policy rules of all instances. Failures are logged.
    pub(super) fn remove_routing(&self) {
        let instances = self.lock();
        let instances: Vec<&Instance> = instances.iter().map(AsRef::as_ref).collect();
        let removed = Requests::open()
            .and_then(|mut requests| requests.remove_routing(|found| is_configured(found, &instances)));
        if let Err(error) = removed {
            tracing::error!(%error, "cannot remove the routes and rules; remove them with `ip route flush table all proto 118`, `ip rule flush protocol 118` and `ip -6 rule flush protocol 118`");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Instance>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn instances(vip: &str, dev: &str) -> Vec<Arc<Instance>> {
        let text = format!(
            "[[instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvrid = 1\n\
             virtual_addresses = [{{ address = \"{vip}\", dev = \"{dev}\" }}]\n"
        );
        Config::parse(&text, "vipd.toml").expect("a valid configuration").instances
    }

    /// If the engine fails during a reload, the VIPs of both configurations may be present.
    #[test]
    fn vips_of_both_configurations_are_known_while_a_reload_is_in_progress() {
        let configured = Configured::default();
        let (old, new) = (instances("10.0.0.1", "eth1"), instances("10.0.0.2", "eth2"));
        configured.add(&old);
        configured.add(&new);
        let [one, two] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let (interfaces, vips) = configured.interfaces_and_vips();
        assert_eq!(
            (interfaces, vips),
            (["eth1", "eth0", "eth2", "eth0"].map(str::to_owned).to_vec(), vec![one, two])
        );
        configured.replace(&new);
        assert_eq!(configured.interfaces_and_vips().1, [two]);
    }
}
