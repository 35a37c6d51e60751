//! What goes into a virtual router and what comes out.

use core::fmt;
use core::net::IpAddr;

use vipd_common::Timestamp;
use vipd_common::parse::ChecksumForm;

use super::config::VirtualAddress;

/// State of a virtual router (RFC 9568 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not started, or stopped.
    Initialize,
    /// Cannot take part: the interface cannot carry adverts. RFC 9568 calls this Initialize too.
    Fault(Fault),
    /// Listening to the master.
    Backup,
    /// Owns the virtual addresses now (RFC 9568: Active).
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

/// Why a virtual router cannot take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// There is no interface of that name.
    NoInterface,
    /// It is down, or has no carrier.
    InterfaceDown,
    /// It has no address of its own to send from: no IPv4 address, no link-local one, or not the configured source.
    NoPrimaryAddress,
    /// An interface that its addresses are on is missing or down; adverts still go out.
    AddressInterface,
    /// Its XDP program or its sockets could not be set up; the agent knows the details.
    NotAttached,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoInterface => "no-interface",
            Self::InterfaceDown => "interface-down",
            Self::NoPrimaryAddress => "no-primary-ip-address",
            Self::AddressInterface => "address-interface",
            Self::NotAttached => "not-attached",
        })
    }
}

/// A valid advert, as the kernel side handed it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Arrival in the kernel.
    pub arrival: Timestamp,
    /// IP source.
    pub source: IpAddr,
    /// Priority, 0 to 255.
    pub priority: u8,
    /// The interval field: centiseconds in VRRPv3, seconds in VRRPv2.
    pub interval: u16,
    /// [Digest](vipd_common::parse::address_digest) of the advertised addresses.
    pub addresses: u64,
    /// The checksum it came with.
    pub checksum: ChecksumForm,
}

/// What happens to a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The interface can carry adverts, from this primary address: RFC 9568's Startup event, or a new primary
    /// address.
    Available {
        /// Source of adverts from now on.
        primary: IpAddr,
    },
    /// The interface cannot carry adverts any more.
    Unavailable(Fault),
    /// The agent stops: RFC 9568's Shutdown event.
    Shutdown,
    /// An advert arrived.
    Advert(Received),
    /// Adverts for this virtual router were lost between the kernel and here: they were valid, and no more is
    /// known of them.
    FeedLoss,
    /// Somebody else took a virtual address off the interface.
    AddressRemoved(VirtualAddress),
    /// A timeout may have come.
    Timeout,
}

/// Which of the virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// All of them, in the configured order, the excluded ones last.
    All,
    /// This one.
    One(VirtualAddress),
}

/// What to do, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send an advert with this priority.
    SendAdvert {
        /// The configured priority, or 0 to give the mastership up.
        priority: u8,
    },
    /// Put virtual addresses on the interface.
    AddAddresses(Addresses),
    /// Take all virtual addresses off the interface.
    RemoveAddresses,
    /// Send gratuitous ARP, or an unsolicited Neighbor Advertisement, for each address, all of them once a round.
    Announce {
        /// For which.
        addresses: Addresses,
        /// Number of rounds.
        rounds: u8,
    },
}

/// The advert that a backup hears all the time, and of which only the last arrival matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// IP source.
    pub source: IpAddr,
    /// Priority.
    pub priority: u8,
    /// The interval field as sent.
    pub interval: u16,
    /// [Digest](vipd_common::parse::address_digest) of the advertised addresses.
    pub addresses: u64,
    /// Its checksum.
    pub checksum: ChecksumForm,
    /// How long after its arrival the next one must have come, nanoseconds: Active_Down_Interval.
    pub patience: u64,
}

impl Steady {
    pub(super) fn of(advert: &Received, patience: u64) -> Self {
        let Received { source, priority, interval, addresses, checksum, arrival: _ } = *advert;
        Self { source, priority, interval, addresses, checksum, patience }
    }

    /// The advert that arrived then.
    pub fn at(self, arrival: Timestamp) -> Received {
        let Self { source, priority, interval, addresses, checksum, patience: _ } = self;
        Received { arrival, source, priority, interval, addresses, checksum }
    }
}

/// Why the state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The interface can carry adverts, for the first time.
    Startup,
    /// The interface is up again (RFC 8347 `vrrp-event-interface-up`).
    InterfaceUp,
    /// The interface has an address to send from again (RFC 8347 `vrrp-event-primary-ip-address`).
    PrimaryAddress,
    /// The agent stops.
    Shutdown,
    /// The master was silent for the Active_Down_Interval.
    MasterTimeout,
    /// The master left with priority 0, and nobody of higher priority came.
    PriorityZero,
    /// A master of lower priority was preempted.
    Preempted,
    /// An advert of higher precedence arrived.
    HigherPriority,
    /// This process was held up for so long that another router took over.
    Stalled,
    /// The interface cannot carry adverts.
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
            Self::Fault(fault) => return fault.fmt(f),
        })
    }
}

/// Why the core ignores an advert that the kernel side found valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// Its source is our own primary address: a loop, or a duplicate address.
    OwnSource,
    /// VRRPv2: its interval is not ours (RFC 3768 section 7.1).
    Interval,
    /// VRRPv2: its address list is not ours, and its sender is not the owner (RFC 3768 section 7.1).
    AddressList,
    /// VRRPv2: we are the owner (RFC 3768 section 7.1).
    Owner,
}

/// What happened, for the log. What can repeat without end is told once, until the state or the master changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The state changed.
    StateChanged {
        /// From.
        from: State,
        /// To.
        to: State,
        /// Why.
        reason: Reason,
        /// How long after the deadline, nanoseconds; 0 where no timer was the cause.
        late: u64,
    },
    /// Another router is the master now.
    MasterChanged {
        /// Source of its adverts.
        source: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// A valid advert was ignored.
    Discarded {
        /// Why.
        reason: Discard,
        /// Who sent it.
        source: IpAddr,
    },
    /// VRRPv3: the master's interval is not ours; it is adopted (RFC 9568 section 7.1).
    IntervalAdopted {
        /// The master.
        source: IpAddr,
        /// Its interval, centiseconds.
        interval: u16,
    },
    /// VRRPv3: another router advertises other addresses; the advert counts all the same.
    AddressListDiffers {
        /// Who sent it.
        source: IpAddr,
    },
    /// Another router claims priority 255, too.
    OwnerConflict {
        /// Who.
        source: IpAddr,
    },
    /// Another router of lower precedence is master, too, and was answered.
    LosingAdvert {
        /// Who.
        source: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// The other master is gone; the segment was told again.
    Reannounced,
    /// A virtual address that somebody else had removed is back.
    AddressRestored(VirtualAddress),
    /// Adverts are sent from another primary address.
    PrimaryChanged {
        /// The new one.
        primary: IpAddr,
    },
    /// Adverts were lost between the kernel and here.
    FeedLoss,
}
