//! Configuration of a virtual router (RFC 9568 section 6.1, RFC 8347).

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::interval::{Interval, Nanos, Version};
pub use crate::priority::{PRIORITY_DEFAULT, PRIORITY_OWNER, PRIORITY_ZERO};

/// Default number of intervals in Active_Down_Interval (RFC 9568 section 6.1).
pub const DOWN_AFTER_ADVERTS: u8 = 3;

/// Address family of a virtual router. An IPv4 and an IPv6 virtual router with the same VRID are
/// independent (RFC 9568 section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4: adverts to 224.0.0.18 or to unicast peers, addresses announced with gratuitous ARP.
    V4,
    /// IPv6: adverts to ff02::12 or to unicast peers, addresses announced with unsolicited Neighbor
    /// Advertisements.
    V6,
}

impl Family {
    /// Returns the family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Returns the IP version, 4 or 6, which is also the family in the BPF program's keys
    /// ([`RouterKey::family`](vipd_common::records::RouterKey)).
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}

/// `ipv4` or `ipv6`, as in RFC 8347.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

/// A virtual address and its prefix length on the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualAddress {
    /// An IPv4 or IPv6 address.
    pub address: IpAddr,
    /// Prefix length: 1 to 32 for IPv4, 1 to 128 for IPv6.
    pub prefix: u8,
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Settings for announcing a master's addresses with gratuitous ARP or unsolicited Neighbor
/// Advertisements. A round is one packet for each address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcements {
    /// Number of rounds in a burst, 1 to 255.
    pub repeat: u8,
    /// Time from a takeover to a second burst; 0 for none. The second burst reaches hosts behind a
    /// switch that dropped the first burst because a port was not forwarding yet.
    pub delay: Nanos,
    /// Time between refreshes while the router is master; 0 for no refreshes.
    pub refresh: Nanos,
    /// Number of rounds in a refresh, 1 to 255.
    pub refresh_repeat: u8,
}

impl Default for Announcements {
    /// Returns keepalived's defaults: five rounds, five more rounds after 5 s, and no refreshes.
    fn default() -> Self {
        Self { repeat: 5, delay: 5_000_000_000, refresh: 0, refresh_repeat: 1 }
    }
}

/// Configuration of one virtual router, validated when the configuration file is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Virtual router identifier, 1 to 255.
    pub vrid: u8,
    /// Family of the adverts and of [`virtual_addresses`](Self::virtual_addresses).
    pub family: Family,
    /// Configured priority: 1 to 254, or [`PRIORITY_OWNER`]. The effective priority starts at this
    /// value and changes with [`Input::Priority`](crate::Input::Priority).
    pub priority: u8,
    /// Advertisement_Interval, in the unit of the configured version.
    pub interval: Interval,
    /// Preempt_Mode: whether to take over from a lower-priority master. The owner always takes
    /// over.
    pub preempt: bool,
    /// Delay before preempting a lower-priority master, counted from the first advert received from
    /// a router of lower priority (RFC 8347 `hold-time`); 0 for no delay.
    pub preempt_delay: Nanos,
    /// Time for which the router stays in Initialize after it could first have started; 0 for no
    /// delay.
    pub startup_delay: Nanos,
    /// Number of intervals in Active_Down_Interval, 1 to 100. The RFC's value is
    /// [`DOWN_AFTER_ADVERTS`].
    pub down_after_adverts: u8,
    /// Whether received adverts are verified ([`hmac`](crate::hmac)). Each of them must then be
    /// passed in, because an unchanged advert may be a replay.
    pub is_verified: bool,
    /// Settings for announcing the addresses.
    pub announcements: Announcements,
    /// The 0 to 255 virtual addresses in the order in which they are advertised. A router without
    /// virtual addresses and without excluded addresses only takes part in elections.
    pub virtual_addresses: Vec<VirtualAddress>,
    /// Virtual addresses of either family that are not advertised.
    pub excluded_addresses: Vec<VirtualAddress>,
}

impl RouterConfig {
    /// Creates a configuration with the RFC's defaults and [`Announcements::default`].
    pub fn new(vrid: u8, family: Family, interval: Interval, virtual_addresses: Vec<VirtualAddress>) -> Self {
        Self {
            vrid,
            family,
            priority: PRIORITY_DEFAULT,
            interval,
            preempt: true,
            preempt_delay: 0,
            startup_delay: 0,
            down_after_adverts: DOWN_AFTER_ADVERTS,
            is_verified: false,
            announcements: Announcements::default(),
            virtual_addresses,
            excluded_addresses: Vec::new(),
        }
    }

    /// Returns the configured VRRP version.
    pub fn version(&self) -> Version {
        self.interval.version()
    }

    /// Returns whether this router is the owner of the virtual addresses (priority 255).
    pub fn is_owner(&self) -> bool {
        self.priority == PRIORITY_OWNER
    }

    /// Returns all virtual addresses: the advertised addresses, then the excluded addresses.
    pub fn all_addresses(&self) -> impl Iterator<Item = VirtualAddress> + '_ {
        self.virtual_addresses.iter().chain(&self.excluded_addresses).copied()
    }
}
