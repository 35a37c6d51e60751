//! `vipd cleanup`: removes the VIPs, routes, rules, macvlans, BPF programs and TC filters of all
//! dead agents.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;

use anyhow::{Context as _, bail, ensure};

use super::leftovers::{Liveness, hidden_programs};
use crate::guardian;
use crate::netlink::{Macvlans, Notice, PROTO_VIPD, Requests};
use crate::process::{AgentLock, several_agents_run};
use crate::xdp::{HiddenPrograms, Pins, remove_stale_filters};

/// The result of a cleanup.
pub struct Cleaned {
    /// Descriptions of the removed objects.
    pub removed: Vec<String>,
    /// The reasons why macvlans or BPF programs may remain.
    pub failed: Vec<String>,
    /// Whether BPF programs whose pins this process cannot see were searched for, which requires
    /// CAP_SYS_ADMIN.
    pub is_complete: bool,
}

/// Removes the stale VIPs, routes, rules and TC filters of all dead agents in this network
/// namespace, and the macvlans and BPF programs of those that have BPF programs and of the one that
/// `lock` names, whose guardian must have exited.
///
/// Removes the VIPs first, because the BPF programs may be fencing them.
///
/// # Errors
/// Returns an error if another agent runs in this network namespace, if the resources cannot be
/// listed, or if a VIP, route or rule cannot be removed. A TC filter that cannot be removed is not
/// reported.
pub fn cleanup(lock: &AgentLock) -> anyhow::Result<Cleaned> {
    if several_agents_run() {
        bail!(
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
    let mut failed = Vec::new();
    let pinned = Pins::owners_other_than(lock.name()).unwrap_or_else(|error| {
        failed.push(format!("cannot list the pins of BPF programs; run this as root: {error}"));
        Vec::new()
    });
    let mut is_complete = true;
    let mut hidden = hidden_programs().unwrap_or_else(|error| {
        is_complete = error.kind() != io::ErrorKind::PermissionDenied;
        if is_complete {
            failed.push(format!("cannot look for BPF programs that are pinned elsewhere: {error}"));
        }
        BTreeMap::new()
    });
    let agents: BTreeSet<String> =
        pinned.into_iter().chain(hidden.keys().cloned()).chain([lock.name().to_owned()]).collect();
    for agent in agents {
        let hidden = hidden.remove(&agent).unwrap_or_default();
        if let Err(error) = clear(&agent, lock, hidden, &mut removed) {
            failed.push(format!("cannot clean up after {agent}: {error:#}"));
        }
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
    Ok(Cleaned { removed, failed, is_complete })
}

/// Removes the macvlans and BPF programs of a dead agent, and adds their descriptions to `removed`.
fn clear(
    agent: &str,
    lock: &AgentLock,
    hidden: HiddenPrograms,
    removed: &mut Vec<String>,
) -> anyhow::Result<()> {
    let _held = if agent == lock.name() {
        None
    } else {
        let Liveness::Dead(held) = Liveness::of(agent)? else {
            bail!("the agent has been started in the meantime");
        };
        ensure!(guardian::stand_down(agent), guardian::stand_down_failure(agent));
        held
    };
    let macvlans = Macvlans::open(agent).context("cannot remove the macvlans")?;
    removed.extend(macvlans.stale().map(|name| format!("macvlan {name}")));
    let pins = Pins::find(agent).context("cannot detach the BPF programs; run this as root")?;
    removed.extend(pins.inherited().map(|(ifindex, hook)| program(ifindex, hook)));
    pins.clear();
    let mut detached = Vec::new();
    let result = hidden.detach(&mut detached).context("cannot detach the BPF programs");
    removed.extend(detached.into_iter().map(|(ifindex, hook)| program(ifindex, hook)));
    result?;
    ensure!(
        Pins::find(agent)?.inherited().next().is_none(),
        "cannot remove the pins of the BPF programs; run this as root, with a writable /sys/fs/bpf"
    );
    ensure!(
        macvlans.undeleted().is_empty(),
        "cannot delete the macvlans {}; delete them with `ip link delete NAME`",
        macvlans.undeleted().join(", ")
    );
    Ok(())
}

fn program(interface: impl Display, hook: &str) -> String {
    format!("BPF program of interface {interface} ({hook})")
}
