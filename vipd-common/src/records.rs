//! Records, map keys and map values shared by the BPF program and user space.
//!
//! All are `#[repr(C)]`. None has padding, which bytemuck's derive would reject. Drawings mark the
//! byte order of each field: `h` is host byte order, `n` network byte order, `b` single bytes.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// Key of [`MAP_ROUTERS`](crate::names::MAP_ROUTERS): one virtual router on one interface.
///
/// An IPv4 and an IPv6 virtual router with the same VRID are independent (RFC 9568 section 1).
///
/// ```text
///  0            4       5         6         8
///  +------------+-------+---------+---------+
///  | ifindex  h | vrid  | family  | zero  h |
///  |       u32  |    b  |      b  |   u16   |
///  +------------+-------+---------+---------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct RouterKey {
    /// Index of the interface that the advert arrives on.
    pub ifindex: u32,
    /// Virtual router identifier, 1 to 255.
    pub vrid: u8,
    /// [`FAMILY_IPV4`](crate::address::FAMILY_IPV4) or
    /// [`FAMILY_IPV6`](crate::address::FAMILY_IPV6).
    pub family: u8,
    /// Always 0: keys are compared byte by byte.
    pub zero: u16,
}

impl RouterKey {
    /// Returns the key of the virtual router `vrid` of this family on the interface `ifindex`.
    pub const fn new(ifindex: u32, vrid: u8, family: u8) -> Self {
        Self { ifindex, vrid, family, zero: 0 }
    }
}

/// Value of [`MAP_ROUTERS`](crate::names::MAP_ROUTERS): the part of a virtual router's
/// configuration that the BPF program validates adverts against.
///
/// ```text
///  0       4         5                6       7         8         9          12
///  +-------+---------+----------------+-------+---------+---------+----------+
///  | row h | version | authentication | empty | unicast | trailer | reserved |
///  |  u32  |      b  |             b  |    b  |      b  |      b  |    3 × b |
///  +-------+---------+----------------+-------+---------+---------+----------+
///  12             28           36
///  +--------------+------------+
///  | destination  | password   |
///  |  n, 4 × u32  | n, 2 × u32 |
///  +--------------+------------+
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
    /// Whether adverts have a trailer: the number of a
    /// [`Trailer`](crate::parse::Trailer).
    pub trailer: u8,
    /// Always 0.
    pub reserved: [u8; 3],
    /// Destination of the adverts that the router receives: the VRRP group in multicast, the
    /// router's own address in unicast. Adverts to another destination are passed.
    pub destination: Address,
    /// VRRPv2's authentication data in network byte order.
    pub password: [u32; 2],
}

/// Key of [`MAP_PEERS`](crate::names::MAP_PEERS): a unicast peer of a virtual router. The value is
/// one byte, the lowest TTL or Hop Limit accepted from the peer.
///
/// ```text
///  0       4               20
///  +-------+---------------+
///  | row h | address       |
///  |  u32  |   n, 4 × u32  |
///  +-------+---------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct PeerKey {
    /// [`RouterSlot::row`] of the virtual router.
    pub row: u32,
    /// IP source address of the peer's adverts.
    pub address: Address,
}

/// Key of [`MAP_ADDRESSES`](crate::names::MAP_ADDRESSES): a VIP of a virtual router on this host.
/// The value is a u32, the row of its virtual router.
///
/// ```text
///  0           4         5       8               24
///  +-----------+---------+-------+---------------+
///  | ifindex h | family  | zero  | address       |
///  |      u32  |      b  | 3 × b |   n, 4 × u32  |
///  +-----------+---------+-------+---------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct AddressKey {
    /// Index of the interface on which packets to and from the address are filtered.
    pub ifindex: u32,
    /// [`FAMILY_IPV4`](crate::address::FAMILY_IPV4) or
    /// [`FAMILY_IPV6`](crate::address::FAMILY_IPV6).
    pub family: u8,
    /// Always 0: keys are compared byte by byte.
    pub zero: [u8; 3],
    /// The virtual address.
    pub address: Address,
}

impl AddressKey {
    /// Returns the key of an address of this family on the interface `ifindex`.
    #[inline(always)]
    pub const fn new(ifindex: u32, family: u8, address: Address) -> Self {
        Self { ifindex, family, zero: [0; 3], address }
    }
}

/// Value of [`MAP_LEASES`](crate::names::MAP_LEASES), by row: the lease of a master, and the filter
/// for packets to and from its VIPs. See [`lease`](crate::lease).
///
/// ```text
///  0               8            16           24           32
///  +---------------+------------+------------+------------+
///  | valid_until h | priority h | fenced   h | closed   h |
///  |         u64   |       u64  |       u64  |       u64  |
///  +---------------+------------+------------+------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct LeaseSlot {
    /// End of the lease, in nanoseconds of `CLOCK_MONOTONIC`; 0 without a lease. The lease of a
    /// router that leaves Master ends when its VIPs have been removed. Written by the engine when
    /// the lease begins or ends and with each advert, and by the guardian when the engine has died.
    pub valid_until: u64,
    /// The priority that this host sends, 1 to 255. Written with each advert: until a new master
    /// has sent its first advert, the value is 0 or that of an earlier lease, and `valid_until` is
    /// in the past.
    pub priority: u64,
    /// 1 while this host must not use the VIPs. Set by the BPF program when an advert shows that
    /// another router is or becomes master, and by the engine before it removes the VIPs; cleared
    /// by the engine.
    pub fenced: u64,
    /// 1 while the VIPs are present with Accept_Mode false (RFC 9568 section 6.1).
    pub closed: u64,
}

/// Value of [`MAP_FILTER`](crate::names::MAP_FILTER): whether any row is filtered. While both words
/// are 0, the programs do not check whether packets use a VIP.
///
/// ```text
///  0          8          16
///  +----------+----------+
///  | fenced h | closed h |
///  |     u64  |     u64  |
///  +----------+----------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FilterWords {
    /// 1 if a row may be fenced.
    pub fenced: u64,
    /// Number of rows that are closed.
    pub closed: u64,
}

/// Size of the ring buffer [`MAP_ADVERTS`](crate::names::MAP_ADVERTS) in bytes: a power of two and
/// a multiple of the page size.
pub const RING_BYTES: u32 = 1 << 20;

/// Value of [`MAP_STEADY`](crate::names::MAP_STEADY), by row: the fast path for unchanged adverts.
///
/// A backup receives the same advert from its master in every interval. Apart from the counters,
/// such an advert only updates `arrival`, without a record or a wake-up. User space maps the array
/// into its memory and writes `expected` and `previous`; the BPF program writes `limit`; both write
/// `arrival`. A slot is four words (32 bytes), so no slot crosses a cache line.
///
/// ```text
///  0              8             16             24            32
///  +--------------+-------------+--------------+-------------+
///  | expected   h | arrival   h | previous   h | limit     h |
///  |         u64  |        u64  |         u64  |        u64  |
///  +--------------+-------------+--------------+-------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SteadySlot {
    /// [Fingerprint](crate::parse::fingerprint) of the unchanged advert; 0 while the fast path is
    /// off.
    pub expected: u64,
    /// Arrival of the last unchanged advert, nanoseconds of `CLOCK_MONOTONIC`. It never decreases
    /// while `expected` stays the same.
    pub arrival: u64,
    /// The last nonzero value of `expected`. Adverts with this fingerprint have their own token
    /// bucket, so that a flood of other adverts that forge the master's source address cannot use
    /// up the master's tokens.
    pub previous: u64,
    /// Time at which the token bucket of adverts with the fingerprint `previous` is full again, in
    /// nanoseconds of `CLOCK_MONOTONIC`.
    pub limit: u64,
}

/// Number of slots in a [`SignerRow`]: one for the router itself, and four for senders of verified
/// adverts or former addresses of the router.
pub const SIGNERS: usize = 5;

/// The router itself, a former address of the router, or a sender whose signed adverts user space
/// has verified.
///
/// ```text
///  0              16       24             32          40         48
///  +--------------+--------+--------------+-----------+----------+
///  | address      | mark h | mark_until h | version h | bucket h |
///  |  n, 4 × u32  |   u64  |         u64  |      u64  |     u64  |
///  +--------------+--------+--------------+-----------+----------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SignerSlot {
    /// IP source address; all zeros in an unused slot.
    pub address: Address,
    /// Sequence of the sender's last verified advert; for a former address of the router, that of
    /// the last advert that the router had signed. For the router itself, one so far ahead that
    /// every advert from its address is dropped as a replay.
    pub mark: u64,
    /// Time until which adverts with a sequence that is not after `mark` are dropped, in
    /// nanoseconds of `CLOCK_MONOTONIC`.
    pub mark_until: u64,
    /// Increased before and after another sender replaces this one, so that it is odd in between.
    /// The BPF program does not use the slot if the version is odd or has changed while the slot
    /// was read.
    pub version: u64,
    /// Time at which the sender's token bucket is full again, in nanoseconds of `CLOCK_MONOTONIC`.
    /// Written by the BPF program.
    pub bucket: u64,
}

/// Value of [`MAP_SIGNERS`](crate::names::MAP_SIGNERS), by row: the senders of verified adverts,
/// and the limit for signed adverts of all other senders.
///
/// ```text
///  0                  240            248        256         264
///  +------------------+--------------+----------+-----------+
///  | senders          | unverified h | window h | dropped h |
///  |  5 × SignerSlot  |         u64  |     u64  |      u64  |
///  +------------------+--------------+----------+-----------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SignerRow {
    /// The slot of the router itself, and those of other senders.
    pub senders: [SignerSlot; SIGNERS],
    /// Time at which the token bucket that all other senders share is full again, in nanoseconds of
    /// `CLOCK_MONOTONIC`. Written by the BPF program.
    pub unverified: u64,
    /// The largest accepted difference between the clocks of sender and receiver in seconds; 0 if
    /// the clocks are not compared.
    pub window: u64,
    /// Arrival of the last advert that a limit for signed adverts has dropped, in nanoseconds of
    /// `CLOCK_MONOTONIC`; 0 if there was none. Written by the BPF program.
    pub dropped: u64,
}

/// Capacity of a token bucket of signed adverts. A larger burst of forged adverts can displace an
/// advert of the master.
pub const SIGNED_BURST: u64 = 768;

/// Nanoseconds after which a token bucket of signed adverts regains one advert: 50 µs, 20,000
/// adverts/s.
///
/// User space must verify the HMAC of each signed advert, because the source address can be forged.
/// A flood with a forged source address should not displace many adverts of the real sender, so the
/// limit is higher than for unsigned adverts.
pub const SIGNED_TOKEN_INTERVAL: u64 = 50_000;

/// Number of words in [`MAP_BUDGET`](crate::names::MAP_BUDGET): token buckets that all rows share,
/// each the time at which it is full again, in nanoseconds of `CLOCK_MONOTONIC`.
pub const BUDGETS: u32 = 4;
/// Index of the bucket of signed adverts that are passed to user space.
pub const BUDGET_PASSED: u32 = 0;
/// Capacity of the bucket of passed adverts. Adverts of unknown senders may use only half of it, so
/// that a flood of them leaves room for known senders.
pub const PASSED_BURST: u64 = 1536;
/// Nanoseconds after which the bucket of passed adverts regains one token: 16 µs, 62,500 tokens/s.
pub const PASSED_TOKEN_INTERVAL: u64 = 16_000;
/// A passed advert takes one token, plus one for each complete unit of this many bytes in its
/// packet, because hashing a long advert takes longer.
pub const PASSED_TOKEN_BYTES: u64 = 512;
// A burst fits into the ring: each record has a header of 8 bytes and is followed by its packet.
const _: () =
    assert!(PASSED_BURST * (8 + size_of::<AdvertRecord>() as u64 + PASSED_TOKEN_BYTES) <= RING_BYTES as u64);
/// Index of the bucket of blocks that the BPF program hashes to verify adverts that outrank a
/// master.
pub const BUDGET_HASHED: u32 = 1;
/// Capacity of the bucket of hashed blocks, enough for several of the longest adverts. Half of it
/// is reserved for known senders.
pub const HASHED_BURST: u64 = 512;
/// Nanoseconds after which the bucket of hashed blocks regains one block: 20 µs, 50,000 blocks/s.
pub const HASHED_TOKEN_INTERVAL: u64 = 20_000;
/// Index of the bucket of blocks that the BPF program hashes to verify adverts of known senders
/// after a lease has expired.
pub const BUDGET_EXPIRED_KNOWN: u32 = 2;
/// Like [`BUDGET_EXPIRED_KNOWN`], for unknown senders: the dead master has possibly never received
/// an advert from the new one.
pub const BUDGET_EXPIRED_UNKNOWN: u32 = 3;
/// Capacity of each bucket of blocks hashed after a lease has expired: 4,096 short adverts.
///
/// These buckets are larger than [`HASHED_BURST`], because nothing but the fence then prevents two
/// hosts from using the VIPs, and the engine, which is dead or hangs, verifies no adverts.
pub const EXPIRED_BURST: u64 = 12_288;
/// Nanoseconds after which each of these buckets regains one block: 10 µs, 100,000 blocks/s.
pub const EXPIRED_TOKEN_INTERVAL: u64 = 10_000;

/// Key of [`MAP_HMAC_KEYS`](crate::names::MAP_HMAC_KEYS). The value is a
/// [`KeyState`](crate::hmac::KeyState).
///
/// ```text
///  0       4          8
///  +-------+----------+
///  | row h | key_id h |
///  |  u32  |     u32  |
///  +-------+----------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct HmacKey {
    /// [`RouterSlot::row`] of the virtual router.
    pub row: u32,
    /// Identifier of the key, 1 to 255.
    pub key_id: u32,
}

/// Key of [`MAP_SENDERS`](crate::names::MAP_SENDERS): the token bucket of one sender. The value is
/// a u64: the time at which the bucket is full again, in nanoseconds of `CLOCK_MONOTONIC`.
///
/// ```text
///  0       4                      8               24
///  +-------+----------------------+---------------+
///  | row h | is_priority_zero   h | address       |
///  |  u32  |                 u32  |   n, 4 × u32  |
///  +-------+----------------------+---------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct SenderKey {
    /// [`RouterSlot::row`] of the virtual router.
    pub row: u32,
    /// 1 for priority-0 adverts, which have their own bucket, else 0.
    pub is_priority_zero: u32,
    /// IP source address.
    pub address: Address,
}

/// Capacity of a token bucket of unsigned adverts: the number of adverts that one sender may send
/// back to back.
pub const BURST: u32 = 32;

/// Nanoseconds after which a token bucket of unsigned adverts regains one advert: 2.5 ms, 400
/// adverts/s.
///
/// This allows four adverts in the shortest VRRPv3 interval: a master that answers competing
/// adverts sends more than one (RFC 9568 section 6.4.3). The rate does not depend on the interval
/// in the adverts: otherwise, one forged advert with a long interval could drain the bucket of the
/// router whose source address it forges.
pub const TOKEN_INTERVAL: u64 = 2_500_000;

/// A valid advert passed to user space: a record of the ring buffer
/// [`MAP_ADVERTS`](crate::names::MAP_ADVERTS).
///
/// The record of a signed advert is followed by the packet, from its IP header to its trailer. Its
/// HMAC has not been verified.
///
/// ```text
///  0            8             16      20          24             40
///  +------------+-------------+-------+-----------+--------------+
///  | arrival  h | addresses h | row h | ifindex h | source       |
///  |       u64  |        u64  |  u32  |      u32  |  n, 4 × u32  |
///  +------------+-------------+-------+-----------+--------------+
///  40         42     43       44        45         46      47         48                 56
///  +----------+------+--------+---------+----------+-------+----------+------------------+
///  |interval h| vrid | family | version | priority | count | checksum | last_unchanged h |
///  |     u16  |   b  |     b  |      b  |       b  |    b  |       b  |             u64  |
///  +----------+------+--------+---------+----------+-------+----------+------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct AdvertRecord {
    /// Arrival time in nanoseconds of `CLOCK_MONOTONIC` (`bpf_ktime_get_ns()`).
    pub arrival: u64,
    /// [Digest](crate::parse::address_digest) of the advertised addresses.
    pub addresses: u64,
    /// [`RouterSlot::row`] of the virtual router.
    pub row: u32,
    /// Index of the interface that the advert arrived on.
    pub ifindex: u32,
    /// IP source address.
    pub source: Address,
    /// The interval field as sent: centiseconds in VRRPv3, seconds in VRRPv2.
    pub interval: u16,
    /// Virtual router identifier, 1 to 255.
    pub vrid: u8,
    /// [`FAMILY_IPV4`](crate::address::FAMILY_IPV4) or
    /// [`FAMILY_IPV6`](crate::address::FAMILY_IPV6).
    pub family: u8,
    /// VRRP version, 2 or 3.
    pub version: u8,
    /// Priority, 0 to 255.
    pub priority: u8,
    /// Number of advertised addresses.
    pub count: u8,
    /// The matching checksum form: the number of a [`ChecksumForm`](crate::parse::ChecksumForm).
    pub checksum: u8,
    /// [`SteadySlot::arrival`] when this advert arrived: the arrival of the last unchanged advert
    /// before it. 0 for a signed advert, which does not take the fast path.
    pub last_unchanged: u64,
}
