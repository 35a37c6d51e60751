//! Records and map keys that cross between the XDP program and user space.
//!
//! All are `#[repr(C)]`, free of padding (bytemuck's derive refuses it) and in **host** byte order unless a
//! field says otherwise.

use bytemuck::{Pod, Zeroable};

/// Address family of a virtual router as it stands in a [`RouterKey`]: IPv4.
pub const FAMILY_IPV4: u8 = 4;

/// Key of the map [`MAP_ROUTERS`](crate::names::MAP_ROUTERS): one virtual router on one interface.
///
/// An IPv4 and an IPv6 virtual router with the same VRID are independent (RFC 9568 section 1).
///
/// ```text
///  0               4      5        6        8
///  +---------------+------+--------+--------+
///  | ifindex (u32) | vrid | family | zero   |
///  +---------------+------+--------+--------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct RouterKey {
    /// Interface index the advert arrives on.
    pub ifindex: u32,
    /// Virtual router identifier, 1 to 255.
    pub vrid: u8,
    /// [`FAMILY_IPV4`].
    pub family: u8,
    /// Always 0: keys are compared byte by byte.
    pub zero: u16,
}

impl RouterKey {
    /// Key of the IPv4 virtual router `vrid` on the interface `ifindex`.
    pub const fn ipv4(ifindex: u32, vrid: u8) -> Self {
        Self { ifindex, vrid, family: FAMILY_IPV4, zero: 0 }
    }
}

/// Value of the map [`MAP_ROUTERS`](crate::names::MAP_ROUTERS): what the kernel side needs to know of a
/// configured virtual router.
///
/// ```text
///  0           4         5        8
///  +-----------+---------+--------+
///  | row (u32) | version | zero   |
///  +-----------+---------+--------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RouterSlot {
    /// Row of this virtual router in [`MAP_COUNTERS`](crate::names::MAP_COUNTERS), 1 or more.
    pub row: u32,
    /// Configured VRRP version, 2 or 3.
    pub version: u8,
    /// Always 0.
    pub zero: [u8; 3],
}

/// One valid advert on its way to user space, a record of the ring buffer
/// [`MAP_ADVERTS`](crate::names::MAP_ADVERTS).
///
/// ```text
///  0                 8                   16          20           24
///  +-----------------+-------------------+-----------+------------+
///  | arrival (u64)   | addresses (u64)   | row (u32) | ifindex    |
///  +-----------------+-------------------+-----------+------------+
///  | source (4, net) | interval (u16) | vrid | version | priority | count | checksum | zero |
///  +-----------------+----------------+------+---------+----------+-------+----------+------+
///  24                28               30     31        32         33      34         35     40
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct AdvertRecord {
    /// Arrival, nanoseconds of `CLOCK_MONOTONIC` (`bpf_ktime_get_ns()`).
    pub arrival: u64,
    /// [Digest](crate::parse::address_digest) of the advertised addresses.
    pub addresses: u64,
    /// The virtual router's row, as in [`RouterSlot::row`].
    pub row: u32,
    /// Interface index the advert arrived on.
    pub ifindex: u32,
    /// IPv4 source address, network byte order.
    pub source: [u8; 4],
    /// The interval field as sent: centiseconds in VRRPv3, seconds in VRRPv2.
    pub interval: u16,
    /// Virtual router identifier.
    pub vrid: u8,
    /// VRRP version, 2 or 3.
    pub version: u8,
    /// Priority, 0 to 255.
    pub priority: u8,
    /// Number of advertised addresses.
    pub count: u8,
    /// Which checksum form matched: a [`ChecksumForm`](crate::parse::ChecksumForm) as its number.
    pub checksum: u8,
    /// Always 0.
    pub zero: [u8; 5],
}
