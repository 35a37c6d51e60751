//! `vipd cleanup`: removes the VIPs, routes, rules, BPF programs and TC filters of all dead agents,
//! and the macvlans of one of them.

use std::fmt::Display;
use std::io;

use anyhow::Context as _;

use super::leftovers::census;
use crate::netlink::{Macvlans, Notice, PROTO_VIPD, Requests};
use crate::process::{AgentLock, several_agents_run};
use crate::xdp::{Pins, remove_stale_filters};

/// The result of a cleanup.
pub struct Cleaned {
    /// Descriptions of the removed objects.
    pub removed: Vec<String>,
    /// Names of the macvlans that could not be deleted.
    pub macvlans: Vec<String>,
    /// The reason why BPF programs that are not pinned in the BPF file system of this process could
    /// not be searched for; `None` if they were.
    pub unlisted: Option<io::Error>,
}

/// Removes the stale VIPs, routes, rules, BPF programs and TC filters of all dead agents in this
/// network namespace, and the macvlans of the dead agent that `lock` names.
///
/// Removes the VIPs first, because the BPF programs may be fencing them.
///
/// # Errors
/// Returns an error if another agent runs in this network namespace, if the resources cannot be
/// listed, or if a VIP, route, rule or BPF program cannot be removed. A TC filter or a pinned BPF
/// program that cannot be removed is not reported.
pub fn cleanup(lock: &AgentLock) -> anyhow::Result<Cleaned> {
    if several_agents_run() {
        anyhow::bail!(
            "another vipd runs in this network namespace, and the agent that added a VIP cannot be identified; stop the \
             running agent first, or start the dead agent again, which removes the VIPs of its configuration"
        );
    }
    let mut removed = Vec::new();
    let mut requests = Requests::open().context("cannot open a netlink socket")?;
    let vips = requests.remove_stale(|found| found.protocol == PROTO_VIPD);
    for found in vips.context("cannot remove VIPs; remove them with `ip address del`")? {
        removed.push(format!("virtual address {}/{}", found.address, found.prefix));
    }
    let routing = requests.remove_routing(|_| true).context("cannot remove routes and rules")?;
    removed.extend(routing.iter().map(ToString::to_string));
    let macvlans = Macvlans::open(lock.name()).context("cannot remove macvlans")?;
    removed.extend(macvlans.stale().map(|name| format!("macvlan {name}")));
    let owners = Pins::owners_other_than("").context("cannot list the pins of BPF programs")?;
    for owner in owners {
        let pins = Pins::open(&owner).context("cannot detach the BPF programs; run this as root")?;
        removed.extend(pins.inherited().map(|(ifindex, hook)| program(ifindex, hook)));
        pins.clear();
    }
    let unlisted = match census() {
        Ok(census) => {
            for agent in census.dead {
                let detached = agent.detach().context("cannot detach the BPF programs of a dead agent")?;
                removed.extend(detached.into_iter().map(|(ifindex, hook)| program(ifindex, hook)));
            }
            None
        }
        Err(error) => Some(error),
    };
    let mut interfaces = Vec::new();
    let dumped = requests.dump(|notice| {
        if let Notice::Link(link) = notice {
            interfaces.push(link.name);
        }
    });
    dumped.context("cannot read the interfaces")?;
    let filtered = interfaces.iter().filter(|interface| remove_stale_filters(interface));
    removed.extend(filtered.map(|interface| format!("filters of interface {interface}")));
    Ok(Cleaned { removed, macvlans: macvlans.undeleted().to_vec(), unlisted })
}

fn program(interface: impl Display, hook: &str) -> String {
    format!("BPF program of interface {interface} ({hook})")
}
