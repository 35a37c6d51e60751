//! Conflicts between instances: duplicate names, VRIDs and addresses.

use std::collections::BTreeMap;

use super::host;
use super::problem::Collector;
use super::section::instance::Draft;

/// Reports duplicates with the position of the first occurrence.
pub(super) fn check(drafts: &[Draft], problems: &mut Collector<'_>) {
    names(drafts, problems);
    vrids(drafts, problems);
    addresses(drafts, problems);
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
