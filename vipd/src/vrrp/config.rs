//! What a virtual router is configured to be.

use std::fmt;
use std::net::Ipv4Addr;

use super::interval::{Interval, Version};

/// Priority of the router that owns the virtual addresses (RFC 9568 section 6.1).
pub const PRIORITY_OWNER: u8 = 255;
/// Priority of an advert whose sender gives the mastership up (RFC 9568 section 5.2.4).
pub const PRIORITY_RELEASE: u8 = 0;
/// Default priority of a backup (RFC 9568 section 5.2.4).
pub const PRIORITY_DEFAULT: u8 = 100;

/// A virtual address and the prefix length it is configured with on the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Prefix length, 0 to 32.
    pub prefix: u8,
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Configuration of one IPv4 virtual router, already checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Virtual router identifier, 1 to 255.
    pub vrid: u8,
    /// Priority, 1 to 254, or [`PRIORITY_OWNER`].
    pub priority: u8,
    /// Advertisement_Interval, in the unit of the configured version.
    pub interval: Interval,
    /// Preempt_Mode: take over from a master of lower priority. The owner always does.
    pub preempt: bool,
    /// The virtual addresses in the order they are advertised: 1 to 255.
    pub virtual_addresses: Vec<VirtualAddress>,
}

impl RouterConfig {
    /// The configured VRRP version.
    pub fn version(&self) -> Version {
        self.interval.version()
    }

    /// Whether this router owns the virtual addresses.
    pub fn is_owner(&self) -> bool {
        self.priority == PRIORITY_OWNER
    }
}
