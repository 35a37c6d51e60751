//! A host, and the virtual routers that its process runs.

use std::net::IpAddr;

use vipd::vrrp::{FastPath, FastPathSlot, Received, Router, State, Steady};
use vipd_common::Timestamp;
use vipd_common::parse::address_digest;

use crate::clock::Clock;
use crate::plan::Role;

/// A host and its process.
pub(crate) struct Host {
    pub(crate) clock: Clock,
    /// The part of the LAN it is in.
    pub(crate) part: u64,
    /// The process runs, and the link is up.
    pub(crate) up: bool,
    /// The host was shut down or lost its link. Adverts and timers that are still pending reach its
    /// routers and must have no effect.
    pub(crate) left: bool,
    /// End of a stall, true time.
    pub(crate) stalled_until: Option<u64>,
    /// Records in the ring.
    pub(crate) ring: Vec<Record>,
    /// More were lost.
    pub(crate) lost: bool,
    /// Indices of the host's members in the world.
    pub(crate) members: Vec<usize>,
}

impl Host {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            part: 0,
            up: false,
            left: false,
            stalled_until: None,
            ring: Vec::new(),
            lost: false,
            members: Vec::new(),
        }
    }

    /// Returns whether the routers of the host send and receive.
    pub(crate) fn is_running(&self) -> bool {
        self.up && self.stalled_until.is_none()
    }
}

/// An advert that arrived and was not handled yet.
pub(crate) struct Record {
    /// The receiving member.
    pub(crate) member: usize,
    pub(crate) advert: Received,
    /// Arrival of the last unchanged advert before it.
    pub(crate) before: Timestamp,
}

/// The XDP program's state for unchanged adverts.
pub(crate) struct Slot {
    /// Arrival of the last unchanged advert.
    pub(crate) arrival: Timestamp,
}

impl FastPathSlot for Slot {
    fn publish(&mut self, _: Option<&Steady>, arrival: Timestamp) -> Timestamp {
        std::mem::replace(&mut self.arrival, arrival)
    }
}

/// A virtual router on a host.
pub(crate) struct Member {
    pub(crate) router: Router,
    pub(crate) host: usize,
    pub(crate) group: usize,
    pub(crate) address: IpAddr,
    /// Digest of its addresses.
    pub(crate) digest: u64,
    /// Whether the virtual addresses are on the interface.
    pub(crate) has_addresses: bool,
    /// Arrival of its last advert at each member of the virtual router, true time.
    pub(crate) last_arrival: Vec<u64>,
    /// When the member's timer is checked next, true time.
    pub(crate) armed: Option<u64>,
    /// The agent's own handling of unchanged adverts.
    pub(crate) fast_path: FastPath,
    pub(crate) slot: Slot,
}

impl Member {
    pub(crate) fn new(role: Role, members: usize) -> Self {
        let digest = address_digest(role.config.virtual_addresses.iter().map(|vip| vip.address));
        Self {
            router: Router::new(role.config),
            host: role.host,
            group: role.group,
            address: role.address,
            digest,
            has_addresses: false,
            last_arrival: vec![0; members],
            armed: None,
            fast_path: FastPath::default(),
            slot: Slot { arrival: Timestamp::ZERO },
        }
    }

    /// Resets the member after the host crashed and lost its state.
    pub(crate) fn reset(&mut self) {
        self.router = Router::new(self.router.config().clone());
        self.has_addresses = false;
        self.armed = None;
        self.fast_path = FastPath::default();
    }

    /// Returns the rank that decides between two masters (RFC 9568 section 6.4.3).
    pub(crate) fn rank(&self) -> (u8, IpAddr) {
        (self.router.config().priority, self.address)
    }

    /// Returns whether the member preempts: Preempt_Mode is set, or the member is the owner.
    pub(crate) fn preempts(&self) -> bool {
        self.router.config().preempt || self.router.config().is_owner()
    }

    pub(crate) fn is_master(&self) -> bool {
        self.router.state() == State::Master
    }
}
