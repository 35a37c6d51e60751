//! Senders are held to a rate.

use vipd_common::counters::Counter;
use vipd_common::records::{ALLOWED_EVERY, BURST as AT_ONCE};
use vipd_common::wire::{ipv4, ipv6};

use crate::bench::{Bench, LOOPBACK, now};
use crate::frame::Frame;
use crate::reference::Verdict;

const BURST: u64 = AT_ONCE as u64;

/// So many adverts of one sender, back to back: how many have left a record, and the nanoseconds that it took.
fn flood(bench: &mut Bench, frame: &Frame, count: u64) -> (u64, u64) {
    let (bytes, begin) = (frame.bytes(), now());
    for _ in 0..count {
        bench.run(&bytes, LOOPBACK);
    }
    let took = now() - begin;
    let records = std::iter::from_fn(|| bench.loaded.feed.pop()).count();
    (u64::try_from(records).expect("a ring"), took)
}

/// The same from another source.
fn from_another(frame: Frame) -> Frame {
    let last = if frame.family == 6 { ipv6::SOURCE + 15 } else { ipv4::SOURCE + 3 };
    Frame { header: vec![(last, 9)], ..frame }
}

fn limited(bench: &Bench, row: u32) -> u64 {
    bench.row(row).get(Counter::RateLimited)
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn a_sender_that_floods_is_held_to_its_rate_and_counted() {
    for valid in [Frame::valid(3), Frame::valid(2), Frame::valid6()] {
        let mut bench = Bench::limiting();
        let Verdict::Accepted(row, _) = bench.reference(&valid.bytes(), LOOPBACK) else {
            panic!("{valid:?}")
        };
        let (passed, took) = flood(&mut bench, &valid, 20_000);
        assert!(passed >= BURST, "{passed} of a burst");
        assert!(passed <= BURST + 1 + took / ALLOWED_EVERY, "{passed} in {took} ns");
        assert_eq!(limited(&bench, row), 20_000 - passed);
        assert_eq!(bench.row(row).get(Counter::AdvertisementRcvd), 20_000, "all are counted");
        assert_eq!(bench.row(row).get(Counter::RingFull), 0);

        // It may still leave, and others are not to blame.
        let (passed, _) = flood(&mut bench, &Frame { priority: 0, ..valid.clone() }, 1);
        assert_eq!(passed, 1, "its priority 0 has an allowance of its own");
        let before = limited(&bench, row);
        let (passed, _) = flood(&mut bench, &from_another(valid), 10);
        assert_eq!((passed, limited(&bench, row)), (10, before), "another sender");
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn what_is_steady_is_held_to_nothing() {
    let mut bench = Bench::limiting();
    let valid = Frame::valid(3);
    let Verdict::Accepted(row, advert) = bench.reference(&valid.bytes(), LOOPBACK) else {
        panic!("{valid:?}")
    };
    bench.loaded.steady.expect(
        crate::bench::row(row),
        Some(advert.fingerprint()),
        vipd_common::Timestamp::ZERO,
    );
    flood(&mut bench, &valid, 10_000);
    assert_eq!(limited(&bench, row), 0);
    let (passed, _) = flood(&mut bench, &Frame { priority: 99, ..valid }, BURST);
    assert_eq!(passed, BURST, "it has said nothing yet that counts");
}

/// Somebody who floods in the true master's name takes nothing from what the master is known to say.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn what_was_steady_is_held_to_nothing_whatever_is_sent_in_its_name() {
    let mut bench = Bench::limiting();
    let (master, forged) = (Frame::valid(3), Frame { priority: 1, ..Frame::valid(3) });
    let Verdict::Accepted(row, advert) = bench.reference(&master.bytes(), LOOPBACK) else {
        panic!("{master:?}")
    };
    let steady = &bench.loaded.steady;
    steady.expect(crate::bench::row(row), Some(advert.fingerprint()), vipd_common::Timestamp::ZERO);
    steady.expect(crate::bench::row(row), None, vipd_common::Timestamp::ZERO);
    flood(&mut bench, &forged, 1000);
    assert!(limited(&bench, row) > 0);
    assert_eq!(flood(&mut bench, &master, 100).0, 100, "each is handed over");
    let other = Frame { priority: 99, ..master };
    assert!(flood(&mut bench, &other, 100).0 < 100, "and nothing else of that sender");
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn what_is_discarded_leaves_word_once() {
    let mut bench = Bench::limiting();
    let valid = Frame::valid(3);
    assert!(!bench.loaded.counters.take_discarded(), "nothing yet");
    flood(&mut bench, &valid, BURST);
    bench.run(&Frame { vrid: 200, ..valid.clone() }.bytes(), LOOPBACK);
    assert!(!bench.loaded.counters.take_discarded(), "what is valid or foreign is not discarded");
    let wrong = Frame { damage: vec![ipv4::HEADER_LEN + 7], ..valid.clone() }.bytes();
    bench.run(&wrong, LOOPBACK);
    bench.run(&wrong, LOOPBACK);
    assert!(bench.loaded.counters.take_discarded());
    assert!(!bench.loaded.counters.take_discarded(), "it was told");
    flood(&mut bench, &valid, 1000);
    assert!(bench.loaded.counters.take_discarded(), "a sender has said too much");
}
