//! The sockets of one link, and the mode of its XDP program.

use std::collections::BTreeMap;
use std::sync::Arc;

use vipd_common::Timestamp;

use super::attachment::Watch;
use super::id::{LinkId, RouterId};
use super::prober::Attachment;
use crate::packet::{Batch, PacketSocket, UnicastSocket};
use crate::vrrp::Family;
use crate::xdp::{LinkProbe, Mode};

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

/// A link that is ready for adverts and announcements. The service opens it and drops it: closing a
/// packet socket waits for all its readers (`synchronize_net`).
pub(crate) struct LinkIo {
    /// Mode of the XDP program; `None` on an address-only link.
    pub(crate) mode: Option<Mode>,
    /// Checks whether the XDP program is still attached.
    pub(crate) probe: Option<LinkProbe>,
    /// The results of these checks.
    pub(crate) attachment: Option<Arc<Attachment>>,
    /// When to check next.
    pub(crate) watch: Watch,
    /// When the XDP program was found detached externally.
    pub(crate) detached_at: Option<Timestamp>,
    /// The families whose group cannot be joined, with a human-readable error: their routers do not
    /// receive adverts.
    pub(crate) unjoined: Vec<(Family, String)>,
    /// Sends adverts and announcements.
    pub(crate) socket: PacketSocket,
    /// The frames that the socket sends next.
    pub(crate) batch: Batch<Tag>,
    /// Sends the adverts of routers with unicast peers.
    pub(crate) unicast: BTreeMap<RouterId, UnicastSocket>,
    /// Macvlans on the link.
    pub(crate) macvlans: Vec<MacvlanIo>,
    /// Macvlans that could not be created: a fault of their routers alone.
    pub(crate) failed_macvlans: Vec<MacvlanFailure>,
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
    /// What failed, the router and the remedy.
    pub(crate) reason: String,
}
