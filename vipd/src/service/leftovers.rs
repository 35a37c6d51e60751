//! What agents that did not end cleanly have left: VIPs, routes, rules, macvlans and BPF programs.
//!
//! VIPs are removed before the programs that fence them. If they cannot be removed, the programs stay
//! attached.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use vipd_common::address::to_words;
use vipd_common::records::AddressKey;

use super::routing;
use crate::config::Config;
use crate::guardian;
use crate::netlink::{Address, Macvlans, PROTO_VIPD, Requests};
use crate::process::{AgentLock, ClaimError, InterfaceClaim, LockError, several_agents_run};
use crate::vrrp::Family;
use crate::xdp::{Kernel, MapDescriptors, Pins};

/// The VRRP interfaces that this agent has claimed, by interface index.
pub type Claims = BTreeMap<u32, InterfaceClaim>;

/// Claims the VRRP interfaces that exist, and removes stale VIPs, routes and rules of a killed
/// agent. Skips the VIPs of routers whose interface cannot be claimed, usually because another agent
/// serves it; opening the interface reports that failure. While other agents run in the network
/// namespace, also skips the VIPs of routers whose interface does not exist, and the routes and
/// rules of all skipped routers. Failures to remove them are logged and do not prevent the agent
/// from starting.
pub fn claim_interfaces(config: &Config) -> Claims {
    let mut claims = Claims::new();
    let mut refused = BTreeSet::new();
    let interfaces: BTreeSet<&str> =
        config.instances.iter().map(|instance| instance.interface.as_str()).collect();
    for interface in interfaces {
        match interface_index(interface).map(|ifindex| (ifindex, InterfaceClaim::acquire(ifindex, interface)))
        {
            Some((ifindex, Ok(claim))) => {
                claims.insert(ifindex, claim);
            }
            Some((_, Err(_))) => {
                refused.insert(interface);
            }
            // The VIPs may be on another interface, which another agent serves.
            None if several_agents_run() => {
                refused.insert(interface);
            }
            None => {}
        }
    }
    let free = config.instances.iter().filter(|instance| !refused.contains(instance.interface.as_str()));
    let vips: Vec<IpAddr> =
        free.flat_map(|instance| instance.router.all_addresses()).map(|vip| vip.address).collect();
    if let Err(error) = remove_vips(|found| vips.contains(&found.address)) {
        tracing::error!("{error:#}");
    }
    match routing::remove_stale(config, &refused) {
        Ok(removed) => {
            for found in removed {
                tracing::warn!("removed stale {found} left by a previous run");
            }
        }
        Err(error) => tracing::error!(%error, "cannot remove stale routes and rules left by a previous run"),
    }
    claims
}

/// Prepares the pins of this agent, if VIPs are fenced: programs that a previous run has left on
/// interfaces in use are replaced in place later. Before that, removes the VIPs of that run, because
/// the new programs do not fence them, and detaches its programs from all other interfaces. Also
/// [clears](clear_others) what dead agents with other names have left on the interfaces.
pub(super) fn clear_programs(
    agent: &str,
    has_fence: bool,
    kernel: &mut Kernel,
    maps: &MapDescriptors,
    config: &Config,
    claims: &Claims,
) {
    let in_use: BTreeSet<u32> = interfaces(config).into_iter().filter_map(interface_index).collect();
    clear_others(agent, &in_use, claims);
    let Some(pins) = (if has_fence { open_pins(agent) } else { Pins::open(agent).ok() }) else { return };
    let unused: BTreeSet<u32> = pins.interfaces().difference(&in_use).copied().collect();
    let removed = remove_vips_of(&pins, claims);
    if let Err(error) = &removed {
        tracing::error!(
            "{error:#}; the BPF programs on interfaces that are no longer configured stay attached"
        );
    }
    match (has_fence, removed) {
        (true, Ok(())) => {
            kernel.use_pins(pins, maps);
            kernel.detach_inherited(&unused);
        }
        (true, Err(_)) => kernel.use_pins(pins, maps),
        (false, Ok(())) => drop(pins),
        (false, Err(_)) => pins.keep(),
    }
}

/// Removes everything that dead agents with other names have left, if their programs are attached
/// to one of these interfaces: the programs may drop packets to VIPs of this agent.
pub(super) fn clear_others(agent: &str, ifindices: &BTreeSet<u32>, claims: &Claims) {
    let owners = Pins::owners_other_than(agent).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot look for BPF programs of dead agents, which may drop packets to VIPs");
        Vec::new()
    });
    for owner in owners {
        if let Err(error) = clear_other(&owner, ifindices, claims) {
            tracing::error!(
                agent = owner,
                "cannot remove what a dead agent has left: {error:#}; its BPF programs may drop packets to VIPs; run \
                 `vipd cleanup` as root with its --runtime-dir"
            );
        }
    }
}

fn clear_other(agent: &str, ifindices: &BTreeSet<u32>, claims: &Claims) -> anyhow::Result<()> {
    // Excludes a start of that agent. A process of another user that holds the lock is no agent.
    let lock = AgentLock::acquire(Path::new(agent));
    if let Err(LockError::Taken { .. }) = lock {
        return Ok(());
    }
    let pins = Pins::open(agent)?;
    if pins.interfaces().is_disjoint(ifindices) {
        pins.keep();
        return Ok(());
    }
    guardian::stand_down(agent);
    let removed = remove_vips_of(&pins, claims)
        .and_then(|()| Macvlans::open(agent).map(drop).context("cannot remove its macvlans"));
    if let Err(error) = removed {
        pins.keep();
        return Err(error);
    }
    tracing::info!(agent, "detaching the BPF programs of a dead agent");
    Ok(())
}

/// Removes the VIPs of the dead agent with these pins, except on interfaces that another agent
/// serves by now.
fn remove_vips_of(pins: &Pins, claims: &Claims) -> anyhow::Result<()> {
    let vips = pins.vips();
    let mut served: BTreeSet<u32> = vips.iter().map(|key| key.ifindex).collect();
    served.retain(|ifindex| !claims.contains_key(ifindex) && is_served_by_another(*ifindex));
    remove_vips(|found| {
        let family = Family::of(found.address).number();
        let key = AddressKey::new(found.ifindex, family, to_words(found.address));
        vips.contains(&key) && !served.contains(&found.ifindex)
    })
}

fn is_served_by_another(ifindex: u32) -> bool {
    let claim = InterfaceClaim::acquire(ifindex, &ifindex.to_string());
    matches!(claim, Err(ClaimError::Taken { .. }))
}

/// Removes and reports VIPs that a dead agent has left.
fn remove_vips(is_stale: impl Fn(&Address) -> bool) -> anyhow::Result<()> {
    let is_stale = |found: &Address| found.protocol == PROTO_VIPD && is_stale(found);
    let removed = Requests::open().and_then(|mut requests| requests.remove_stale(is_stale));
    for found in removed.context("cannot remove stale VIPs left by a previous run")? {
        tracing::warn!(address = %found.address, prefix = found.prefix, "removed stale VIP left by a previous run");
    }
    Ok(())
}

/// Opens the directory in which the links of the BPF programs are pinned, so that VIPs are fenced
/// even if all processes of vipd are killed. Reports if there is none.
pub(super) fn open_pins(agent: &str) -> Option<Pins> {
    Pins::open(agent)
        .map_err(|error| {
            tracing::warn!(%error, "VIPs will not be fenced if all processes of vipd are killed at once");
        })
        .ok()
}

/// Returns the interfaces with virtual routers or VIPs.
fn interfaces(config: &Config) -> BTreeSet<&str> {
    let instances = config.instances.iter();
    let devs = instances.clone().flat_map(|instance| &instance.placements);
    let devs = devs.filter_map(|placement| placement.interface.as_deref());
    instances.map(|instance| instance.interface.as_str()).chain(devs).collect()
}

fn interface_index(interface: &str) -> Option<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    netdevice::name_to_index(socket, interface).ok()
}
