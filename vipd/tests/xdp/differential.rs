//! Compares the BPF program with the user-space parser on generated frames.

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use vipd::xdp::Entry;
use vipd_common::counters::{COUNTERS, Counter};
use vipd_common::wire::{ethernet, ipv4, ipv6, vrrp};
use vipd_witness::{Advert, Checksum};

use crate::bench::{AUTHENTIC, Bench, EMPTY, LOOPBACK, OURS, PASSWORD, SIGNED, UNICAST};
use crate::frame;
use crate::reference::Verdict;

/// Number of mutated valid frames to test.
const MUTATED: u32 = 20_000;
/// Number of random frames to test.
const NOISE: u32 = 5000;

/// A mutation of an encoded frame.
#[derive(Clone, Debug)]
struct Spoil {
    /// Bytes to overwrite: positions in the frame and new values.
    edits: Vec<(prop::sample::Index, u8)>,
    /// Length to which the frame is truncated.
    cut: Option<prop::sample::Index>,
}

fn edits(length: usize) -> impl Strategy<Value = Vec<(usize, u8)>> {
    let value = prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()];
    prop_oneof![3 => Just(Vec::new()), 1 => vec((0..length, value), 1..3)]
}

fn frame() -> impl Strategy<Value = Advert> {
    let tpid = prop_oneof![4 => Just(ethernet::TYPE_VLAN), 2 => Just(ethernet::TYPE_QINQ), 1 => any::<u16>()];
    let tci = prop_oneof![4 => Just(0u16), 1 => Just(0xe000), 1 => any::<u16>()];
    let tags = prop_oneof![2 => Just(Vec::new()), 1 => vec((tpid, tci), 0..4)];
    let addresses = prop_oneof![8 => 1u8..4, 3 => 4u8..12, 1 => any::<u8>()];
    let word = prop_oneof![2 => Just(100u16), 2 => Just(1), 1 => any::<u16>()];
    let vrid = prop_oneof![
        5 => Just(51u8),
        5 => Just(52),
        2 => Just(UNICAST.0),
        2 => Just(AUTHENTIC.0),
        1 => Just(EMPTY.0),
        3 => prop::sample::select(&SIGNED).prop_map(|(vrid, ..)| vrid),
        1 => any::<u8>(),
    ];
    let data = prop_oneof![Just([0u8; 8]), Just(PASSWORD), any::<[u8; 8]>()];
    let kind = (
        prop_oneof![Just((4u8, 2u8)), Just((4, 3)), Just((6, 3))],
        data,
        prop_oneof![3 => Just(false), 1 => Just(true)],
    );
    let message = (kind, vrid, any::<u8>(), word, addresses, any::<bool>());
    let padding = prop_oneof![2 => Just(0usize), 2 => 0usize..30, 1 => 0usize..2200];
    let trailing = prop_oneof![9 => Just(0usize), 1 => 0usize..20];
    let length = prop_oneof![9 => Just(28usize), 1 => 0usize..40];
    let trailer = prop_oneof![
        2 => Just(Vec::new()),
        2 => (edits(4), length).prop_map(|(edits, length)| {
            let mut trailer = frame::trailer();
            for (at, value) in edits {
                trailer[at] = value;
            }
            trailer.resize(length, 0);
            trailer
        }),
    ];
    (tags, 5u8..=15, message, padding, (trailing, trailer), edits(ipv4::HEADER_LEN), edits(vrrp::HEADER_LEN))
        .prop_map(
            |(
                tags,
                ihl,
                (((family, version), data, unicast), vrid, priority, word, addresses, message_only),
                padding,
                (trailing, trailer),
                header,
                edits,
            )| {
                let valid = if family == 6 { frame::valid6() } else { frame::valid(version) };
                let to_us = family == 4 && (unicast || vrid == UNICAST.0);
                // In VRRPv2, the high byte of this word is the authentication type.
                let word = if vrid == AUTHENTIC.0 && word == 1 { 0x0101 } else { word };
                Advert {
                    authentication: data,
                    tags,
                    options: if family == 6 { Vec::new() } else { vec![1; usize::from(ihl - 5) * 4] },
                    destination: if to_us { OURS.into() } else { valid.destination },
                    vrid,
                    priority,
                    interval: word,
                    addresses: frame::addresses(family, addresses),
                    checksum: if message_only { Checksum::Message } else { valid.checksum },
                    padding: vec![0xa5; padding],
                    trailing: vec![0; trailing],
                    trailer,
                    ip_edits: header,
                    message_edits: edits,
                    ..valid
                }
            },
        )
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let edit = (any::<prop::sample::Index>(), any::<u8>());
    let edits = prop_oneof![2 => Just(Vec::new()), 1 => vec(edit, 1..4)];
    let cut = prop_oneof![4 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    (edits, cut).prop_map(|(edits, cut)| Spoil { edits, cut })
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// Returns a bench for each program that receives adverts, except [`Entry::Xdp`], which has the
/// same code as [`Entry::XdpFrags`].
fn benches() -> [Bench; 4] {
    [Entry::Tc, Entry::XdpFrags, Entry::TcBare, Entry::XdpBare].map(|entry| Bench::new().on(entry))
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn kernel_and_user_space_agree_on_mutated_adverts() {
    let benches = RefCell::new(benches());
    let reached = RefCell::new([false; COUNTERS]);
    let mut runner = TestRunner::new(config(MUTATED));
    let result = runner.run(&(frame(), spoil()), |(frame, spoil)| {
        let mut bytes = frame.frame();
        for (at, value) in &spoil.edits {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Some(cut) = spoil.cut {
            bytes.truncate(ethernet::HEADER_LEN + cut.index(bytes.len() - ethernet::HEADER_LEN));
        }
        let [tc, xdp, tc_bare, xdp_bare] = &mut *benches.borrow_mut();
        let verdict = tc.compare(&bytes, LOOPBACK).map_err(TestCaseError::fail)?;
        xdp.compare(&bytes, LOOPBACK).map_err(TestCaseError::fail)?;
        let packet = bytes.get(frame.ip_offset()..).unwrap_or_default();
        // BPF_PROG_TEST_RUN rejects frames shorter than an Ethernet header.
        if packet.len() >= ethernet::HEADER_LEN {
            tc_bare.compare(packet, LOOPBACK).map_err(TestCaseError::fail)?;
            xdp_bare.compare(packet, LOOPBACK).map_err(TestCaseError::fail)?;
        }
        let counter = match verdict {
            Verdict::Passed(counter) => counter,
            Verdict::Discarded(_, counter) => Some(counter),
            Verdict::Accepted(..) => Some(Counter::AdvertisementRcvd),
        };
        if let Some(counter) = counter {
            reached.borrow_mut()[counter as usize] = true;
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    // The generator must reach every counter except these, which count in addition to another
    // counter or depend on more than the frame.
    let beside = [
        Counter::PriorityZeroRcvd,
        Counter::ChecksumRfc5798Rcvd,
        Counter::ChecksumRfc9568Rcvd,
        Counter::RingFull,
        Counter::NotLinkLocal,
        Counter::NotAccepted,
        Counter::RateLimited,
        Counter::Fenced,
        Counter::HmacReplayed,
    ];
    let reached = reached.into_inner();
    let missed: Vec<_> = (0..COUNTERS)
        .filter(|cell| !reached[*cell] && !beside.iter().any(|c| *c as usize == *cell))
        .collect();
    assert!(missed.is_empty(), "the generator produced no verdict with the counters {missed:?}");
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn kernel_and_user_space_agree_on_random_frames() {
    let benches = RefCell::new(benches());
    let mut runner = TestRunner::new(config(NOISE));
    let start = prop_oneof![
        Just(Vec::new()),
        Just([[0u8; 12].as_slice(), &[8, 0, 0x45]].concat()),
        Just([[0u8; 12].as_slice(), &[0x81, 0, 0, 0, 8, 0, 0x45]].concat()),
        Just([[0u8; 12].as_slice(), &[0x86, 0xdd, 0x60]].concat()),
        Just([0x45].to_vec()),
        Just([0x60].to_vec()),
    ];
    // Some frames have IP protocol 112 (VRRP), so that they are parsed.
    let strategy = (start, vec(any::<u8>(), 14..300), any::<bool>());
    let result = runner.run(&strategy, |(start, mut bytes, vrrp)| {
        let packet = start.len().saturating_sub(1);
        bytes[..start.len().min(14)].copy_from_slice(&start[..start.len().min(14)]);
        if bytes.len() > packet + 20 && packet > 0 {
            bytes[..start.len()].copy_from_slice(&start);
            if vrrp {
                let ipv6 = bytes[packet] >> 4 == 6;
                bytes[packet + if ipv6 { ipv6::NEXT_HEADER } else { ipv4::PROTOCOL }] = ipv4::PROTOCOL_VRRP;
            }
        }
        for bench in &mut *benches.borrow_mut() {
            bench.compare(&bytes, LOOPBACK).map_err(TestCaseError::fail)?;
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
