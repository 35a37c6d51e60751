//! The difference between two configurations, as a reload applies it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, Instance};
use crate::xdp::Sizes;

/// The instances to remove and to add, and a line for each change.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) removed: Vec<Arc<Instance>>,
    pub(super) added: Vec<Arc<Instance>>,
    pub(super) lines: Vec<String>,
}

impl Plan {
    /// Compares two configurations. Instances with the same name are the same instance.
    pub(super) fn new(from: &Config, to: &Config) -> Self {
        let by_name = |config: &Config| -> BTreeMap<String, Arc<Instance>> {
            config.instances.iter().map(|one| (one.name.clone(), Arc::clone(one))).collect()
        };
        let (before, after) = (by_name(from), by_name(to));
        let mut plan = Self::default();
        for one in from.instances.iter().filter(|one| !after.contains_key(&one.name)) {
            plan.lines.push(format!("{}: removed", one.name));
            plan.removed.push(Arc::clone(one));
        }
        for one in &to.instances {
            match before.get(&one.name) {
                Some(known) if known == one => {}
                Some(known) => {
                    plan.lines.push(format!("{}: changed; started again", one.name));
                    plan.removed.push(Arc::clone(known));
                    plan.added.push(Arc::clone(one));
                }
                None => {
                    plan.lines.push(format!("{}: added", one.name));
                    plan.added.push(Arc::clone(one));
                }
            }
        }
        if from.realtime != to.realtime {
            plan.lines.push("realtime: takes effect at the next start".to_owned());
        }
        if plan.lines.is_empty() {
            plan.lines.push("nothing has changed".to_owned());
        }
        plan
    }
}

/// Checks that the BPF program's maps have room for a configuration.
///
/// # Errors
/// Returns a message that names the map that is too small.
pub(super) fn check_room(available: Sizes, needed: Sizes) -> Result<(), String> {
    for (what, available, needed) in [
        ("instances", available.routers, needed.routers),
        ("unicast peers", available.peers, needed.peers),
        ("virtual addresses with accept = false", available.closed, needed.closed),
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

    #[test]
    fn same_configuration_changes_nothing() {
        let one = config(&[("a", 1, 100), ("b", 2, 100)]);
        let plan = Plan::new(&one, &one.clone());
        assert!(plan.removed.is_empty() && plan.added.is_empty());
        assert_eq!(plan.lines, ["nothing has changed"]);
    }

    #[test]
    fn only_instances_that_differ_are_listed() {
        let from = config(&[("a", 1, 100), ("b", 2, 100), ("c", 3, 100)]);
        let to = config(&[("c", 3, 100), ("b", 2, 150), ("d", 4, 100)]);
        let plan = Plan::new(&from, &to);
        assert_eq!(names(&plan.removed), ["a", "b"]);
        assert_eq!(names(&plan.added), ["b", "d"]);
        assert_eq!(plan.lines, ["a: removed", "b: changed; started again", "d: added"]);
    }

    #[test]
    fn configuration_without_room_is_rejected_by_the_map_that_is_too_small() {
        let sizes = Sizes { routers: 64, peers: 64, closed: 64, senders: 4096, burst: 1 };
        assert_eq!(check_room(sizes, sizes), Ok(()));
        let error = check_room(sizes, Sizes { peers: 65, ..sizes }).expect_err("too many peers");
        assert!(error.contains("65 unicast peers") && error.contains("room for 64"), "{error}");
    }
}
