//! Differences between two configurations of an instance.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use super::line::Line;
use crate::config::Instance;
use crate::config::operate::Group;
use crate::config::settings::Transport;
use crate::vrrp::{RouterConfig, VirtualAddress};

/// The differences between two configurations of an instance, as text.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Differences that take effect while the instance continues to run.
    pub(super) in_place: Vec<String>,
    /// Differences that require a restart of the instance: in its identity on the network, the
    /// ownership of its addresses (priority 255), its transport, the setup of its interfaces,
    /// `accept`, or the settings of a VIP.
    pub(super) restarting: Vec<String>,
}

impl Differences {
    pub(super) fn between(from: &Instance, to: &Instance) -> Self {
        let mut found = Self::default();
        found.identity(from, to);
        found.protocol(&from.router, &to.router);
        found.addresses(from, to);
        found.service(from, to);
        found
    }

    /// Adds the differences in the identity, the transport, the interface setup and `accept` of the
    /// virtual router.
    fn identity(&mut self, from: &Instance, to: &Instance) {
        // All fields are listed, so that a new field cannot be forgotten. `name` is skipped,
        // because the instance has the same name in both configurations.
        let Instance {
            name: _,
            interface,
            router,
            source,
            transport,
            checksum: _,
            xdp,
            password: _,
            hmac: _,
            virtual_mac,
            accept,
            announce_interval: _,
            placements: _,
            track: _,
            notify: _,
            routes: _,
            rules: _,
        } = from;
        let restarting = &mut self.restarting;
        note(restarting, "interface", interface, &to.interface);
        note(restarting, "vrid", &router.vrid, &to.router.vrid);
        note(restarting, "family", &router.family, &to.router.family);
        note(restarting, "version", &router.version(), &to.router.version());
        note_changed(restarting, "source", source, &to.source);
        let is_unicast = |transport: &Transport| matches!(transport, Transport::Unicast(_));
        match (is_unicast(transport), is_unicast(&to.transport)) {
            (true, false) => restarting.push("unicast → multicast".to_owned()),
            (false, true) => restarting.push("multicast → unicast".to_owned()),
            _ => note_changed(restarting, "unicast_peers", transport, &to.transport),
        }
        note_changed(restarting, "xdp", xdp, &to.xdp);
        note_changed(restarting, "virtual_mac", virtual_mac, &to.virtual_mac);
        note(restarting, "accept", accept, &to.accept);
    }

    fn protocol(&mut self, from: &RouterConfig, to: &RouterConfig) {
        let RouterConfig {
            vrid: _,
            family: _,
            priority,
            interval,
            preempt,
            preempt_delay,
            startup_delay,
            down_after_adverts,
            is_verified: _,
            announcements,
            virtual_addresses: _,
            excluded_addresses: _,
        } = from;
        // An address owner becomes master as soon as it starts, and its VIPs count as the
        // interface's own addresses. Both properties are fixed when the router is added.
        let ownership_differs = from.is_owner() != to.is_owner();
        let priorities = if ownership_differs { &mut self.restarting } else { &mut self.in_place };
        note(priorities, "priority", priority, &to.priority);
        let in_place = &mut self.in_place;
        if from.version() == to.version() {
            note(in_place, "advert_interval", interval, &to.interval);
        }
        note(in_place, "preempt", preempt, &to.preempt);
        note(in_place, "preempt_delay", &Pause(*preempt_delay), &Pause(to.preempt_delay));
        note(in_place, "startup_delay", &Pause(*startup_delay), &Pause(to.startup_delay));
        note(in_place, "down_after_adverts", down_after_adverts, &to.down_after_adverts);
        note_changed(in_place, "garp", announcements, &to.announcements);
    }

    fn addresses(&mut self, from: &Instance, to: &Instance) {
        let placed = |instance: &Instance| -> Vec<_> {
            instance.router.all_addresses().zip(instance.placements.iter().cloned()).collect()
        };
        let (before, after) = (placed(from), placed(to));
        let find = |placed: &[(VirtualAddress, _)], vip| placed.iter().position(|(other, _)| *other == vip);
        for (vip, _) in before.iter().filter(|(vip, _)| find(&after, *vip).is_none()) {
            self.in_place.push(format!("virtual address {vip} removed"));
        }
        for (vip, placement) in &after {
            match find(&before, *vip).and_then(|position| before.get(position)) {
                None => self.in_place.push(format!("virtual address {vip} added")),
                Some((_, former)) if former != placement => {
                    self.restarting.push(format!("settings of virtual address {vip} changed"));
                }
                Some(_) => {}
            }
        }
        let (former, new) = (&from.router.virtual_addresses, &to.router.virtual_addresses);
        let is_known =
            |vip: &&VirtualAddress| find(&before, **vip).is_some() && find(&after, **vip).is_some();
        // VIPs in both configurations may be newly advertised, no longer advertised, or in a
        // different order.
        if !former.iter().filter(is_known).eq(new.iter().filter(is_known)) {
            self.in_place.push("advertised addresses changed".to_owned());
        }
    }

    /// Adds the remaining differences, all of which take effect in place.
    fn service(&mut self, from: &Instance, to: &Instance) {
        let in_place = &mut self.in_place;
        note_changed(in_place, "checksum", &from.checksum, &to.checksum);
        note_changed(in_place, "auth_pass", &from.password, &to.password);
        note_changed(in_place, "hmac", &from.hmac, &to.hmac);
        note(in_place, "garp.interval", &Pause(from.announce_interval), &Pause(to.announce_interval));
        note_changed(in_place, "track", &from.track, &to.track);
        note_changed(in_place, "notify", &from.notify, &to.notify);
        note_entries(in_place, &from.routes, &to.routes);
        note_entries(in_place, &from.rules, &to.rules);
    }
}

/// Returns a line for each difference between two lists of sync groups. Groups are matched by name.
pub(super) fn groups(from: &[Arc<Group>], to: &[Arc<Group>]) -> Vec<Line> {
    let find = |groups: &[Arc<Group>], name: &str| groups.iter().find(|one| one.name == name).cloned();
    let removed = from.iter().filter(|one| find(to, &one.name).is_none());
    let mut lines: Vec<_> = removed.map(|one| Line::group(&one.name, "removed")).collect();
    for one in to {
        let Some(known) = find(from, &one.name) else {
            lines.push(Line::group(&one.name, format!("added with members {}", one.members.join(", "))));
            continue;
        };
        let Group { name, members, track, notify } = &*known;
        let mut found = Vec::new();
        note(&mut found, "members", &members.join(", "), &one.members.join(", "));
        note_changed(&mut found, "track", track, &one.track);
        note_changed(&mut found, "notify", notify, &one.notify);
        lines.extend(found.into_iter().map(|difference| Line::group(name, difference)));
    }
    lines
}

/// Adds a difference with the old and the new value.
fn note<T: PartialEq + Display>(differences: &mut Vec<String>, key: &str, from: &T, to: &T) {
    if from != to {
        differences.push(format!("{key} {from} → {to}"));
    }
}

/// Adds a difference that shows neither the old nor the new value.
fn note_changed<T: PartialEq>(differences: &mut Vec<String>, key: &str, from: &T, to: &T) {
    if from != to {
        differences.push(format!("{key} changed"));
    }
}

/// Adds each route or rule that only one of the lists contains.
fn note_entries<T: PartialEq + Display>(differences: &mut Vec<String>, from: &[T], to: &[T]) {
    let removed = from.iter().filter(|one| !to.contains(one)).map(|one| format!("{one} removed"));
    let added = to.iter().filter(|one| !from.contains(one)).map(|one| format!("{one} added"));
    differences.extend(removed.chain(added));
}

/// A duration in nanoseconds, displayed in the `Debug` format of [`Duration`], e.g. `1.5s` or
/// `100ms`.
#[derive(PartialEq)]
struct Pause(u64);

impl Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn instance(settings: &str) -> Instance {
        let text = format!("[[instance]]\nname = \"VI_1\"\n{settings}");
        let config = Config::parse(&text, "vipd.toml").expect("a valid configuration");
        Instance::clone(&config.instances[0])
    }

    const SETTINGS: &str = "interface = \"eth0\"\nvrid = 1\npriority = 100\nadvert_interval = \"1s\"\n\
                            virtual_addresses = [\"10.0.0.1\", \"10.0.0.2\"]\n";

    #[test]
    fn each_difference_is_named_and_classified() {
        let from = instance(SETTINGS);
        for (old, new, in_place, restarting) in [
            ("priority = 100", "priority = 150", &["priority 100 → 150"][..], &[][..]),
            ("\"1s\"", "\"100ms\"", &["advert_interval 1s → 100ms"], &[]),
            ("priority = 100", "priority = 255", &[], &["priority 100 → 255"]),
            ("vrid = 1", "vrid = 2", &[], &["vrid 1 → 2"]),
            ("\"eth0\"", "\"eth1\"", &[], &["interface eth0 → eth1"]),
            ("vrid = 1", "vrid = 1\nversion = 2", &[], &["version 3 → 2"]),
            ("vrid = 1", "vrid = 1\naccept = false", &[], &["accept true → false"]),
            (
                "\"10.0.0.2\"]",
                "\"10.0.0.3\"]",
                &["virtual address 10.0.0.2/32 removed", "virtual address 10.0.0.3/32 added"],
                &[],
            ),
            (
                "\"10.0.0.1\", \"10.0.0.2\"",
                "\"10.0.0.2\", \"10.0.0.1\"",
                &["advertised addresses changed"],
                &[],
            ),
            (
                ", \"10.0.0.2\"]",
                "]\nvirtual_addresses_excluded = [\"10.0.0.2\"]",
                &["advertised addresses changed"],
                &[],
            ),
            (
                "\"10.0.0.2\"]",
                "{ address = \"10.0.0.2\", dev = \"eth9\" }]",
                &[],
                &["settings of virtual address 10.0.0.2/32 changed"],
            ),
            ("vrid = 1", "vrid = 1\npreempt = false", &["preempt true → false"], &[]),
            ("vrid = 1", "vrid = 1\ngarp = { repeat = 1 }", &["garp changed"], &[]),
            ("vrid = 1", "vrid = 1\nhmac.keys = [{ id = 1, hex = \"KEY\" }]", &["hmac changed"], &[]),
            ("vrid = 1", "vrid = 1", &[], &[]),
        ] {
            let to = SETTINGS.replace(old, &new.replace("KEY", &"5a".repeat(32)));
            let found = Differences::between(&from, &instance(&to));
            assert_eq!((found.in_place, found.restarting), (own(in_place), own(restarting)), "{to}");
        }
    }

    fn own(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }
}
