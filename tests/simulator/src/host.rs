//! A machine, and the virtual routers that its process runs.

use std::net::IpAddr;

use vipd::vrrp::{FastPath, FastPathSlot, Received, Router, State, Steady};
use vipd_common::Timestamp;
use vipd_common::parse::address_digest;

use crate::clock::Clock;
use crate::plan::Role;

/// A machine and its process.
pub(crate) struct Host {
    pub(crate) clock: Clock,
    /// Its part of the LAN.
    pub(crate) part: u64,
    /// The process runs, and the interface carries adverts.
    pub(crate) up: bool,
    /// It was told to stop, or that its link is gone. What still arrives and what is still due reaches its routers, and
    /// must move nothing.
    pub(crate) left: bool,
    /// Held up until then, true time.
    pub(crate) paused: Option<u64>,
    /// What the ring holds.
    pub(crate) feed: Vec<Record>,
    /// And more than that, which is lost.
    pub(crate) lost: bool,
    /// Its members' places in the world.
    pub(crate) members: Vec<usize>,
}

impl Host {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            part: 0,
            up: false,
            left: false,
            paused: None,
            feed: Vec::new(),
            lost: false,
            members: Vec::new(),
        }
    }

    /// Whether its routers say and hear something.
    pub(crate) fn lives(&self) -> bool {
        self.up && self.paused.is_none()
    }
}

/// An advert that arrived and was not yet heard.
pub(crate) struct Record {
    /// For which member.
    pub(crate) member: usize,
    pub(crate) advert: Received,
    /// When a steady one had come last.
    pub(crate) before: Timestamp,
}

/// What the XDP program keeps of unchanged adverts.
pub(crate) struct Slot {
    /// Arrival of the last one.
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
    /// Of its addresses.
    pub(crate) digest: u64,
    /// The virtual addresses are on the interface.
    pub(crate) held: bool,
    /// When its last advert arrives at each member of its virtual router, true time.
    pub(crate) last_arrival: Vec<u64>,
    /// When its timer is next looked at, true time.
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
            held: false,
            last_arrival: vec![0; members],
            armed: None,
            fast_path: FastPath::default(),
            slot: Slot { arrival: Timestamp::ZERO },
        }
    }

    /// The machine has died, and nothing is left of what it knew.
    pub(crate) fn forget(&mut self) {
        self.router = Router::new(self.router.config().clone());
        self.held = false;
        self.armed = None;
        self.fast_path = FastPath::default();
    }

    /// What decides between two masters (RFC 9568 section 6.4.3).
    pub(crate) fn rank(&self) -> (u8, IpAddr) {
        (self.router.config().priority, self.address)
    }

    /// Preempt_Mode, or the owner.
    pub(crate) fn preempts(&self) -> bool {
        self.router.config().preempt || self.router.config().is_owner()
    }

    pub(crate) fn is_master(&self) -> bool {
        self.router.state() == State::Master
    }
}
