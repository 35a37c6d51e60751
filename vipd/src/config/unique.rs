//! Conflicts between instances: duplicate names, VRIDs and addresses, and routes and rules that
//! cannot exist together.

use std::collections::BTreeMap;

use super::host;
use super::operate::{Route, Rule};
use super::problem::Collector;
use super::section::instance::Draft;
use super::table::Located;

/// Reports each conflicting definition with the position of the other definition.
pub(super) fn check(drafts: &[Draft], problems: &mut Collector<'_>) {
    names(drafts, problems);
    vrids(drafts, problems);
    addresses(drafts, problems);
    routes(drafts, problems);
    rules(drafts, problems);
}

fn names(drafts: &[Draft], problems: &mut Collector<'_>) {
    let mut first = BTreeMap::new();
    for name in drafts.iter().filter_map(|draft| draft.name.as_ref()) {
        if let Some(taken) = first.get(&name.value) {
            let place = problems.place(*taken);
            problems.add(
                name.at,
                format!(
                    "name {:?} is already used at {place}; names must be unique; rename one of them",
                    name.value
                ),
            );
        } else {
            first.insert(&name.value, name.at);
        }
    }
}

fn vrids(drafts: &[Draft], problems: &mut Collector<'_>) {
    let mut first = BTreeMap::new();
    for draft in drafts {
        let (Some(interface), Some(vrid), Some(family)) =
            (&draft.interface, &draft.vrid, draft.addresses.family)
        else {
            continue;
        };
        let key = (&interface.value, vrid.value, family);
        if let Some(taken) = first.get(&key) {
            let place = problems.place(*taken);
            problems.add(
                vrid.at,
                format!(
                    "vrid {} is already used for {} on {} at {place}; a VRID identifies one virtual router per family \
                     and interface; choose another VRID or interface",
                    vrid.value,
                    host::family_name(family),
                    interface.value
                ),
            );
        } else {
            first.insert(key, vrid.at);
        }
    }
}

/// Reports addresses that occur twice in an instance or on an interface, regardless of the prefix
/// length.
fn addresses(drafts: &[Draft], problems: &mut Collector<'_>) {
    let mut on_interface = BTreeMap::new();
    for draft in drafts {
        let mut in_instance = BTreeMap::new();
        for located in draft.addresses.all() {
            let address = located.value.address.address;
            let dev = located.value.placement.interface.as_ref();
            let interface = dev.or(draft.interface.as_ref().map(|interface| &interface.value));
            let used_here = in_instance.get(&address).map(|at| (*at, String::new()));
            let taken = used_here.or_else(|| {
                let at = on_interface.get(&(interface?, address))?;
                Some((*at, format!(" on {}", interface?)))
            });
            if let Some((at, interface)) = taken {
                let place = problems.place(at);
                problems.add(
                    located.at,
                    format!(
                        "virtual address {address} is already used{interface} at {place}; an address belongs to one \
                         virtual router; remove one of them"
                    ),
                );
            } else {
                in_instance.insert(address, located.at);
                if let Some(interface) = interface {
                    on_interface.insert((interface, address), located.at);
                }
            }
        }
    }
}

/// Reports routes of the same instance that have the same destination, table and metric: the kernel
/// accepts only one such route. Warns about such routes of different instances, unless the routes
/// are equal: instances may share a route.
fn routes(drafts: &[Draft], problems: &mut Collector<'_>) {
    let mut first: BTreeMap<_, &Located<Route>> = BTreeMap::new();
    let mut own: BTreeMap<_, &Located<Route>> = BTreeMap::new();
    for (instance, draft) in drafts.iter().enumerate() {
        for route in &draft.routing.routes {
            let Located { at, value: Route { to, table, metric, .. } } = route;
            let key = (*to, *table, *metric);
            let what = format!("route to {}/{} in table {table} with metric {metric}", to.0, to.1);
            let other = *first.entry(key).or_insert(route);
            if let Some(twin) = own.insert((instance, key), route) {
                let place = problems.place(twin.at);
                problems.add(
                    *at,
                    format!(
                        "{what} is already defined at {place}; a table has at most one route per destination and metric; \
                         remove one of them, or choose another metric"
                    ),
                );
            } else if other.value != route.value {
                let place = problems.place(other.at);
                problems.warn(
                    *at,
                    format!(
                        "{what} differs from the one at {place}; only one of them can exist while both instances are \
                         master; choose another metric"
                    ),
                );
            }
        }
    }
}

/// Reports rules that occur twice in an instance, and rules that have no effect while another rule
/// exists. Instances may share a rule.
fn rules(drafts: &[Draft], problems: &mut Collector<'_>) {
    let all = drafts
        .iter()
        .enumerate()
        .flat_map(|(instance, draft)| draft.routing.rules.iter().map(move |rule| (instance, rule)));
    let all: Vec<_> = all.collect();
    for (position, (instance, rule)) in all.iter().enumerate() {
        let before = &all[..position];
        let twin = before.iter().find(|(owner, other)| owner == instance && other.value == rule.value);
        if let Some((_, other)) = twin {
            let place = problems.place(other.at);
            problems
                .add(rule.at, format!("{} is already defined at {place}; remove one of them", rule.value));
            continue;
        }
        // RTM_DELRULE removes the first rule that has at least the selectors in the request. A
        // request to remove `other` could therefore remove `rule`, which has more selectors.
        if let Some((_, other)) = all.iter().find(|(_, other)| covers(&other.value, &rule.value)) {
            let place = problems.place(other.at);
            problems.add(
                rule.at,
                format!(
                    "{} has no effect while {} at {place} exists, which has the same table and priority and also \
                     matches these packets; remove one of them, or choose another priority",
                    rule.value, other.value
                ),
            );
        }
    }
}

/// Returns whether the selectors of `rule` are a proper subset of those of `other`, with the same
/// family, table and priority.
fn covers(rule: &Rule, other: &Rule) -> bool {
    fn is_common<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.is_none() || one == other
    }
    rule != other
        && (rule.is_ipv6, rule.table, rule.priority) == (other.is_ipv6, other.table, other.priority)
        && is_common(rule.from.as_ref(), other.from.as_ref())
        && is_common(rule.to.as_ref(), other.to.as_ref())
        && is_common(rule.iif.as_ref(), other.iif.as_ref())
        && is_common(rule.oif.as_ref(), other.oif.as_ref())
        && is_common(rule.fwmark.as_ref(), other.fwmark.as_ref())
}
