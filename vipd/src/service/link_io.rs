//! Opens and closes links, in idempotent steps.
//!
//! ```text
//!  ensure_claim      claims the interface                 kept while the link has routers
//!  clear_others      cleans up after dead agents          when the link is first opened
//!  ensure_groups     joins the multicast groups           kept while multicast routers need them
//!  open_sockets      opens the sockets for sending        handed to the engine
//!  ensure_macvlans   creates the macvlans, down           kept until the router is removed
//!  ensure_routers    adds VRIDs to the BPF program's maps, before the program is attached
//!  ensure_attached   attaches the program                 kept while the link has routers
//!  ensure_fence      attaches the fence programs          kept until the link is closed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use super::foreign_xdp::ForeignXdp;
use super::leftovers::{clear_others, open_pins};
use super::link_sockets::{ensure_group, open_sockets};
use super::worker::LinkWork;
use crate::engine::attachment::Watch;
use crate::engine::link_io::{Holdings, LinkIo, MacvlanFailure, MacvlanIo};
use crate::engine::link_spec::{LinkSpec, RouterSpec, XdpEntry};
use crate::engine::succession::Recipient;
use crate::netlink::{Macvlans, Wanted};
use crate::packet::{Batch, Members, Membership};
use crate::process::InterfaceClaim;
use crate::vrrp::Family;
use crate::xdp::{Attached, FenceLevel, Kernel, Mode, Row};

/// Opens and closes links. The methods block: a driver may take seconds to attach a BPF program,
/// and netlink requests wait for the rtnl lock.
pub(crate) struct LinkOpener {
    kernel: Kernel,
    macvlans: Macvlans,
    /// The open links, by interface index.
    open: BTreeMap<u32, Open>,
    foreign_xdp: ForeignXdp,
    /// Whether VIPs are fenced.
    has_fence: bool,
    /// The agent's name, under which its pins are stored.
    agent: String,
    /// The claims, which exclude other agents from the interfaces. Declared last, so that they are
    /// dropped after the programs are detached.
    claims: BTreeMap<u32, InterfaceClaim>,
}

/// Resources of an open link.
#[derive(Default)]
struct Open {
    /// Joined multicast groups, by family.
    groups: BTreeMap<u8, Membership>,
    /// Families whose group cannot be joined, each with a human-readable error.
    unjoined: Vec<(Family, String)>,
    /// Entries in the BPF program's maps.
    entries: Vec<XdpEntry>,
    /// Mode of the BPF program, if it has been attached.
    mode: Option<Mode>,
    /// The fence, once an attempt has been made to attach it.
    fence: Option<Fence>,
}

/// The result of attaching the fence's programs to an open link. It is logged only when it changes.
#[derive(PartialEq, Eq)]
struct Fence {
    level: FenceLevel,
    /// The reason why VIPs are not fully fenced, or why another program may let packets pass, if
    /// there is a reason and it is known.
    reason: Option<String>,
    /// Whether the program that receives adverts is pinned; `None` if the link has no such program.
    advert_is_pinned: Option<bool>,
}

impl LinkOpener {
    /// Creates an opener with no open links. `claims` contains the interfaces that this agent has
    /// already claimed, by index. `agent` is the agent's name.
    pub(crate) fn new(
        kernel: Kernel,
        macvlans: Macvlans,
        claims: BTreeMap<u32, InterfaceClaim>,
        has_fence: bool,
        agent: &str,
    ) -> Self {
        let foreign_xdp = ForeignXdp::default();
        let agent = agent.to_owned();
        Self { kernel, macvlans, open: BTreeMap::new(), foreign_xdp, has_fence, agent, claims }
    }

    /// Runs all steps of [`open`](LinkWork::open).
    fn ensure(&mut self, spec: &LinkSpec) -> anyhow::Result<LinkIo> {
        self.ensure_claim(spec)?;
        let ifindex = BTreeSet::from([spec.ifindex]);
        // A successor does not clean up before it has taken over.
        if !self.open.contains_key(&spec.ifindex) && !self.macvlans.is_borrowed() {
            clear_others(&self.agent, &ifindex);
        }
        self.ensure_groups(spec, &Members::default())?;
        let unjoined = self.open.get(&spec.ifindex).map_or_else(Vec::new, |open| open.unjoined.clone());
        let (socket, unicast) = open_sockets(spec)?;
        let (macvlans, failed_macvlans) = self.ensure_macvlans(spec)?;
        let attached = if spec.routers.is_empty() {
            // The link's last router may have been removed while VIPs of other routers remain on
            // the interface.
            self.kernel.detach(spec.ifindex);
            self.foreign_xdp.forget(spec.ifindex);
            self.claims.remove(&spec.ifindex);
            if let Some(open) = self.open.get_mut(&spec.ifindex) {
                open.mode = None;
            }
            None
        } else {
            self.ensure_routers(spec)?;
            Some(self.ensure_attached(spec)?)
        };
        let fence = self.ensure_fence(spec, attached.as_ref().map(|attached| attached.is_pinned));
        // Detaches the previous run's programs that the interface no longer needs.
        self.kernel.detach_inherited(&ifindex);
        Ok(LinkIo {
            fence,
            routers: spec.routers.iter().map(|router| router.router).collect(),
            mode: attached.as_ref().map(|attached| attached.mode),
            probe: attached.map(|attached| attached.probe),
            attachment: None,
            watch: Watch::default(),
            detached_at: None,
            unjoined,
            socket,
            batch: Batch::default(),
            unicast,
            macvlans,
            failed_macvlans,
        })
    }

    /// Claims the interface if it has routers. This is the first step, so that an agent whose claim
    /// fails changes nothing on the interface.
    fn ensure_claim(&mut self, spec: &LinkSpec) -> anyhow::Result<()> {
        if !spec.routers.is_empty() && !self.claims.contains_key(&spec.ifindex) {
            self.claims.insert(spec.ifindex, InterfaceClaim::acquire(spec.ifindex, &spec.name)?);
        }
        Ok(())
    }

    /// Joins the multicast groups of the families that have multicast routers on the link, restores
    /// memberships that the kernel has dropped, and leaves groups that are no longer needed.
    /// Returns whether the list of failures has changed since the last call.
    ///
    /// # Errors
    /// Returns an error if the link was not open and no router can use it, because no group can be
    /// joined. Otherwise, a failure to join a group affects only the multicast routers of that
    /// family.
    fn ensure_groups(&mut self, spec: &LinkSpec, members: &Members) -> anyhow::Result<bool> {
        let was_open = self.open.contains_key(&spec.ifindex);
        let Open { groups, unjoined, .. } = self.open.entry(spec.ifindex).or_default();
        let former = std::mem::take(unjoined);
        let mut errors = Vec::new();
        for (family, group) in [(Family::V4, "224.0.0.18"), (Family::V6, "ff02::12")] {
            let needs = |router: &RouterSpec| !router.is_unicast() && router.entry.family == family;
            if !spec.routers.iter().any(needs) {
                groups.remove(&family.number());
            } else if let Err(error) = ensure_group(groups, members, spec, family, group) {
                unjoined.push((family, format!("{error:#}")));
                errors.push(error);
            }
        }
        if !was_open
            && groups.is_empty()
            && !spec.routers.iter().any(RouterSpec::is_unicast)
            && let Some(error) = errors.into_iter().next()
        {
            return Err(error);
        }
        for (_, reason) in unjoined.iter().filter(|failed| !former.contains(failed)) {
            tracing::error!("{reason}");
        }
        Ok(*unjoined != former)
    }

    /// Creates the missing macvlans. Returns all macvlans of the link, and the failures.
    ///
    /// # Errors
    /// Returns an error if every router of the link needs a macvlan and none can be created.
    fn ensure_macvlans(&mut self, spec: &LinkSpec) -> anyhow::Result<(Vec<MacvlanIo>, Vec<MacvlanFailure>)> {
        let (mut macvlans, mut failed) = (Vec::new(), Vec::new());
        for RouterSpec { name, entry, macvlan, .. } in &spec.routers {
            let Some(link) = *macvlan else { continue };
            let (family, vrid) = (entry.family.number(), entry.vrid);
            let wanted = Wanted { parent: spec.ifindex, parent_name: &spec.name, family, vrid };
            let created = self.macvlans.ensure(&wanted);
            match created.with_context(|| format!("cannot create the macvlan of {name}")) {
                Ok(created) => {
                    macvlans.push(MacvlanIo { link, name: created.name, ifindex: created.ifindex });
                }
                Err(error) if failed.len() + 1 == spec.routers.len() => return Err(error),
                Err(error) => failed.push(MacvlanFailure { link, reason: format!("{error:#}") }),
            }
        }
        Ok((macvlans, failed))
    }

    /// Adds the routers' VRIDs, peers and keys to the BPF program's maps.
    fn ensure_routers(&mut self, spec: &LinkSpec) -> anyhow::Result<()> {
        let LinkSpec { ifindex, name, routers, .. } = spec;
        // Recorded before the entries are inserted, so that `close` cleans up after a partial
        // failure. Keys are not needed for that, and must not stay in memory once they are removed
        // from the configuration.
        let without_keys = |entry: &XdpEntry| XdpEntry { keys: Vec::new(), ..entry.clone() };
        self.open.entry(*ifindex).or_default().entries =
            routers.iter().map(|router| without_keys(&router.entry)).collect();
        for RouterSpec { entry, .. } in routers {
            let vrid = entry.vrid;
            let inserted = entry.peers.iter().try_for_each(|(key, ttl)| self.kernel.insert_peer(*key, *ttl));
            let row = Row::new(entry.slot.row);
            inserted
                .and_then(|()| row.map_or(Ok(()), |row| self.kernel.set_keys(row, &entry.keys)))
                .and_then(|()| self.kernel.insert_router(entry.key(*ifindex), entry.slot))
                .with_context(|| format!("cannot add VRID {vrid} on {name} to the BPF program's maps"))?;
        }
        Ok(())
    }

    /// Attaches the program, unless it is already attached.
    fn ensure_attached(&mut self, spec: &LinkSpec) -> anyhow::Result<Attached> {
        let interface = spec.name.as_str();
        let LinkSpec { ifindex, xdp, framing, .. } = *spec;
        let attached = self.kernel.attach(ifindex, interface, xdp, framing)?;
        if let Attached { mode, reason: Some(reason), .. } = &attached {
            tracing::info!(interface, %mode, reason, "BPF program attached");
        }
        self.open.entry(ifindex).or_default().mode = Some(attached.mode);
        self.check_xdp(ifindex, interface);
        Ok(attached)
    }

    /// Attaches the programs that fence VIPs. If VIPs are not fully fenced, or another program may
    /// let packets pass, logs the reason. Logs nothing if the reason is unknown or the result is
    /// the same as in the last call.
    fn ensure_fence(&mut self, spec: &LinkSpec, advert_is_pinned: Option<bool>) -> FenceLevel {
        if !self.has_fence {
            return FenceLevel::Off;
        }
        let (level, reason) = self.kernel.attach_fence(spec.ifindex, &spec.name, advert_is_pinned);
        let fence = Fence { level, reason, advert_is_pinned };
        let open = self.open.entry(spec.ifindex).or_default();
        if open.fence.as_ref() != Some(&fence)
            && let Some(reason) = &fence.reason
        {
            let effect = match level {
                FenceLevel::Off => "VIPs on this interface cannot be fenced",
                FenceLevel::Process => "VIPs will not be fenced if all processes of vipd are killed at once",
                FenceLevel::Ingress => "packets from fenced VIPs cannot be dropped",
                FenceLevel::Full => "another program may let packets from fenced VIPs pass",
            };
            tracing::warn!(interface = spec.name, reason, "{effect}");
        }
        open.fence = Some(fence);
        level
    }

    /// Logs a warning if an XDP program of another application runs before vipd's TC ingress
    /// program.
    fn check_xdp(&mut self, ifindex: u32, interface: &str) {
        if self.open.get(&ifindex).and_then(|open| open.mode) == Some(Mode::Tc) {
            self.foreign_xdp.check(ifindex, interface);
        }
    }

    fn forget_entry(&mut self, ifindex: u32, entry: &XdpEntry) {
        if let Err(error) = self.kernel.remove_router(entry.key(ifindex)) {
            tracing::warn!(ifindex, vrid = entry.vrid, %error, "cannot remove a VRID from the BPF program");
        }
    }

    fn remove_peers(&mut self, entry: &XdpEntry) {
        for (peer, _) in &entry.peers {
            if let Err(error) = self.kernel.remove_peer(*peer) {
                tracing::warn!(vrid = entry.vrid, %error, "cannot remove a unicast peer from the BPF program");
            }
        }
    }
}

impl LinkWork for LinkOpener {
    /// Opens a link. If the link is already open, runs only the steps that are still needed, and
    /// returns new sockets.
    ///
    /// On failure, closes a new link; a link that was already open keeps its BPF program.
    fn open(&mut self, spec: &LinkSpec) -> anyhow::Result<LinkIo> {
        let was_open = self.open.contains_key(&spec.ifindex);
        let opened = self.ensure(spec);
        if opened.is_err() && !was_open {
            self.close(spec.ifindex);
        }
        opened
    }

    fn renew_groups<'a>(&mut self, specs: impl IntoIterator<Item = &'a LinkSpec>) -> Vec<LinkSpec> {
        let members = Members::default();
        let mut changed = Vec::new();
        for spec in specs {
            if self.open.contains_key(&spec.ifindex) && self.ensure_groups(spec, &members).unwrap_or(false) {
                changed.push(spec.clone());
            }
        }
        changed
    }

    fn has_unjoined(&self) -> bool {
        self.open.values().any(|open| !open.unjoined.is_empty())
    }

    fn check<'a>(&mut self, specs: impl IntoIterator<Item = &'a LinkSpec>) -> Vec<LinkSpec> {
        let mut changed = Vec::new();
        for spec in specs {
            self.check_xdp(spec.ifindex, &spec.name);
            // Another tool may have detached the programs.
            if let Some(fence) = self.open.get(&spec.ifindex).and_then(|open| open.fence.as_ref()) {
                let (level, advert_is_pinned) = (fence.level, fence.advert_is_pinned);
                if self.ensure_fence(spec, advert_is_pinned) != level {
                    changed.push(spec.clone());
                }
            }
        }
        changed
    }

    fn close(&mut self, ifindex: u32) {
        self.kernel.detach(ifindex);
        self.kernel.detach_fence(ifindex);
        self.foreign_xdp.forget(ifindex);
        for entry in self.open.remove(&ifindex).unwrap_or_default().entries {
            self.forget_entry(ifindex, &entry);
            self.remove_peers(&entry);
        }
        self.claims.remove(&ifindex);
    }

    fn forget(&mut self, ifindex: Option<u32>, entry: &XdpEntry) {
        if let Some(ifindex) = ifindex {
            self.forget_entry(ifindex, entry);
            if let Some(open) = self.open.get_mut(&ifindex) {
                open.entries.retain(|other| other.slot.row != entry.slot.row);
            }
            self.macvlans.remove(ifindex, entry.family.number(), entry.vrid);
        }
        self.remove_peers(entry);
    }

    fn clear_rows(&mut self, rows: &[Row]) {
        if let Err(error) = self.kernel.clear_rows(rows) {
            tracing::warn!(%error, "cannot clear rows of the BPF program's maps");
        }
    }

    fn holdings(&self, recipient: Recipient) -> io::Result<Holdings> {
        let claims = self.claims.iter();
        let claims = claims.filter_map(|(ifindex, claim)| Some((*ifindex, claim.descriptor()?)));
        let claims = claims.map(|(ifindex, claim)| Ok((ifindex, claim.try_clone_to_owned()?)));
        // Before it takes over, a successor to a running process joins the groups itself.
        let open = self.open.values().filter(|_| recipient == Recipient::Later);
        let memberships = open.flat_map(|open| open.groups.values());
        let memberships = memberships.map(|joined| joined.as_fd().try_clone_to_owned());
        Ok(Holdings {
            links: self.kernel.links()?,
            claims: claims.collect::<io::Result<_>>()?,
            memberships: memberships.collect::<io::Result<_>>()?,
        })
    }

    fn hand_over(&mut self) {
        self.kernel.hand_over();
        self.macvlans.hand_over();
    }

    fn take_over(&mut self) {
        self.macvlans.take_over();
        for claim in self.claims.values() {
            claim.take_over();
        }
        let pins = if self.has_fence { open_pins(&self.agent) } else { None };
        for (ifindex, reason) in self.kernel.take_over(pins) {
            tracing::warn!(ifindex, reason, "the BPF program of the previous process stays attached");
        }
    }

    fn set_down(&mut self, ifindex: u32, wanted_up: &AtomicBool) {
        for up in [false, true] {
            if wanted_up.load(Ordering::SeqCst) == up
                && let Err(error) = self.macvlans.set_up(ifindex, up)
            {
                let direction = if up { "up" } else { "down" };
                tracing::warn!(ifindex, %error, "cannot bring the macvlan {direction}");
            }
        }
    }
}
