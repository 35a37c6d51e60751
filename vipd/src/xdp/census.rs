//! Finds the attached programs of dead agents by the kernel's IDs.
//!
//! [Pins](super::pin) show only the programs in the BPF file system that this process sees. A dead
//! agent may have pinned its programs in another one, for example in another mount namespace. Such
//! programs still drop packets to and from the VIPs that were fenced at the time.
//!
//! All programs of an agent and its successors share the map `ADDRESSES`, which identifies the
//! agent here. An agent is dead if its program arrays are empty: the kernel empties them when
//! neither a process of the agent nor systemd's descriptor store has them open any more.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use vipd_common::names;
use vipd_common::records::AddressKey;

use super::addresses::Addresses;
use super::pin::Pins;
use super::program::Entry;
use super::syscall::{self, LinkInfo};

/// The programs of all agents that are attached to interfaces of this thread's network namespace.
#[derive(Debug, Default)]
pub struct Census {
    /// The dead agents.
    pub dead: Vec<DeadAgent>,
    /// The VIPs in the maps of agents that are not dead.
    pub vips_in_use: BTreeSet<AddressKey>,
}

/// A dead agent whose programs are still attached. It has no name, because its programs do not
/// show its runtime directory.
#[derive(Debug)]
pub struct DeadAgent {
    /// Whether at least one of its links is pinned in the BPF file system that this process sees.
    pub has_visible_pins: bool,
    links: Vec<AttachedLink>,
    vips: BTreeSet<AddressKey>,
}

#[derive(Debug)]
struct AttachedLink {
    link: OwnedFd,
    info: LinkInfo,
}

/// What the maps of an agent's programs show.
struct Agent {
    links: Vec<AttachedLink>,
    is_dead: bool,
}

impl Census {
    /// Takes a census of all programs on this machine. `xdp_programs` contains the IDs of the XDP
    /// programs in this network namespace, by interface index.
    ///
    /// Makes several system calls for each program and each link on the machine.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN, and any other error from `bpf(2)`.
    pub fn take(xdp_programs: &BTreeMap<u32, u32>) -> io::Result<Self> {
        let mut maps = MapNames::default();
        let mut agents: BTreeMap<u32, Agent> = BTreeMap::new();
        // The links are listed before the programs: an agent that has attached a link has already
        // loaded the program by which it is recognized as living.
        for link in syscall::links() {
            let Some(link) = opened(syscall::link_by_id(link?))? else { continue };
            let info = syscall::link_info(link.as_fd())?;
            if is_here(&info, xdp_programs)
                && let Some(program) = opened(syscall::program_by_id(info.program))?
                && let Some(program) = maps.program(program.as_fd())?
            {
                let agent = agents.entry(program.addresses);
                let agent = agent.or_insert_with(|| Agent { links: Vec::new(), is_dead: true });
                agent.links.push(AttachedLink { link, info });
            }
        }
        if !agents.is_empty() {
            for program in syscall::programs() {
                let Some(program) = opened(syscall::program_by_id(program?))? else { continue };
                if let Some(program) = maps.program(program.as_fd())?
                    && let Some(agent) = agents.get_mut(&program.addresses)
                {
                    agent.is_dead &= is_empty(&program.arrays)?;
                }
            }
        }
        let pinned = Pins::all_links();
        let mut census = Self::default();
        for (addresses, agent) in agents {
            let vips = match opened(syscall::map_by_id(addresses))? {
                Some(map) => Addresses::read(map)?,
                None => BTreeSet::new(),
            };
            if agent.is_dead {
                let has_visible_pins = agent.links.iter().any(|attached| pinned.contains(&attached.info.id));
                census.dead.push(DeadAgent { has_visible_pins, links: agent.links, vips });
            } else {
                census.vips_in_use.extend(vips);
            }
        }
        Ok(census)
    }
}

impl DeadAgent {
    /// Returns the indices of the interfaces to which the programs are attached.
    pub fn interfaces(&self) -> BTreeSet<u32> {
        self.links.iter().map(|attached| attached.info.ifindex).collect()
    }

    /// Returns the VIPs in the agent's map, which may include VIPs of backups.
    pub fn vips(&self) -> &BTreeSet<AddressKey> {
        &self.vips
    }

    /// Detaches the programs. Returns the interface index and the hook of each of them.
    ///
    /// # Errors
    /// The error returned by the kernel. Programs that have not been detached stay attached.
    pub fn detach(self) -> io::Result<Vec<(u32, &'static str)>> {
        let detach = |AttachedLink { link, info }: AttachedLink| {
            syscall::detach_link(link.as_fd())?;
            let hook = match (info.kind, info.hook) {
                (syscall::BPF_LINK_TYPE_XDP, _) => "XDP",
                (_, syscall::BPF_TCX_INGRESS) => "TC ingress",
                _ => "TC egress",
            };
            Ok((info.ifindex, hook))
        };
        self.links.into_iter().map(detach).collect()
    }
}

/// A program of an agent.
struct AgentProgram {
    /// ID of the map of VIPs.
    addresses: u32,
    /// IDs of the program arrays.
    arrays: Vec<u32>,
}

/// The names of maps, by ID. Programs of an agent share most of their maps.
#[derive(Default)]
struct MapNames(BTreeMap<u32, String>);

impl MapNames {
    /// Describes a program; `None` if it is not one that an agent attaches.
    fn program(&mut self, program: BorrowedFd<'_>) -> io::Result<Option<AgentProgram>> {
        let name = syscall::program_name(program)?;
        if !Entry::ALL.iter().any(|entry| entry.name() == name) {
            return Ok(None);
        }
        let (mut addresses, mut arrays) = (None, Vec::new());
        for id in syscall::program_info(program)?.1 {
            match self.name(id)? {
                names::MAP_ADDRESSES => addresses = Some(id),
                names::MAP_AGENT_XDP | names::MAP_AGENT_XDP_FRAGS | names::MAP_AGENT_TC => arrays.push(id),
                _ => {}
            }
        }
        Ok(addresses.map(|addresses| AgentProgram { addresses, arrays }))
    }

    /// Returns the name of a map; empty if the map no longer exists.
    fn name(&mut self, id: u32) -> io::Result<&str> {
        Ok(match self.0.entry(id) {
            MapEntry::Occupied(known) => known.into_mut(),
            MapEntry::Vacant(unknown) => unknown.insert(match opened(syscall::map_by_id(id))? {
                Some(map) => syscall::map_name(map.as_fd())?,
                None => String::new(),
            }),
        })
    }
}

/// Returns whether a link is attached to an interface of this thread's network namespace. The
/// interface index alone does not show this, because each namespace has its own indices.
fn is_here(info: &LinkInfo, xdp_programs: &BTreeMap<u32, u32>) -> bool {
    match info.kind {
        syscall::BPF_LINK_TYPE_XDP => xdp_programs.get(&info.ifindex) == Some(&info.program),
        // The query fails if there is no such interface.
        syscall::BPF_LINK_TYPE_TCX => syscall::all_links_at(info.ifindex, info.hook)
            .is_ok_and(|mut links| links.any(|link| link == info.id)),
        _ => false,
    }
}

fn is_empty(arrays: &[u32]) -> io::Result<bool> {
    for id in arrays {
        if let Some(array) = opened(syscall::map_by_id(*id))?
            && syscall::first_program(array.as_fd())?.is_some()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns `None` if the object has been destroyed since its ID was read.
fn opened(object: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match object {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        object => object.map(Some),
    }
}
