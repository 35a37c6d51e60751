//! Rate limit per sender.

use vipd_common::counters::Counter;
use vipd_common::records::{BURST as AT_ONCE, TOKEN_INTERVAL};
use vipd_common::wire::ipv4;
use vipd_witness::Advert;

use crate::bench::{Bench, LOOPBACK, now};
use crate::frame;
use crate::reference::Verdict;

const BURST: u64 = AT_ONCE as u64;

/// Sends `count` adverts from one sender back to back. Returns the number of records and the
/// elapsed time in nanoseconds.
fn flood(bench: &mut Bench, frame: &Advert, count: u64) -> (u64, u64) {
    let (bytes, begin) = (frame.frame(), now());
    for _ in 0..count {
        bench.run(&bytes, LOOPBACK);
    }
    let took = now() - begin;
    let records = std::iter::from_fn(|| bench.loaded.feed.pop()).count();
    (u64::try_from(records).expect("a ring"), took)
}

/// Returns the frame with a different source address.
fn from_another(frame: Advert) -> Advert {
    let source =
        if frame.source.is_ipv6() { [0xfe80, 0, 0, 0, 0, 0, 0, 9].into() } else { [10, 0, 0, 9].into() };
    Advert { source, ..frame }
}

fn limited(bench: &Bench, row: u32) -> u64 {
    bench.row(row).get(Counter::RateLimited)
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn a_flooding_sender_is_rate_limited_and_counted() {
    for valid in [frame::valid(3), frame::valid(2), frame::valid6()] {
        let mut bench = Bench::limiting();
        let Verdict::Accepted(row, _) = bench.reference(&valid.frame(), LOOPBACK) else {
            panic!("{valid:?}")
        };
        let (passed, took) = flood(&mut bench, &valid, 20_000);
        assert!(passed >= BURST, "only {passed} adverts of a burst passed");
        assert!(passed <= BURST + 1 + took / TOKEN_INTERVAL, "{passed} adverts passed in {took} ns");
        assert_eq!(limited(&bench, row), 20_000 - passed);
        assert_eq!(bench.row(row).get(Counter::AdvertisementRcvd), 20_000, "all are counted");
        assert_eq!(bench.row(row).get(Counter::RingFull), 0);

        // The limit does not affect the sender's priority-0 adverts or other senders.
        let (passed, _) = flood(&mut bench, &Advert { priority: 0, ..valid.clone() }, 1);
        assert_eq!(passed, 1, "priority 0 has a separate bucket");
        let before = limited(&bench, row);
        let (passed, _) = flood(&mut bench, &from_another(valid), 10);
        assert_eq!((passed, limited(&bench, row)), (10, before), "another sender");
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn unchanged_adverts_are_not_rate_limited() {
    let mut bench = Bench::limiting();
    let valid = frame::valid(3);
    let Verdict::Accepted(row, advert) = bench.reference(&valid.frame(), LOOPBACK) else {
        panic!("{valid:?}")
    };
    bench.loaded.steady.publish(
        crate::bench::row(row),
        Some(advert.fingerprint()),
        vipd_common::Timestamp::ZERO,
    );
    flood(&mut bench, &valid, 10_000);
    assert_eq!(limited(&bench, row), 0);
    let (passed, _) = flood(&mut bench, &Advert { priority: 99, ..valid }, BURST);
    assert_eq!(passed, BURST, "unchanged adverts do not charge the bucket");
}

/// The master's advert that was last on the fast path has its own bucket. A flood of other adverts
/// that forge the master's source address does not drain this bucket. A flood of replays of the
/// master's advert is rate limited, too.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn the_previously_unchanged_advert_has_its_own_bucket() {
    let mut bench = Bench::limiting();
    let (master, forged) = (frame::valid(3), Advert { priority: 1, ..frame::valid(3) });
    let Verdict::Accepted(row, advert) = bench.reference(&master.frame(), LOOPBACK) else {
        panic!("{master:?}")
    };
    let steady = &bench.loaded.steady;
    steady.publish(crate::bench::row(row), Some(advert.fingerprint()), vipd_common::Timestamp::ZERO);
    steady.publish(crate::bench::row(row), None, vipd_common::Timestamp::ZERO);
    flood(&mut bench, &forged, 1000);
    assert!(limited(&bench, row) > 0);
    let begin = now();
    let (passed, _) = flood(&mut bench, &master, BURST);
    assert_eq!(passed, BURST, "the forged flood does not drain the bucket");
    let (passed, _) = flood(&mut bench, &master, 20_000);
    let all = now() - begin;
    assert!(passed <= 1 + all / TOKEN_INTERVAL, "{passed} replays in {all} ns");
    let other = Advert { priority: 99, ..master };
    assert!(flood(&mut bench, &other, 100).0 < 100, "the sender's other adverts stay limited");
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn an_invalid_or_rate_limited_advert_sets_the_discarded_flag() {
    let mut bench = Bench::limiting();
    let valid = frame::valid(3);
    assert!(!bench.loaded.counters.take_discarded(), "initially unset");
    flood(&mut bench, &valid, BURST);
    bench.run(&Advert { vrid: 200, ..valid.clone() }.frame(), LOOPBACK);
    assert!(!bench.loaded.counters.take_discarded(), "valid and unassigned adverts are not discarded");
    let wrong = Advert { corrupt: vec![ipv4::HEADER_LEN + 7], ..valid.clone() }.frame();
    bench.run(&wrong, LOOPBACK);
    bench.run(&wrong, LOOPBACK);
    assert!(bench.loaded.counters.take_discarded());
    assert!(!bench.loaded.counters.take_discarded(), "the first call resets the flag");
    flood(&mut bench, &valid, 1000);
    assert!(bench.loaded.counters.take_discarded(), "a sender is rate limited");
}
