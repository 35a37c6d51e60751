//! The saved state of a virtual router, which a successor process resumes.
//!
//! [`Router::save`] returns everything that a router has learned or counted, and its timers as
//! absolute times. [`Router::resume`] creates an equal router from the saved state, so that the
//! next input has the same effect as in the previous process. The types are plain data with serde's
//! traits; the caller chooses the encoding and its version number. The configuration is not saved.
//!
//! All times are in nanoseconds of `CLOCK_MONOTONIC`, which all processes on a host share.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use vipd_common::Timestamp;
use vipd_common::parse::ChecksumForm;

use crate::common::Common;
use crate::config::{Family, RouterConfig};
use crate::deviation::Policy;
use crate::fast_path::FastPath;
use crate::impediments::Impediments;
use crate::input::{Fault, Received};
use crate::output::{Reason, Steady};
use crate::peers::{Peer, Peers};
use crate::priority;
use crate::router::Router;
use crate::snapshot::Counters;
use crate::state::{Backup, Initialize, Master, StateData};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub type Time = u64;

/// The saved state of a virtual router, without its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRouter {
    /// The virtual router to which the state belongs.
    pub identity: Identity,
    /// The router's effective priority before its sync group is considered.
    pub own_priority: u8,
    /// Lowest priority in the router's sync group; 255 without a group.
    pub group_priority: u8,
    /// Source address of adverts; unspecified until a primary address has been reported.
    pub primary: IpAddr,
    /// Whether a primary address has been reported since creation or the last shutdown.
    pub has_primary: bool,
    /// The impediments, at most one of each kind.
    pub faults: Vec<Fault>,
    /// Whether the router has handed over mastership and must not preempt the new master.
    pub has_yielded: bool,
    /// Whether the router lost mastership to a higher-ranking router soon after its sync group had
    /// made it master.
    pub group_takeover_failed: bool,
    /// End of `startup_delay`.
    pub starts_at: Option<Time>,
    /// Reason for the last transition.
    pub reason: Option<Reason>,
    /// Time of the last transition.
    pub since: Time,
    /// Bit set of the events that are not logged again until the state, the master, or the
    /// configured interval or virtual addresses change.
    pub logged: u8,
    /// Counters since the router was created.
    pub counters: Counters,
    /// The other routers that have sent adverts.
    pub peers: Vec<SavedPeer>,
    /// The protocol state and its timers.
    pub state: SavedState,
}

/// The fields by which other routers identify a virtual router, and whether this router is the
/// owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Virtual router identifier.
    pub vrid: u8,
    /// IP version, 4 or 6.
    pub family: u8,
    /// VRRP version, 2 or 3.
    pub version: u8,
    /// Whether the router has priority 255.
    pub is_owner: bool,
}

/// A saved [`Peer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPeer {
    /// Source address of the peer's adverts.
    pub address: IpAddr,
    /// Priority of the peer's last advert.
    pub priority: u8,
    /// Number of the [checksum form](ChecksumForm) of the peer's last advert.
    pub checksum: u8,
    /// Arrival time of the last advert.
    pub last_arrival: Time,
}

/// The protocol state and its timers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavedState {
    /// Not started, or shut down.
    Initialize {
        /// End of `startup_delay`, if nothing else keeps the router from starting.
        starts_at: Option<Time>,
    },
    /// Fault. Contains the fault that the router reports.
    Fault(Fault),
    /// Backup, with its timers.
    Backup(SavedBackup),
    /// Master, with its timers.
    Master(SavedMaster),
}

/// The data of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedBackup {
    /// Time at which Active_Down_Timer fires.
    pub down_timer: Time,
    /// Time from which Active_Down_Timer is counted.
    pub down_from: Time,
    /// Reason to report for the transition when the timer fires.
    pub down_reason: Reason,
    /// Active_Adver_Interval in the wire unit.
    pub active_interval: u16,
    /// Priority and source of the last accepted advert.
    pub master: Option<(u8, IpAddr)>,
    /// The last advert discarded since the last accepted advert. It came from a lower-priority
    /// master, which the router preempts if Active_Down_Timer fires.
    pub discarded: Option<SavedAdvert>,
    /// The last advert of the master, if it matches the configuration.
    pub unchanged: Option<SavedSteady>,
    /// The advert that limits how early the timer may fire.
    pub floor: Option<SavedFloor>,
    /// End of `preempt_delay`.
    pub preempt_at: Option<Time>,
}

/// The data of a master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMaster {
    /// Time at which Adver_Timer fires.
    pub adver_timer: Time,
    /// Time at which the second burst of announcements is due.
    pub announce_again: Option<Time>,
    /// Time at which the next refresh of the announcements is due.
    pub refresh: Option<Time>,
    /// Time at which the last advert was sent or, without one, at which the router became master. A
    /// change of the configuration that would make the router count as stalled sets this to the
    /// time of the change.
    pub last_sent: Time,
    /// Time at which the router became master, if it preempted a lower-priority master or may have
    /// done so by following its sync group.
    pub preempted_at: Option<Time>,
    /// Number of answers that may be sent back to back.
    pub answer_tokens: u64,
    /// Time at which `answer_tokens` was last refilled.
    pub answers_refilled: Time,
    /// The last competing master, if any.
    pub competing: Option<SavedCompetitor>,
    /// Time at which to announce the addresses again after a split brain.
    pub announce_at: Option<Time>,
    /// Times of the first and the last advert with the same priority from a higher address, while
    /// the sync group keeps the router in Master.
    pub contested: Option<(Time, Time)>,
    /// Time of the last advert with the same priority from a lower address.
    pub tie_won: Option<Time>,
}

/// A saved valid advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAdvert {
    /// Arrival in the kernel.
    pub arrival: Time,
    /// IP source.
    pub source: IpAddr,
    /// Priority.
    pub priority: u8,
    /// Interval in the wire unit.
    pub interval: u16,
    /// Digest of the addresses.
    pub addresses: u64,
    /// Number of the checksum form.
    pub checksum: u8,
}

/// A saved unchanged advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSteady {
    /// The advert, with an arrival time of 0.
    pub advert: SavedAdvert,
    /// Active_Down_Interval in nanoseconds.
    pub down_interval: u64,
}

/// The advert that limits how early Active_Down_Timer may fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFloor {
    /// IP source.
    pub source: IpAddr,
    /// Priority.
    pub priority: u8,
    /// Arrival in the kernel.
    pub arrival: Time,
    /// Interval in the wire unit.
    pub interval: u16,
}

/// Another router that advertised as master while this router stayed master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedCompetitor {
    /// Arrival time of the first advert.
    pub first: Time,
    /// Arrival time of the last advert.
    pub last: Time,
    /// Number of adverts received from the competing master.
    pub adverts: u64,
    /// Whether the competing master kept advertising instead of yielding, or sent faster than a
    /// VRRP router would.
    pub persistent: bool,
}

/// User space's side of a fast path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFastPath {
    /// The published advert.
    pub published: Option<SavedSteady>,
    /// Arrival time of the last advert that the router handled.
    pub handled: Time,
}

/// An error that prevents a saved state from being resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeError {
    /// The state belongs to a different virtual router.
    Identity {
        /// The virtual router that was saved.
        saved: Identity,
        /// The virtual router that is configured.
        configured: Identity,
    },
    /// This interval is invalid in the router's version of VRRP.
    Interval(u16),
    /// This number of a checksum form is unknown.
    Checksum(u8),
}

impl fmt::Display for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity { saved, configured } => {
                write!(f, "the state belongs to {saved}, but {configured} is configured")
            }
            Self::Interval(units) => write!(f, "the state contains the invalid interval {units}"),
            Self::Checksum(number) => write!(f, "the state contains the unknown checksum form {number}"),
        }
    }
}

impl Error for ResumeError {}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vrid, family, version, is_owner } = self;
        let owner = if *is_owner { ", owner" } else { "" };
        write!(f, "VRID {vrid} (IPv{family}, VRRPv{version}{owner})")
    }
}

impl Identity {
    fn of(config: &RouterConfig) -> Self {
        Self {
            vrid: config.vrid,
            family: config.family.number(),
            version: config.version().number(),
            is_owner: config.is_owner(),
        }
    }
}

impl Router {
    /// Returns the state of the router. Actions and events must already have been drained.
    pub fn save(&self) -> SavedRouter {
        let Common {
            config,
            policy: _,
            priority: _,
            own_priority,
            group_priority,
            digest: _,
            primary,
            has_primary,
            impediments,
            has_yielded,
            group_takeover_failed,
            starts_at,
            reason,
            since,
            logged,
            counters,
            peers,
            actions,
            events,
        } = &self.common;
        debug_assert!(actions.is_empty() && events.is_empty(), "actions and events must be drained");
        SavedRouter {
            identity: Identity::of(config),
            own_priority: *own_priority,
            group_priority: *group_priority,
            primary: *primary,
            has_primary: *has_primary,
            faults: impediments.all().collect(),
            has_yielded: *has_yielded,
            group_takeover_failed: *group_takeover_failed,
            starts_at: starts_at.map(nanos),
            reason: *reason,
            since: nanos(*since),
            logged: *logged,
            counters: *counters,
            peers: peers.all().iter().map(SavedPeer::of).collect(),
            state: match &self.state {
                StateData::Initialize(Initialize { starts_at }) => {
                    SavedState::Initialize { starts_at: starts_at.map(nanos) }
                }
                StateData::Fault(fault) => SavedState::Fault(*fault),
                StateData::Backup(backup) => SavedState::Backup(backup.save()),
                StateData::Master(master) => SavedState::Master(master.save()),
            },
        }
    }

    /// Creates a router that continues with a saved state. With the same configuration and policy,
    /// it equals the router that was saved.
    ///
    /// # Errors
    /// Returns an error if the state belongs to a different virtual router or contains an invalid
    /// interval or checksum form.
    pub fn resume(config: RouterConfig, policy: Policy, saved: &SavedRouter) -> Result<Self, ResumeError> {
        let configured = Identity::of(&config);
        if saved.identity != configured {
            return Err(ResumeError::Identity { saved: saved.identity, configured });
        }
        let mut common = Common::new(config, policy);
        if !common.config.is_owner() {
            common.set_priority(priority::clamped(saved.own_priority), saved.group_priority);
        }
        common.group_priority = saved.group_priority;
        if Family::of(saved.primary) == common.config.family {
            (common.primary, common.has_primary) = (saved.primary, saved.has_primary);
        }
        common.impediments = Impediments::default();
        for fault in &saved.faults {
            common.impediments.set(*fault);
        }
        common.has_yielded = saved.has_yielded;
        common.group_takeover_failed = saved.group_takeover_failed;
        common.starts_at = saved.starts_at.map(time);
        common.reason = saved.reason;
        common.since = time(saved.since);
        common.logged = saved.logged;
        common.counters = saved.counters;
        common.peers = Peers::from_saved(saved.peers.iter().map(SavedPeer::peer).collect::<Result<_, _>>()?);
        let state = match &saved.state {
            SavedState::Initialize { starts_at } => {
                StateData::Initialize(Initialize { starts_at: starts_at.map(time) })
            }
            SavedState::Fault(fault) => StateData::Fault(*fault),
            SavedState::Backup(backup) => StateData::Backup(Backup::resume(&common, backup)?),
            SavedState::Master(master) => StateData::Master(Master::resume(&common, master)),
        };
        Ok(Self { common, state })
    }
}

impl FastPath {
    /// Returns the state of the fast path, for [`resume`](Self::resume).
    pub fn save(&self) -> SavedFastPath {
        SavedFastPath {
            published: self.published().map(SavedSteady::of),
            handled: nanos(self.last_handled()),
        }
    }

    /// Creates a fast path that continues with a saved state. The BPF program's slot must still
    /// contain the published advert.
    ///
    /// # Errors
    /// Returns an error if the state contains an unknown checksum form.
    pub fn resume(saved: &SavedFastPath) -> Result<Self, ResumeError> {
        let published = saved.published.as_ref().map(SavedSteady::steady).transpose()?;
        Ok(Self::from_parts(published, time(saved.handled)))
    }
}

impl SavedPeer {
    fn of(peer: &Peer) -> Self {
        let Peer { address, priority, checksum, last_arrival } = *peer;
        Self { address, priority, checksum: checksum as u8, last_arrival: nanos(last_arrival) }
    }

    fn peer(&self) -> Result<Peer, ResumeError> {
        let Self { address, priority, checksum, last_arrival } = *self;
        Ok(Peer { address, priority, checksum: form(checksum)?, last_arrival: time(last_arrival) })
    }
}

impl SavedAdvert {
    pub(crate) fn of(advert: &Received) -> Self {
        let Received { arrival, source, priority, interval, addresses, checksum } = *advert;
        Self { arrival: nanos(arrival), source, priority, interval, addresses, checksum: checksum as u8 }
    }

    pub(crate) fn advert(&self) -> Result<Received, ResumeError> {
        let Self { arrival, source, priority, interval, addresses, checksum } = *self;
        let checksum = form(checksum)?;
        Ok(Received { arrival: time(arrival), source, priority, interval, addresses, checksum })
    }
}

impl SavedSteady {
    pub(crate) fn of(steady: &Steady) -> Self {
        let advert = SavedAdvert::of(&steady.at(Timestamp::ZERO));
        Self { advert, down_interval: steady.down_interval }
    }

    pub(crate) fn steady(&self) -> Result<Steady, ResumeError> {
        Ok(Steady::of(&self.advert.advert()?, self.down_interval))
    }
}

fn form(number: u8) -> Result<ChecksumForm, ResumeError> {
    ChecksumForm::from_number(number).ok_or(ResumeError::Checksum(number))
}

/// Converts a timestamp to its saved form.
pub(crate) fn nanos(time: Timestamp) -> Time {
    time.as_nanos()
}

/// Converts a saved time to a timestamp.
pub(crate) fn time(nanos: Time) -> Timestamp {
    Timestamp::from_nanos(nanos)
}
