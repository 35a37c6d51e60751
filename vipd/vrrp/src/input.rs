//! Inputs of a virtual router.

use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use vipd_common::Timestamp;
use vipd_common::parse::ChecksumForm;

use crate::config::VirtualAddress;

/// One input of [`Router::handle`](crate::Router::handle).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The interface has this primary address, which becomes the source of adverts. Clears
    /// [`Impediment::PrimaryAddress`].
    PrimaryAddress(IpAddr),
    /// A fault keeps the router from taking part in elections. Replaces an earlier fault of the
    /// same [impediment](Fault::impediment). Other impediments do not change.
    Impede(Fault),
    /// An impediment no longer applies. Once no impediment is left and there is a primary address,
    /// the router starts (the RFC's Startup event), but not before the end of `startup_delay`.
    Clear(Impediment),
    /// The router's own effective priority, 1 to 254, from
    /// [`priority::effective`](crate::priority). The router lowers it to the lowest priority in its
    /// sync group ([`GroupInput::Priority`]). An address owner's priority stays 255.
    ///
    /// The effective priority is used wherever the RFC uses Priority: in adverts, in comparisons
    /// and in Skew_Time. A backup recomputes its running Active_Down_Timer from the time at which
    /// the timer was set, so that the backup with the highest priority still takes over first.
    /// Starting with the master's next advert, a backup with preemption preempts a master whose
    /// priority is now lower. A backup that was about to preempt a master whose priority is no
    /// longer lower follows that master immediately. A master sends no extra advert, because an
    /// advert would not change the time at which a backup preempts: backups count from the last
    /// advert that they accepted.
    Priority(u8),
    /// The administrator requests that the router hand over mastership once. A master that is not
    /// the owner sends a priority-0 advert and transitions to Backup. The router then does not
    /// preempt until it becomes master again or restarts. Otherwise, it would immediately preempt
    /// the lower-priority router that takes over. Has no effect in other states.
    Failover,
    /// The router is about to be handed over to another process, and might not run until this time.
    /// A master whose Adver_Timer would fire by then sends an advert in advance, so that backups do
    /// not time out. The timer keeps its deadline.
    Suspend(Timestamp),
    /// An input from the router's sync group.
    Group(GroupInput),
    /// The agent is stopping, or a reload removes the router: the RFC's Shutdown event. The router
    /// does not start again before the next [`PrimaryAddress`](Self::PrimaryAddress).
    Shutdown,
    /// A valid advert arrived.
    Advert(Received),
    /// Adverts for this router were lost between the kernel and the agent, or dropped because they
    /// exceeded the budget for signed adverts. Valid adverts may be among them.
    FeedLoss,
    /// A virtual address was removed from the interface externally and has been restored.
    AddressRestored(VirtualAddress),
    /// A timer may be due. Has no effect if no timer is due.
    Timeout,
}

/// An input from a sync group, computed by [`group`](crate::group).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupInput {
    /// The lowest of the members' own effective priorities; 255 for a router without a group. The
    /// router uses the lower of this value and its own effective priority.
    Priority(u8),
    /// Another member is master: a backup becomes master immediately.
    Lead,
    /// Another member has left Master or, after routers have joined or left the group, follows a
    /// running master: a master sends a priority-0 advert and transitions to Backup. A stalled
    /// master sends no such advert, because another router may have taken over.
    Yield,
    /// Another member follows a running master or has not started. A backup checks again at this
    /// time whether it may become master.
    Wait(Timestamp),
    /// An advert with the same priority from a higher address. The router treats it as a losing
    /// advert and stays master, because an earlier member of the group decides the tie.
    Contest(Received),
}

/// A valid advert as the BPF program recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Time of arrival in the kernel.
    pub arrival: Timestamp,
    /// IP source address.
    pub source: IpAddr,
    /// Priority, 0 to 255.
    pub priority: u8,
    /// Max Advertise Interval: centiseconds in VRRPv3, seconds in VRRPv2.
    pub interval: u16,
    /// [Digest](vipd_common::parse::address_digest) of the advertised addresses.
    pub addresses: u64,
    /// The form in which the advert's checksum was computed.
    pub checksum: ChecksumForm,
}

/// A category of faults that keep a virtual router in [`State::Fault`](crate::State::Fault).
///
/// A router takes part in elections only while no impediment is set. If several impediments are
/// set, the router reports the first in the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Impediment {
    /// The VRRP interface is missing or down.
    Link,
    /// Adverts cannot be sent or received on the VRRP interface.
    Io,
    /// The VRRP interface has no address from which to send adverts, or an interface would lose an
    /// address of its own if a VIP of this router were removed.
    PrimaryAddress,
    /// An interface for virtual addresses is missing, down or not set up.
    AddressInterface,
    /// A tracked object without a weight is down or has not been read yet.
    Tracking,
    /// Disabled by the administrator.
    Administrator,
    /// Drained by the administrator: another node takes over, and this router stays out of
    /// elections.
    Drained,
    /// Another member of the sync group has a fault of its own. This is the last variant, so that a
    /// member's own fault takes precedence.
    Group,
}

impl Impediment {
    /// Number of variants.
    pub(crate) const COUNT: usize = Self::Group as usize + 1;
}

/// A reason why a virtual router cannot take part in elections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fault {
    /// The interface does not exist.
    NoInterface,
    /// The interface is down or has no carrier.
    InterfaceDown,
    /// The interface's BPF program or sockets have not been set up for this router. If they could
    /// not be set up, the agent logs the reason.
    NotAttached,
    /// The interface's BPF program and sockets were set up, but adverts cannot be received: the
    /// program was detached or runs after another program, or the multicast group could not be
    /// joined.
    NotReceiving,
    /// The interface has no Ethernet address, as with WireGuard, GRE or tun. With unicast, this is
    /// a fault only if the interface is not point-to-point either.
    NoHardwareAddress,
    /// The interface has no address of its own from which to send adverts (IPv4, or link-local
    /// IPv6), or lacks the configured source address.
    NoPrimaryAddress,
    /// If a VIP of this router were removed, an interface would lose its primary address, or an
    /// address of its own that is secondary to the VIP. Applies only to a router that is not the
    /// owner.
    PrimaryIsVirtual,
    /// An interface for the router's addresses is missing, down or not set up. Adverts can still be
    /// sent.
    AddressInterface,
    /// A tracked object without a weight is down or has not been read yet. The agent reports the
    /// object's name.
    Tracking,
    /// Another member of the router's sync group has a fault of its own.
    Group,
    /// Disabled by the administrator.
    Administrator,
    /// Drained by the administrator.
    Drained,
}

impl Fault {
    /// Returns the impediment to which the fault belongs.
    pub const fn impediment(self) -> Impediment {
        match self {
            Self::NoInterface | Self::InterfaceDown => Impediment::Link,
            Self::NotAttached | Self::NotReceiving | Self::NoHardwareAddress => Impediment::Io,
            Self::NoPrimaryAddress | Self::PrimaryIsVirtual => Impediment::PrimaryAddress,
            Self::AddressInterface => Impediment::AddressInterface,
            Self::Tracking => Impediment::Tracking,
            Self::Group => Impediment::Group,
            Self::Administrator => Impediment::Administrator,
            Self::Drained => Impediment::Drained,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoInterface => "no-interface",
            Self::InterfaceDown => "interface-down",
            Self::NotAttached => "not-attached",
            Self::NotReceiving => "not-receiving",
            Self::NoHardwareAddress => "no-hardware-address",
            Self::NoPrimaryAddress => "no-primary-ip-address",
            Self::PrimaryIsVirtual => "primary-ip-address-is-virtual",
            Self::AddressInterface => "address-interface",
            Self::Tracking => "tracking",
            Self::Group => "sync-group",
            Self::Administrator => "administratively-down",
            Self::Drained => "drained",
        })
    }
}
