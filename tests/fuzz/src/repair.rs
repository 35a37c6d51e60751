//! Frames out of noise: what a fuzzer cannot guess, above all checksums, is put right on request.
//!
//! Lengths and checksums guard what lies behind them, and no feedback leads a fuzzer to a right one. So the first byte
//! of an input says which of them to repair; the others stay as the fuzzer made them, to be found wrong.

use vipd_common::wire::{ethernet, ipv4, vrrp};

/// EtherType and IP protocol, without fragmentation.
const PROTOCOL: u8 = 0x01;
/// The destination is the VRRP group.
const DESTINATION: u8 = 0x02;
/// TTL or hop limit.
const TTL: u8 = 0x04;
/// The IP length is that of the frame.
const LENGTH: u8 = 0x08;
/// The address count is what the message has room for.
const COUNT: u8 = 0x10;
/// The checksum of the IPv4 header.
const HEADER: u8 = 0x20;
/// The checksum of the message.
const MESSAGE: u8 = 0x40;
/// That one over the message alone, and not with a pseudo-header.
const MESSAGE_ONLY: u8 = 0x80;

const IPV6_HEADER_LEN: usize = 40;
const IPV6_GROUP: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12];

/// The frame that an input describes: its first byte says what to repair in the rest. Without one, none.
pub(crate) fn frame(input: &[u8]) -> Option<Vec<u8>> {
    let (what, rest) = input.split_first()?;
    let mut frame = rest.to_vec();
    let ip = ip_offset(&frame);
    if word(&frame, ip - 2) == Some(ethernet::TYPE_IPV6) {
        repair_ipv6(*what, frame.get_mut(ip..).unwrap_or_default());
    } else {
        if what & PROTOCOL != 0 {
            set(&mut frame, ip - 2, &ethernet::TYPE_IPV4.to_be_bytes());
        }
        repair_ipv4(*what, frame.get_mut(ip..).unwrap_or_default());
    }
    Some(frame)
}

/// Offset of the IP header, behind the tags.
fn ip_offset(frame: &[u8]) -> usize {
    let is_tag = |at| matches!(word(frame, at), Some(ethernet::TYPE_VLAN | ethernet::TYPE_QINQ));
    match (is_tag(12), is_tag(16)) {
        (true, true) => 22,
        (true, false) => 18,
        (false, _) => 14,
    }
}

fn repair_ipv4(what: u8, packet: &mut [u8]) {
    if what & PROTOCOL != 0 {
        set(packet, ipv4::PROTOCOL, &[ipv4::PROTOCOL_VRRP]);
        set(packet, ipv4::FRAGMENT, &[0x40, 0]);
        let ihl = packet.first().map_or(5, |first| (first & 0x0f).max(5));
        set(packet, 0, &[0x40 | ihl]);
    }
    if what & DESTINATION != 0 {
        set(packet, ipv4::DESTINATION, &ipv4::VRRP_GROUP);
    }
    if what & TTL != 0 {
        set(packet, ipv4::TTL, &[ipv4::VRRP_TTL]);
    }
    if what & LENGTH != 0 {
        let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        set(packet, ipv4::TOTAL_LENGTH, &length.to_be_bytes());
    }
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    if what & HEADER != 0 && header <= packet.len() {
        set_checksum(&mut packet[..header], ipv4::CHECKSUM, &[]);
    }
    let pseudo = packet.get(ipv4::SOURCE..ipv4::HEADER_LEN).unwrap_or_default().to_vec();
    let end = usize::from(word(packet, ipv4::TOTAL_LENGTH).unwrap_or(0)).min(packet.len());
    repair_message(what, packet.get_mut(header..end).unwrap_or_default(), 4, pseudo);
}

fn repair_ipv6(what: u8, packet: &mut [u8]) {
    if what & PROTOCOL != 0 {
        set(packet, 0, &[0x60]);
        set(packet, 6, &[ipv4::PROTOCOL_VRRP]);
    }
    if what & DESTINATION != 0 {
        set(packet, 24, &IPV6_GROUP);
    }
    if what & TTL != 0 {
        set(packet, 7, &[255]);
    }
    if what & LENGTH != 0 {
        let length = u16::try_from(packet.len().saturating_sub(IPV6_HEADER_LEN)).unwrap_or(u16::MAX);
        set(packet, 4, &length.to_be_bytes());
    }
    let pseudo = packet.get(8..IPV6_HEADER_LEN).unwrap_or_default().to_vec();
    let end = (IPV6_HEADER_LEN + usize::from(word(packet, 4).unwrap_or(0))).min(packet.len());
    repair_message(what, packet.get_mut(IPV6_HEADER_LEN..end).unwrap_or_default(), 16, pseudo);
}

/// Puts the message right. `pseudo` begins with source and destination.
fn repair_message(what: u8, message: &mut [u8], address: usize, mut pseudo: Vec<u8>) {
    let version = message.first().map_or(0, |first| first >> 4);
    if what & COUNT != 0 {
        let auth = if version == 2 { vrrp::AUTH_LEN } else { 0 };
        let room = message.len().saturating_sub(vrrp::HEADER_LEN + auth) / address;
        set(message, vrrp::COUNT, &[u8::try_from(room).unwrap_or(u8::MAX)]);
    }
    if what & MESSAGE != 0 {
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        pseudo.extend([0, ipv4::PROTOCOL_VRRP]);
        pseudo.extend(length.to_be_bytes());
        let alone = version == 2 || what & MESSAGE_ONLY != 0;
        set_checksum(message, vrrp::CHECKSUM, if alone { &[] } else { &pseudo });
    }
}

/// Sets the checksum at `at`, over `pseudo` and `bytes`.
fn set_checksum(bytes: &mut [u8], at: usize, pseudo: &[u8]) {
    set(bytes, at, &[0, 0]);
    let checksum = !sum(&[pseudo, bytes].concat());
    set(bytes, at, &checksum.to_be_bytes());
}

/// RFC 1071, word by word with the carry around the end: written again, apart from vipd-common's.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0u16, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

/// Writes where there is room.
fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::{IPV6_HEADER_LEN, MESSAGE_ONLY, ethernet, frame, sum};

    /// A frame of zeros, but for EtherType, version and type.
    fn input(what: u8, ethertype: u16, header: usize, message: &[u8]) -> Vec<u8> {
        let mut input = vec![0; 1 + 14 + header];
        input[0] = what;
        input[13..15].copy_from_slice(&ethertype.to_be_bytes());
        input.extend(message);
        input
    }

    #[test]
    fn ipv4_from_zeros_sums_up() {
        let message = [0x31, 51, 100, 0, 0, 100, 0, 0, 10, 0, 0, 50];
        for what in [!MESSAGE_ONLY, 0xff] {
            let frame = frame(&input(what, 0, 20, &message)).expect("a frame");
            let packet = &frame[14..];
            assert_eq!(frame[12..16], [8, 0, 0x45, 0]);
            assert_eq!((packet[8], packet[9], packet[23]), (255, 112, 1), "TTL, protocol, count");
            assert_eq!(packet[2..4], [0, 32]);
            assert_eq!(sum(&packet[..20]), 0xffff);
            let pseudo = [&packet[12..20], &[0, 112, 0, 12]].concat();
            let pseudo = if what & MESSAGE_ONLY == 0 { &pseudo[..] } else { &[] };
            assert_eq!(sum(&[pseudo, &packet[20..]].concat()), 0xffff);
        }
    }

    #[test]
    fn ipv6_from_zeros_sums_up() {
        let mut message = vec![0x31, 51, 100, 0, 0, 100, 0, 0, 0xfe, 0x80];
        message.resize(24, 1);
        let frame =
            frame(&input(!MESSAGE_ONLY, ethernet::TYPE_IPV6, IPV6_HEADER_LEN, &message)).expect("a frame");
        let packet = &frame[14..];
        assert_eq!(packet[4..8], [0, 24, 112, 255]);
        assert_eq!(packet[43], 1, "count");
        let pseudo = [&packet[8..40], &[0, 112, 0, 24]].concat();
        assert_eq!(sum(&[&pseudo, &packet[40..]].concat()), 0xffff);
    }

    #[test]
    fn every_prefix_is_survived() {
        let whole = input(0x7f, ethernet::TYPE_IPV6, 60, &[0x21; 40]);
        for length in 1..whole.len() {
            assert_eq!(frame(&whole[..length]).expect("a frame").len(), length - 1);
        }
        assert_eq!(frame(&[]), None);
    }
}
