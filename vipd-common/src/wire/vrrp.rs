//! VRRPv2 (RFC 3768 section 5.1) over IPv4, and VRRPv3 (RFC 9568 section 5.2) over IPv4 and IPv6.
//!
//! ```text
//!            0         1       2          3       4               6          8
//!            +---------+-------+----------+-------+---------------+----------+---------------+
//!  VRRPv3    |3 | type | VRID  | priority | count | 0 | interval  | checksum | count × IPvX  |
//!            +---------+-------+----------+-------+-------+-------+----------+---------------+------+
//!  VRRPv2    |2 | type | VRID  | priority | count | auth  | secs  | checksum | count × IPv4  | auth |
//!            +---------+-------+----------+-------+-------+-------+----------+---------------+------+
//! ```
//!
//! The v3 interval is 12 bits of centiseconds, the v2 interval 8 bits of seconds. The v2
//! authentication data is 8 bytes long and always present.

use core::net::IpAddr;

use crate::address::Address;
use crate::address::FAMILY_IPV6;
use crate::parse::ChecksumForm;
use crate::wire::checksum::Sum;
use crate::wire::ipv4;

/// Length of the fixed part, in bytes.
pub const HEADER_LEN: usize = 8;
/// Length of VRRPv2's authentication data, in bytes.
pub const AUTH_LEN: usize = 8;
/// VRRPv2's authentication type 1: a password in plain text (RFC 2338 section 5.3.6).
pub const AUTH_PASS: u8 = 1;
/// Length of the longest message, VRRPv3 with 255 IPv6 addresses, in bytes.
pub const MAX_LEN: usize = HEADER_LEN + 16 * 255;
/// ADVERTISEMENT, the only type.
pub const TYPE_ADVERTISEMENT: u8 = 1;
/// Offset of the VRID.
pub const VRID: usize = 1;
/// Offset of the priority.
pub const PRIORITY: usize = 2;
/// Offset of the address count.
pub const COUNT: usize = 3;
/// Offset of VRRPv2's authentication type.
pub const AUTH_TYPE: usize = 4;
/// Offset of the interval word: in VRRPv3, 4 reserved bits and 12 bits of centiseconds.
pub const INTERVAL: usize = 4;
/// Offset of the checksum.
pub const CHECKSUM: usize = 6;

/// Returns the length of a message with `count` addresses of this family (4 or 6), in bytes.
#[inline(always)]
pub const fn message_len(version: u8, family: u8, count: u8) -> usize {
    let auth = if version == 2 { AUTH_LEN } else { 0 };
    let address = if family == FAMILY_IPV6 { 16 } else { 4 };
    HEADER_LEN + address * count as usize + auth
}

/// The fixed fields of an advert that [`write()`] encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Virtual router identifier.
    pub vrid: u8,
    /// Priority, 0 to 255.
    pub priority: u8,
    /// Centiseconds in VRRPv3 (12 bits), seconds in VRRPv2 (8 bits).
    pub interval: u16,
    /// Form of the checksum, which implies version and family.
    pub checksum: ChecksumForm,
    /// VRRPv2's authentication data. `Some` means type [`AUTH_PASS`], `None` type 0 (no
    /// authentication).
    pub password: Option<[u8; AUTH_LEN]>,
}

impl Fields {
    /// Returns the VRRP version, 2 or 3.
    pub const fn version(&self) -> u8 {
        match self.checksum {
            ChecksumForm::V2 => 2,
            ChecksumForm::Rfc5798 | ChecksumForm::Rfc9568 | ChecksumForm::Ipv6 => 3,
        }
    }

    /// Returns the IP version, 4 or 6.
    pub const fn family(&self) -> u8 {
        match self.checksum {
            ChecksumForm::Ipv6 => 6,
            ChecksumForm::V2 | ChecksumForm::Rfc5798 | ChecksumForm::Rfc9568 => 4,
        }
    }
}

/// Returns the sum of the pseudo-header (RFC 8200 section 8.1, and for IPv4 RFC 5798): source,
/// destination, length, zero and protocol 112.
///
/// IPv4 addresses are padded with zeros, which add nothing to the sum.
#[inline(always)]
#[must_use]
pub fn pseudo_header(source: &Address, destination: &Address, length: usize) -> Sum {
    pseudo_sum(source, destination, length, ipv4::PROTOCOL_VRRP)
}

/// Returns the sum of the pseudo-header for this protocol number.
#[inline(always)]
#[must_use]
pub fn pseudo_sum(source: &Address, destination: &Address, length: usize, protocol: u8) -> Sum {
    #[expect(clippy::cast_possible_truncation, reason = "a message is at most MAX_LEN bytes")]
    let length = length as u32;
    let mut sum = Sum::new().word(u32::from(protocol)).word(length);
    for word in 0..4 {
        sum = sum.word(u32::from_be(source[word])).word(u32::from_be(destination[word]));
    }
    sum
}

/// Writes a message with its checksum and returns its length. The checksum covers the source and
/// destination addresses in [`ChecksumForm::Rfc5798`] and [`ChecksumForm::Ipv6`].
///
/// # Errors
/// `None` if the buffer is too short, if there are more than 255 addresses, or if the family of an
/// address does not match the checksum form.
pub fn write(
    buffer: &mut [u8],
    fields: &Fields,
    source: &Address,
    destination: &Address,
    addresses: impl ExactSizeIterator<Item = IpAddr>,
) -> Option<usize> {
    let count = u8::try_from(addresses.len()).ok()?;
    let version = fields.version();
    let length = message_len(version, fields.family(), count);
    let message = buffer.get_mut(..length)?;
    message.fill(0);
    message[0] = version << 4 | TYPE_ADVERTISEMENT;
    message[VRID] = fields.vrid;
    message[PRIORITY] = fields.priority;
    message[COUNT] = count;
    // In VRRPv2, the high byte of these 16 bits is the authentication type, set below if there is a
    // password, and the low byte is the interval in seconds.
    message[INTERVAL..6].copy_from_slice(&(fields.interval & 0x0fff).to_be_bytes());
    let mut at = HEADER_LEN;
    for address in addresses {
        match (address, fields.checksum) {
            (IpAddr::V6(address), ChecksumForm::Ipv6) => {
                message[at..at + 16].copy_from_slice(&address.octets());
                at += 16;
            }
            (IpAddr::V4(address), ChecksumForm::V2 | ChecksumForm::Rfc5798 | ChecksumForm::Rfc9568) => {
                message[at..at + 4].copy_from_slice(&address.octets());
                at += 4;
            }
            _ => return None,
        }
    }
    if let (2, Some(password)) = (version, fields.password) {
        message[AUTH_TYPE] = AUTH_PASS;
        message[at..].copy_from_slice(&password);
    }
    let sum = match fields.checksum {
        ChecksumForm::V2 | ChecksumForm::Rfc9568 => Sum::new(),
        ChecksumForm::Rfc5798 | ChecksumForm::Ipv6 => pseudo_header(source, destination, length),
    };
    let checksum = sum.bytes(message).checksum();
    message[CHECKSUM..8].copy_from_slice(&checksum.to_be_bytes());
    Some(length)
}
