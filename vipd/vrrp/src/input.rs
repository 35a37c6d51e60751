//! What a virtual router is given.

use core::fmt;
use core::net::IpAddr;

use vipd_common::Timestamp;
use vipd_common::parse::ChecksumForm;

use crate::config::VirtualAddress;

/// One input of [`Router::handle`](crate::Router::handle).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The interface has this primary address, the source of adverts from now on. Clears
    /// [`Impediment::PrimaryAddress`].
    PrimaryAddress(IpAddr),
    /// Something keeps the router from taking part. Replaces an earlier fault of the same
    /// [kind](Fault::impediment); the other kinds stay as they are.
    Impede(Fault),
    /// This kind of impediment is gone. With the last one, and with a primary address, the router
    /// starts: the RFC's Startup event.
    Clear(Impediment),
    /// The effective priority, held to 1 to 254, from [`priority::effective`](crate::priority). The
    /// owner's stays 255.
    ///
    /// It is used wherever the RFC says Priority: in adverts, in comparisons and in Skew_Time. Backup
    /// recomputes the running Active_Down_Timer from when it was set, so that a router whose priority
    /// fell lets a better backup go first. A master that it no longer outranks is followed, and one
    /// that it outranks now is preempted, from that master's next advert on. A master sends its next
    /// advert when Adver_Timer fires: a backup that preempts counts from the last advert that it
    /// accepted, which an additional one would not change.
    Priority(u8),
    /// The agent stops: the RFC's Shutdown event. The router starts again with the next
    /// [`PrimaryAddress`](Self::PrimaryAddress).
    Shutdown,
    /// A valid advert arrived.
    Advert(Received),
    /// Valid adverts for this router were lost between the kernel and the agent.
    FeedLoss,
    /// A virtual address was removed from the interface externally, and is there again.
    AddressRestored(VirtualAddress),
    /// A timeout may be due. Without effect when none is.
    Timeout,
}

/// A valid advert as the XDP program recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Arrival in the kernel.
    pub arrival: Timestamp,
    /// IP source.
    pub source: IpAddr,
    /// Priority, 0 to 255.
    pub priority: u8,
    /// Max Advertise Interval: centiseconds in VRRPv3, seconds in VRRPv2.
    pub interval: u16,
    /// [Digest](vipd_common::parse::address_digest) of the advertised addresses.
    pub addresses: u64,
    /// How its checksum was computed.
    pub checksum: ChecksumForm,
}

/// A kind of thing that keeps a virtual router from taking part.
///
/// A router takes part while none is set. Where several are, [`State::Fault`](crate::State::Fault)
/// has the first in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Impediment {
    /// The VRRP interface is missing or down.
    Link,
    /// Adverts cannot be sent or received on it.
    Io,
    /// It has no address to send adverts from.
    PrimaryAddress,
    /// An interface for virtual addresses is missing or down.
    AddressInterface,
    /// A tracked object failed.
    Tracking,
    /// Another member of the sync group failed.
    Group,
    /// Disabled by the administrator.
    Administrator,
    /// Drained by the administrator: another node takes over and keeps the addresses.
    Drained,
}

impl Impediment {
    /// Number of kinds.
    pub(crate) const COUNT: usize = Self::Drained as usize + 1;
}

/// Why a virtual router cannot take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The interface does not exist.
    NoInterface,
    /// The interface is down or has no carrier.
    InterfaceDown,
    /// Its XDP program or sockets are not set up; the agent knows the details.
    NotAttached,
    /// They were set up, and adverts cannot be received any more.
    NotReceiving,
    /// It has no Ethernet address: WireGuard, GRE, tun.
    NoHardwareAddress,
    /// No IPv4 address, no link-local address, or not the configured source.
    NoPrimaryAddress,
    /// The only address to send from is a VIP of this router, which does not own it.
    PrimaryIsVirtual,
    /// An interface for its addresses is missing or down. Adverts can still be sent.
    AddressInterface,
    /// A tracked object failed; the agent knows which.
    Tracking,
    /// A member of its sync group failed.
    Group,
    /// Disabled by the administrator.
    Administrator,
    /// Drained by the administrator.
    Drained,
}

impl Fault {
    /// The kind of impediment it is a detail of.
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
