//! Finds the attached programs of agents whose pins this process cannot see.
//!
//! [Pins](super::pin) show only the programs in the BPF file system of this mount namespace. A dead
//! agent may have pinned its programs in another one, and they still drop packets to and from its
//! fenced VIPs. This module finds the programs by the kernel's IDs, and their agent by the
//! [label](super::label).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use vipd_common::names;
use vipd_common::records::AddressKey;

use super::addresses::Addresses;
use super::label::{self, Label};
use super::pin::Pins;
use super::program::Entry;
use super::syscall::{self, LinkInfo};

/// The programs of an agent that are attached to interfaces of this network namespace, but not
/// pinned where this process can see them. The agent may be running.
#[derive(Debug)]
pub struct HiddenPrograms {
    links: Vec<HiddenLink>,
    vips: Option<BTreeSet<AddressKey>>,
}

/// No programs.
impl Default for HiddenPrograms {
    fn default() -> Self {
        Self { links: Vec::new(), vips: Some(BTreeSet::new()) }
    }
}

#[derive(Debug)]
struct HiddenLink {
    link: OwnedFd,
    ifindex: u32,
    entry: Entry,
}

impl HiddenPrograms {
    /// Finds the programs of all agents in this thread's network namespace, by the name of the
    /// agent. `xdp_programs` returns the ID of the XDP program of each interface that has one, by
    /// interface index; it is called only with CAP_SYS_ADMIN.
    ///
    /// Makes several system calls for each link on the machine.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN, and other errors from `bpf(2)` or `xdp_programs`. A link that
    /// cannot be queried is skipped, and a failure to read the VIPs makes [`vips`](Self::vips)
    /// return `None`.
    pub fn find(
        xdp_programs: impl FnOnce() -> io::Result<BTreeMap<u32, u32>>,
    ) -> io::Result<BTreeMap<String, Self>> {
        let ids = syscall::links().collect::<io::Result<Vec<u32>>>()?;
        let (pinned, xdp_programs) = (Pins::all_links(), xdp_programs()?);
        let mut found: BTreeMap<String, Self> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for id in ids.into_iter().filter(|id| !pinned.contains(id)) {
            let Some(link) = opened(syscall::link_by_id(id))? else { continue };
            let Ok(info) = syscall::link_info(link.as_fd()) else { continue };
            if is_here(&info, &xdp_programs)
                && let Some(Labelled { agent, entry, addresses }) = labelled(&info)?
            {
                let programs = found.entry(agent).or_default();
                programs.links.push(HiddenLink { link, ifindex: info.ifindex, entry });
                if known.insert(addresses) {
                    let map = opened(syscall::map_by_id(addresses))?;
                    let vips = map.and_then(|map| Addresses::read(map).ok());
                    programs.vips = programs.vips.take().zip(vips).map(|(all, more)| &all | &more);
                }
            }
        }
        Ok(found)
    }

    /// Returns the indices of the interfaces to which the programs are attached.
    pub fn interfaces(&self) -> BTreeSet<u32> {
        self.links.iter().map(|hidden| hidden.ifindex).collect()
    }

    /// Returns the VIPs in the agent's map, which may include VIPs of backups; `None` if the map
    /// has another layout, cannot be read, or no longer exists. A VIP on a macvlan is listed with
    /// the index of the parent.
    pub fn vips(&self) -> Option<&BTreeSet<AddressKey>> {
        self.vips.as_ref()
    }

    /// Detaches the programs, and adds the interface index and the hook of each of them to
    /// `detached`.
    ///
    /// # Errors
    /// Returns the kernel's last error after an attempt to detach all programs.
    pub fn detach(self, detached: &mut Vec<(u32, &'static str)>) -> io::Result<()> {
        let mut result = Ok(());
        for HiddenLink { link, ifindex, entry } in self.links {
            match syscall::detach_link(link.as_fd()) {
                Ok(()) => detached.push((ifindex, hook(entry))),
                Err(error) => result = Err(error),
            }
        }
        result
    }
}

/// Returns the hook of a program, as in the names of pins, except that the XDP modes are not
/// distinguished.
fn hook(entry: Entry) -> &'static str {
    match entry {
        Entry::Xdp | Entry::XdpFrags | Entry::XdpBare => "xdp",
        Entry::Tc | Entry::TcBare => "tc",
        Entry::FenceIngress => "ingress",
        Entry::FenceEgress => "egress",
    }
}

/// A program that an agent has attached.
struct Labelled {
    agent: String,
    entry: Entry,
    /// ID of the map of VIPs.
    addresses: u32,
}

/// Returns the program of a link; `None` if it no longer exists, is not a program of an agent, or
/// has no map of VIPs or no label that can be read.
fn labelled(info: &LinkInfo) -> io::Result<Option<Labelled>> {
    let Some(program) = opened(syscall::program_by_id(info.program))? else { return Ok(None) };
    let program = syscall::program_info(program.as_fd())?;
    let Some(entry) = Entry::ALL.into_iter().find(|entry| entry.name() == program.name) else {
        return Ok(None);
    };
    let (mut agent, mut addresses) = (None, None);
    for id in program.maps {
        let Some(map) = opened(syscall::map_by_id(id))? else { continue };
        match syscall::map_name(map.as_fd())?.as_str() {
            names::MAP_ADDRESSES => addresses = Some(id),
            label::MAP => agent = Label::read(map.as_fd()).ok(),
            _ => {}
        }
    }
    Ok(agent.zip(addresses).map(|(agent, addresses)| Labelled { agent, entry, addresses }))
}

/// Returns whether a link is attached to an interface of this thread's network namespace. The
/// interface index does not show this, because each namespace has its own indices.
fn is_here(info: &LinkInfo, xdp_programs: &BTreeMap<u32, u32>) -> bool {
    match info.kind {
        syscall::BPF_LINK_TYPE_XDP => xdp_programs.get(&info.ifindex) == Some(&info.program),
        // The query fails if this namespace has no such interface.
        syscall::BPF_LINK_TYPE_TCX => syscall::all_links_at(info.ifindex, info.hook)
            .is_ok_and(|mut links| links.any(|link| link == info.id)),
        _ => false,
    }
}

/// Returns `None` if the object has been destroyed since its ID was read, or if a link is still
/// being created (`EAGAIN`).
fn opened(object: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match object {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock) => Ok(None),
        object => object.map(Some),
    }
}
