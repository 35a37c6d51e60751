//! The ring buffer: order and overflow.

use vipd::xdp::{Action, MAX_PENDING};
use vipd_common::counters::Counter;
use vipd_witness::Advert;

use crate::bench::{Bench, LOOPBACK};
use crate::frame;

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn records_are_in_order_of_arrival() {
    let mut bench = Bench::new();
    for priority in 0..=255 {
        bench.run(&Advert { priority, ..frame::valid(3) }.frame(), LOOPBACK);
    }
    let mut last = 0;
    for priority in 0..=255 {
        let record = bench.loaded.feed.pop().expect("256 records");
        assert_eq!(record.priority, priority);
        assert!(record.arrival >= last, "time does not go backward");
        last = record.arrival;
    }
    assert_eq!(bench.loaded.feed.pop(), None);
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn adverts_lost_to_a_full_ring_are_counted() {
    const MORE: u64 = 1000;
    let mut bench = Bench::new();
    let frame = frame::valid(3).frame();
    let pending = u64::try_from(MAX_PENDING).expect("it fits");
    let runs = u32::try_from(pending + MORE).expect("it fits");
    let (action, _) =
        bench.loaded.kernel.test_run(bench.entry, &frame, LOOPBACK, runs).expect("the program runs");
    assert_eq!(action, Action::Drop, "adverts are dropped even if the ring is full");
    let row = bench.row(1);
    assert_eq!(row.get(Counter::AdvertisementRcvd), u64::from(runs), "each is counted");
    let mut popped = 0;
    while bench.loaded.feed.pop().is_some() {
        popped += 1;
    }
    let full = row.get(Counter::RingFull);
    assert_eq!(popped + full, u64::from(runs), "received = read + lost");
    // The kernel keeps at least one byte of the ring free, so the last record may not fit.
    assert!((pending - 1..=pending).contains(&popped), "{popped} of {pending} fit");

    assert!(bench.loaded.steady.take_lost(crate::bench::row(1)), "the row lost records");
    assert!(!bench.loaded.steady.take_lost(crate::bench::row(1)), "the first call resets the flag");
    assert!(!bench.loaded.steady.take_lost(crate::bench::row(2)), "other rows lost no records");

    // Later adverts are recorded again.
    assert_eq!(bench.run(&frame, LOOPBACK), Action::Drop);
    assert!(bench.loaded.feed.pop().is_some());
    assert_eq!(bench.row(1).get(Counter::RingFull), full);
}
