//! `vipd cleanup`: removes the VIPs, routes, rules and TC filters of all dead agents, and the
//! macvlans and pinned BPF programs of one of them.

use anyhow::Context as _;

use crate::netlink::{Macvlans, Notice, PROTO_VIPD, Requests};
use crate::process::{AgentLock, several_agents_run};
use crate::xdp::{PinError, Pins, remove_stale_filters};

/// The result of a cleanup.
pub struct Cleaned {
    /// Descriptions of the removed objects.
    pub removed: Vec<String>,
    /// Names of the macvlans that could not be deleted.
    pub macvlans: Vec<String>,
}

/// Removes the stale VIPs, routes, rules and TC filters of all dead agents in this network
/// namespace, and the macvlans and pinned BPF programs of the dead agent that `lock` names.
///
/// Removes the VIPs first, because the BPF programs may be fencing them.
///
/// # Errors
/// Returns an error if another agent runs in this network namespace, if the resources cannot be
/// listed, or if a VIP, route or rule cannot be removed. A BPF program or TC filter that cannot be
/// detached is not reported.
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
    match Pins::open(lock.name()) {
        Ok(pins) => {
            let programs = pins.inherited();
            removed.extend(
                programs.map(|(ifindex, hook)| format!("BPF program of interface {ifindex} ({hook})")),
            );
            pins.clear();
        }
        // The caller has warned that programs may be pinned in another mount namespace.
        Err(PinError::NotMounted) => {}
        Err(error) => return Err(error).context("cannot detach the BPF programs; run this as root"),
    }
    let mut interfaces = Vec::new();
    let dumped = requests.dump(|notice| {
        if let Notice::Link(link) = notice {
            interfaces.push(link.name);
        }
    });
    dumped.context("cannot read the interfaces")?;
    let filtered = interfaces.iter().filter(|interface| remove_stale_filters(interface));
    removed.extend(filtered.map(|interface| format!("filters of interface {interface}")));
    Ok(Cleaned { removed, macvlans: macvlans.undeleted().to_vec() })
}
