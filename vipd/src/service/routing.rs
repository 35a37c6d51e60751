//! Describes routes and policy rules in reports, and removes stale routes and rules.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use crate::config::Config;
use crate::config::Instance;
use crate::engine::routing::is_configured;
use crate::netlink::{Requests, RoutingEntry};

/// Returns the route or rule at a position. As in the engine's reports, the routes come first, then
/// the rules.
pub(super) fn entry(settings: &Instance, position: usize) -> Option<&dyn fmt::Display> {
    match settings.routes.get(position) {
        Some(route) => Some(route),
        None => Some(settings.rules.get(position - settings.routes.len())?),
    }
}

/// Describes a missing route or rule.
pub(super) fn missing(settings: &Instance, (position, errno): (usize, Option<i32>)) -> Option<String> {
    let entry = entry(settings, position)?;
    Some(match errno {
        Some(errno) => format!("{entry}: {}", reason(settings, position, errno)),
        None => format!("{entry}: being added"),
    })
}

/// Explains why the route or rule at a position could not be added.
pub(super) fn reason(settings: &Instance, position: usize, errno: i32) -> String {
    match errno {
        libc::EEXIST if position >= settings.routes.len() => {
            "another vipd in this network namespace has added it".to_owned()
        }
        libc::EEXIST => {
            "the table has another route with this destination and metric, which is left alone".to_owned()
        }
        libc::ENODEV => "its interface does not exist".to_owned(),
        libc::ENETDOWN => "its interface is down".to_owned(),
        libc::EINVAL => "the kernel rejects it; the log has the explanation".to_owned(),
        libc::ENETUNREACH | libc::EHOSTUNREACH => {
            "its next hop is not reachable through a connected network".to_owned()
        }
        errno => io::Error::from_raw_os_error(errno).to_string(),
    }
}

/// Removes and returns stale routes and rules of a killed agent. Unless this agent is the only one
/// in the network namespace, removes only those of configured instances whose interface is not in
/// `refused`, the interfaces that this agent could not claim.
pub(super) fn remove_stale(
    config: &Config,
    refused: &BTreeSet<&str>,
    is_alone: bool,
) -> io::Result<Vec<RoutingEntry>> {
    let free = config.instances.iter().filter(|instance| !refused.contains(instance.interface.as_str()));
    let free: Vec<&Instance> = free.map(AsRef::as_ref).collect();
    Requests::open()?.remove_routing(|found| is_alone || is_configured(found, &free))
}
