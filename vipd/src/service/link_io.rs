//! Opens and closes VRRP interfaces: XDP attachment, group memberships, sockets.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::engine::layout::Watch;
use crate::engine::port::Port;
use crate::netlink::{Macvlans, Wanted};
use crate::packet::{Batch, Membership, PacketSocket, UnicastSocket};
use crate::vrrp::Family;
use crate::xdp::Kernel;

/// A virtual router of an interface, as the control thread sees it.
pub(crate) struct Watched {
    /// The instance.
    pub(crate) instance: usize,
    /// Its name.
    pub(crate) name: String,
    /// What the kernel side is to know of it.
    pub(crate) watch: Watch,
    /// Source of its unicast adverts.
    pub(crate) unicast: Option<IpAddr>,
    /// Its macvlan in the plan.
    pub(crate) macvlan: Option<usize>,
}

/// An interface of the plan that ports are opened on.
pub(crate) struct Site {
    /// Its place in the plan.
    pub(crate) place: usize,
    /// Its name.
    pub(crate) name: String,
    /// Its virtual routers; none where it only has addresses.
    pub(crate) routers: Vec<Watched>,
}

/// Opens and closes ports. It belongs to the control thread: attaching may take a driver a long time.
pub(crate) struct Ports {
    kernel: Kernel,
    macvlans: Macvlans,
    sites: Vec<Site>,
}

impl Ports {
    pub(crate) fn new(kernel: Kernel, macvlans: Macvlans, sites: Vec<Site>) -> Self {
        Self { kernel, macvlans, sites }
    }

    /// The interfaces, in order.
    pub(crate) fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Makes an interface ready. Opening one that is open re-attaches it.
    pub(crate) fn open(&mut self, place: usize, ifindex: u32) -> anyhow::Result<Port> {
        let site = self.sites.iter().find(|site| site.place == place);
        let site = site.context("no such interface in the configuration")?;
        let name = site.name.as_str();
        let memberships = memberships(site, ifindex)?;
        let socket = PacketSocket::open(ifindex)
            .with_context(|| format!("cannot open a packet socket on {name}; it needs CAP_NET_RAW"))?;
        let unicast = site.routers.iter().filter_map(|router| Some((router, router.unicast?)));
        let unicast = unicast.map(|(router, source)| {
            let socket = UnicastSocket::open(ifindex, source);
            let socket =
                socket.with_context(|| format!("cannot open a raw socket from {source} on {name}"))?;
            Ok((router.instance, socket))
        });
        let unicast = unicast.collect::<anyhow::Result<_>>()?;
        let macvlans = site.routers.iter().filter_map(|router| Some((router, router.macvlan?)));
        let macvlans = macvlans.map(|(router, macvlan)| {
            let Watched { name: instance, watch, .. } = router;
            let (family, vrid) = (watch.family().number(), watch.vrid());
            let wanted = Wanted { parent: ifindex, parent_name: name, family, vrid };
            let made = self.macvlans.make(&wanted);
            let made =
                made.with_context(|| format!("cannot make the virtual MAC's interface of {instance}"))?;
            Ok((macvlan, made.name, made.ifindex))
        });
        let macvlans = macvlans.collect::<anyhow::Result<_>>()?;
        if site.routers.is_empty() {
            return Ok(Port { mode: None, socket, batch: Batch::default(), unicast, macvlans, memberships });
        }
        // The routers first: once attached, nothing of theirs is taken for foreign.
        for Watched { watch, .. } in &site.routers {
            let vrid = watch.vrid();
            let told = watch.peers.iter().try_for_each(|(key, ttl)| self.kernel.admit(*key, *ttl));
            told.and_then(|()| self.kernel.watch(watch.key(ifindex), watch.slot))
                .with_context(|| format!("cannot tell the XDP program of VRID {vrid} on {name}"))?;
        }
        match self.kernel.attach(ifindex, name) {
            Ok((mode, refusal)) => {
                if let Some(refusal) = refusal {
                    tracing::info!(interface = name, driver = refusal, "XDP runs in generic mode");
                } else {
                    tracing::info!(interface = name, %mode, "XDP attached");
                }
                Ok(Port { mode: Some(mode), socket, batch: Batch::default(), unicast, macvlans, memberships })
            }
            Err(error) => {
                self.close(place, ifindex);
                Err(error.into())
            }
        }
    }

    /// Sets a macvlan down, unless it is wanted up, and up again if that is wanted meanwhile.
    pub(crate) fn set_down(&mut self, ifindex: u32, wanted_up: &AtomicBool) {
        for up in [false, true] {
            if wanted_up.load(Ordering::SeqCst) == up
                && let Err(error) = self.macvlans.set_up(ifindex, up)
            {
                tracing::warn!(ifindex, up, %error, "cannot set the link of a virtual MAC");
            }
        }
    }

    /// Lets go of an interface; it may be gone already.
    pub(crate) fn close(&mut self, place: usize, ifindex: u32) {
        self.kernel.detach(ifindex);
        let site = self.sites.iter().find(|site| site.place == place);
        for Watched { watch, .. } in site.into_iter().flat_map(|site| &site.routers) {
            if let Err(error) = self.kernel.forget(watch.key(ifindex)) {
                let vrid = watch.vrid();
                tracing::warn!(ifindex, vrid, %error, "cannot take a VRID back from the XDP program");
            }
        }
    }
}

/// The groups of the families that are spoken on an interface.
fn memberships(site: &Site, ifindex: u32) -> anyhow::Result<Vec<Membership>> {
    let spoken = |family| site.routers.iter().any(|router| router.watch.family() == family);
    let families = [(Family::V4, "224.0.0.18"), (Family::V6, "ff02::12")];
    let joined = families.into_iter().filter(|(family, _)| spoken(*family)).map(|(family, group)| {
        Membership::join(ifindex, family.number()).with_context(|| {
            let name = &site.name;
            format!(
                "cannot join {group} on {name}; see net.ipv4.igmp_max_memberships and net.ipv6.mld_max_msf"
            )
        })
    });
    joined.collect()
}
