//! Arbitrary packets, and what is written and read again.

use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::packet::{Form, Packet, sum};
use super::{judge, locate, parse};
use crate::parse::{ChecksumForm, Cursor, address_digest};
use crate::wire::checksum::Sum;
use crate::wire::{arp, ethernet, ipv4, vrrp};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), version: u8) {
        let _ = ethernet::vrrp_offset(&&bytes[..]);
        let _ = parse(&bytes, version);
    }

    #[test]
    fn no_edit_of_an_advert_makes_it_panic(
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
    fn r5_any_one_changed_bit_is_found(
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
    fn what_is_written_is_read(
        version in 2u8..=3,
        vrid: u8,
        priority: u8,
        interval in 1u16..=255,
        long in 1u16..=4095,
        source: [u8; 4],
        addresses in vec(any::<[u8; 4]>(), 1..=255),
    ) {
        let interval = if version == 2 { interval } else { long };
        let fields = vrrp::Fields { version, vrid, priority, interval };
        let mut packet = [0; ipv4::HEADER_LEN + vrrp::MAX_LEN];
        let (header, message) = packet.split_at_mut(ipv4::HEADER_LEN);
        let length = vrrp::write(message, fields, source, addresses.iter().copied()).expect("there is room");
        ipv4::write_vrrp(header, source, length).expect("there is room");
        let advert = parse(&packet[..ipv4::HEADER_LEN + length], version).expect("a valid advert");
        prop_assert_eq!((advert.version, advert.vrid, advert.priority), (version, vrid, priority));
        prop_assert_eq!((advert.interval, advert.source), (interval, source));
        prop_assert_eq!(usize::from(advert.count), addresses.len());
        prop_assert_eq!(advert.addresses, address_digest(addresses.iter().rev().copied()), "in any order");
        // A sum of 0xffff in place of 0x0000 may make the forms agree; the first is then the answer.
        let form = if version == 2 { ChecksumForm::V2 } else { ChecksumForm::Rfc5798 };
        prop_assert_eq!(advert.checksum, form);
    }

    #[test]
    fn the_sum_is_that_of_rfc_1071(bytes in vec(any::<u8>(), 0..1100)) {
        prop_assert_eq!(Sum::new().bytes(&bytes).fold(), sum(&bytes));
        // In any split at an even offset.
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

#[test]
fn a_short_buffer_is_refused_and_not_written_past() {
    let fields = vrrp::Fields { version: 3, vrid: 1, priority: 100, interval: 100 };
    let addresses: Vec<[u8; 4]> = std::vec![[10, 0, 0, 50]; 256];
    let mut buffer = [0; 2048];
    assert_eq!(vrrp::write(&mut buffer[..11], fields, [10, 0, 0, 1], addresses[..1].iter().copied()), None);
    assert_eq!(
        vrrp::write(&mut buffer[..12], fields, [10, 0, 0, 1], addresses[..1].iter().copied()),
        Some(12)
    );
    assert_eq!(vrrp::write(&mut buffer, fields, [10, 0, 0, 1], addresses[..].iter().copied()), None, "256");
    assert_eq!(ipv4::write_vrrp(&mut buffer[..19], [10, 0, 0, 1], 12), None);
    assert_eq!(ipv4::write_vrrp(&mut buffer, [10, 0, 0, 1], 65_516), None);
    assert_eq!(ethernet::write(&mut buffer[..13], [0; 6], [0; 6], 0), None);
}

#[test]
fn the_vrid_is_that_of_the_message_behind_the_options() {
    for ihl in 5..=15 {
        let bytes = Packet { ihl, vrid: 200, ..Packet::valid(3) }.bytes();
        let located = locate(&&bytes[..]).expect("an advert");
        assert_eq!(located.vrid, 200);
        assert!(judge(&&bytes[..], &located, 3).is_ok());
    }
}

#[test]
fn tags_of_vlan_0_are_stepped_over_and_others_are_other_lans() {
    let frame = |tags: &[(u16, u16)], inner: u16| {
        let mut frame = std::vec![0; 12];
        for (tpid, tci) in tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(inner.to_be_bytes());
        frame.extend(Packet::valid(3).bytes());
        ethernet::vrrp_offset(&&frame[..])
    };
    let (vlan, qinq) = (ethernet::TYPE_VLAN, ethernet::TYPE_QINQ);
    assert_eq!(frame(&[], 0x0800), Some(14));
    assert_eq!(frame(&[(vlan, 0)], 0x0800), Some(18));
    assert_eq!(frame(&[(vlan, 0xe000)], 0x0800), Some(18), "a priority");
    assert_eq!(frame(&[(qinq, 0), (vlan, 0xf000)], 0x0800), Some(22));
    assert_eq!(frame(&[(vlan, 0), (vlan, 0)], 0x0800), Some(22));
    for other in [&[(vlan, 1)][..], &[(vlan, 0xefff)], &[(vlan, 0), (vlan, 5)], &[(qinq, 5), (vlan, 0)]] {
        assert_eq!(frame(other, 0x0800), None, "{other:?}");
    }
    assert_eq!(frame(&[(vlan, 0); 3], 0x0800), None, "three tags");
    for ethertype in [ethernet::TYPE_ARP, 0x86dd, 0x88cc] {
        assert_eq!(frame(&[], ethertype), None);
        assert_eq!(frame(&[(vlan, 0)], ethertype), None);
    }
}

#[test]
fn a_gratuitous_arp_is_a_broadcast_request_for_itself() {
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
