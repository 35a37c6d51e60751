//! `[[interface]]`: settings of an interface, for all instances that use it.

use std::collections::BTreeMap;

use super::instance::Draft;
use crate::config::host;
use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::settings::XdpMode;
use crate::config::table::{Located, Table, Value};

/// Settings of one interface.
#[derive(Debug)]
pub(in crate::config) struct Interface {
    name: Option<Located<String>>,
    xdp: Option<XdpMode>,
}

impl Interface {
    pub(in crate::config) fn read(table: &Table<'_>, problems: &mut Collector<'_>) -> Self {
        table.reject_unknown(schema::Section::Interface, problems);
        Self {
            name: table.required(&schema::INTERFACE_NAMED, problems, host::interface),
            xdp: table.optional(&schema::INTERFACE_XDP, problems, xdp).flatten(),
        }
    }
}

/// Reads `xdp`, from the top of the file or from an `[[interface]]`.
pub(in crate::config) fn xdp(value: &Value<'_>) -> Result<XdpMode, crate::config::table::Rejection> {
    value.choice([XdpMode::Auto, XdpMode::Native, XdpMode::Generic])
}

/// Returns the configured XDP modes by interface. Reports interfaces that are configured twice or
/// are not the `interface` of an instance.
pub(in crate::config) fn modes(
    interfaces: &[Interface],
    drafts: &[Draft],
    problems: &mut Collector<'_>,
) -> BTreeMap<String, XdpMode> {
    let used: Vec<&str> =
        drafts.iter().filter_map(|draft| Some(draft.interface.as_ref()?.value.as_str())).collect();
    let mut first = BTreeMap::new();
    let mut modes = BTreeMap::new();
    for interface in interfaces {
        let Some(Located { at, value: name }) = &interface.name else { continue };
        if let Some(taken) = first.get(name) {
            let place = problems.place(*taken);
            problems.add(
                *at,
                format!("interface {name:?} is already configured at {place}; merge the two tables"),
            );
        } else if !used.contains(&name.as_str()) {
            let mut used = used.clone();
            used.sort_unstable();
            used.dedup();
            problems.add(
                *at,
                format!("interface {name:?} is not the `interface` of an instance; instances use {}; correct the name, or remove the table", used.join(", ")),
            );
        }
        first.entry(name.clone()).or_insert(*at);
        modes.extend(interface.xdp.map(|mode| (name.clone(), mode)));
    }
    modes
}
