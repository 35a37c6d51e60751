//! Counters of the BPF program: a row for each virtual router, and row 0 for packets that belong to
//! no virtual router.

use bytemuck::{Pod, Zeroable};

/// The index of a cell in a [`CounterRow`].
///
/// If RFC 8347 (`ietf-vrrp`) has a leaf for a counter, the variant is named after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Valid adverts for this virtual router (RFC 8347 `advertisement-rcvd`), priority 0 included.
    /// Neither this cell nor the next three include signed adverts: user space counts them once
    /// they are verified.
    AdvertisementRcvd = 0,
    /// Valid adverts with priority 0: the master relinquishes mastership
    /// (`priority-zero-pkts-rcvd`).
    PriorityZeroRcvd = 1,
    /// Valid VRRPv3 adverts over IPv4 whose checksum includes a pseudo-header (the RFC 5798 form).
    ChecksumRfc5798Rcvd = 2,
    /// Valid VRRPv3 adverts over IPv4 whose checksum covers only the message (the RFC 9568 form).
    ChecksumRfc9568Rcvd = 3,
    /// Adverts lost because the ring buffer was full. Signed adverts are counted before their HMAC
    /// is verified.
    RingFull = 4,
    /// An IP header with a wrong checksum (IPv4) or an invalid source address.
    IpHeaderErrors = 5,
    /// A TTL or Hop Limit other than 255 or, from a unicast peer, below the peer's `min_ttl` (RFC
    /// 9568 section 7.1; `ip-ttl-errors`).
    IpTtlErrors = 6,
    /// A VRRP version other than the configured one (`version-errors`).
    VersionErrors = 7,
    /// A type other than 1, ADVERTISEMENT (`invalid-type-pkts-rcvd`).
    InvalidTypeRcvd = 8,
    /// A truncated packet, or a length that does not match the address count
    /// (`packet-length-errors`).
    PacketLengthErrors = 9,
    /// An address count of 0 (RFC 9568 section 5.2.5), unless this router has no VIPs.
    AddressCountErrors = 10,
    /// A wrong VRRP checksum (`checksum-errors`).
    ChecksumErrors = 11,
    /// A Max Advertise Interval of 0 (RFC 9568 erratum 8301), or 0 seconds in VRRPv2.
    IntervalZeroErrors = 12,
    /// A VRRPv2 authentication type that is not 0, 1 or 2 (RFC 2787 `vrrpStatsInvalidAuthType`).
    InvalidAuthType = 13,
    /// A VRRPv2 authentication type that is known but not configured (RFC 2787
    /// `vrrpStatsAuthTypeMismatch`).
    AuthTypeMismatch = 14,
    /// VRRPv2 authentication data other than the configured password (RFC 2787
    /// `vrrpStatsAuthFailures`).
    AuthFailures = 15,
    /// A unicast advert from a source that is not a configured peer.
    PeerErrors = 16,
    /// Valid IPv6 adverts whose first address is not link-local (RFC 9568 section 5.2.9). They are
    /// not dropped for this reason. Signed adverts are counted before they are verified.
    NotLinkLocal = 17,
    /// Packets to a VIP that were dropped because Accept_Mode is false.
    NotAccepted = 18,
    /// Row 0 only: adverts for a VRID that is not configured, passed (`vrid-errors`).
    VridErrors = 19,
    /// Row 0 only: packets of IP protocol 112 in fragments, passed.
    FragmentsPassed = 20,
    /// Row 0 only: packets of IP protocol 112 to a destination other than that of their virtual
    /// router, passed. If the VRID is not configured, the expected destination is the VRRP group.
    DestinationPassed = 21,
    /// Row 0 only: packets of IP protocol 112 that are too short or too malformed to contain a
    /// VRID, passed.
    UnparsablePassed = 22,
    /// Valid adverts dropped by their sender's rate limit
    /// ([`TOKEN_INTERVAL`](crate::records::TOKEN_INTERVAL)), and signed adverts, not yet verified,
    /// dropped by one of their limits
    /// ([`SIGNED_TOKEN_INTERVAL`](crate::records::SIGNED_TOKEN_INTERVAL),
    /// [`PASSED_TOKEN_INTERVAL`](crate::records::PASSED_TOKEN_INTERVAL)).
    RateLimited = 23,
    /// Packets to or from a VIP that were dropped because the VIP is fenced.
    Fenced = 24,
    /// Adverts without a trailer, although the virtual router requires one.
    HmacMissing = 25,
    /// Adverts with a trailer of an unknown type, with key ID 0, or with reserved bytes other than
    /// 0.
    HmacMalformed = 26,
    /// Signed adverts with a sequence that is not after that of their sender's last verified
    /// advert, and all signed adverts from this router's own address.
    HmacReplayed = 27,
}

/// Number of counters in use.
pub const COUNTERS: usize = 28;

/// Number of cells in a row: a multiple of 8, so that a row fills whole cache lines (4 × 64 bytes).
pub const ROW_CELLS: usize = 32;

/// The row for packets that belong to no virtual router.
pub const ROW_UNASSIGNED: u32 = 0;

/// One row of counters, a value of the per-CPU map [`MAP_COUNTERS`](crate::names::MAP_COUNTERS).
///
/// ```text
///  0        8        16                     248      256
///  +--------+--------+---  ...  ---+--------+--------+
///  | cell 0 | cell 1 |             | cell 30| cell 31|   u64 each, host byte order
///  +--------+--------+---  ...  ---+--------+--------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CounterRow {
    cells: [u64; ROW_CELLS],
}

impl CounterRow {
    /// Returns the value of a counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.cells[counter as usize]
    }

    /// Adds another row, for example that of another CPU.
    pub fn add(&mut self, other: &Self) {
        for (cell, more) in self.cells.iter_mut().zip(other.cells) {
            *cell = cell.wrapping_add(more);
        }
    }
}
