//! The program for interfaces without a link-layer header.

use vipd::xdp::{Framing, Mode, Preference};
use vipd_common::address::ipv4 as words;
use vipd_common::counters::Counter;
use vipd_common::records::ClosedKey;
use vipd_common::wire::{ethernet, ipv4, vrrp};

use crate::bench::{Bench, CLOSED_ROW, LOOPBACK, OURS, UNICAST, XDP_DROP, XDP_PASS};
use crate::frame::Frame;
use crate::interfaces::private_pair;

/// An advert to the unicast router, from its IP header on.
fn packet(ttl: u8) -> Vec<u8> {
    let mut header = vec![(ipv4::TTL, ttl)];
    header.extend(OURS.iter().enumerate().map(|(at, byte)| (ipv4::DESTINATION + at, *byte)));
    let frame = Frame { vrid: UNICAST.0, header, ..Frame::valid(3) };
    frame.bytes().split_off(frame.packet())
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn unicast_adverts_without_an_ethernet_header_are_validated() {
    let mut bench = Bench::new();
    for (packet, action, counter) in [
        (packet(255), XDP_DROP, Counter::AdvertisementRcvd),
        (packet(249), XDP_DROP, Counter::IpTtlErrors),
        (Frame { vrid: UNICAST.0, ..Frame::valid(3) }.bytes(), XDP_PASS, Counter::AdvertisementRcvd),
    ] {
        let before = bench.row(UNICAST.1).get(counter);
        let verdict = bench.compare_bare(&packet, LOOPBACK).expect("as in user space");
        assert_eq!(verdict.action(), action, "{verdict:?}");
        let counted = bench.row(UNICAST.1).get(counter) - before;
        assert_eq!(counted, u64::from(action == XDP_DROP), "{counter:?}");
    }
}

/// The kernel runs programs on 14 bytes or more only.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn a_packet_cut_at_any_length_is_never_accepted() {
    let mut bench = Bench::new();
    for frame in [Frame::valid(3), Frame::valid6(), Frame { ihl: 15, addresses: 255, ..Frame::valid(2) }] {
        let whole = frame.bytes().split_off(frame.packet());
        bench.compare_bare(&whole, LOOPBACK).expect("as in user space");
        let vrid = frame.header_len() + vrrp::VRID;
        for length in ethernet::HEADER_LEN..whole.len() {
            let verdict = bench.compare_bare(&whole[..length], LOOPBACK).expect("as in user space");
            assert_eq!(verdict.action() == XDP_DROP, length > vrid, "{length} of {}", whole.len());
        }
    }
    let accepted: u64 = (1..=3).map(|row| bench.row(row).get(Counter::AdvertisementRcvd)).sum();
    assert_eq!(accepted, 3);
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn packets_to_a_vip_that_does_not_accept_are_dropped() {
    let mut bench = Bench::with(vipd::xdp::Verbosity::Quiet, 1);
    let mut packet = packet(64);
    packet[ipv4::PROTOCOL] = 6;
    assert_eq!(bench.compare_bare(&packet, LOOPBACK).expect("as in user space").action(), XDP_PASS);
    bench.close(ClosedKey { ifindex: LOOPBACK, family: 4, zero: [0; 3], address: words(OURS) });
    assert_eq!(bench.compare_bare(&packet, LOOPBACK).expect("as in user space").action(), XDP_DROP);
    assert_eq!(bench.row(CLOSED_ROW).get(Counter::NotAccepted), 1);
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn it_is_attached_in_generic_mode_whatever_is_configured() {
    let [left, _] = private_pair();
    let mut bench = Bench::new();
    for preference in [Preference::Native, Preference::Auto, Preference::Generic] {
        let attached = bench.loaded.kernel.attach(left, "left", preference, Framing::Bare);
        assert_eq!(attached.expect("veth takes it").mode, Mode::Generic);
    }
}
