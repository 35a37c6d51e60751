//! Opens and closes links: multicast groups, sockets, macvlans, the XDP program and its maps.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::engine::link_io::{LinkIo, MacvlanIo};
use crate::engine::link_spec::{LinkSpec, RouterSpec, XdpEntry};
use crate::netlink::{Macvlans, Wanted};
use crate::packet::{Batch, Membership, PacketSocket, UnicastSocket};
use crate::vrrp::Family;
use crate::xdp::{Kernel, Mode, Row};

/// Opens and closes links. Not for the engine's thread: attaching may take a driver seconds.
pub(crate) struct LinkOpener {
    kernel: Kernel,
    macvlans: Macvlans,
    /// The XDP entries of each open interface, by its index.
    open: BTreeMap<u32, Vec<XdpEntry>>,
}

impl LinkOpener {
    pub(crate) fn new(kernel: Kernel, macvlans: Macvlans) -> Self {
        Self { kernel, macvlans, open: BTreeMap::new() }
    }

    /// Makes a link ready for adverts and announcements. One that is open is brought up to date; its XDP program stays
    /// attached meanwhile.
    ///
    /// # Errors
    /// Names the link and what was refused.
    pub(crate) fn open(&mut self, spec: &LinkSpec) -> anyhow::Result<LinkIo> {
        let LinkSpec { link: _, ifindex, name, routers } = spec;
        let memberships = join_groups(spec)?;
        let socket = PacketSocket::open(*ifindex)
            .with_context(|| format!("cannot open a packet socket on {name}; it needs CAP_NET_RAW"))?;
        let unicast = routers.iter().filter_map(|router| Some((router, router.unicast_source?)));
        let unicast = unicast.map(|(router, source)| {
            let socket = UnicastSocket::open(*ifindex, source);
            let socket =
                socket.with_context(|| format!("cannot open a raw socket from {source} on {name}"))?;
            Ok((router.router, socket))
        });
        let unicast = unicast.collect::<anyhow::Result<_>>()?;
        let macvlans = self.create_macvlans(spec)?;
        let mode = if routers.is_empty() { None } else { Some(self.ensure_attached(spec)?) };
        Ok(LinkIo {
            mode,
            is_detached: false,
            socket,
            batch: Batch::default(),
            unicast,
            macvlans,
            memberships,
        })
    }

    fn create_macvlans(&mut self, spec: &LinkSpec) -> anyhow::Result<Vec<MacvlanIo>> {
        let wanted = spec.routers.iter().filter_map(|router| Some((router, router.macvlan?)));
        let created = wanted.map(|(RouterSpec { name, entry, .. }, link)| {
            let (family, vrid) = (entry.family.number(), entry.vrid);
            let wanted = Wanted { parent: spec.ifindex, parent_name: &spec.name, family, vrid };
            let created = self.macvlans.make(&wanted);
            let created = created.with_context(|| format!("cannot create the macvlan of {name}"))?;
            Ok(MacvlanIo { link, name: created.name, ifindex: created.ifindex })
        });
        created.collect()
    }

    /// Enters the routers into the XDP program's maps and attaches it. The entries go first: once the program is attached, an
    /// advert must not be passed on as unknown.
    fn ensure_attached(&mut self, spec: &LinkSpec) -> anyhow::Result<Mode> {
        let LinkSpec { ifindex, name, routers, .. } = spec;
        for RouterSpec { entry, .. } in routers {
            let vrid = entry.vrid;
            let entered = entry.peers.iter().try_for_each(|(key, ttl)| self.kernel.admit(*key, *ttl));
            entered
                .and_then(|()| self.kernel.watch(entry.key(*ifindex), entry.slot))
                .with_context(|| format!("cannot enter VRID {vrid} on {name} into the XDP program's maps"))?;
        }
        let entries = routers.iter().map(|router| router.entry.clone()).collect();
        let former = self.open.insert(*ifindex, entries);
        if let Some(mode) = former.and_then(|_| self.kernel.mode(*ifindex)) {
            return Ok(mode);
        }
        match self.kernel.attach(*ifindex, name) {
            Ok((mode, refusal)) => {
                if let Some(refusal) = refusal {
                    tracing::info!(interface = name, driver = refusal, "XDP runs in generic mode");
                } else {
                    tracing::info!(interface = name, %mode, "XDP attached");
                }
                Ok(mode)
            }
            Err(error) => {
                self.close(*ifindex);
                Err(error.into())
            }
        }
    }

    /// Sets a macvlan down, unless it is wanted up, and up again if it is wanted up meanwhile.
    pub(crate) fn set_down(&mut self, ifindex: u32, wanted_up: &AtomicBool) {
        for up in [false, true] {
            if wanted_up.load(Ordering::SeqCst) == up
                && let Err(error) = self.macvlans.set_up(ifindex, up)
            {
                tracing::warn!(ifindex, up, %error, "cannot set the macvlan up or down");
            }
        }
    }

    /// Closes a link; its interface may be gone.
    pub(crate) fn close(&mut self, ifindex: u32) {
        self.kernel.detach(ifindex);
        for entry in self.open.remove(&ifindex).unwrap_or_default() {
            self.forget_entry(ifindex, &entry);
        }
    }

    /// Removes a router's entries and clears its row, so that the row can be used for another router.
    pub(crate) fn forget(&mut self, ifindex: Option<u32>, entry: &XdpEntry, row: Row) {
        if let Some(ifindex) = ifindex {
            self.forget_entry(ifindex, entry);
            if let Some(open) = self.open.get_mut(&ifindex) {
                open.retain(|other| other.slot.row != row.number());
            }
        }
        for (peer, _) in &entry.peers {
            if let Err(error) = self.kernel.expel(*peer) {
                tracing::warn!(vrid = entry.vrid, %error, "cannot remove a unicast peer from the XDP program");
            }
        }
    }

    fn forget_entry(&mut self, ifindex: u32, entry: &XdpEntry) {
        if let Err(error) = self.kernel.forget(entry.key(ifindex)) {
            tracing::warn!(ifindex, vrid = entry.vrid, %error, "cannot remove a VRID from the XDP program");
        }
    }
}

/// Joins VRRP's groups of the families that are used on a link.
fn join_groups(spec: &LinkSpec) -> anyhow::Result<Vec<Membership>> {
    let used = |family| spec.routers.iter().any(|router| router.entry.family == family);
    let families = [(Family::V4, "224.0.0.18"), (Family::V6, "ff02::12")];
    let joined = families.into_iter().filter(|(family, _)| used(*family)).map(|(family, group)| {
        Membership::join(spec.ifindex, family.number()).with_context(|| {
            let name = &spec.name;
            format!(
                "cannot join {group} on {name}; see net.ipv4.igmp_max_memberships and net.ipv6.mld_max_msf"
            )
        })
    });
    joined.collect()
}
