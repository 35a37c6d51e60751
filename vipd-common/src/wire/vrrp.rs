//! VRRPv2 (RFC 3768 section 5.1) and VRRPv3 (RFC 9568 section 5.2) over IPv4.
//!
//! ```text
//!            0         1       2          3       4               6          8
//!            +---------+-------+----------+-------+---------------+----------+---------------+
//!  VRRPv3    |3 | type | VRID  | priority | count | 0 | interval  | checksum | count × IPv4  |
//!            +---------+-------+----------+-------+-------+-------+----------+---------------+------+
//!  VRRPv2    |2 | type | VRID  | priority | count | auth  | secs  | checksum | count × IPv4  | auth |
//!            +---------+-------+----------+-------+-------+-------+----------+---------------+------+
//! ```
//!
//! The v3 interval is 12 bits of centiseconds, the v2 interval 8 bits of seconds; the v2 authentication data
//! is 8 bytes, always there.

use crate::wire::checksum::Sum;
use crate::wire::ipv4;

/// Length of the fixed part, bytes.
pub const HEADER_LEN: usize = 8;
/// Length of VRRPv2's authentication data, bytes.
pub const AUTH_LEN: usize = 8;
/// The longest message: VRRPv2 with 255 addresses, bytes.
pub const MAX_LEN: usize = HEADER_LEN + 4 * 255 + AUTH_LEN;
/// The only type there is, ADVERTISEMENT.
pub const TYPE_ADVERTISEMENT: u8 = 1;
/// Offset of the VRID.
pub const VRID: usize = 1;
/// Offset of the priority.
pub const PRIORITY: usize = 2;
/// Offset of the address count.
pub const COUNT: usize = 3;
/// Offset of VRRPv2's authentication type.
pub const AUTH_TYPE: usize = 4;
/// Offset of the interval word: 4 reserved bits and 12 of centiseconds in VRRPv3.
pub const INTERVAL: usize = 4;
/// Offset of the checksum.
pub const CHECKSUM: usize = 6;

/// Length of a message with `count` addresses, bytes.
#[inline(always)]
pub const fn message_len(version: u8, count: u8) -> usize {
    let auth = if version == 2 { AUTH_LEN } else { 0 };
    HEADER_LEN + 4 * count as usize + auth
}

/// The fixed fields of an advert to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Version, 2 or 3.
    pub version: u8,
    /// Virtual router identifier.
    pub vrid: u8,
    /// Priority.
    pub priority: u8,
    /// Centiseconds in VRRPv3 (12 bits), seconds in VRRPv2 (8 bits).
    pub interval: u16,
}

/// The sum of the IPv4 pseudo-header that the RFC 5798 form of the VRRPv3 checksum includes: source,
/// destination, zero and protocol, message length.
#[inline(always)]
#[must_use]
pub fn pseudo_header(source: u32, destination: u32, length: usize) -> Sum {
    #[expect(clippy::cast_possible_truncation, reason = "a message is at most MAX_LEN bytes")]
    let length = length as u32;
    Sum::new().word(source).word(destination).word(u32::from(ipv4::PROTOCOL_VRRP) + length)
}

/// Writes a message with its checksum and returns its length.
///
/// For VRRPv3 the checksum includes the pseudo-header (RFC 5798): keepalived, FRR and most vendors refuse the
/// other form, and those that send the other form accept this one or have a knob for it.
///
/// # Errors
/// `None` if the buffer is too short or there are more than 255 addresses.
pub fn write(
    buffer: &mut [u8],
    fields: Fields,
    source: [u8; 4],
    addresses: impl ExactSizeIterator<Item = [u8; 4]>,
) -> Option<usize> {
    let count = u8::try_from(addresses.len()).ok()?;
    let length = message_len(fields.version, count);
    let message = buffer.get_mut(..length)?;
    message.fill(0);
    message[0] = fields.version << 4 | TYPE_ADVERTISEMENT;
    message[VRID] = fields.vrid;
    message[PRIORITY] = fields.priority;
    message[COUNT] = count;
    // VRRPv2: authentication type 0 in the high byte, seconds in the low one; the same 16 bits.
    message[INTERVAL..6].copy_from_slice(&(fields.interval & 0x0fff).to_be_bytes());
    for (slot, address) in message[HEADER_LEN..].chunks_exact_mut(4).zip(addresses) {
        slot.copy_from_slice(&address);
    }
    let sum = match fields.version {
        2 => Sum::new(),
        _ => pseudo_header(u32::from_be_bytes(source), u32::from_be_bytes(ipv4::VRRP_GROUP), length),
    };
    let checksum = sum.bytes(message).checksum();
    message[CHECKSUM..8].copy_from_slice(&checksum.to_be_bytes());
    Some(length)
}
