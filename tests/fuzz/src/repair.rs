//! Turns fuzzer input into frames by repairing fields that a fuzzer cannot guess, especially
//! checksums.
//!
//! The parser only continues if lengths and checksums are correct, and coverage feedback does not
//! help a fuzzer find correct values. The first byte of an input therefore selects fields to
//! repair; all others remain unchanged.

use std::net::IpAddr;

use vipd_common::wire::{ethernet, ipv4, vrrp};
use vipd_witness::{GROUP_IPV6, internet_checksum, pseudo_header};

/// Sets the version and the IP protocol. In IPv4, also sets the EtherType and the fragment field
/// (DF set, no fragment), and raises a header length below 5 words to 5.
const PROTOCOL: u8 = 0x01;
/// Sets the destination to the VRRP group.
const DESTINATION: u8 = 0x02;
/// Sets the TTL or Hop Limit to 255.
const TTL: u8 = 0x04;
/// Sets the IP length to match the frame.
const LENGTH: u8 = 0x08;
/// Sets the address count to match the length of the message.
const COUNT: u8 = 0x10;
/// Corrects the checksum of the IPv4 header.
const HEADER: u8 = 0x20;
/// Corrects the checksum of the message.
const MESSAGE: u8 = 0x40;
/// With [`MESSAGE`], computes the checksum of the message without a pseudo-header, as in VRRPv2.
const MESSAGE_ONLY: u8 = 0x80;

const IPV6_HEADER_LEN: usize = 40;

/// Returns the frame that an input describes: its first byte selects the fields to repair in the
/// rest. Returns `None` if the input is empty.
pub(crate) fn frame(input: &[u8]) -> Option<Vec<u8>> {
    let (fields, rest) = input.split_first()?;
    let mut frame = rest.to_vec();
    let ip = ip_offset(&frame);
    if word(&frame, ip - 2) == Some(ethernet::TYPE_IPV6) {
        repair_ipv6(*fields, frame.get_mut(ip..).unwrap_or_default());
    } else {
        if fields & PROTOCOL != 0 {
            set(&mut frame, ip - 2, &ethernet::TYPE_IPV4.to_be_bytes());
        }
        repair_ipv4(*fields, frame.get_mut(ip..).unwrap_or_default());
    }
    Some(frame)
}

/// Returns the offset of the IP header, after VLAN tags.
fn ip_offset(frame: &[u8]) -> usize {
    let is_tag = |at| matches!(word(frame, at), Some(ethernet::TYPE_VLAN | ethernet::TYPE_QINQ));
    match (is_tag(12), is_tag(16)) {
        (true, true) => 22,
        (true, false) => 18,
        (false, _) => 14,
    }
}

fn repair_ipv4(fields: u8, packet: &mut [u8]) {
    if fields & PROTOCOL != 0 {
        set(packet, ipv4::PROTOCOL, &[ipv4::PROTOCOL_VRRP]);
        set(packet, ipv4::FRAGMENT, &[0x40, 0]);
        let ihl = packet.first().map_or(5, |first| (first & 0x0f).max(5));
        set(packet, 0, &[0x40 | ihl]);
    }
    if fields & DESTINATION != 0 {
        set(packet, ipv4::DESTINATION, &ipv4::VRRP_GROUP);
    }
    if fields & TTL != 0 {
        set(packet, ipv4::TTL, &[ipv4::VRRP_TTL]);
    }
    if fields & LENGTH != 0 {
        let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        set(packet, ipv4::TOTAL_LENGTH, &length.to_be_bytes());
    }
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    if fields & HEADER != 0 && header <= packet.len() {
        set_checksum(&mut packet[..header], ipv4::CHECKSUM, &[]);
    }
    let ends = address::<4>(packet, ipv4::SOURCE).zip(address::<4>(packet, ipv4::DESTINATION));
    let end = usize::from(word(packet, ipv4::TOTAL_LENGTH).unwrap_or(0)).min(packet.len());
    repair_message(fields, packet.get_mut(header..end).unwrap_or_default(), 4, ends);
}

fn repair_ipv6(fields: u8, packet: &mut [u8]) {
    if fields & PROTOCOL != 0 {
        set(packet, 0, &[0x60]);
        set(packet, 6, &[ipv4::PROTOCOL_VRRP]);
    }
    if fields & DESTINATION != 0 {
        set(packet, 24, &GROUP_IPV6.octets());
    }
    if fields & TTL != 0 {
        set(packet, 7, &[255]);
    }
    if fields & LENGTH != 0 {
        let length = u16::try_from(packet.len().saturating_sub(IPV6_HEADER_LEN)).unwrap_or(u16::MAX);
        set(packet, 4, &length.to_be_bytes());
    }
    let ends = address::<16>(packet, 8).zip(address::<16>(packet, 24));
    let end = (IPV6_HEADER_LEN + usize::from(word(packet, 4).unwrap_or(0))).min(packet.len());
    repair_message(fields, packet.get_mut(IPV6_HEADER_LEN..end).unwrap_or_default(), 16, ends);
}

/// Repairs the message. `ends` are the source and destination, if the packet contains them; `size`
/// is the length of an address in bytes.
fn repair_message(fields: u8, message: &mut [u8], size: usize, ends: Option<(IpAddr, IpAddr)>) {
    let version = message.first().map_or(0, |first| first >> 4);
    if fields & COUNT != 0 {
        let auth = if version == 2 { vrrp::AUTH_LEN } else { 0 };
        let room = message.len().saturating_sub(vrrp::HEADER_LEN + auth) / size;
        set(message, vrrp::COUNT, &[u8::try_from(room).unwrap_or(u8::MAX)]);
    }
    if let (true, Some((source, destination))) = (fields & MESSAGE != 0, ends) {
        let pseudo = pseudo_header(source, destination, message.len());
        let alone = version == 2 || fields & MESSAGE_ONLY != 0;
        set_checksum(message, vrrp::CHECKSUM, if alone { &[] } else { &pseudo });
    }
}

/// Computes the checksum over `pseudo` and `bytes`, and stores it in `bytes` at `at`.
fn set_checksum(bytes: &mut [u8], at: usize, pseudo: &[u8]) {
    set(bytes, at, &[0, 0]);
    let checksum = internet_checksum(&[pseudo, bytes].concat());
    set(bytes, at, &checksum.to_be_bytes());
}

/// Returns the address at `at`, which is `SIZE` bytes long.
fn address<const SIZE: usize>(packet: &[u8], at: usize) -> Option<IpAddr>
where
    IpAddr: From<[u8; SIZE]>,
{
    packet.get(at..)?.first_chunk::<SIZE>().map(|octets| IpAddr::from(*octets))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

/// Stores `value` in `bytes` at `at`, if there is room.
fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::{IPV6_HEADER_LEN, MESSAGE_ONLY, ethernet, frame, internet_checksum};

    /// Returns an input whose frame is all zeros except for the EtherType and the message.
    fn input(fields: u8, ethertype: u16, header: usize, message: &[u8]) -> Vec<u8> {
        let mut input = vec![0; 1 + 14 + header];
        input[0] = fields;
        input[13..15].copy_from_slice(&ethertype.to_be_bytes());
        input.extend(message);
        input
    }

    #[test]
    fn zeros_become_an_ipv4_packet_with_correct_checksums() {
        let message = [0x31, 51, 100, 0, 0, 100, 0, 0, 10, 0, 0, 50];
        for fields in [!MESSAGE_ONLY, 0xff] {
            let frame = frame(&input(fields, 0, 20, &message)).expect("a frame");
            let packet = &frame[14..];
            assert_eq!(frame[12..16], [8, 0, 0x45, 0]);
            assert_eq!((packet[8], packet[9], packet[23]), (255, 112, 1), "TTL, protocol, count");
            assert_eq!(packet[2..4], [0, 32]);
            assert_eq!(internet_checksum(&packet[..20]), 0);
            let pseudo = [&packet[12..20], &[0, 112, 0, 12]].concat();
            let pseudo = if fields & MESSAGE_ONLY == 0 { &pseudo[..] } else { &[] };
            assert_eq!(internet_checksum(&[pseudo, &packet[20..]].concat()), 0);
        }
    }

    #[test]
    fn zeros_become_an_ipv6_packet_with_a_correct_checksum() {
        let mut message = vec![0x31, 51, 100, 0, 0, 100, 0, 0, 0xfe, 0x80];
        message.resize(24, 1);
        let frame =
            frame(&input(!MESSAGE_ONLY, ethernet::TYPE_IPV6, IPV6_HEADER_LEN, &message)).expect("a frame");
        let packet = &frame[14..];
        assert_eq!(packet[4..8], [0, 24, 112, 255]);
        assert_eq!(packet[43], 1, "count");
        let pseudo = [&packet[8..40], &[0, 112, 0, 24]].concat();
        assert_eq!(internet_checksum(&[&pseudo, &packet[40..]].concat()), 0);
    }

    #[test]
    fn inputs_of_any_length_are_accepted() {
        let whole = input(0x7f, ethernet::TYPE_IPV6, 60, &[0x21; 40]);
        for length in 1..whole.len() {
            assert_eq!(frame(&whole[..length]).expect("a frame").len(), length - 1);
        }
        assert_eq!(frame(&[]), None);
    }
}
