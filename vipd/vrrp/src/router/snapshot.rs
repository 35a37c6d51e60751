//! What a virtual router tells of itself.

use core::net::IpAddr;

use vipd_common::Timestamp;

use crate::interval::Interval;
use crate::message::{Reason, State};

/// What this virtual router counts itself; the kernel side counts the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times it became master.
    pub master_transitions: u64,
    /// Adverts with another interval than ours.
    pub interval_errors: u64,
    /// Adverts with another address list than ours.
    pub address_list_errors: u64,
    /// Adverts of another owner while we are the owner.
    pub owner_conflicts: u64,
    /// Adverts from our own source address.
    pub own_adverts: u64,
    /// Adverts of lower precedence while we are master.
    pub losing_adverts: u64,
    /// Adverts sent to answer them.
    pub asserts_sent: u64,
    /// Answers held back.
    pub asserts_suppressed: u64,
    /// Priority-0 adverts, in Backup, of a router that is not the master.
    pub foreign_releases: u64,
    /// Times the mastership was given up because this process was held up.
    pub stalls: u64,
    /// Virtual addresses put back.
    pub addresses_restored: u64,
}

/// What a virtual router is like now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// State.
    pub state: State,
    /// Why it is in it; none before the first change.
    pub reason: Option<Reason>,
    /// Since when.
    pub since: Timestamp,
    /// Source of the last advert accepted from a master.
    pub master: Option<IpAddr>,
    /// Active_Adver_Interval: the master's interval, or our own.
    pub active_interval: Interval,
    /// Active_Down_Interval, nanoseconds.
    pub master_down_interval: u64,
    /// Skew_Time, nanoseconds.
    pub skew: u64,
    /// When Active_Down_Timer fires, in [`State::Backup`].
    pub master_down_at: Option<Timestamp>,
    /// Until when a master of lower priority is followed all the same (`preempt_delay`).
    pub hold_until: Option<Timestamp>,
    /// When the virtual router starts (`startup_delay`), while it waits for that.
    pub starts_at: Option<Timestamp>,
    /// Counters.
    pub counters: Counters,
}
