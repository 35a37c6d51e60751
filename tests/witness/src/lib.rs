//! Encodes VRRP frames for tests: valid adverts, and adverts in which any field may be wrong.
//!
//! This crate is written from RFC 3768, RFC 5798 and RFC 9568 and does not depend on vipd, so that
//! a bug in vipd's own encoder, checksum or constants makes tests fail instead of canceling out
//! against the same bug here. Only vipd-common's unit tests and the simulation of signed adverts
//! have their own encoders.
//!
//! Adverts can be signed as keepalived 2.4 signs them. [`signed_adverts`] returns test vectors.

mod advert;
mod checksum;
mod trailer;
mod vectors;

use std::fmt;

pub use advert::{Advert, GROUP_IPV4, GROUP_IPV6};
pub use checksum::{Checksum, internet_checksum, pseudo_header};
pub use trailer::{TRAILER, Trailer, sequence_at};
pub use vectors::{Vector, signed_adverts};

/// A MAC address.
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

/// A VRRP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// RFC 3768: IPv4 only, intervals in seconds, authentication data at the end of each message.
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
