//! Records and map keys that cross between the XDP program and user space.
//!
//! All are `#[repr(C)]`, free of padding (bytemuck's derive refuses it) and in **host** byte order unless a
//! field says otherwise. Addresses are an [`Address`].

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// Address family of a virtual router as it stands in a [`RouterKey`]: IPv4.
pub const FAMILY_IPV4: u8 = 4;
/// Address family of a virtual router as it stands in a [`RouterKey`]: IPv6.
pub const FAMILY_IPV6: u8 = 6;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct RouterKey {
    /// Interface index the advert arrives on.
    pub ifindex: u32,
    /// Virtual router identifier, 1 to 255.
    pub vrid: u8,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u8,
    /// Always 0: keys are compared byte by byte.
    pub zero: u16,
}

impl RouterKey {
    /// Key of the virtual router `vrid` of this family on the interface `ifindex`.
    pub const fn new(ifindex: u32, vrid: u8, family: u8) -> Self {
        Self { ifindex, vrid, family, zero: 0 }
    }
}

/// Value of the map [`MAP_ROUTERS`](crate::names::MAP_ROUTERS): what the kernel side needs to know of a
/// configured virtual router.
///
/// ```text
///  0           4         5                6       7         8                 24              32
///  +-----------+---------+----------------+-------+---------+-----------------+---------------+
///  | row (u32) | version | authentication | empty | unicast | destination     | password      |
///  +-----------+---------+----------------+-------+---------+-----------------+---------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RouterSlot {
    /// Row of this virtual router in [`MAP_COUNTERS`](crate::names::MAP_COUNTERS), 1 or more.
    pub row: u32,
    /// Configured VRRP version, 2 or 3.
    pub version: u8,
    /// VRRPv2's authentication type: 0, or [`AUTH_PASS`](crate::wire::vrrp::AUTH_PASS).
    pub authentication: u8,
    /// 1 if an advert without addresses is valid, else 0.
    pub empty: u8,
    /// 1 if the source must be in [`MAP_PEERS`](crate::names::MAP_PEERS), else 0.
    pub unicast: u8,
    /// Where its adverts go: the group, or our own address in unicast. Others are foreign.
    pub destination: Address,
    /// VRRPv2's authentication data, as it lies in memory.
    pub password: [u32; 2],
}

/// Key of the map [`MAP_PEERS`](crate::names::MAP_PEERS): a unicast peer of a virtual router. The value is one
/// byte, the smallest TTL or Hop Limit its adverts may arrive with.
///
/// ```text
///  0           4                 20
///  +-----------+-----------------+
///  | row (u32) | address         |
///  +-----------+-----------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct PeerKey {
    /// [`RouterSlot::row`] of the virtual router.
    pub row: u32,
    /// The peer's address.
    pub address: Address,
}

/// Key of the map [`MAP_CLOSED`](crate::names::MAP_CLOSED): a virtual address that this host announces and does
/// not accept packets for (Accept_Mode false, RFC 9568 section 6.1). The value is the row that counts them, a u32.
///
/// ```text
///  0               4        5      8                 24
///  +---------------+--------+------+-----------------+
///  | ifindex (u32) | family | zero | address         |
///  +---------------+--------+------+-----------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct ClosedKey {
    /// Interface index the packet arrives on.
    pub ifindex: u32,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u8,
    /// Always 0.
    pub zero: [u8; 3],
    /// The virtual address.
    pub address: Address,
}

/// Bytes of the ring buffer [`MAP_ADVERTS`](crate::names::MAP_ADVERTS): a power of two of pages.
pub const RING_BYTES: u32 = 1 << 20;

/// Value of the map [`MAP_STEADY`](crate::names::MAP_STEADY), by row: the advert that a backup hears all the time, and when
/// it was heard last. Such an advert changes nothing but that time: it leaves no record and wakes nobody.
///
/// User space, which maps it into its memory, writes `expected` and `familiar`; both sides write `heard`. All are whole words.
///
/// ```text
///  0                8              16               24
///  +----------------+--------------+----------------+
///  | expected (u64) | heard (u64)  | familiar (u64) |
///  +----------------+--------------+----------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SteadySlot {
    /// [Fingerprint](crate::parse::fingerprint) of the advert, or 0 for none.
    pub expected: u64,
    /// Arrival of the last one, nanoseconds of `CLOCK_MONOTONIC`.
    pub heard: u64,
    /// What was expected last, even when nothing is now: whatever somebody sends in its sender's name, such an advert is
    /// held to no rate.
    pub familiar: u64,
}

/// Key of the map [`MAP_SENDERS`](crate::names::MAP_SENDERS): who sends adverts of a virtual router. The value is when its
/// allowance is whole again, nanoseconds of `CLOCK_MONOTONIC`, a u64.
///
/// ```text
///  0           4              8                 24
///  +-----------+--------------+-----------------+
///  | row (u32) | leaves (u32) | address         |
///  +-----------+--------------+-----------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct SenderKey {
    /// [`RouterSlot::row`] of the virtual router.
    pub row: u32,
    /// 1 for adverts of priority 0, which have an allowance of their own, else 0.
    pub leaves: u32,
    /// IP source address.
    pub address: Address,
}

/// Adverts that say something new and that a sender may send at once, before it is held to its rate.
pub const BURST: u32 = 32;

/// Nanoseconds between two adverts of a sender that is held to its rate: four in the shortest interval of VRRPv3, because a
/// master that answers sends more than one (RFC 9568 section 6.4.3). The same for all: the interval in an advert is its sender's
/// own word, and a bucket that is filled by one measure and emptied by another can be made to starve.
pub const ALLOWED_EVERY: u64 = 2_500_000;

/// One valid advert on its way to user space, a record of the ring buffer
/// [`MAP_ADVERTS`](crate::names::MAP_ADVERTS).
///
/// ```text
///  0                 8                   16          20           24                40
///  +-----------------+-------------------+-----------+------------+-----------------+
///  | arrival (u64)   | addresses (u64)   | row (u32) | ifindex    | source          |
///  +-----------------+------+--------+---+-----+-----+----+-------+----+------------+---+
///  | interval (u16)  | vrid | family | version | priority | count | checksum | before  |
///  +-----------------+------+--------+---------+----------+-------+----------+---------+
///  40                42     43       44        45         46      47         48        56
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
    /// IP source address.
    pub source: Address,
    /// The interval field as sent: centiseconds in VRRPv3, seconds in VRRPv2.
    pub interval: u16,
    /// Virtual router identifier.
    pub vrid: u8,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u8,
    /// VRRP version, 2 or 3.
    pub version: u8,
    /// Priority, 0 to 255.
    pub priority: u8,
    /// Number of advertised addresses.
    pub count: u8,
    /// Which checksum form matched: a [`ChecksumForm`](crate::parse::ChecksumForm) as its number.
    pub checksum: u8,
    /// [`SteadySlot::heard`] when this one came: what was steady until then came before it.
    pub before: u64,
}
