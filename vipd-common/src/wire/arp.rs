//! ARP (RFC 826), and gratuitous ARP (RFC 5227 section 3).
//!
//! ```text
//!  0      2      4   5   6    8            14        18           24        28
//!  +------+------+---+---+----+------------+---------+------------+---------+
//!  | 1    | IPv4 | 6 | 4 | op | sender MAC | sender  | target MAC | target  |
//!  +------+------+---+---+----+------------+---------+------------+---------+
//! ```

use crate::wire::ethernet;

/// Length of an ARP packet for Ethernet and IPv4, in bytes.
pub const LEN: usize = 28;
/// Length of the frame, in bytes.
pub const FRAME_LEN: usize = ethernet::HEADER_LEN + LEN;
/// The first bytes of a packet for Ethernet and IPv4: hardware type, protocol type and the lengths
/// of their addresses.
pub const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
/// Offset of the sender's protocol address.
pub const SENDER_IP: usize = 14;
/// Offset of the target's protocol address.
pub const TARGET_IP: usize = 24;
/// Offset of the sender's protocol address in the frame.
pub const FRAME_SENDER_IP: usize = ethernet::HEADER_LEN + SENDER_IP;
/// Offset of the target's protocol address in the frame.
pub const FRAME_TARGET_IP: usize = ethernet::HEADER_LEN + TARGET_IP;

/// Returns a gratuitous ARP frame: a broadcast request whose sender and target address are both
/// `address`.
///
/// As in keepalived and FRR, the frame is a request rather than a reply, with the broadcast address
/// as target hardware address. Hosts update their caches from such a request.
pub fn gratuitous(mac: [u8; 6], address: [u8; 4]) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    let (header, arp) = frame.split_at_mut(ethernet::HEADER_LEN);
    header[0..6].copy_from_slice(&ethernet::BROADCAST);
    header[6..12].copy_from_slice(&mac);
    header[12..14].copy_from_slice(&ethernet::TYPE_ARP.to_be_bytes());
    arp[0..6].copy_from_slice(&ETHERNET_IPV4);
    arp[6..8].copy_from_slice(&[0, 1]);
    arp[8..14].copy_from_slice(&mac);
    arp[14..18].copy_from_slice(&address);
    arp[18..24].copy_from_slice(&ethernet::BROADCAST);
    arp[24..28].copy_from_slice(&address);
    frame
}
