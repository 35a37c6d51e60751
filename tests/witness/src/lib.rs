//! Encodes VRRP frames for the tests: valid adverts, and adverts with any field wrong.
//!
//! The crate depends on no other, in particular on no crate of vipd: an error in vipd's own
//! encoder, checksum or constants therefore shows up as a failing test, and does not cancel out
//! against the same error here. It is written from RFC 3768 and RFC 9568. Only vipd-common's unit
//! tests have an encoder of their own.

mod advert;
mod checksum;

use std::fmt;

pub use advert::{Advert, GROUP_IPV4, GROUP_IPV6};
pub use checksum::{Checksum, internet_checksum, pseudo_header};

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

/// VRRP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// RFC 3768: IPv4 only, intervals in seconds, authentication data at the end of the message.
    V2,
    /// RFC 9568: intervals in centiseconds.
    V3,
}

impl Version {
    /// Returns the value of the message's version field.
    pub fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}
