//! The difference between two configurations, as a reload applies it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::difference::Differences;
use super::line::Line;
use crate::config::{Config, Instance};
use crate::xdp::Sizes;

/// The instances to remove, to change and to add, and a line for each change.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) removed: Vec<Arc<Instance>>,
    /// Instances whose settings change while they run. Instances that lose addresses, routes or
    /// rules come first.
    pub(crate) changed: Vec<Arc<Instance>>,
    pub(crate) added: Vec<Arc<Instance>>,
    pub(crate) lines: Vec<Line>,
}

impl Plan {
    /// Compares two configurations. Instances are matched by name.
    pub(crate) fn new(from: &Config, to: &Config) -> Self {
        let by_name = |config: &Config| -> BTreeMap<String, Arc<Instance>> {
            config.instances.iter().map(|one| (one.name.clone(), Arc::clone(one))).collect()
        };
        let (before, after) = (by_name(from), by_name(to));
        let mut plan = Self::default();
        for one in from.instances.iter().filter(|one| !after.contains_key(&one.name)) {
            plan.lines.push(Line::instance(&one.name, "removed"));
            plan.removed.push(Arc::clone(one));
        }
        for one in &to.instances {
            match before.get(&one.name) {
                Some(known) if known == one => {}
                Some(known) => plan.change(known, one),
                None => {
                    plan.lines.push(Line::instance(&one.name, "added"));
                    plan.added.push(Arc::clone(one));
                }
            }
        }
        plan.lines.extend(super::difference::groups(&from.groups, &to.groups));
        if from.realtime != to.realtime {
            plan.lines.push(Line::agent("realtime: takes effect at the next start"));
        }
        if from.fence != to.fence {
            plan.lines.push(Line::agent("fence: takes effect at the next start"));
        }
        if from.control != to.control {
            plan.lines.push(Line::agent("control: access to the control socket changed"));
        }
        if from.metrics != to.metrics {
            let now = to.metrics.listen.map_or_else(|| "off".to_owned(), |at| format!("at {at}"));
            plan.lines.push(Line::agent(format!("metrics: {now}")));
        }
        if from.notifications != to.notifications {
            plan.lines.push(Line::agent("notify: fifo changed"));
        }
        if plan.lines.is_empty() {
            plan.lines.push(Line::agent("the configuration has not changed"));
        }
        let loses_any = |one: &Arc<Instance>| {
            before.get(&one.name).is_some_and(|known| {
                known.router.all_addresses().any(|vip| !one.router.all_addresses().any(|other| other == vip))
                    || known.routes.iter().any(|route| !one.routes.contains(route))
                    || known.rules.iter().any(|rule| !one.rules.contains(rule))
            })
        };
        plan.changed.sort_by_cached_key(|one| !loses_any(one));
        plan
    }

    /// Adds an instance that both configurations contain with different settings.
    fn change(&mut self, known: &Arc<Instance>, one: &Arc<Instance>) {
        let Differences { in_place, restarting } = Differences::between(known, one);
        let name = &one.name;
        self.lines.extend(in_place.into_iter().map(|difference| Line::instance(name, difference)));
        if restarting.is_empty() {
            self.changed.push(Arc::clone(one));
        } else {
            self.lines.push(Line::instance(name, format!("{}; started again", restarting.join(", "))));
            self.removed.push(Arc::clone(known));
            self.added.push(Arc::clone(one));
        }
    }
}

/// Checks that the BPF program's maps have room for a configuration.
///
/// # Errors
/// Returns a message that names the first kind of entry that does not fit.
pub(crate) fn check_room(available: Sizes, needed: Sizes) -> Result<(), String> {
    for (what, available, needed) in [
        ("instances", available.routers, needed.routers),
        ("unicast peers", available.peers, needed.peers),
        ("virtual addresses (one on another interface counts twice)", available.addresses, needed.addresses),
    ] {
        if needed > available {
            return Err(format!(
                "the configuration has {needed} {what}, and the running agent has room for {available}; restart \
                 vipd to make room"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::vrrp::VirtualAddress;

    fn config(instances: &[(&str, u8, u8)]) -> Config {
        let mut text = String::new();
        for (name, vrid, priority) in instances {
            let _ = write!(
                text,
                "[[instance]]\nname = \"{name}\"\ninterface = \"eth0\"\nvrid = {vrid}\npriority = {priority}\n\
                 virtual_addresses = [\"10.0.{vrid}.1\"]\n"
            );
        }
        Config::parse(&text, "vipd.toml").expect("a valid configuration")
    }

    fn names(instances: &[Arc<Instance>]) -> Vec<&str> {
        instances.iter().map(|one| one.name.as_str()).collect()
    }

    fn texts(plan: &Plan) -> Vec<String> {
        plan.lines.iter().map(Line::to_string).collect()
    }

    #[test]
    fn same_configuration_changes_nothing() {
        let one = config(&[("a", 1, 100), ("b", 2, 100)]);
        let plan = Plan::new(&one, &one.clone());
        assert!(plan.removed.is_empty() && plan.added.is_empty());
        assert_eq!(texts(&plan), ["the configuration has not changed"]);
    }

    #[test]
    fn changed_settings_of_the_agent_are_listed() {
        let from = config(&[("a", 1, 100)]);
        let mut to = from.clone();
        to.notifications.fifo = Some("/run/vipd/fifo".into());
        assert_eq!(texts(&Plan::new(&from, &to)), ["notify: fifo changed"]);
    }

    #[test]
    fn only_changed_instances_are_listed() {
        let from = config(&[("a", 1, 100), ("b", 2, 100), ("c", 3, 100), ("e", 5, 100)]);
        let to = config(&[("c", 3, 100), ("b", 2, 150), ("d", 4, 100), ("e", 6, 200)]);
        let plan = Plan::new(&from, &to);
        assert_eq!(names(&plan.removed), ["a", "e"]);
        assert_eq!(names(&plan.changed), ["b"]);
        assert_eq!(names(&plan.added), ["d", "e"]);
        assert_eq!(
            texts(&plan),
            [
                "a: removed",
                "b: priority 100 → 150",
                "d: added",
                "e: priority 100 → 200",
                "e: virtual address 10.0.5.1/32 removed",
                "e: virtual address 10.0.6.1/32 added",
                "e: vrid 5 → 6; started again"
            ]
        );
    }

    #[test]
    fn instances_that_lose_addresses_are_changed_first() {
        let from = config(&[("a", 1, 100), ("b", 2, 100)]);
        let mut to = from.clone();
        let settings = |one: usize, vip: [u8; 4]| {
            let mut changed = Instance::clone(&from.instances[one]);
            changed.router.virtual_addresses.push(VirtualAddress { address: vip.into(), prefix: 32 });
            changed.placements.push(changed.placements[0].clone());
            changed
        };
        // Instance a gains the address of instance b.
        let gaining = settings(0, [10, 0, 2, 1]);
        let mut losing = settings(1, [10, 0, 9, 9]);
        losing.router.virtual_addresses.remove(0);
        losing.placements.remove(0);
        to.instances = vec![Arc::new(gaining), Arc::new(losing)];
        assert_eq!(names(&Plan::new(&from, &to).changed), ["b", "a"]);
    }

    #[test]
    fn rejection_for_lack_of_room_states_needed_and_available_numbers() {
        let sizes = Sizes { routers: 64, peers: 64, addresses: 64, senders: 4096, burst: 1 };
        assert_eq!(check_room(sizes, sizes), Ok(()));
        let error = check_room(sizes, Sizes { peers: 65, ..sizes }).expect_err("too many peers");
        assert!(error.contains("65 unicast peers") && error.contains("room for 64"), "{error}");
    }
}
