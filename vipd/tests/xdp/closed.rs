//! Accept_Mode false: only packets to closed addresses are dropped.

use vipd::xdp::{Action, Verbosity};
use vipd_common::address::{ipv4, ipv6};
use vipd_common::counters::Counter;
use vipd_common::records::AddressKey;
use vipd_common::wire::ethernet;
use vipd_witness::Advert;

use crate::bench::{Bench, CLOSED_ROW, LOOPBACK};
use crate::frame;

const FOUR: [u8; 4] = [10, 0, 0, 50];
const SIX: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50];

fn key(family: u8) -> AddressKey {
    let address = if family == 6 { ipv6(SIX) } else { ipv4(FOUR) };
    AddressKey::new(LOOPBACK, family, address)
}

/// Returns a packet to the closed address or, if `neighbor` is true, to a neighboring address. The
/// packet's payload begins with `kind`.
fn packet(family: u8, protocol: u8, kind: u8, neighbor: bool) -> Vec<u8> {
    let (mut four, mut six) = (FOUR, SIX);
    if neighbor {
        (four[3], six[15]) = (0x51, 0x51);
    }
    let (valid, destination) =
        if family == 6 { (frame::valid6(), six.into()) } else { (frame::valid(3), four.into()) };
    Advert { destination, protocol, message_edits: vec![(0, kind)], ..valid }.frame()
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn only_packets_to_closed_addresses_are_dropped() {
    let mut bench = Bench::with(Verbosity::Quiet, 4);
    let frames: Vec<(&str, Vec<u8>, bool)> = vec![
        ("ICMP echo", packet(4, 1, 8, false), true),
        ("TCP", packet(4, 6, 0, false), true),
        ("UDP to a neighbor", packet(4, 17, 0, true), false),
        ("ICMPv6 echo", packet(6, 58, 128, false), true),
        ("TCP over IPv6", packet(6, 6, 0, false), true),
        ("Neighbor Solicitation", packet(6, 58, 135, false), false),
        ("Neighbor Advertisement", packet(6, 58, 136, false), false),
        ("TCP with 135 in its port", packet(6, 6, 135, false), true),
        ("UDP over IPv6 to a neighbor", packet(6, 17, 0, true), false),
        ("ARP", Advert { ethertype: ethernet::TYPE_ARP, ..frame::valid(3) }.frame(), false),
    ];
    for round in ["open", "closed", "open again"] {
        for (what, frame, dropped) in &frames {
            let verdict =
                bench.compare(frame, LOOPBACK).unwrap_or_else(|error| panic!("{what}, {round}: {error}"));
            let action = if *dropped && round == "closed" { Action::Drop } else { Action::Pass };
            assert_eq!(verdict.action(), action, "{what}, {round}");
        }
        for family in [4, 6] {
            if round == "open" {
                bench.close(key(family));
            } else {
                bench.open(key(family));
            }
        }
    }
    assert_eq!(bench.row(CLOSED_ROW).get(Counter::NotAccepted), 5);
    // Adverts are processed before the program checks for closed addresses.
    assert_eq!(bench.run(&frame::valid(3).frame(), LOOPBACK), Action::Drop);
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn truncated_frames_get_the_same_verdict_as_in_user_space() {
    let mut bench = Bench::with(Verbosity::Quiet, 4);
    for family in [4, 6] {
        bench.close(key(family));
        let whole = packet(family, if family == 6 { 58 } else { 1 }, 135, false);
        for length in ethernet::HEADER_LEN..=whole.len() {
            bench.compare(&whole[..length], LOOPBACK).unwrap_or_else(|error| panic!("{length}: {error}"));
        }
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn closing_and_opening_a_vip_are_idempotent() {
    let mut bench = Bench::new();
    let echo = packet(4, 1, 8, false);
    assert_eq!(bench.run(&echo, LOOPBACK), Action::Pass);
    for _ in 0..2 {
        bench.close(key(4));
        bench.close(key(4));
        assert_eq!(bench.run(&echo, LOOPBACK), Action::Drop);
        bench.open(key(4));
        bench.open(key(4));
        assert_eq!(bench.run(&echo, LOOPBACK), Action::Pass);
    }
}
