//! The advert parser, shared by the BPF program and user space.
//!
//! Three steps over a [`Cursor`]; the caller looks up the virtual router between the last two:
//!
//! 1. [`ethernet::ip`](crate::wire::ethernet::ip) finds the IP packet in a frame of the interface's
//!    own LAN, or [`ip::bare`](crate::wire::ip::bare) on an interface without a link-layer header.
//! 2. [`locate`] finds the VRRP message and its VRID, or returns [`NotOurs`].
//! 3. [`validate`] compares the message with the configuration ([`Expected`]) and returns an
//!    [`Advert`], or the [`Counter`](crate::counters::Counter) for the reason to drop it.
//!
//! If step 1, step 2 or the lookup fails, the packet is passed. If step 3 fails, it is dropped.

mod cursor;
mod digest;
mod locate;
mod validate;

#[cfg(test)]
mod tests;

use crate::address::Address;

pub use cursor::Cursor;
pub use digest::{address_digest, fingerprint};
pub use locate::{Located, NotOurs, locate};
pub use validate::{Expected, Trailer, validate};

/// The form of an advert's checksum: the data that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ChecksumForm {
    /// VRRPv2: over the message only (RFC 3768 section 5.3.8).
    V2 = 2,
    /// VRRPv3 over IPv4: with a pseudo-header, the common reading of RFC 5798 section 5.2.8.
    Rfc5798 = 3,
    /// VRRPv3 over IPv4: over the message only (RFC 9568 section 5.2.8).
    Rfc9568 = 4,
    /// VRRPv3 over IPv6: with a pseudo-header (RFC 8200 section 8.1).
    Ipv6 = 6,
}

impl ChecksumForm {
    /// Returns the form with this number, as in
    /// [`AdvertRecord::checksum`](crate::records::AdvertRecord::checksum); `None` if there is none.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            2 => Some(Self::V2),
            3 => Some(Self::Rfc5798),
            4 => Some(Self::Rfc9568),
            6 => Some(Self::Ipv6),
            _ => None,
        }
    }
}

/// A valid advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// IP version, 4 or 6.
    pub family: u8,
    /// VRRP version, 2 or 3.
    pub version: u8,
    /// Virtual router identifier.
    pub vrid: u8,
    /// Priority, 0 to 255.
    pub priority: u8,
    /// Number of addresses.
    pub count: u8,
    /// Interval: centiseconds in VRRPv3, seconds in VRRPv2; never 0.
    pub interval: u16,
    /// The form of the checksum.
    pub checksum: ChecksumForm,
    /// IP source address.
    pub source: Address,
    /// [Digest](address_digest) of the addresses.
    pub addresses: u64,
    /// False if the first IPv6 address is not link-local (RFC 9568 section 5.2.9); otherwise true.
    pub link_local: bool,
    /// Whether the advert has a [trailer](crate::wire::trailer), whose HMAC is not verified here.
    pub is_signed: bool,
    /// Sequence in the trailer; 0 without a trailer.
    pub sequence: u64,
}

impl Advert {
    /// Returns the [`fingerprint`] of the advert.
    #[inline(always)]
    pub const fn fingerprint(&self) -> u64 {
        fingerprint(&self.source, self.priority, self.interval, self.addresses, self.checksum)
    }
}
