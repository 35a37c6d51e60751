//! Neighbor Discovery: unsolicited Neighbor Advertisements (RFC 4861 sections 4.4 and 7.2.6).
//!
//! ```text
//!  0      1      2          4       5         8                24     25    26         32
//!  +------+------+----------+-------+---------+----------------+------+-----+----------+
//!  | 136  | 0    | checksum | R S O | 0       | target         | 2    | 1   | MAC      |
//!  +------+------+----------+-------+---------+----------------+------+-----+----------+
//! ```

use crate::address::ipv6 as words;
use crate::wire::{ethernet, ipv6, vrrp};

/// ICMPv6 type of a Neighbor Solicitation.
pub const TYPE_SOLICITATION: u8 = 135;
/// ICMPv6 type of a Neighbor Advertisement.
pub const TYPE_ADVERTISEMENT: u8 = 136;
/// Offset of the target address in both messages (RFC 4861 sections 4.3 and 4.4).
pub const TARGET: usize = 8;
/// Length of the ICMPv6 message with its one option, in bytes.
pub const LEN: usize = 32;
/// Length of the frame, in bytes.
pub const FRAME_LEN: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + LEN;
/// Flags R and O set, S clear: an unsolicited advertisement that comes from a router and overrides
/// the neighbor entry (RFC 9568 section 6.4.2).
const ROUTER_OVERRIDE: u8 = 0x80 | 0x20;

/// Returns a frame that announces to all nodes that `address` is at `mac`.
///
/// Its IP source is `address`, as in keepalived and FRR.
pub fn unsolicited(mac: [u8; 6], address: [u8; 16]) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    let (ethernet_header, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
    let (ip_header, message) = packet.split_at_mut(ipv6::HEADER_LEN);
    // Both headers fit in the buffer.
    let _ = ethernet::write(ethernet_header, ipv6::ALL_NODES_MAC, mac, ethernet::TYPE_IPV6);
    let _ = ipv6::write(ip_header, address, ipv6::ALL_NODES, ipv6::NEXT_HEADER_ICMPV6, LEN);
    message[0] = TYPE_ADVERTISEMENT;
    message[4] = ROUTER_OVERRIDE;
    message[8..24].copy_from_slice(&address);
    // Target Link-Layer Address, one unit of 8 bytes.
    message[24..26].copy_from_slice(&[2, 1]);
    message[26..32].copy_from_slice(&mac);
    let pseudo = vrrp::pseudo_sum(&words(address), &words(ipv6::ALL_NODES), LEN, ipv6::NEXT_HEADER_ICMPV6);
    let checksum = pseudo.bytes(message).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsolicited_na_has_the_address_the_mac_and_a_valid_checksum() {
        let address = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50];
        let mac = [0, 0, 0x5e, 0, 2, 51];
        let frame = unsolicited(mac, address);
        assert_eq!(frame[0..6], ipv6::ALL_NODES_MAC);
        assert_eq!(frame[6..12], mac);
        let packet = &frame[ethernet::HEADER_LEN..];
        assert_eq!(packet[ipv6::HOP_LIMIT], 255);
        assert_eq!(packet[ipv6::SOURCE..24], address);
        let message = &packet[ipv6::HEADER_LEN..];
        // R = 1, S = 0, O = 1.
        assert_eq!(message[4], 0b1010_0000);
        assert_eq!(message[8..24], address);
        assert_eq!(message[26..32], mac);
        assert_eq!(
            vrrp::pseudo_sum(&words(address), &words(ipv6::ALL_NODES), LEN, 58).bytes(message).fold(),
            0xffff
        );
    }
}
