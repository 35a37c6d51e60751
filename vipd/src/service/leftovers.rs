//! Removes stale VIPs, routes, rules, macvlans and BPF programs of agents that did not end cleanly.
//!
//! VIPs are removed before the programs that fence them. If VIPs cannot be removed, the programs
//! stay attached.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use vipd_common::address::to_words;
use vipd_common::records::AddressKey;

use super::routing;
use crate::config::Config;
use crate::guardian;
use crate::netlink::{Address, Macvlans, PROTO_VIPD, Requests};
use crate::process::{
    AgentLock, InterfaceClaim, LockError, agent_name, agent_stays, other_agents_run, possible_agents,
};
use crate::vrrp::Family;
use crate::xdp::{HiddenPrograms, Kernel, Pins};

/// The VRRP interfaces that this agent has claimed, by interface index.
pub type Claims = BTreeMap<u32, InterfaceClaim>;

/// Claims the VRRP interfaces that exist, and removes stale VIPs, routes and rules of a killed
/// agent. Skips the VIPs of routers whose interface cannot be claimed, usually because another
/// agent serves it. Opening such an interface later reports the failed claim. While other agents
/// run in the network namespace, also skips the VIPs of routers whose interface does not exist, and
/// the routes and rules of all skipped routers. VIPs in the maps of other running agents are not
/// removed if these maps can be read. Failed removals are logged and do not prevent the agent from
/// starting.
pub fn claim_interfaces(config: &Config, runtime_dir: &Path) -> Claims {
    let name = agent_name(runtime_dir);
    // Excludes this agent by name instead of counting agents, because its lock is not always held:
    // acquiring the lock may have failed, and `Stored::abandon` has closed it.
    let is_alone = !other_agents_run(&[&name]);
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
            None if !is_alone => {
                refused.insert(interface);
            }
            None => {}
        }
    }
    let free = config.instances.iter().filter(|instance| !refused.contains(instance.interface.as_str()));
    let vips: Vec<IpAddr> =
        free.flat_map(|instance| instance.router.all_addresses()).map(|vip| vip.address).collect();
    let in_use = vips_in_use(&name, &hidden_or_none());
    if let Err(error) = remove_vips(|found| vips.contains(&found.address) && !in_use.contains(&key(found))) {
        tracing::error!("{error:#}");
    }
    match routing::remove_stale(config, &refused, is_alone) {
        Ok(removed) => {
            for found in removed {
                tracing::warn!("removed stale {found} left by a previous run");
            }
        }
        Err(error) => tracing::error!(%error, "cannot remove stale routes and rules left by a previous run"),
    }
    claims
}

/// Removes the VIPs of a previous run of this agent, because the new BPF programs do not fence
/// them. Then detaches that run's programs. If `has_fence` is set, pinned programs on interfaces in
/// use stay attached until the interfaces are opened, and are then replaced, in place if possible.
/// Also cleans up after [dead agents with other names](clear_others) on the same interfaces.
///
/// # Errors
/// Returns an error if VIPs cannot be removed, or if programs that are not replaced cannot be
/// detached. The programs of the previous run then stay attached and drop packets to the VIPs that
/// another router has taken over.
pub(super) fn clear_programs(
    agent: &str,
    has_fence: bool,
    kernel: &mut Kernel,
    config: &Config,
) -> anyhow::Result<()> {
    let in_use: BTreeSet<u32> = interfaces(config).into_iter().filter_map(interface_index).collect();
    clear_with(agent, &in_use, hidden_or_none);
    let mut hidden = hidden_or_none();
    let own = hidden.remove(agent).unwrap_or_default();
    let vips_in_use = vips_in_use(agent, &hidden);
    Stale::hidden(&own).remove_vips(agent, agent, &vips_in_use)?;
    detach(agent, own)?;
    let pins = if has_fence { open_pins(agent) } else { Pins::find(agent).ok() };
    let Some(pins) = pins else { return Ok(()) };
    Stale::pinned(&pins).remove_vips(agent, agent, &vips_in_use)?;
    if has_fence {
        let unused = pins.interfaces().difference(&in_use).copied().collect();
        kernel.use_pins(pins);
        kernel.detach_inherited(&unused);
    } else {
        pins.clear();
    }
    Ok(())
}

/// Removes the VIPs, macvlans and programs of each dead agent other than `agent` that has programs
/// or VIPs on one of these interfaces. A dead agent's programs may drop packets to this agent's
/// VIPs. A failure is logged, and the programs stay attached. Does not search for programs whose
/// pins this process cannot see.
pub(super) fn clear_others(agent: &str, ifindices: &BTreeSet<u32>) {
    clear_with(agent, ifindices, BTreeMap::new);
}

/// Cleans up after other agents like [`clear_others`], also after those whose programs `search`
/// finds.
fn clear_with(agent: &str, ifindices: &BTreeSet<u32>, search: impl Fn() -> BTreeMap<String, HiddenPrograms>) {
    let pinned = Pins::owners_other_than(agent).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot look for BPF programs of dead agents, which may drop packets to VIPs");
        Vec::new()
    });
    let hidden = search();
    let owners: BTreeSet<&String> =
        pinned.iter().chain(hidden.keys().filter(|owner| *owner != agent)).collect();
    for owner in owners {
        if let Err(error) = clear_other(owner, agent, ifindices, hidden.get(owner), &search) {
            tracing::error!(
                agent = owner,
                "cannot clean up after a dead agent: {error:#}; its BPF programs may drop packets to VIPs; stop all \
                 agents in this network namespace and run `vipd cleanup` as root"
            );
        }
    }
}

fn clear_other(
    dead: &str,
    agent: &str,
    ifindices: &BTreeSet<u32>,
    hidden: Option<&HiddenPrograms>,
    search: impl Fn() -> BTreeMap<String, HiddenPrograms>,
) -> anyhow::Result<()> {
    let is_elsewhere = |stale: Stale<'_>| stale.interfaces_and_vips().is_disjoint(ifindices);
    // Checked before the lock is acquired, because acquiring it makes the dead agent's guardian
    // exit.
    if agent_stays(dead)
        || is_elsewhere(Stale::pinned(&Pins::find(dead)?))
            && hidden.is_none_or(|hidden| is_elsewhere(Stale::hidden(hidden)))
    {
        return Ok(());
    }
    let Liveness::Dead(_lock) = Liveness::of(dead)? else { return Ok(()) };
    // Read again, because the agent may have started and ended since the check.
    let (pins, mut hidden) = (Pins::find(dead)?, search());
    let programs = hidden.remove(dead).unwrap_or_default();
    ensure!(guardian::stand_down(dead), "the dead agent's guardian is still running");
    let in_use = vips_in_use(dead, &hidden);
    Stale::pinned(&pins).remove_vips(dead, agent, &in_use)?;
    Stale::hidden(&programs).remove_vips(dead, agent, &in_use)?;
    Macvlans::open(dead).context("cannot remove the dead agent's macvlans")?;
    tracing::info!(agent = dead, "detaching the BPF programs of a dead agent");
    pins.clear();
    detach(dead, programs)
}

/// Whether an agent runs.
pub(super) enum Liveness {
    Running,
    /// No agent with the name can start until the lock is dropped. There is no lock if a process of
    /// an unprivileged user holds it; that process is not an agent, and is ignored.
    Dead(Option<AgentLock>),
}

impl Liveness {
    pub(super) fn of(agent: &str) -> Result<Self, LockError> {
        match AgentLock::acquire_name_patiently(agent) {
            Ok(lock) => Ok(Self::Dead(Some(lock))),
            Err(LockError::OtherUser { .. }) => Ok(Self::Dead(None)),
            Err(LockError::Taken { .. }) => Ok(Self::Running),
            Err(error) => Err(error),
        }
    }
}

/// Detaches the programs of a dead agent whose pins this process cannot see.
fn detach(dead: &str, hidden: HiddenPrograms) -> anyhow::Result<()> {
    let mut detached = Vec::new();
    hidden.detach(&mut detached).context("cannot detach the BPF programs of a dead agent")?;
    let interfaces: BTreeSet<String> =
        detached.into_iter().map(|(ifindex, _)| interface_name(ifindex)).collect();
    if !interfaces.is_empty() {
        tracing::warn!(
            agent = dead,
            interfaces = Vec::from_iter(interfaces).join(", "),
            "detached BPF programs of a dead agent that were not pinned where this process can see them"
        );
    }
    Ok(())
}

/// Finds the programs in this network namespace whose pins this process cannot see, by the name of
/// their agent.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN, and any other error from netlink or `bpf(2)`.
pub(crate) fn hidden_programs() -> io::Result<BTreeMap<String, HiddenPrograms>> {
    HiddenPrograms::find(|| {
        let links = Requests::open()?.link_facts()?.into_iter();
        Ok(links.filter_map(|link| Some((link.ifindex, link.xdp_program?))).collect())
    })
}

/// Finds the programs like [`hidden_programs`], but none without CAP_SYS_ADMIN, and none after an
/// error, which is logged.
fn hidden_or_none() -> BTreeMap<String, HiddenPrograms> {
    hidden_programs().unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::PermissionDenied {
            tracing::warn!(%error, "cannot look for BPF programs of dead agents, which may drop packets to VIPs");
        }
        BTreeMap::new()
    })
}

/// The VIPs and interfaces of a dead agent, as found in its programs.
struct Stale<'a> {
    /// The VIPs in the dead agent's map, if it can be read.
    vips: Option<&'a BTreeSet<AddressKey>>,
    /// The interfaces to which the programs are attached.
    interfaces: BTreeSet<u32>,
}

impl<'a> Stale<'a> {
    fn pinned(pins: &'a Pins) -> Self {
        Self { vips: pins.vips(), interfaces: pins.attached_interfaces() }
    }

    fn hidden(hidden: &'a HiddenPrograms) -> Self {
        Self { vips: hidden.vips(), interfaces: hidden.interfaces() }
    }

    /// Returns the indices of the interfaces to which the programs are attached or on which the
    /// agent had VIPs. Interfaces with VIPs may lack programs, because another tool may have
    /// detached them.
    fn interfaces_and_vips(self) -> BTreeSet<u32> {
        let vips = self.vips.into_iter().flatten().map(|vip| vip.ifindex);
        self.interfaces.into_iter().chain(vips).collect()
    }

    /// Removes the VIPs, except those that a running agent also has. If the map of VIPs cannot be
    /// read, removes all VIPs on the interfaces to which the programs are attached.
    ///
    /// # Errors
    /// Returns an error if VIPs cannot be removed, or if the map cannot be read while other agents
    /// run.
    fn remove_vips(self, dead: &str, agent: &str, in_use: &BTreeSet<AddressKey>) -> anyhow::Result<()> {
        let Self { vips, interfaces } = self;
        match vips {
            Some(vips) if vips.is_empty() => Ok(()),
            Some(vips) => remove_vips(|found| vips.contains(&key(found)) && !in_use.contains(&key(found))),
            None if interfaces.is_empty() => Ok(()),
            None if other_agents_run(&[dead, agent]) => bail!(
                "cannot remove stale VIPs left by a previous run: the map of that run's VIPs cannot be read, and the VIPs may \
                 belong to other running agents; stop those agents and run `vipd cleanup`"
            ),
            None => remove_vips(|found| interfaces.contains(&found.ifindex) && !in_use.contains(&key(found))),
        }
    }
}

/// Returns the key of an address in the map of VIPs.
fn key(found: &Address) -> AddressKey {
    AddressKey::new(found.ifindex, Family::of(found.address).number(), to_words(found.address))
}

/// Returns the VIPs of all running agents, except `dead`, whose maps can be read. `hidden` contains
/// the programs whose pins this process cannot see.
fn vips_in_use(dead: &str, hidden: &BTreeMap<String, HiddenPrograms>) -> BTreeSet<AddressKey> {
    let (mut vips, running) = (BTreeSet::new(), possible_agents());
    for owner in Pins::owners_other_than(dead).unwrap_or_default() {
        if let (true, Ok(pins)) = (running.contains(&owner), Pins::find(&owner)) {
            vips.extend(pins.vips().into_iter().flatten());
        }
    }
    let hidden = hidden.iter().filter(|(owner, _)| *owner != dead && running.contains(*owner));
    vips.extend(hidden.filter_map(|(_, programs)| programs.vips()).flatten());
    vips
}

/// Removes the VIPs for which `is_stale` returns true, and logs each of them.
fn remove_vips(is_stale: impl Fn(&Address) -> bool) -> anyhow::Result<()> {
    let is_stale = |found: &Address| found.protocol == PROTO_VIPD && is_stale(found);
    let removed = Requests::open().and_then(|mut requests| requests.remove_stale(is_stale));
    for found in removed.context("cannot remove stale VIPs left by a previous run")? {
        tracing::warn!(address = %found.address, prefix = found.prefix, "removed stale VIP left by a previous run");
    }
    Ok(())
}

/// Opens the directory in which the links of the BPF programs are pinned, so that VIPs are fenced
/// even if all processes of vipd are killed. Logs a warning if the directory cannot be opened.
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

/// Returns the name of the interface, or its index if it no longer exists.
pub(crate) fn interface_name(ifindex: u32) -> String {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None);
    let name = socket.ok().and_then(|socket| netdevice::index_to_name(socket, ifindex).ok());
    name.unwrap_or_else(|| ifindex.to_string())
}

fn interface_index(interface: &str) -> Option<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    netdevice::name_to_index(socket, interface).ok()
}
