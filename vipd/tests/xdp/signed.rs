//! Signed adverts: they reach user space with their packet, do not take the fast path, and do not
//! fence before their HMAC has been verified.

use vipd::xdp::{Action, Entry};
use vipd_common::Timestamp;
use vipd_common::counters::Counter;
use vipd_common::parse::Trailer;
use vipd_common::wire::{ethernet, trailer};
use vipd_witness::Advert;

use crate::bench::{Bench, LOOPBACK, SIGNED, row};
use crate::frame;
use crate::reference::Verdict;

/// Returns a signed advert for each router in [`SIGNED`], with the router's row and its rule for
/// trailers.
pub(crate) fn signed() -> impl Iterator<Item = (u32, Trailer, Advert)> {
    SIGNED.into_iter().map(|(vrid, family, version, row, rule)| {
        let valid = if family == 6 { frame::valid6() } else { frame::valid(version) };
        (row, rule, Advert { vrid, trailer: frame::trailer(), ..valid })
    })
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn signed_adverts_reach_user_space_with_their_packet() {
    for entry in [Entry::Xdp, Entry::XdpFrags, Entry::Tc] {
        let mut bench = Bench::new().on(entry);
        for (row, _, advert) in signed() {
            let longest = Advert { addresses: frame::addresses(6, 255), ..advert.clone() };
            let padded = Advert { padding: vec![0xa5; 100], ..advert.clone() };
            // `BPF_PROG_TEST_RUN` passes long frames in several buffers, which the program for
            // linear buffers cannot receive.
            let long = (entry == Entry::XdpFrags && row == 11).then_some(longest);
            for advert in [advert, padded].into_iter().chain(long) {
                let frame = advert.frame();
                let verdict = bench.compare(&frame, LOOPBACK).expect("same verdict");
                let Verdict::Accepted(_, parsed) = verdict else { panic!("{verdict:?}") };
                assert!(parsed.is_signed);
                assert_eq!(parsed.sequence, 0x6925_f0a0_8000_0001);
                let packet = &frame[ethernet::HEADER_LEN..frame.len() - advert.padding.len()];
                assert_eq!(bench.loaded.feed.packet(), packet);
                assert!(packet.ends_with(&[0xa5; trailer::HMAC_LEN]));
                assert_eq!(bench.row(row).get(Counter::AdvertisementRcvd), 0, "not verified yet");
            }
        }
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn unsigned_adverts_have_no_packet() {
    let mut bench = Bench::new();
    for (_, rule, advert) in signed() {
        bench.run(&advert.frame(), LOOPBACK);
        bench.run(&Advert { trailer: Vec::new(), ..advert.clone() }.frame(), LOOPBACK);
        assert!(bench.loaded.feed.pop().is_some() && !bench.loaded.feed.packet().is_empty());
        assert_eq!(bench.loaded.feed.pop().is_some(), rule == Trailer::Optional);
        assert_eq!(bench.loaded.feed.packet().is_empty(), rule == Trailer::Optional);
    }
}

/// A signed advert is never compared with the expected advert of its router: it could be a replay.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn signed_adverts_are_not_on_the_fast_path() {
    let mut bench = Bench::new();
    for (number, _, advert) in signed() {
        let bytes = advert.frame();
        let Verdict::Accepted(_, parsed) = bench.reference(&bytes, LOOPBACK) else { panic!("{advert:?}") };
        bench.loaded.steady.publish(row(number), Some(parsed.fingerprint()), Timestamp::ZERO);
        assert_eq!(bench.run(&bytes, LOOPBACK), Action::Drop);
        assert!(bench.loaded.feed.pop().is_some());
        assert_eq!(bench.loaded.steady.last_arrival(row(number)), Timestamp::ZERO);
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn signed_adverts_lost_to_a_full_ring_are_counted() {
    let mut bench = Bench::new();
    let (number, _, advert) = signed().next().expect("a router");
    let frame = advert.frame();
    let runs = 10_000;
    bench.loaded.kernel.test_run(bench.entry, &frame, LOOPBACK, runs).expect("the program runs");
    let mut popped = 0;
    while bench.loaded.feed.pop().is_some() {
        assert_eq!(bench.loaded.feed.packet(), &frame[ethernet::HEADER_LEN..]);
        popped += 1;
    }
    let full = bench.row(number).get(Counter::RingFull);
    assert!(full > 0);
    assert_eq!(popped + full, u64::from(runs));
    assert!(bench.loaded.steady.take_lost(row(number)));
}

/// Neither an unverified advert nor an unsigned one fences a router that requires a trailer.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn unverified_adverts_do_not_fence() {
    for valid_until in [1, u64::MAX] {
        let bench = Bench::new();
        for (number, rule, advert) in signed() {
            bench.loaded.leases.begin(row(number), Timestamp::from_nanos(1));
            bench.loaded.leases.renew(row(number), Timestamp::from_nanos(valid_until), 100);
            let advert = Advert { priority: 200, ..advert };
            bench.run(&advert.frame(), LOOPBACK);
            assert!(!bench.loaded.leases.is_fenced(row(number)));
            bench.run(&Advert { trailer: Vec::new(), ..advert }.frame(), LOOPBACK);
            assert_eq!(bench.loaded.leases.is_fenced(row(number)), rule == Trailer::Optional);
        }
    }
}
