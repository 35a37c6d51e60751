//! Finds attached programs of agents that are not pinned where this process can see them.
//!
//! [Pins](super::pin) show only the programs in the BPF file system of this mount namespace. A dead
//! agent may have pinned its programs in another one, and they still drop packets to and from the
//! VIPs that were fenced at the time. This module finds the programs by the kernel's IDs, and their
//! agent by the [label](super::label).

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
    info: LinkInfo,
}

impl HiddenPrograms {
    /// Finds the programs of all agents in this thread's network namespace, by the name of the
    /// agent. `xdp_programs` contains the ID of the XDP program of each interface that has one, by
    /// interface index.
    ///
    /// Makes several system calls for each link on the machine.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN, and any other error from `bpf(2)`.
    pub fn find(xdp_programs: &BTreeMap<u32, u32>) -> io::Result<BTreeMap<String, Self>> {
        let pinned = Pins::all_links();
        let mut found: BTreeMap<String, Self> = BTreeMap::new();
        for id in syscall::links() {
            let id = id?;
            let Some(link) = opened(syscall::link_by_id(id))?.filter(|_| !pinned.contains(&id)) else {
                continue;
            };
            let Ok(info) = syscall::link_info(link.as_fd()) else { continue };
            if let Some(Labelled { agent, addresses }) = labelled(&info)?
                && is_here(&info, xdp_programs)
            {
                let programs = found.entry(agent).or_default();
                programs.links.push(HiddenLink { link, info });
                let vips = opened(syscall::map_by_id(addresses))?.and_then(|map| Addresses::read(map).ok());
                programs.vips = programs.vips.take().zip(vips).map(|(all, more)| &all | &more);
            }
        }
        Ok(found)
    }

    /// Returns the indices of the interfaces to which the programs are attached.
    pub fn interfaces(&self) -> BTreeSet<u32> {
        self.links.iter().map(|hidden| hidden.info.ifindex).collect()
    }

    /// Returns the VIPs in the agent's map, which may include VIPs of backups; `None` if the map
    /// has another layout. A VIP on a macvlan is listed with the index of the parent.
    pub fn vips(&self) -> Option<&BTreeSet<AddressKey>> {
        self.vips.as_ref()
    }

    /// Detaches the programs. Returns the interface index and the hook of each of them.
    ///
    /// # Errors
    /// Returns the kernel's error after an attempt to detach all programs.
    pub fn detach(self) -> io::Result<Vec<(u32, &'static str)>> {
        let detached: Vec<_> = self.links.into_iter().map(HiddenLink::detach).collect();
        detached.into_iter().collect()
    }
}

impl HiddenLink {
    fn detach(self) -> io::Result<(u32, &'static str)> {
        syscall::detach_link(self.link.as_fd())?;
        let hook = match (self.info.kind, self.info.hook) {
            (syscall::BPF_LINK_TYPE_XDP, _) => "xdp",
            (_, syscall::BPF_TCX_INGRESS) => "ingress",
            _ => "egress",
        };
        Ok((self.info.ifindex, hook))
    }
}

/// The agent of a program.
struct Labelled {
    agent: String,
    /// ID of the map of VIPs.
    addresses: u32,
}

/// Returns the agent of a link's program; `None` if it is not a program that an agent attaches.
fn labelled(info: &LinkInfo) -> io::Result<Option<Labelled>> {
    if ![syscall::BPF_LINK_TYPE_XDP, syscall::BPF_LINK_TYPE_TCX].contains(&info.kind) {
        return Ok(None);
    }
    let Some(program) = opened(syscall::program_by_id(info.program))? else { return Ok(None) };
    let program = syscall::program_info(program.as_fd())?;
    if !Entry::ALL.iter().any(|entry| entry.name() == program.name) {
        return Ok(None);
    }
    let (mut agent, mut addresses) = (None, None);
    for id in program.maps {
        let Some(map) = opened(syscall::map_by_id(id))? else { continue };
        match syscall::map_name(map.as_fd())?.as_str() {
            names::MAP_ADDRESSES => addresses = Some(id),
            label::MAP => agent = Some(Label::read(map.as_fd())?),
            _ => {}
        }
    }
    Ok(agent.zip(addresses).map(|(agent, addresses)| Labelled { agent, addresses }))
}

/// Returns whether a link is attached to an interface of this thread's network namespace. The
/// interface index does not show this, because each namespace has its own indices.
fn is_here(info: &LinkInfo, xdp_programs: &BTreeMap<u32, u32>) -> bool {
    match info.kind {
        syscall::BPF_LINK_TYPE_XDP => xdp_programs.get(&info.ifindex) == Some(&info.program),
        // The query fails if this namespace has no such interface.
        _ => syscall::all_links_at(info.ifindex, info.hook)
            .is_ok_and(|mut links| links.any(|link| link == info.id)),
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
