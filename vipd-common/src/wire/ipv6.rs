//! IPv6 (RFC 8200), as far as VRRP needs it.
//!
//! ```text
//!  0               4               6       7       8
//!  +---------------+---------------+-------+-------+
//!  |6| class, flow | payload length| next  | hops  |
//!  +---------------+---------------+-------+-------+
//!  8                              24               40
//!  +------------------------------+----------------+
//!  | source                       | destination    |
//!  +------------------------------+----------------+
//! ```

/// Length of the header, in bytes; extension headers are payload.
pub const HEADER_LEN: usize = 40;
/// Offset of the payload length.
pub const PAYLOAD_LENGTH: usize = 4;
/// Offset of the Next Header field.
pub const NEXT_HEADER: usize = 6;
/// Offset of the Hop Limit.
pub const HOP_LIMIT: usize = 7;
/// Offset of the source address.
pub const SOURCE: usize = 8;
/// Offset of the destination address.
pub const DESTINATION: usize = 24;
/// Next Header value of ICMPv6 (RFC 4443).
pub const NEXT_HEADER_ICMPV6: u8 = 58;
/// The group of all VRRP routers, ff02::12 (RFC 9568 section 5.1.2.2).
pub const VRRP_GROUP: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12];
/// Ethernet address of [`VRRP_GROUP`] (RFC 2464 section 7).
pub const VRRP_GROUP_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 0x12];
/// All nodes, ff02::1.
pub const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Ethernet address of [`ALL_NODES`] (RFC 2464 section 7).
pub const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// The Hop Limit of sent adverts and Neighbor Advertisements, and the only valid Hop Limit of
/// received packets of these kinds (RFC 9568 section 5.1.2.3, RFC 4861 section 7.1), except adverts
/// of a unicast peer with a lower `min_ttl`.
pub const HOP_LIMIT_MAX: u8 = 255;

/// Writes a header with Hop Limit 255 and traffic class CS6, and without a flow label.
///
/// `payload` is the length of the payload, in bytes.
///
/// # Errors
/// `None` if the buffer is shorter than [`HEADER_LEN`] or the payload is longer than 65,535 bytes.
pub fn write(
    buffer: &mut [u8],
    source: [u8; 16],
    destination: [u8; 16],
    next_header: u8,
    payload: usize,
) -> Option<()> {
    let payload = u16::try_from(payload).ok()?;
    let header = buffer.first_chunk_mut::<HEADER_LEN>()?;
    // Version 6, and 0xc0 as traffic class: Internetwork Control, as in IPv4.
    header[0..4].copy_from_slice(&[0x6c, 0, 0, 0]);
    header[PAYLOAD_LENGTH..6].copy_from_slice(&payload.to_be_bytes());
    header[NEXT_HEADER] = next_header;
    header[HOP_LIMIT] = HOP_LIMIT_MAX;
    header[SOURCE..24].copy_from_slice(&source);
    header[DESTINATION..40].copy_from_slice(&destination);
    Some(())
}
