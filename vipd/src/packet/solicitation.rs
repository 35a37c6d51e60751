//! ARP requests (RFC 826) and Neighbor Solicitations (RFC 4861 section 4.3) for unicast peers, and
//! for the addresses that `vipd doctor` checks.
//!
//! Peers in the source's subnet are solicited when the interface comes up, and along with the
//! adverts until their MACs are resolved, because the kernel sends its own solicitations only once
//! a second (`retrans_time_ms`) and queues the adverts in the meantime. A solicitation also updates
//! the peer's neighbor entry for the sender.

use std::net::IpAddr;

use vipd_common::address::to_words;
use vipd_common::wire::{arp, ethernet, ipv6, nd, vrrp};

/// Offset of the target MAC in an ARP frame.
const TARGET_MAC: usize = arp::FRAME_TARGET_IP - 6;

/// A frame that requests a neighbor's MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Solicitation {
    /// An ARP request for an IPv4 address.
    Arp([u8; arp::FRAME_LEN]),
    /// A Neighbor Solicitation for an IPv6 address, with the sender's MAC.
    Neighbor([u8; nd::FRAME_LEN]),
}

impl Solicitation {
    /// Builds a request from `source` for the MAC of `target`. Returns `None` if `source` and
    /// `target` are of different families.
    pub fn new(mac: [u8; 6], source: IpAddr, target: IpAddr) -> Option<Self> {
        match (source, target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                let mut frame = arp::gratuitous(mac, source.octets());
                frame[TARGET_MAC..TARGET_MAC + 6].fill(0);
                frame[arp::FRAME_TARGET_IP..].copy_from_slice(&target.octets());
                Some(Self::Arp(frame))
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                neighbor(mac, source.octets(), target.octets()).map(Self::Neighbor)
            }
            _ => None,
        }
    }

    /// Returns the complete Ethernet frame.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Arp(frame) => frame,
            Self::Neighbor(frame) => frame,
        }
    }
}

/// Builds a Neighbor Solicitation to the solicited-node multicast address of the target (RFC 4291
/// section 2.7.1).
fn neighbor(mac: [u8; 6], source: [u8; 16], target: [u8; 16]) -> Option<[u8; nd::FRAME_LEN]> {
    let [.., a, b, c] = target;
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c];
    let mut frame = [0; nd::FRAME_LEN];
    ethernet::write(&mut frame, [0x33, 0x33, 0xff, a, b, c], mac, ethernet::TYPE_IPV6)?;
    let packet = &mut frame[ethernet::HEADER_LEN..];
    ipv6::write(packet, source, group, ipv6::NEXT_HEADER_ICMPV6, nd::LEN)?;
    let message = &mut packet[ipv6::HEADER_LEN..];
    message[0] = nd::TYPE_SOLICITATION;
    message[8..24].copy_from_slice(&target);
    // Source Link-Layer Address option: type 1, length in units of 8 bytes.
    message[24..26].copy_from_slice(&[1, 1]);
    message[26..32].copy_from_slice(&mac);
    let (from, to) = (to_words(IpAddr::from(source)), to_words(IpAddr::from(group)));
    let sum = vrrp::pseudo_sum(&from, &to, nd::LEN, ipv6::NEXT_HEADER_ICMPV6);
    let checksum = sum.bytes(message).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn solicitation(source: &str, target: &str) -> Option<Solicitation> {
        let parse = |text: &str| text.parse().expect("an address");
        Solicitation::new(MAC, parse(source), parse(target))
    }

    #[test]
    fn arp_request_is_broadcast_and_targets_the_peer() {
        let frame = solicitation("192.0.2.1", "192.0.2.2").expect("a frame");
        let bytes = frame.bytes();
        assert_eq!(&bytes[..6], &[0xff; 6]);
        assert_eq!(&bytes[20..22], &[0, 1], "a request");
        assert_eq!(&bytes[22..32], &[2, 0, 0, 0, 0, 1, 192, 0, 2, 1]);
        assert_eq!(&bytes[32..42], &[0, 0, 0, 0, 0, 0, 192, 0, 2, 2]);
    }

    #[test]
    fn neighbor_solicitation_uses_the_solicited_node_group_and_a_valid_checksum() {
        let frame = solicitation("fe80::1", "fe80::ab:cdef").expect("a frame");
        let bytes = frame.bytes();
        assert_eq!(&bytes[..6], &[0x33, 0x33, 0xff, 0xab, 0xcd, 0xef]);
        let packet = &bytes[ethernet::HEADER_LEN..];
        assert_eq!(packet[ipv6::HOP_LIMIT], 255);
        let message = &packet[ipv6::HEADER_LEN..];
        assert_eq!((message[0], &message[26..]), (135, &MAC[..]));
        let address = |offset: usize| {
            let bytes: [u8; 16] = packet[offset..offset + 16].try_into().expect("16 bytes");
            to_words(IpAddr::from(bytes))
        };
        let sum = vrrp::pseudo_sum(&address(ipv6::SOURCE), &address(ipv6::DESTINATION), nd::LEN, 58);
        assert_eq!(sum.bytes(message).fold(), 0xffff);
    }

    #[test]
    fn addresses_of_different_families_are_rejected() {
        assert_eq!(solicitation("192.0.2.1", "fe80::1"), None);
    }
}
