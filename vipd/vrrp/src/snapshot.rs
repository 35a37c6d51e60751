//! Snapshots of a virtual router for reports.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use vipd_common::Timestamp;

use crate::interval::{Interval, Nanos};
use crate::output::{Reason, State};

/// Counters of the state machine. Adverts that arrive in Initialize or Fault are not counted. A
/// VRRPv2 owner counts adverts only in `own_adverts` and `owner_conflicts`. The BPF program, the
/// engine and the service have their own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Transitions to Master.
    pub master_transitions: u64,
    /// Adverts whose interval differs from the configured interval.
    pub interval_errors: u64,
    /// Adverts whose address list differs from the configured list.
    pub address_list_errors: u64,
    /// Adverts with priority 255 received from another router while this router is the owner.
    pub owner_conflicts: u64,
    /// Adverts received with the router's own primary address as their source.
    pub own_adverts: u64,
    /// Losing adverts received as master, except by a VRRPv2 owner, which discards all adverts.
    /// Includes adverts with the same priority from a higher address while the sync group keeps the
    /// router in Master.
    pub losing_adverts: u64,
    /// Adverts sent in answer to losing and priority-0 adverts.
    pub asserts_sent: u64,
    /// Answers suppressed by the rate limit or after a stall.
    pub asserts_suppressed: u64,
    /// Priority-0 adverts ignored in Backup because a router other than the current master sent
    /// them.
    pub priority_zero_ignored: u64,
    /// Number of times the router yielded mastership because of a stall ([`Reason::Stalled`]).
    pub stalls: u64,
    /// Virtual addresses restored after external removal.
    pub addresses_restored: u64,
}

/// The state of a virtual router at a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Current state.
    pub state: State,
    /// Reason for the last transition; `None` before the first transition.
    pub reason: Option<Reason>,
    /// Time of the last transition.
    pub since: Timestamp,
    /// Effective priority: 1 to 254, or 255 for the owner.
    pub priority: u8,
    /// Whether the router preempts a lower-priority master. Always true for the owner. For other
    /// routers, the configured `preempt`, but false after
    /// [`Input::Failover`](crate::Input::Failover) until the router becomes master again or
    /// restarts.
    pub preempts: bool,
    /// In Backup, the source of the last accepted advert.
    pub master: Option<IpAddr>,
    /// Active_Adver_Interval: the interval learned from the master, or else the configured
    /// interval.
    pub active_interval: Interval,
    /// Active_Down_Interval, with the current Active_Adver_Interval and priority.
    pub master_down_interval: Nanos,
    /// Skew_Time, with the current Active_Adver_Interval and priority.
    pub skew: Nanos,
    /// In Backup, the time at which Active_Down_Timer fires.
    pub master_down_at: Option<Timestamp>,
    /// In Backup, the end of `preempt_delay` while the router follows a lower-priority master.
    pub hold_until: Option<Timestamp>,
    /// In Initialize, the end of `startup_delay`.
    pub starts_at: Option<Timestamp>,
    /// Counters since the router was created.
    pub counters: Counters,
}
