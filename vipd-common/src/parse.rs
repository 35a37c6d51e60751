//! The one advert parser, for the XDP program and for user space.
//!
//! It works in three steps over a [`Cursor`], so that the caller can look the virtual router up between the
//! second and the third:
//!
//! 1. [`ethernet::ip`](crate::wire::ethernet::ip): is this IP, on our LAN, of protocol 112?
//! 2. [`locate`]: whose advert is it? What is not plainly an advert to one of ours is [`Foreign`].
//! 3. [`judge`]: is it what is [`Expected`]? Either an [`Advert`], or the [`Counter`](crate::counters::Counter) of
//!    the reason it is discarded for.
//!
//! An error of step 1 or 2 means "pass the frame on, it is not ours"; an error of step 3 means "drop it".

mod cursor;
mod digest;
mod judge;
mod locate;

#[cfg(test)]
mod tests;

use crate::address::Address;

pub use cursor::Cursor;
pub use digest::{address_digest, fingerprint};
pub use judge::{Expected, judge};
pub use locate::{Foreign, Located, locate};

/// Which checksum an advert came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ChecksumForm {
    /// Over the message alone: VRRPv2 (RFC 3768 section 5.3.8).
    V2 = 2,
    /// VRRPv3 over IPv4 with a pseudo-header, as most read RFC 5798 section 5.2.8.
    Rfc5798 = 3,
    /// VRRPv3 over IPv4, over the message alone (RFC 9568 section 5.2.8).
    Rfc9568 = 4,
    /// VRRPv3 over IPv6, with a pseudo-header (RFC 8200 section 8.1).
    Ipv6 = 6,
}

impl ChecksumForm {
    /// The form of this number, as it stands in a record.
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
    /// Centiseconds in VRRPv3, seconds in VRRPv2; never 0.
    pub interval: u16,
    /// The checksum it came with.
    pub checksum: ChecksumForm,
    /// IP source.
    pub source: Address,
    /// [Digest](address_digest) of the addresses.
    pub addresses: u64,
    /// Whether the first IPv6 address is link-local, as RFC 9568 section 5.2.9 has it; true in IPv4.
    pub link_local: bool,
}

impl Advert {
    /// Its [`fingerprint`].
    #[inline(always)]
    pub const fn fingerprint(&self) -> u64 {
        fingerprint(&self.source, self.priority, self.interval, self.addresses, self.checksum)
    }
}
