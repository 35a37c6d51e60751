//! The data that a virtual router has in every protocol state.

use alloc::collections::VecDeque;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd_common::Timestamp;
use vipd_common::parse::address_digest;

use crate::config::{Family, RouterConfig};
use crate::deviation::Policy;
use crate::impediments::Impediments;
use crate::input::Received;
use crate::interval::{Interval, Nanos, Version};
use crate::output::{Action, Addresses, Event, Reason};
use crate::peers::Peers;
use crate::priority::{PRIORITY_OWNER, PRIORITY_ZERO};
use crate::snapshot::Counters;

/// Fields of a virtual router that are valid in every state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) config: RouterConfig,
    pub(crate) policy: Policy,
    /// Effective priority, the RFC's Priority: the lower of `own_priority` and `group_priority`, or
    /// 255 for the owner.
    pub(crate) priority: u8,
    /// The router's effective priority before its sync group is considered.
    pub(crate) own_priority: u8,
    /// Lowest priority in the router's sync group; 255 without a group.
    pub(crate) group_priority: u8,
    /// Digest of the advertised addresses.
    pub(crate) digest: u64,
    /// Source address of adverts; unspecified until a primary address has been reported.
    pub(crate) primary: IpAddr,
    /// Whether a primary address has been reported since creation or the last shutdown.
    pub(crate) has_primary: bool,
    pub(crate) impediments: Impediments,
    /// Whether the router has handed over mastership and must not preempt the new master.
    pub(crate) has_yielded: bool,
    /// Whether this router lost mastership to a higher-ranking router soon after its sync group had
    /// made it master. While this is true and this router follows a master, a priority-0 advert to
    /// another member does not make the group take over. Reset when this router stops, or leaves
    /// Master after having been master for long enough.
    pub(crate) group_takeover_failed: bool,
    /// End of `startup_delay`, which begins when the router could first have started.
    pub(crate) starts_at: Option<Timestamp>,
    /// Reason for the last transition; `None` before the first transition.
    pub(crate) reason: Option<Reason>,
    /// Time of the last transition.
    pub(crate) since: Timestamp,
    /// Bit set of the [`Repeating`] events that have already been returned. They are suppressed
    /// until this set is cleared.
    pub(crate) logged: u8,
    pub(crate) counters: Counters,
    pub(crate) peers: Peers,
    pub(crate) actions: VecDeque<Action>,
    pub(crate) events: VecDeque<Event>,
}

/// Events that other routers can trigger without limit, each logged once until the state, the
/// master, or the configured interval or virtual addresses change.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Repeating {
    OwnSource = 1,
    Interval = 2,
    AddressList = 4,
    Owner = 8,
    LosingAdvert = 16,
    FeedLoss = 32,
    OwnerConflict = 64,
}

impl Common {
    pub(crate) fn new(config: RouterConfig, policy: Policy) -> Self {
        Self {
            policy,
            priority: config.priority,
            own_priority: config.priority,
            group_priority: PRIORITY_OWNER,
            digest: address_digest(config.virtual_addresses.iter().map(|vip| vip.address)),
            primary: match config.family {
                Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
                Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
            },
            has_primary: false,
            impediments: Impediments::default(),
            has_yielded: false,
            group_takeover_failed: false,
            starts_at: None,
            reason: None,
            since: Timestamp::ZERO,
            logged: 0,
            counters: Counters::default(),
            peers: Peers::default(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            config,
        }
    }

    /// Sets the router's own priority and its group's lowest priority. The group does not lower an
    /// owner's priority.
    pub(crate) fn set_priority(&mut self, own: u8, group: u8) {
        (self.own_priority, self.group_priority) = (own, group);
        self.priority = if self.config.is_owner() { own } else { own.min(group) };
    }

    /// Returns the Active_Down_Interval for an Active_Adver_Interval (RFC 9568 section 6.1).
    #[inline]
    pub(crate) fn down_interval(&self, active: Interval) -> Nanos {
        active.master_down(self.priority, self.config.down_after_adverts)
    }

    /// Returns whether the router preempts lower-priority masters. The owner preempts even if
    /// Preempt_Mode is false (RFC 9568 section 6.1, S25).
    #[inline]
    pub(crate) fn preempts(&self) -> bool {
        (self.config.preempt && !self.has_yielded) || self.config.is_owner()
    }

    /// Returns whether the router discards all adverts, as a VRRPv2 owner does (RFC 3768 section
    /// 7.1, R7).
    #[inline]
    pub(crate) fn discards_all(&self) -> bool {
        self.config.is_owner() && self.config.version() == Version::V2
    }

    /// Returns whether this router and the sender both have priority 255: a misconfiguration (RFC
    /// 9568 section 8.3.2, P2).
    #[inline]
    pub(crate) fn is_owner_conflict(&self, advert: &Received) -> bool {
        self.config.is_owner() && advert.priority == PRIORITY_OWNER
    }

    /// Returns whether an advert matches the configuration. If not, the advert must not take the
    /// fast path, because [`receive`](crate::receive) counts it.
    #[inline]
    pub(crate) fn matches_config(&self, advert: &Received) -> bool {
        advert.interval == self.config.interval.wire()
            && advert.addresses == self.digest
            && !self.is_owner_conflict(advert)
    }

    /// Returns the longer of the configured interval and the advert's interval, in nanoseconds.
    pub(crate) fn longer_interval(&self, advert: &Received) -> Nanos {
        let theirs = Interval::from_wire(self.config.version(), advert.interval).map_or(0, Interval::nanos);
        self.config.interval.nanos().max(theirs)
    }

    pub(crate) fn has_addresses(&self) -> bool {
        self.config.all_addresses().next().is_some()
    }

    pub(crate) fn send_advert(&mut self) {
        self.actions.push_back(Action::SendAdvert { priority: self.priority });
    }

    pub(crate) fn send_priority_zero(&mut self) {
        self.actions.push_back(Action::SendAdvert { priority: PRIORITY_ZERO });
    }

    pub(crate) fn add_addresses(&mut self) {
        if self.has_addresses() {
            self.actions.push_back(Action::AddAddresses(Addresses::All));
        }
    }

    pub(crate) fn remove_addresses(&mut self) {
        if self.has_addresses() {
            self.actions.push_back(Action::RemoveAddresses);
        }
    }

    pub(crate) fn announce(&mut self, rounds: u8) {
        if self.has_addresses() {
            self.actions.push_back(Action::Announce { addresses: Addresses::All, rounds });
        }
    }

    pub(crate) fn log_once(&mut self, kind: Repeating, event: Event) {
        let bit = kind as u8;
        if self.logged & bit == 0 {
            self.logged |= bit;
            self.events.push_back(event);
        }
    }
}
