//! Outputs of a virtual router: its state, actions and events.

use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use vipd_common::Timestamp;
use vipd_common::parse::ChecksumForm;

use crate::config::VirtualAddress;
use crate::input::{Fault, Received};
use crate::interval::Nanos;

/// State of a virtual router (RFC 9568 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not started, or shut down.
    Initialize,
    /// Cannot take part in elections. RFC 9568 has no separate state for faults and uses
    /// Initialize.
    Fault(Fault),
    /// Monitors the master.
    Backup,
    /// Answers for the virtual addresses (RFC 9568: Active).
    Master,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initialize => "initialize",
            Self::Fault(_) => "fault",
            Self::Backup => "backup",
            Self::Master => "master",
        })
    }
}

/// A set of virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// All addresses in the configured order, with the excluded addresses last.
    All,
    /// Only this address.
    One(VirtualAddress),
}

/// An action for the caller, who must carry out actions in the order in which they are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send an advert.
    SendAdvert {
        /// The effective priority, or 0 to relinquish mastership.
        priority: u8,
    },
    /// Add virtual addresses to the interface.
    AddAddresses(Addresses),
    /// Remove all virtual addresses from the interface.
    RemoveAddresses,
    /// Remove one virtual address from the interface. The router stays master.
    RemoveAddress(VirtualAddress),
    /// Announce addresses with gratuitous ARP or unsolicited Neighbor Advertisements.
    Announce {
        /// The addresses, each announced once per round.
        addresses: Addresses,
        /// Number of rounds.
        rounds: u8,
    },
}

/// The current master's unchanged advert, which equals the master's last advert and only restarts
/// Active_Down_Timer.
///
/// The BPF program compares a fingerprint of the advert's fields and stores only the arrival time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// IP source address.
    pub source: IpAddr,
    /// Priority, never 0.
    pub priority: u8,
    /// Max Advertise Interval in the wire unit.
    pub interval: u16,
    /// [Digest](vipd_common::parse::address_digest) of the advertised addresses.
    pub addresses: u64,
    /// The form in which the checksum was computed.
    pub checksum: ChecksumForm,
    /// Active_Down_Interval: the time after the last arrival at which the master is considered
    /// down.
    pub down_interval: Nanos,
}

impl Steady {
    pub(crate) fn of(advert: &Received, down_interval: Nanos) -> Self {
        let Received { source, priority, interval, addresses, checksum, arrival: _ } = *advert;
        Self { source, priority, interval, addresses, checksum, down_interval }
    }

    /// Returns the unchanged advert that arrived at `arrival`.
    pub fn at(self, arrival: Timestamp) -> Received {
        let Self { source, priority, interval, addresses, checksum, down_interval: _ } = self;
        Received { arrival, source, priority, interval, addresses, checksum }
    }
}

/// The reason for a state change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The router started for the first time, or restarted after a shutdown or an impediment for
    /// which RFC 8347 defines no event.
    Startup,
    /// The interface came up (RFC 8347 `vrrp-event-interface-up`).
    InterfaceUp,
    /// [`Fault::NoPrimaryAddress`] or [`Fault::PrimaryIsVirtual`] was cleared (RFC 8347
    /// `vrrp-event-primary-ip-address`).
    PrimaryAddress,
    /// The agent is stopping, or a reload has removed the router.
    Shutdown,
    /// No advert from the master arrived for Active_Down_Interval.
    MasterTimeout,
    /// The master relinquished mastership with a priority-0 advert.
    PriorityZero,
    /// The master had a lower priority and was preempted.
    Preempted,
    /// As master, the router received an advert with a higher priority, or with equal priority from
    /// a higher source address.
    HigherPriority,
    /// As master, the router sent no advert for so long that another router may have taken over.
    Stalled,
    /// As master, the router handed over mastership at the administrator's request.
    Failover,
    /// The sync group decided: another member became or left Master, or routers joined or left the
    /// group.
    Group,
    /// An impediment was set, or one was cleared while another remains set.
    Fault(Fault),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "startup",
            Self::InterfaceUp => "interface-up",
            Self::PrimaryAddress => "primary-ip-address",
            Self::Shutdown => "shutdown",
            Self::MasterTimeout => "master-timeout",
            Self::PriorityZero => "priority-zero",
            Self::Preempted => "lower-priority-master",
            Self::HigherPriority => "higher-priority-advert",
            Self::Stalled => "stalled",
            Self::Failover => "failover",
            Self::Group => "sync-group",
            Self::Fault(fault) => return fault.fmt(f),
        })
    }
}

/// The reason for discarding a valid advert (RFC 9568 section 7.1, RFC 3768 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// The advert's source is the router's own primary address: a loop or a duplicate address.
    OwnSource,
    /// VRRPv2: the advert's interval differs from the configured interval.
    Interval,
    /// VRRPv2: the advert's address list differs from the configured list, and the sender is not
    /// the owner.
    AddressList,
    /// VRRPv2: the receiving router is the owner, which discards all adverts.
    Owner,
}

/// An event for the log. Events that other routers can trigger repeatedly are returned only once
/// until the state, the master, or the configured interval or virtual addresses change, except for
/// [`Reannounced`](Self::Reannounced), which is returned after each pause of a competing master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The state changed.
    StateChanged {
        /// Previous state.
        from: State,
        /// New state.
        to: State,
        /// Reason for the transition.
        reason: Reason,
        /// Delay in handling the timer that caused the transition, in nanoseconds; 0 if no timer
        /// caused the transition.
        late: Nanos,
    },
    /// The router follows a new master.
    MasterChanged {
        /// Source of the new master's adverts.
        source: IpAddr,
        /// Priority in the new master's adverts.
        priority: u8,
    },
    /// A valid advert was discarded.
    Discarded {
        /// The reason for discarding the advert.
        reason: Discard,
        /// Source of the advert.
        source: IpAddr,
    },
    /// VRRPv3: the master's interval differs and was adopted (RFC 9568 section 7.1).
    IntervalAdopted {
        /// Source of the master's adverts.
        source: IpAddr,
        /// Interval of the advert, in centiseconds.
        interval: u16,
    },
    /// Another router advertises different addresses, but its adverts are accepted, because they
    /// are VRRPv3 adverts or come from the owner in VRRPv2.
    AddressListDiffers {
        /// Source of the other router's adverts.
        source: IpAddr,
    },
    /// Another router also advertises priority 255.
    OwnerConflict {
        /// Source of the other router's adverts.
        source: IpAddr,
    },
    /// Split brain: another router also advertises as master, and this router stays master, because
    /// it outranks the other router or because its sync group decides the tie.
    LosingAdvert {
        /// Source of the competing master's adverts.
        source: IpAddr,
        /// Priority in the competing master's adverts.
        priority: u8,
    },
    /// The competing master has stopped advertising, and the addresses have been announced again.
    Reannounced,
    /// A virtual address was removed externally and has been restored.
    AddressRestored(VirtualAddress),
    /// The primary address, which is the source of adverts, has changed.
    PrimaryChanged {
        /// The new primary address.
        primary: IpAddr,
    },
    /// Adverts were lost between the kernel and the agent, or dropped because they exceeded the
    /// budget for signed adverts.
    FeedLoss,
}
