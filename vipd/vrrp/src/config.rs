//! What a virtual router is configured to be.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::interval::{Interval, Version};

/// Priority of the router that owns the virtual addresses (RFC 9568 section 6.1).
pub const PRIORITY_OWNER: u8 = 255;
/// Priority of an advert whose sender gives the mastership up (RFC 9568 section 5.2.4).
pub const PRIORITY_RELEASE: u8 = 0;
/// Default priority of a backup (RFC 9568 section 5.2.4).
pub const PRIORITY_DEFAULT: u8 = 100;
/// Default number of intervals without an advert after which the master is down (RFC 9568 section 6.1).
pub const DOWN_AFTER_ADVERTS: u8 = 3;

/// Address family of a virtual router. An IPv4 and an IPv6 virtual router with the same VRID are independent
/// (RFC 9568 section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4: adverts to 224.0.0.18, addresses announced by gratuitous ARP.
    V4,
    /// IPv6: adverts to ff02::12, addresses announced by unsolicited Neighbor Advertisements.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The IP version: 4 or 6. The kernel side's keys have it
    /// ([`RouterKey::family`](vipd_common::records::RouterKey)).
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}

/// As RFC 8347 has it: `ipv4` or `ipv6`.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

/// A virtual address and the prefix length it is configured with on the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualAddress {
    /// The address.
    pub address: IpAddr,
    /// Prefix length, 1 to 32, or to 128 in IPv6.
    pub prefix: u8,
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// How a master tells the segment where its addresses are: by gratuitous ARP, or by unsolicited Neighbor
/// Advertisements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcements {
    /// Rounds of a burst, 1 to 255. A round has one packet for each address.
    pub repeat: u8,
    /// Nanoseconds after a takeover until a second burst; 0 for none. Switches and hosts that missed the first one, while
    /// their port was still learning, hear the second.
    pub delay: u64,
    /// Nanoseconds between rounds of a master that stays; 0 for none.
    pub refresh: u64,
    /// Rounds of such a refresh, 1 to 255.
    pub refresh_repeat: u8,
}

impl Default for Announcements {
    /// Five rounds, five more after 5 s, and no refresh: what keepalived does.
    fn default() -> Self {
        Self { repeat: 5, delay: 5_000_000_000, refresh: 0, refresh_repeat: 1 }
    }
}

/// Configuration of one virtual router, already checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Virtual router identifier, 1 to 255.
    pub vrid: u8,
    /// Family of its adverts and of [`virtual_addresses`](Self::virtual_addresses).
    pub family: Family,
    /// Priority, 1 to 254, or [`PRIORITY_OWNER`].
    pub priority: u8,
    /// Advertisement_Interval, in the unit of the configured version.
    pub interval: Interval,
    /// Preempt_Mode: take over from a master of lower priority. The owner always does.
    pub preempt: bool,
    /// Nanoseconds for which a master of lower priority is followed before it is preempted (RFC 8347 `hold-time`),
    /// counted from its first advert; 0 for none.
    pub preempt_delay: u64,
    /// Nanoseconds spent in Initialize after the first [`Available`](super::Input::Available); 0 for none.
    pub startup_delay: u64,
    /// Intervals without an advert after which the master is down, 1 to 100; [`DOWN_AFTER_ADVERTS`] by the RFC.
    pub down_after_adverts: u8,
    /// How addresses are announced.
    pub announcements: Announcements,
    /// The virtual addresses in the order they are advertised: up to 255, or none for a router that only tells who is
    /// master.
    pub virtual_addresses: Vec<VirtualAddress>,
    /// Virtual addresses that are not advertised, of either family.
    pub excluded_addresses: Vec<VirtualAddress>,
}

impl RouterConfig {
    /// A virtual router with the RFC's defaults for everything but these.
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
            announcements: Announcements::default(),
            virtual_addresses,
            excluded_addresses: Vec::new(),
        }
    }

    /// The configured VRRP version.
    pub fn version(&self) -> Version {
        self.interval.version()
    }

    /// Whether this router owns the virtual addresses.
    pub fn is_owner(&self) -> bool {
        self.priority == PRIORITY_OWNER
    }

    /// All virtual addresses: the advertised ones, then the excluded ones.
    pub fn all_addresses(&self) -> impl Iterator<Item = VirtualAddress> + '_ {
        self.virtual_addresses.iter().chain(&self.excluded_addresses).copied()
    }
}
