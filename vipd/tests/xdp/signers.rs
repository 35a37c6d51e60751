//! Replays and floods of signed adverts.

use std::sync::atomic::{AtomicBool, Ordering};

use vipd_common::Timestamp;
use vipd_common::address::to_words;
use vipd_common::counters::Counter;
use vipd_common::records::{
    PASSED_BURST, PASSED_TOKEN_BYTES, PASSED_TOKEN_INTERVAL, SIGNED_BURST, SIGNED_TOKEN_INTERVAL, SIGNERS,
};
use vipd_common::wire::trailer::SEQUENCE;
use vipd_witness::Advert;

use crate::bench::{Bench, LOOPBACK, now, row};
use crate::frame;
use crate::signed::signed;

/// Number of adverts of a flood, more than any limit admits at once.
const FLOOD: u32 = 6000;
/// The sequence in [`frame::trailer`].
const TRAILER_SEQUENCE: u64 = 0x6925_f0a0_8000_0001;

fn with_sequence(advert: &Advert, sequence: u64) -> Advert {
    let mut trailer = frame::trailer();
    trailer[SEQUENCE..SEQUENCE + 8].copy_from_slice(&sequence.to_be_bytes());
    Advert { trailer, ..advert.clone() }
}

/// Returns the advert with another source address, whose last part is `last`.
fn from(advert: &Advert, last: u8) -> Advert {
    let source = if advert.source.is_ipv6() {
        [0xfe80, 0, 0, 0, 0, 0, 0, u16::from(last)].into()
    } else {
        [10, 0, 0, last].into()
    };
    Advert { source, ..advert.clone() }
}

impl Bench {
    /// Records a verified advert with this sequence.
    fn verified(&self, number: u32, position: usize, advert: &Advert, mark: u64, until: Timestamp) {
        self.loaded.signers.verified(row(number), position, to_words(advert.source), mark, until);
    }

    /// Runs the program, and returns whether it passed the advert to user space.
    fn passes(&mut self, advert: &Advert) -> bool {
        self.run(&advert.frame(), LOOPBACK);
        self.loaded.feed.pop().is_some()
    }

    /// Runs the program `count` times in one call. Returns the number of records, and an upper
    /// bound of the elapsed time in nanoseconds.
    fn flood(&mut self, advert: &Advert, count: u32) -> (u64, u64) {
        let begin = now();
        self.loaded.kernel.test_run(self.entry, &advert.frame(), LOOPBACK, count).expect("a test run");
        let took = now() - begin;
        let records = std::iter::from_fn(|| self.loaded.feed.pop()).count();
        (u64::try_from(records).expect("a ring"), took)
    }

    fn replayed(&self, number: u32) -> u64 {
        self.row(number).get(Counter::HmacReplayed)
    }
}

const NEVER: Timestamp = Timestamp::from_nanos(u64::MAX);

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn replays_of_a_known_sender_are_dropped() {
    let mut bench = Bench::new();
    for (number, _, advert) in signed() {
        for (ahead, mark, is_replay) in [
            (1, TRAILER_SEQUENCE, false),
            (0, TRAILER_SEQUENCE, true),
            (u64::MAX, TRAILER_SEQUENCE, true),
            // By serial number arithmetic, half of all sequences are later.
            (1 << 63, TRAILER_SEQUENCE, true),
            ((1 << 63) - 1, TRAILER_SEQUENCE, false),
            (1, u64::MAX, false),
        ] {
            bench.verified(number, 0, &advert, mark, NEVER);
            let before = bench.replayed(number);
            let passes = bench.passes(&with_sequence(&advert, mark.wrapping_add(ahead)));
            assert_eq!(
                (passes, bench.replayed(number) - before),
                (!is_replay, u64::from(is_replay)),
                "{ahead}"
            );
        }
        let replay = with_sequence(&advert, 1);
        bench.verified(number, 0, &advert, 1, Timestamp::from_nanos(1));
        assert!(bench.passes(&replay), "the mark no longer counts");
        bench.verified(number, 0, &advert, 1, NEVER);
        assert!(!bench.passes(&replay));
        assert!(bench.passes(&from(&replay, 99)), "another sender");
        bench.loaded.signers.clear(row(number));
        assert!(bench.passes(&replay), "the senders have been forgotten");
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn each_position_has_its_own_sender_and_mark() {
    let mut bench = Bench::new();
    let (number, _, advert) = signed().next().expect("a router");
    for position in 0..=SIGNERS {
        let mark = 100 + 10 * u64::try_from(position).expect("small");
        let sender = from(&advert, u8::try_from(100 + position).expect("small"));
        bench.verified(number, position, &sender, mark, NEVER);
        assert!(bench.passes(&with_sequence(&sender, mark + 1)), "{position}");
        let is_kept = position < SIGNERS;
        assert_eq!(bench.passes(&with_sequence(&sender, mark)), !is_kept, "{position}");
    }
    let (replaced, new) = (from(&advert, 101), from(&advert, 200));
    bench.verified(number, 1, &new, 1000, NEVER);
    assert!(bench.passes(&with_sequence(&replaced, 1)));
    assert!(!bench.passes(&with_sequence(&new, 1000)));
    assert!(!bench.passes(&with_sequence(&from(&advert, 100), 100)), "other positions are unchanged");
}

/// While user space replaces one sender by another, an advert of the first is never compared with
/// the mark of the second.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn sequence_is_never_compared_with_the_mark_of_another_sender() {
    let bench = Bench::new();
    let (number, _, advert) = signed().next().expect("a router");
    let [low, high] = [101, 102].map(|last| from(&advert, last));
    let frame = with_sequence(&low, 500).frame();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let signers = &bench.loaded.signers;
        let is_done = &is_done;
        scope.spawn(move || {
            while !is_done.load(Ordering::Relaxed) {
                signers.verified(row(number), 0, to_words(high.source), 1000, NEVER);
                signers.verified(row(number), 0, to_words(low.source), 10, NEVER);
            }
        });
        let run = bench.loaded.kernel.test_run(bench.entry, &frame, LOOPBACK, 1_000_000);
        is_done.store(true, Ordering::Relaxed);
        run.expect("a test run");
    });
    assert_eq!(bench.replayed(number), 0);
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn flood_of_unknown_senders_does_not_use_up_the_bucket_of_a_known_sender() {
    for (number, _, advert) in signed() {
        let mut bench = Bench::limiting();
        let master = from(&advert, 100);
        bench.verified(number, 0, &master, 1, NEVER);
        let (first, took) = bench.flood(&advert, FLOOD);
        assert!(first >= SIGNED_BURST, "{first}");
        assert!(first <= SIGNED_BURST + 1 + took / SIGNED_TOKEN_INTERVAL, "{first} in {took} ns");
        assert_eq!(bench.row(number).get(Counter::RateLimited), u64::from(FLOOD) - first);
        let dropped = bench.loaded.signers.last_drop(row(number));
        assert!(dropped > Timestamp::ZERO, "the master may be unknown");
        let (passed, _) = bench.flood(&master, u32::try_from(SIGNED_BURST).expect("small"));
        assert_eq!(passed, SIGNED_BURST, "the known sender");

        // A flood that forges the known sender's address is limited, too. In both cases, the time
        // of the drop is stored for user space, because adverts of the master may be missing.
        let before = bench.row(number).get(Counter::RateLimited);
        let (passed, took) = bench.flood(&master, FLOOD);
        assert!(passed <= SIGNED_BURST + 1 + took / SIGNED_TOKEN_INTERVAL, "{passed} in {took} ns");
        assert_eq!(bench.row(number).get(Counter::RateLimited) - before, u64::from(FLOOD) - passed);
        assert!(bench.loaded.signers.last_drop(row(number)) > dropped);
        assert!(!bench.loaded.steady.take_lost(row(number)), "the ring was not full");
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn all_rows_share_a_limit() {
    let mut bench = Bench::limiting();
    let begin = now();
    let mut passed = 0;
    for (number, _, advert) in signed() {
        for position in 0..SIGNERS {
            let sender = from(&advert, u8::try_from(100 + position).expect("small"));
            bench.verified(number, position, &sender, 1, NEVER);
            passed += bench.flood(&sender, 1000).0;
        }
    }
    let took = now() - begin;
    assert!(passed >= PASSED_BURST, "{passed}");
    assert!(passed <= PASSED_BURST + 1 + took / PASSED_TOKEN_INTERVAL, "{passed} in {took} ns");
}

/// Adverts of unknown senders leave room for those of known senders.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn half_of_the_common_limit_is_reserved_for_known_senders() {
    let mut bench = Bench::limiting();
    let routers: Vec<_> = signed().collect();
    let begin = now();
    let mut passed = 0;
    for (_, _, advert) in &routers {
        passed += bench.flood(advert, FLOOD).0;
    }
    let took = now() - begin;
    assert!(passed >= PASSED_BURST / 2, "{passed}");
    assert!(passed <= PASSED_BURST / 2 + 1 + took / PASSED_TOKEN_INTERVAL, "{passed} in {took} ns");
    let (number, _, advert) = &routers[0];
    let master = from(advert, 100);
    bench.verified(*number, 0, &master, 1, NEVER);
    let (passed, _) = bench.flood(&master, 200);
    assert_eq!(passed, 200, "the known sender");
}

/// Long adverts take more of the common limit, because hashing them takes longer.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn long_adverts_take_more_of_the_common_limit() {
    let mut bench = Bench::limiting();
    let begin = now();
    let (mut passed, mut tokens) = (0, 0);
    for (number, _, advert) in signed().filter(|(_, _, advert)| advert.source.is_ipv6()) {
        for position in 0..SIGNERS {
            let sender = from(&advert, u8::try_from(100 + position).expect("small"));
            // About the longest frame that `BPF_PROG_TEST_RUN` passes in one buffer.
            let long = Advert { addresses: frame::addresses(6, 200), ..sender };
            bench.verified(number, position, &long, 1, NEVER);
            let count = bench.flood(&long, 256).0;
            passed += count;
            tokens += count * (1 + 200 * 16 / PASSED_TOKEN_BYTES);
        }
    }
    let took = now() - begin;
    assert!(passed > 0, "no long advert passed");
    assert!(tokens <= PASSED_BURST + 1 + took / PASSED_TOKEN_INTERVAL, "{passed} in {took} ns");
}

/// A cleared row is like a new row: no senders, and full buckets.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn a_cleared_row_keeps_no_senders() {
    let (number, _, advert) = signed().next().expect("a router");
    let mut bench = Bench::limiting();
    bench.verified(number, 3, &advert, TRAILER_SEQUENCE, NEVER);
    assert!(!bench.passes(&advert));
    bench.loaded.kernel.clear_rows(&[row(number)]).expect("the row exists");
    assert!(bench.passes(&advert), "the replayed advert of an unknown sender");
    let (passed, _) = bench.flood(&advert, 200);
    assert_eq!(passed, 200);
    bench.flood(&advert, FLOOD);
    bench.loaded.kernel.clear_rows(&[row(number)]).expect("the row exists");
    assert_eq!(bench.loaded.signers.last_drop(row(number)), Timestamp::ZERO);
    // The bucket that all rows share is not cleared with the row, so wait until it is full again.
    let is_full = now() + PASSED_BURST * PASSED_TOKEN_INTERVAL;
    while now() < is_full {
        std::hint::spin_loop();
    }
    let (passed, _) = bench.flood(&advert, u32::try_from(SIGNED_BURST).expect("small"));
    assert_eq!(passed, SIGNED_BURST, "a full bucket");
}
