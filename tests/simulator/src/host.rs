//! Hosts, and the virtual routers that run on them.

use std::net::IpAddr;

use vipd::vrrp::{FastPath, FastPathSlot, Received, Router, State, Steady};
use vipd_common::Timestamp;
use vipd_common::lease;
use vipd_common::parse::address_digest;
use vipd_common::records::LeaseSlot;

use crate::clock::Clock;
use crate::plan::Role;

/// A time that is never reached.
pub(crate) const NEVER: u64 = u64::MAX;

/// A host and its vipd process.
pub(crate) struct Host {
    pub(crate) clock: Clock,
    /// LAN partition that the host is in.
    pub(crate) partition: u64,
    /// Whether the process was started and the link is up. Stays true while the process is stalled
    /// and after it is killed; see `stalled_until`.
    pub(crate) up: bool,
    /// Set when the process is shut down or the link goes down. While this flag is set, pending
    /// adverts still arrive and pending timers still fire, and must have no effect.
    pub(crate) left: bool,
    /// End of the current stall, in true time; [`NEVER`] if the process was killed. The VIPs of a
    /// killed process stay in the kernel until the process is started again.
    pub(crate) stalled_until: Option<u64>,
    /// Records in the ring buffer.
    pub(crate) ring: Vec<Record>,
    /// Whether records were lost because the ring was full.
    pub(crate) lost: bool,
    /// Indices in `World::members` of the members on this host.
    pub(crate) members: Vec<usize>,
}

impl Host {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            partition: 0,
            up: false,
            left: false,
            stalled_until: None,
            ring: Vec::new(),
            lost: false,
            members: Vec::new(),
        }
    }

    /// Returns whether the process was killed.
    pub(crate) fn is_killed(&self) -> bool {
        self.stalled_until == Some(NEVER)
    }

    /// Returns whether the routers of the host send and receive adverts.
    pub(crate) fn is_running(&self) -> bool {
        self.up && self.stalled_until.is_none()
    }
}

/// An advert that has arrived but has not been handled yet.
pub(crate) struct Record {
    /// Index of the receiving member.
    pub(crate) member: usize,
    pub(crate) advert: Received,
    /// Arrival time of the last unchanged advert before this record.
    pub(crate) before: Timestamp,
}

/// The BPF program's state for unchanged adverts of a member.
pub(crate) struct Slot {
    /// Arrival time of the last unchanged advert.
    pub(crate) arrival: Timestamp,
}

impl FastPathSlot for Slot {
    fn publish(&mut self, _: Option<&Steady>, arrival: Timestamp) -> Timestamp {
        std::mem::replace(&mut self.arrival, arrival)
    }
}

/// The lease of a router that is not master.
pub(crate) const NO_LEASE: LeaseSlot = LeaseSlot { valid_until: 0, priority: 0, fenced: 0, closed: 0 };

/// A host's instance of a virtual router.
pub(crate) struct Member {
    pub(crate) router: Router,
    pub(crate) host: usize,
    pub(crate) group: usize,
    pub(crate) address: IpAddr,
    /// Digest of the VIPs.
    pub(crate) digest: u64,
    /// Whether the VIPs are on the interface.
    pub(crate) has_addresses: bool,
    /// The member's row in the BPF program's map of leases. The row stays in the kernel while the
    /// process is stalled or dead.
    pub(crate) lease: LeaseSlot,
    /// Arrival time of this member's last advert at each member of the virtual router, in true
    /// time.
    pub(crate) last_arrival: Vec<u64>,
    /// True time at which the member's timer is next checked.
    pub(crate) armed: Option<u64>,
    /// The engine's handling of unchanged adverts.
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
            lease: NO_LEASE,
            last_arrival: vec![0; members],
            armed: None,
            fast_path: FastPath::default(),
            slot: Slot { arrival: Timestamp::ZERO },
        }
    }

    /// Resets the member after a crash of the host or a restart of its killed process.
    pub(crate) fn reset(&mut self) {
        self.router = Router::new(self.router.config().clone());
        self.has_addresses = false;
        self.lease = NO_LEASE;
        self.armed = None;
        self.fast_path = FastPath::default();
    }

    /// Returns the rank that decides which of two masters wins (RFC 9568 section 6.4.3).
    pub(crate) fn rank(&self) -> (u8, IpAddr) {
        (self.router.config().priority, self.address)
    }

    /// Returns whether Preempt_Mode is set or the member is the owner, which always preempts.
    pub(crate) fn preempts(&self) -> bool {
        self.router.config().preempt || self.router.config().is_owner()
    }

    /// Renews the lease after an advert was sent at `local`, and lifts the fence.
    pub(crate) fn renew_lease(&mut self, local: Timestamp) {
        let config = self.router.config();
        let duration = lease::duration(config.interval.nanos(), config.down_after_adverts);
        let valid_until = (local + duration).as_nanos();
        self.lease = LeaseSlot { valid_until, priority: self.router.priority().into(), ..NO_LEASE };
    }

    /// Returns whether the host answers for the VIPs.
    pub(crate) fn answers(&self) -> bool {
        self.has_addresses && self.lease.fenced == 0
    }

    pub(crate) fn is_master(&self) -> bool {
        self.router.state() == State::Master
    }
}
