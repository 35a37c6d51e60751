//! The I/O resources of one link: its sockets, its macvlans, and the state of its BPF program.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vipd_common::Timestamp;

use super::attachment::Watch;
use super::id::{LinkId, RouterId};
use super::prober::Attachment;
use crate::packet::{Batch, PacketSocket, UnicastSocket};
use crate::vrrp::Family;
use crate::xdp::{FenceLevel, KernelLinks, LinkProbe, Mode};

/// The router and the kind of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    pub(crate) router: RouterId,
    pub(crate) kind: FrameKind,
}

/// Kind of a frame, for the counters of sent frames.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FrameKind {
    Advert,
    PriorityZero,
    GratuitousArp,
    NeighborAdvertisement,
    /// An ARP request or Neighbor Solicitation for a unicast peer. Not counted.
    Solicitation,
}

/// The I/O resources of an open link. Opened and dropped by the service, because closing a packet
/// socket blocks (`synchronize_net`).
pub(crate) struct LinkIo {
    /// Routers that have an entry in the BPF program's map, so that the program accepts adverts for
    /// them.
    pub(crate) routers: Vec<RouterId>,
    /// Fence level of the VIPs on the interface.
    pub(crate) fence: FenceLevel,
    /// Mode of the BPF program; `None` on an address-only link.
    pub(crate) mode: Option<Mode>,
    /// Checks whether the BPF program is still attached and first at its hook.
    pub(crate) probe: Option<LinkProbe>,
    /// The latest results of `probe`.
    pub(crate) attachment: Option<Arc<Attachment>>,
    /// Decides when to probe the attachment again.
    pub(crate) watch: Watch,
    /// Time at which the BPF program was found to be detached externally, or to run after another
    /// program; `None` while neither is the case.
    pub(crate) detached_at: Option<Timestamp>,
    /// Families whose group cannot be joined, each with a human-readable error. Routers of these
    /// families do not receive multicast adverts.
    pub(crate) unjoined: Vec<(Family, String)>,
    /// Sends multicast adverts, announcements and solicitations.
    pub(crate) socket: PacketSocket,
    /// Frames to send on the socket.
    pub(crate) batch: Batch<Tag>,
    /// Sends the adverts of routers with unicast peers.
    pub(crate) unicast: BTreeMap<RouterId, UnicastSocket>,
    /// Macvlans on the link.
    pub(crate) macvlans: Vec<MacvlanIo>,
    /// Macvlans that could not be created. Only their routers are affected.
    pub(crate) failed_macvlans: Vec<MacvlanFailure>,
}

/// The descriptors that a successor needs from the service's worker.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    pub(crate) links: KernelLinks,
    /// Descriptors that claim interfaces, each with the interface index.
    pub(crate) claims: Vec<(u32, OwnedFd)>,
    /// Sockets that are members of the VRRP groups. Needed only in a restart, in which the
    /// successor joins the groups after this process has ended.
    pub(crate) memberships: Vec<OwnedFd>,
}

/// A macvlan that the service has created.
#[derive(Clone, Debug)]
pub(crate) struct MacvlanIo {
    pub(crate) link: LinkId,
    pub(crate) name: String,
    pub(crate) ifindex: u32,
}

/// A macvlan that the service could not create.
#[derive(Clone, Debug)]
pub(crate) struct MacvlanFailure {
    pub(crate) link: LinkId,
    /// A human-readable error that names the router.
    pub(crate) reason: String,
}
