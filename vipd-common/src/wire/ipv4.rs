//! IPv4 (RFC 791), as far as VRRP needs it.
//!
//! ```text
//!  0       1       2               4               6               8
//!  +-------+-------+---------------+---------------+---------------+
//!  |ver|ihl| TOS   | total length  | identification| flags, offset |
//!  +-------+-------+---------------+---------------+---------------+
//!  | TTL   | proto | checksum      | source                        |
//!  +-------+-------+---------------+-------------------------------+
//!  | destination                   | options, 0 to 40 bytes ...
//!  +-------------------------------+
//! ```

use crate::wire::checksum::Sum;

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;
/// Length of the longest header, in bytes.
pub const MAX_HEADER_LEN: usize = 60;
/// Offset of the total length.
pub const TOTAL_LENGTH: usize = 2;
/// Offset of the flags and the fragment offset.
pub const FRAGMENT: usize = 6;
/// Offset of the TTL.
pub const TTL: usize = 8;
/// Offset of the protocol.
pub const PROTOCOL: usize = 9;
/// Offset of the header checksum.
pub const CHECKSUM: usize = 10;
/// Offset of the source address.
pub const SOURCE: usize = 12;
/// Offset of the destination address.
pub const DESTINATION: usize = 16;
/// IP protocol number of VRRP (RFC 9568 section 5.1.1.4).
pub const PROTOCOL_VRRP: u8 = 112;
/// The group of all VRRP routers (RFC 9568 section 5.1.1.2).
pub const VRRP_GROUP: [u8; 4] = [224, 0, 0, 18];
/// Ethernet address of [`VRRP_GROUP`] (RFC 1112 section 6.4).
pub const VRRP_GROUP_MAC: [u8; 6] = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
/// The TTL of sent adverts, and the only valid TTL of received adverts (RFC 9568 section 5.1.1.3),
/// except those of a unicast peer with a lower `min_ttl`.
pub const VRRP_TTL: u8 = 255;
/// Internetwork Control, DSCP CS6: common practice for VRRP, not required by its RFCs.
pub const TOS_CS6: u8 = 0xc0;

/// Writes the header of an advert to [`VRRP_GROUP`]: no options, Don't Fragment, TTL 255.
///
/// `message` is the length of the VRRP message and its trailer, if any, in bytes.
///
/// # Errors
/// `None` if the buffer is shorter than [`HEADER_LEN`] or the packet is longer than 65,535 bytes.
pub fn write_vrrp(buffer: &mut [u8], source: [u8; 4], message: usize) -> Option<()> {
    let total = u16::try_from(HEADER_LEN + message).ok()?;
    let header = buffer.first_chunk_mut::<HEADER_LEN>()?;
    header.fill(0);
    header[0] = 0x45;
    header[1] = TOS_CS6;
    header[TOTAL_LENGTH..4].copy_from_slice(&total.to_be_bytes());
    header[FRAGMENT..8].copy_from_slice(&0x4000u16.to_be_bytes());
    header[TTL] = VRRP_TTL;
    header[PROTOCOL] = PROTOCOL_VRRP;
    header[SOURCE..16].copy_from_slice(&source);
    header[DESTINATION..20].copy_from_slice(&VRRP_GROUP);
    let checksum = Sum::new().bytes(header).checksum();
    header[CHECKSUM..12].copy_from_slice(&checksum.to_be_bytes());
    Some(())
}
