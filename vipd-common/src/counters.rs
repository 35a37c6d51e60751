//! What the XDP program counts: one row of cells per virtual router, and row 0 for what belongs to none.

use bytemuck::{Pod, Zeroable};

/// One cell of a [`CounterRow`].
///
/// Names follow the leaves of RFC 8347 (`ietf-vrrp`) where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Valid adverts for this virtual router (RFC 8347 `advertisement-rcvd`), priority 0 included.
    AdvertisementRcvd = 0,
    /// Valid adverts with priority 0: the master leaves (`priority-zero-pkts-rcvd`).
    PriorityZeroRcvd = 1,
    /// Valid VRRPv3 adverts over IPv4 whose checksum includes a pseudo-header (the RFC 5798 form).
    ChecksumRfc5798Rcvd = 2,
    /// Valid VRRPv3 adverts over IPv4 whose checksum is over the message alone (the RFC 9568 form).
    ChecksumRfc9568Rcvd = 3,
    /// Valid adverts that found the ring buffer full: counted, but not seen by user space.
    RingFull = 4,
    /// IPv4 header of an advert with a wrong header checksum.
    IpHeaderErrors = 5,
    /// TTL other than 255 (RFC 9568 section 7.1; `ip-ttl-errors`).
    IpTtlErrors = 6,
    /// A VRRP version other than the configured one (`version-errors`).
    VersionErrors = 7,
    /// A type other than 1, ADVERTISEMENT (`invalid-type-pkts-rcvd`).
    InvalidTypeRcvd = 8,
    /// A length that does not fit the address count (`packet-length-errors`).
    PacketLengthErrors = 9,
    /// An address count of 0 (RFC 9568 section 5.2.5).
    AddressCountErrors = 10,
    /// A wrong VRRP checksum (`checksum-errors`).
    ChecksumErrors = 11,
    /// A Max Advertise Interval of 0 (RFC 9568 erratum 8301), or 0 seconds in VRRPv2.
    IntervalZeroErrors = 12,
    /// A VRRPv2 authentication type that is not 0, 1 or 2 (RFC 2787 `vrrpStatsInvalidAuthType`).
    InvalidAuthType = 13,
    /// A VRRPv2 authentication type that is known but not the configured one
    /// (RFC 2787 `vrrpStatsAuthTypeMismatch`).
    AuthTypeMismatch = 14,
    /// VRRPv2 authentication data other than the configured (RFC 2787 `vrrpStatsAuthFailures`).
    AuthFailures = 15,
    /// An advert to our unicast address from a host that is no configured peer.
    PeerErrors = 16,
    /// Valid IPv6 adverts whose first address is not link-local (RFC 9568 section 5.2.9): counted, not discarded.
    NotLinkLocal = 17,
    /// Packets to a virtual address that were not accepted (Accept_Mode false).
    NotAccepted = 18,
    /// Row 0 only: an advert for a VRID that is not configured here, passed on (`vrid-errors`).
    VridErrors = 19,
    /// Row 0 only: IP protocol 112 in a fragment, passed on.
    FragmentsPassed = 20,
    /// Row 0 only: IP protocol 112 that is not to one of our virtual routers' destinations, passed on.
    DestinationPassed = 21,
    /// Row 0 only: IP protocol 112 too short or too broken to tell the VRID, passed on.
    UnparsablePassed = 22,
    /// Valid adverts above what one sender may say (`records::ALLOWED_EVERY`): counted, and not seen by user space.
    RateLimited = 23,
}

/// Number of cells of a row that are in use.
pub const COUNTERS: usize = 24;

/// Cells of a row, rounded up so that a row is whole cache lines (3 × 64 bytes).
pub const ROW_CELLS: usize = 24;

/// The row that belongs to no virtual router.
pub const ROW_FOREIGN: u32 = 0;

/// One row of counters, a value of the per-CPU map [`MAP_COUNTERS`](crate::names::MAP_COUNTERS).
///
/// ```text
///  0        8        16                     184      192
///  +--------+--------+---  ...  ---+--------+--------+
///  | cell 0 | cell 1 |             | cell 22| cell 23|   u64 each, host byte order
///  +--------+--------+---  ...  ---+--------+--------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CounterRow {
    cells: [u64; ROW_CELLS],
}

impl CounterRow {
    /// The cell's value.
    pub fn get(&self, counter: Counter) -> u64 {
        self.cells[counter as usize]
    }

    /// Adds the cells of `other`, as for the rows of several CPUs.
    pub fn add(&mut self, other: &Self) {
        for (cell, more) in self.cells.iter_mut().zip(other.cells) {
            *cell = cell.wrapping_add(more);
        }
    }
}
