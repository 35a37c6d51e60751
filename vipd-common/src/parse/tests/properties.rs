//! Property tests: arbitrary packets, and round trips of writers and parser.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::packet::{Form, Packet, sum};
use super::{Expected, locate, parse, validate};
use crate::address::to_words;
use crate::parse::{ChecksumForm, Cursor, address_digest};
use crate::wire::checksum::Sum;
use crate::wire::{arp, ethernet, ip, ipv4, ipv6, vrrp};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..200), version: u8) {
        let _ = ethernet::ip(&&bytes[..]);
        let _ = ip::bare(&&bytes[..]);
        let _ = parse(&bytes, version);
    }

    #[test]
    fn an_edited_advert_does_not_panic(
        version in 2u8..=3,
        count in prop_oneof![1u8..12, any::<u8>()],
        ihl in 5u8..=15,
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Packet { ihl, ..Packet::with_addresses(version, count) }.bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(advert) = parse(&bytes, version) {
            prop_assert!(advert.count > 0 && advert.interval > 0);
        }
    }

    #[test]
    fn r5_any_flipped_bit_is_detected(
        version in 2u8..=3,
        message_only: bool,
        count in 1u8..20,
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let form = if version == 2 || message_only { Form::Message } else { Form::Pseudo };
        let mut bytes = Packet { form, ..Packet::with_addresses(version, count) }.bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(parse(&bytes, version).is_err(), "R5: byte {}", at);
    }

    #[test]
    fn written_adverts_are_read_back(
        form in prop_oneof![
            Just(ChecksumForm::V2),
            Just(ChecksumForm::Rfc5798),
            Just(ChecksumForm::Rfc9568),
            Just(ChecksumForm::Ipv6),
        ],
        vrid: u8,
        priority: u8,
        interval in 1u16..=255,
        long in 1u16..=4095,
        password in any::<Option<[u8; 8]>>(),
        addresses in vec(any::<[u8; 16]>(), 1..=255),
    ) {
        let fields = vrrp::Fields {
            vrid,
            priority,
            interval: if form == ChecksumForm::V2 { interval } else { long },
            checksum: form,
            password: password.filter(|_| form == ChecksumForm::V2),
        };
        let family = fields.family();
        let addresses: Vec<IpAddr> = addresses
            .into_iter()
            .map(|bytes| {
                let (words, _) = bytes.as_chunks::<4>();
                if family == 6 { IpAddr::from(bytes) } else { IpAddr::from(words[0]) }
            })
            .collect();
        let bytes = written(&fields, &addresses);
        let expected = Expected {
            authentication: u8::from(fields.password.is_some()),
            password: fields.password.map_or([0; 2], |password| {
                let (halves, _) = password.as_chunks::<4>();
                [u32::from_ne_bytes(halves[0]), u32::from_ne_bytes(halves[1])]
            }),
            ..Expected::version(fields.version())
        };
        let located = locate(&&bytes[..], family).expect("an advert");
        let advert = validate(&&bytes[..], &located, &expected).expect("a valid advert");
        prop_assert_eq!((advert.family, advert.version), (family, fields.version()));
        prop_assert_eq!((advert.vrid, advert.priority, advert.interval), (vrid, priority, fields.interval));
        prop_assert_eq!(usize::from(advert.count), addresses.len());
        prop_assert_eq!(advert.addresses, address_digest(addresses.iter().rev().copied()), "in any order");
        // If the pseudo-header adds up to 0xffff, both forms match, and the parser returns the RFC
        // 5798 form.
        prop_assert!(advert.checksum == form || advert.checksum == ChecksumForm::Rfc5798);
    }

    #[test]
    fn the_sum_matches_rfc_1071(bytes in vec(any::<u8>(), 0..1100)) {
        prop_assert_eq!(Sum::new().bytes(&bytes).fold(), sum(&bytes));
        // The sum is the same if the bytes are split at an even offset.
        let middle = bytes.len() / 4 * 2;
        let halves = Sum::new().bytes(&bytes[..middle]).plus(Sum::new().bytes(&bytes[middle..]));
        prop_assert_eq!(halves.fold(), sum(&bytes));
    }

    #[test]
    fn a_slice_is_read_within_its_bounds(bytes in vec(any::<u8>(), 0..40), offset in 0usize..50, end in 0usize..50) {
        let slice = &bytes[..];
        prop_assert_eq!(Cursor::len(&slice), bytes.len());
        prop_assert_eq!(Cursor::is_empty(&slice), bytes.is_empty());
        prop_assert_eq!(slice.byte(offset).is_some(), offset < bytes.len());
        prop_assert_eq!(slice.be16(offset).is_some(), offset + 2 <= bytes.len());
        prop_assert_eq!(slice.be32(offset).is_some(), offset + 4 <= bytes.len());
        let wanted = if offset < end { slice.be32(offset).unwrap_or(0) } else { 0 };
        prop_assert_eq!(slice.be32_before(offset, end), wanted);
    }
}

/// Returns an advert to the VRRP group, IP header included.
fn written(fields: &vrrp::Fields, addresses: &[IpAddr]) -> Vec<u8> {
    let (from, to, header): (IpAddr, IpAddr, usize) = if fields.family() == 6 {
        ("fe80::1".parse().expect("an address"), Ipv6Addr::from(ipv6::VRRP_GROUP).into(), ipv6::HEADER_LEN)
    } else {
        ([10, 0, 0, 1].into(), Ipv4Addr::from(ipv4::VRRP_GROUP).into(), ipv4::HEADER_LEN)
    };
    let mut packet = std::vec![0; header + vrrp::MAX_LEN];
    let message = &mut packet[header..];
    let length = vrrp::write(message, fields, &to_words(from), &to_words(to), addresses.iter().copied());
    let length = length.expect("there is room");
    packet.truncate(header + length);
    match from {
        IpAddr::V4(from) => ipv4::write_vrrp(&mut packet, from.octets(), length),
        IpAddr::V6(from) => {
            ipv6::write(&mut packet, from.octets(), ipv6::VRRP_GROUP, ipv4::PROTOCOL_VRRP, length)
        }
    }
    .expect("there is room");
    packet
}

#[test]
fn writers_reject_short_buffers_long_packets_and_mixed_families() {
    let fields = vrrp::Fields {
        vrid: 1,
        priority: 100,
        interval: 100,
        checksum: ChecksumForm::Rfc5798,
        password: None,
    };
    let all: Vec<IpAddr> = std::vec![[10, 0, 0, 50].into(); 256];
    let mut buffer = [0; 2048];
    let mut write = |room: usize, addresses: &[IpAddr]| {
        vrrp::write(&mut buffer[..room], &fields, &[1; 4], &[2; 4], addresses.iter().copied())
    };
    assert_eq!(write(11, &all[..1]), None);
    assert_eq!(write(12, &all[..1]), Some(12));
    assert_eq!(write(2048, &all), None, "256");
    assert_eq!(write(2048, &[Ipv6Addr::LOCALHOST.into()]), None, "R15: never mixed");
    assert_eq!(ipv4::write_vrrp(&mut buffer[..19], [10, 0, 0, 1], 12), None);
    assert_eq!(ipv4::write_vrrp(&mut buffer, [10, 0, 0, 1], 65_516), None);
    assert_eq!(ipv6::write(&mut buffer[..39], [0; 16], [0; 16], 112, 8), None);
    assert_eq!(ipv6::write(&mut buffer, [0; 16], [0; 16], 112, 65_536), None);
    assert_eq!(ethernet::write(&mut buffer[..13], [0; 6], [0; 6], 0), None);
}

#[test]
fn the_vrid_is_read_after_ip_options() {
    for ihl in 5..=15 {
        let bytes = Packet { ihl, vrid: 200, ..Packet::valid(3) }.bytes();
        let located = locate(&&bytes[..], 4).expect("an advert");
        assert_eq!(located.vrid, 200);
        assert!(validate(&&bytes[..], &located, &Expected::version(3)).is_ok());
    }
}

#[test]
fn priority_tags_are_skipped_and_frames_of_other_vlans_are_ignored() {
    let frame = |tags: &[(u16, u16)], inner: u16| {
        let mut frame = std::vec![0; 12];
        for (tpid, tci) in tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(inner.to_be_bytes());
        frame.extend(Packet::valid(3).bytes());
        ethernet::ip(&&frame[..]).map(|ip| (ip.offset, ip.version))
    };
    let (vlan, qinq) = (ethernet::TYPE_VLAN, ethernet::TYPE_QINQ);
    assert_eq!(frame(&[], 0x0800), Some((14, 4)));
    assert_eq!(frame(&[(vlan, 0)], 0x0800), Some((18, 4)));
    assert_eq!(frame(&[(vlan, 0xe000)], 0x0800), Some((18, 4)), "a priority");
    assert_eq!(frame(&[(qinq, 0), (vlan, 0xf000)], 0x0800), Some((22, 4)));
    assert_eq!(frame(&[(vlan, 0), (vlan, 0)], 0x0800), Some((22, 4)));
    for other in [&[(vlan, 1)][..], &[(vlan, 0xefff)], &[(vlan, 0), (vlan, 5)], &[(qinq, 5), (vlan, 0)]] {
        assert_eq!(frame(other, 0x0800), None, "{other:?}");
    }
    assert_eq!(frame(&[(vlan, 0); 3], 0x0800), None, "three tags");
    assert_eq!(frame(&[], 0x86dd), Some((14, 6)));
    assert_eq!(frame(&[(qinq, 0), (vlan, 0)], 0x86dd), Some((22, 6)));
    for ethertype in [ethernet::TYPE_ARP, 0x88cc] {
        assert_eq!(frame(&[], ethertype), None);
        assert_eq!(frame(&[(vlan, 0)], ethertype), None);
    }
}

#[test]
fn a_gratuitous_arp_is_a_broadcast_request_for_its_own_address() {
    let (mac, address) = ([2, 0, 0, 0, 0, 1], [10, 0, 0, 50]);
    let frame = arp::gratuitous(mac, address);
    assert_eq!(frame[..6], [0xff; 6]);
    assert_eq!(frame[6..12], mac);
    assert_eq!(frame[12..22], [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1], "A1: Ethernet, IPv4, request");
    assert_eq!(frame[22..28], mac, "A1: sender");
    assert_eq!(frame[arp::FRAME_SENDER_IP..32], address);
    assert_eq!(frame[32..38], [0xff; 6]);
    assert_eq!(frame[arp::FRAME_TARGET_IP..], address);
}

#[test]
fn a_frame_without_a_link_layer_header_is_parsed_by_its_ip_version() {
    let bare = |frame: &[u8]| ip::bare(&frame).map(|ip| (ip.offset, ip.version, ip.protocol));
    let advert = Packet::valid(3).bytes();
    assert_eq!(bare(&advert), Some((0, 4, ipv4::PROTOCOL_VRRP)));
    assert_eq!(ethernet::ip(&&advert[..]), None, "not as Ethernet");
    let mut packet = [0; ipv6::HEADER_LEN];
    ipv6::write(&mut packet, [1; 16], [2; 16], 58, 0).expect("room");
    assert_eq!(bare(&packet), Some((0, 6, 58)));
    for version in [0, 5, 7, 15] {
        packet[0] = version << 4;
        assert_eq!(bare(&packet), None, "version {version}");
    }
    assert_eq!([bare(&[]), bare(&advert[..9]), bare(&[0x60; 6])], [None; 3], "cut off");
}
