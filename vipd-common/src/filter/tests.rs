//! Tests of the filter, with frames built byte by byte.

use std::vec;
use std::vec::Vec;

use super::*;

const VIP4: [u8; 4] = [192, 0, 2, 80];
const HOST4: [u8; 4] = [192, 0, 2, 11];
const VIP6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];
const HOST6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11];

fn arp_packet(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0; arp::LEN];
    packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    packet[14..18].copy_from_slice(&sender);
    packet[24..28].copy_from_slice(&target);
    packet
}

fn packet4(protocol: u8, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0; 28];
    (packet[0], packet[9]) = (0x45, protocol);
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet
}

fn packet6(next: u8, kind: u8, source: [u8; 16], destination: [u8; 16], target: [u8; 16]) -> Vec<u8> {
    let mut packet = vec![0; 72];
    (packet[0], packet[6], packet[40]) = (0x60, next, kind);
    packet[8..24].copy_from_slice(&source);
    packet[24..40].copy_from_slice(&destination);
    packet[48..64].copy_from_slice(&target);
    packet
}

/// The description, protocol and bytes of a packet, and the expected
/// [`is_neighbor`](Subject::is_neighbor) of the packet as received and as sent: `None` if the
/// packet is not about the VIP.
type Case = (&'static str, Network, Vec<u8>, Option<bool>, Option<bool>);

fn cases() -> Vec<Case> {
    use Network::{Arp, Ipv4, Ipv6};
    let group = [0xff; 16];
    vec![
        ("ARP request for the VIP", Arp, arp_packet(HOST4, VIP4), Some(true), None),
        ("ARP request from the VIP", Arp, arp_packet(VIP4, HOST4), None, Some(true)),
        ("gratuitous ARP", Arp, arp_packet(VIP4, VIP4), Some(true), Some(true)),
        ("other ARP", Arp, arp_packet(HOST4, HOST4), None, None),
        ("TCP to the VIP", Ipv4, packet4(6, HOST4, VIP4), Some(false), None),
        ("TCP from the VIP", Ipv4, packet4(6, VIP4, HOST4), None, Some(false)),
        ("an owner's advert", Ipv4, packet4(112, VIP4, HOST4), None, None),
        ("UDP to the VIP", Ipv6, packet6(17, 135, HOST6, VIP6, HOST6), Some(false), None),
        ("UDP from the VIP", Ipv6, packet6(17, 136, VIP6, HOST6, VIP6), None, Some(false)),
        ("echo to the VIP", Ipv6, packet6(58, 128, HOST6, VIP6, HOST6), Some(false), None),
        ("NS for the VIP", Ipv6, packet6(58, 135, HOST6, group, VIP6), Some(true), None),
        ("NS from the VIP", Ipv6, packet6(58, 135, VIP6, group, HOST6), None, Some(true)),
        ("NA of the VIP", Ipv6, packet6(58, 136, HOST6, group, VIP6), None, Some(true)),
        ("NA to the VIP", Ipv6, packet6(58, 136, HOST6, VIP6, HOST6), Some(true), None),
        ("an owner's IPv6 advert", Ipv6, packet6(112, 0, VIP6, group, HOST6), None, None),
    ]
}

#[test]
fn vip_of_a_packet_is_found_in_both_directions() {
    for (what, network, packet, received, sent) in cases() {
        for (direction, expected) in [(Direction::Received, received), (Direction::Sent, sent)] {
            let subject = subject(&packet.as_slice(), network, direction);
            let about_vip = subject.filter(|found| [words4(VIP4), words6(VIP6)].contains(&found.address));
            assert_eq!(about_vip.map(|found| found.is_neighbor), expected, "{what}, {direction:?}");
            let family = if network == Network::Ipv6 { FAMILY_IPV6 } else { FAMILY_IPV4 };
            assert!(subject.is_none_or(|found| found.family == family), "{what}");
        }
    }
}

#[test]
fn truncated_packets_pass_unless_they_contain_the_address() {
    for (what, network, packet, ..) in cases() {
        let needed = match network {
            Network::Arp => arp::LEN,
            Network::Ipv4 => 20,
            Network::Ipv6 => 64,
        };
        for length in 0..needed {
            for direction in [Direction::Received, Direction::Sent] {
                // A truncated packet may still contain the address.
                let found = subject(&&packet[..length], network, direction);
                assert!(found.is_none() || length >= 16, "{what} of {length} bytes");
            }
        }
    }
}

#[test]
fn arp_for_other_hardware_or_protocols_passes() {
    for position in 0..6 {
        let mut packet = arp_packet(VIP4, VIP4);
        packet[position] ^= 1;
        assert_eq!(subject(&packet.as_slice(), Network::Arp, Direction::Sent), None, "byte {position}");
    }
}

#[test]
fn fenced_and_closed_rows_drop_the_right_packets() {
    use Direction::{Received, Sent};
    let slot = |fenced, closed| LeaseSlot { valid_until: 1, priority: 1, fenced, closed };
    for (fenced, closed, is_neighbor, direction, expected) in [
        (0, 0, false, Received, None),
        (0, 1, false, Received, Some(Counter::NotAccepted)),
        (0, 1, true, Received, None),
        (0, 1, false, Sent, None),
        (1, 0, false, Received, Some(Counter::Fenced)),
        (1, 0, true, Received, Some(Counter::Fenced)),
        (1, 1, false, Sent, Some(Counter::Fenced)),
        (1, 1, true, Sent, Some(Counter::Fenced)),
    ] {
        let verdict = verdict(&slot(fenced, closed), is_neighbor, direction);
        assert_eq!(verdict, expected, "{fenced} {closed} {is_neighbor} {direction:?}");
    }
}
