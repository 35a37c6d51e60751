//! The sockets, group memberships and XDP attachment of one interface.

use std::collections::BTreeMap;

use crate::packet::{Batch, Membership, PacketSocket, UnicastSocket};
use crate::xdp::Mode;

/// Whose a frame is, and what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    /// The instance.
    pub(crate) instance: usize,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a frame is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// An advert.
    Advert,
    /// An advert with priority 0.
    Release,
    /// Gratuitous ARP.
    Arp,
    /// An unsolicited Neighbor Advertisement.
    NeighborAdvertisement,
}

/// An interface that is ready: the XDP program is attached, the groups joined, sockets open.
pub(crate) struct Port {
    /// Where the XDP program runs; nowhere on an interface that only has addresses.
    pub(crate) mode: Option<Mode>,
    /// Sends frames.
    pub(crate) socket: PacketSocket,
    /// What it is to send next.
    pub(crate) batch: Batch<Tag>,
    /// Sends the adverts of those instances that have unicast peers.
    pub(crate) unicast: BTreeMap<usize, UnicastSocket>,
    /// The macvlans on it: place in the plan, name and index.
    pub(crate) macvlans: Vec<(usize, String, u32)>,
    /// Kept for as long as the port.
    #[expect(dead_code, reason = "held for the membership, which ends when it is dropped")]
    pub(crate) memberships: Vec<Membership>,
}
