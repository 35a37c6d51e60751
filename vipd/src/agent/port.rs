//! What it takes to speak VRRP on an interface.

use anyhow::Context as _;
use vipd_common::records::{RouterKey, RouterSlot};

use crate::packet::{Membership, PacketSocket};
use crate::vrrp::Family;
use crate::xdp::{Kernel, Mode};

/// An interface that is ready: the XDP program is attached, the group joined, a socket open.
pub(super) struct Port {
    /// Where the XDP program runs.
    pub(super) mode: Mode,
    /// Sends frames.
    pub(super) socket: PacketSocket,
    /// Kept for as long as the port.
    _membership: Membership,
}

/// The virtual routers of one interface, as the kernel side knows them.
pub(super) struct Watched {
    /// Interface name.
    pub(super) name: String,
    /// VRID, family and slot of each.
    pub(super) routers: Vec<(u8, Family, RouterSlot)>,
}

/// Opens and closes ports. It belongs to the control thread: attaching may take a driver a long time.
pub(super) struct Ports {
    kernel: Kernel,
    interfaces: Vec<Watched>,
}

impl Ports {
    pub(super) fn new(kernel: Kernel, interfaces: Vec<Watched>) -> Self {
        Self { kernel, interfaces }
    }

    /// Names of the interfaces, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.interfaces.iter().map(|watched| watched.name.as_str())
    }

    /// Makes an interface ready. Opening one that is open re-attaches it.
    pub(super) fn open(&mut self, interface: usize, ifindex: u32) -> anyhow::Result<Port> {
        let watched = self.interfaces.get(interface).context("no such interface in the configuration")?;
        let name = watched.name.as_str();
        let membership = Membership::join(ifindex).with_context(|| {
            format!("cannot join 224.0.0.18 on {name}; see net.ipv4.igmp_max_memberships")
        })?;
        let socket = PacketSocket::open(ifindex)
            .with_context(|| format!("cannot open a packet socket on {name}; it needs CAP_NET_RAW"))?;
        // The routers first: once attached, nothing of theirs is taken for foreign.
        for (vrid, family, slot) in &watched.routers {
            self.kernel
                .watch(RouterKey::new(ifindex, *vrid, family.number()), *slot)
                .with_context(|| format!("cannot tell the XDP program of VRID {vrid} on {name}"))?;
        }
        match self.kernel.attach(ifindex, name) {
            Ok((mode, refusal)) => {
                if let Some(refusal) = refusal {
                    tracing::info!(interface = name, driver = refusal, "XDP runs in generic mode");
                } else {
                    tracing::info!(interface = name, %mode, "XDP attached");
                }
                Ok(Port { mode, socket, _membership: membership })
            }
            Err(error) => {
                self.close(interface, ifindex);
                Err(error.into())
            }
        }
    }

    /// Lets go of an interface; it may be gone already.
    pub(super) fn close(&mut self, interface: usize, ifindex: u32) {
        self.kernel.detach(ifindex);
        for (vrid, family, _) in self.interfaces.get(interface).iter().flat_map(|watched| &watched.routers) {
            if let Err(error) = self.kernel.forget(RouterKey::new(ifindex, *vrid, family.number())) {
                tracing::warn!(ifindex, vrid, %error, "cannot take a VRID back from the XDP program");
            }
        }
    }
}
