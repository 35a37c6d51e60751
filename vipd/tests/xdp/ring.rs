//! The ring buffer: order, and what happens when it is full.

use vipd::xdp::MAX_PENDING;
use vipd_common::counters::Counter;
use vipd_witness::Advert;

use crate::bench::{Bench, LOOPBACK, XDP_DROP};
use crate::frame;

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn records_come_in_the_order_of_arrival() {
    let mut bench = Bench::new();
    for priority in 0..=255 {
        bench.run(&Advert { priority, ..frame::valid(3) }.frame(), LOOPBACK);
    }
    let mut last = 0;
    for priority in 0..=255 {
        let record = bench.loaded.feed.pop().expect("256 records");
        assert_eq!(record.priority, priority);
        assert!(record.arrival >= last, "time does not go back");
        last = record.arrival;
    }
    assert_eq!(bench.loaded.feed.pop(), None);
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn a_full_ring_is_counted_and_nothing_else_is_lost() {
    const MORE: u64 = 1000;
    let mut bench = Bench::new();
    let frame = frame::valid(3).frame();
    let pending = u64::try_from(MAX_PENDING).expect("it fits");
    let runs = u32::try_from(pending + MORE).expect("it fits");
    let (action, _) = bench.loaded.kernel.test_run(&frame, LOOPBACK, runs).expect("the kernel runs it");
    assert_eq!(action, XDP_DROP, "an advert that finds the ring full is still ours");
    let row = bench.row(1);
    assert_eq!(row.get(Counter::AdvertisementRcvd), u64::from(runs), "each is counted");
    let mut popped = 0;
    while bench.loaded.feed.pop().is_some() {
        popped += 1;
    }
    let full = row.get(Counter::RingFull);
    assert_eq!(popped + full, u64::from(runs), "received = handed over + ring full");
    // A record is not split at the end of the ring, and one byte of it always stays free.
    assert!((pending - 1..=pending).contains(&popped), "{popped} of {pending} fit");

    assert!(bench.loaded.steady.take_lost(crate::bench::row(1)), "the row lost records");
    assert!(!bench.loaded.steady.take_lost(crate::bench::row(1)), "reset by the first call");
    assert!(!bench.loaded.steady.take_lost(crate::bench::row(2)), "no other row did");

    // And it works again.
    assert_eq!(bench.run(&frame, LOOPBACK), XDP_DROP);
    assert!(bench.loaded.feed.pop().is_some());
    assert_eq!(bench.row(1).get(Counter::RingFull), full);
}
