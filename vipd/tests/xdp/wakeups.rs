//! Wake-ups: a changed advert is recorded and wakes the reader. Apart from the counters, an
//! unchanged advert only updates the stored arrival time.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::os::fd::OwnedFd;
use vipd::xdp::Row;
use vipd_common::Timestamp;
use vipd_common::parse::{Advert, ChecksumForm};
use vipd_witness::Advert as Frame;

use crate::bench::{Bench, LOOPBACK, now};
use crate::frame;
use crate::reference::Verdict;

/// Time limit for a wake-up that is expected.
const SOON: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// An edge-triggered epoll set on the ring.
struct Waker(OwnedFd);

impl Waker {
    fn on(bench: &Bench) -> Self {
        let set = epoll::create(CreateFlags::CLOEXEC).expect("a descriptor");
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&set, &bench.loaded.feed, EventData::new_u64(0), flags).expect("a pollable ring");
        let waker = Self(set);
        waker.was_woken(NOW);
        waker
    }

    fn was_woken(&self, timeout: Timespec) -> bool {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 1];
        epoll::wait(&self.0, &mut events[..], Some(&timeout)).expect("epoll") > 0
    }
}

/// Runs the program on a frame while the reader is blocked.
fn run(bench: &mut Bench, frame: &[u8]) {
    bench.loaded.feed.sleep();
    bench.run(frame, LOOPBACK);
}

/// Returns the parsed advert of a valid frame, and the row of its router.
fn advert(bench: &Bench, frame: &Frame) -> (Row, Advert) {
    match bench.reference(&frame.frame(), LOOPBACK) {
        Verdict::Accepted(row, advert) => (crate::bench::row(row), advert),
        other => panic!("{other:?}"),
    }
}

/// Returns `arrival` and `last_unchanged` of each record in the ring.
fn records(bench: &mut Bench) -> Vec<(u64, u64)> {
    std::iter::from_fn(|| bench.loaded.feed.pop())
        .map(|record| (record.arrival, record.last_unchanged))
        .collect()
}

fn time() -> Timestamp {
    Timestamp::from_nanos(now())
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn an_unchanged_advert_updates_the_stored_arrival_without_a_wake_up() {
    for valid in [frame::valid(3), frame::valid(2), frame::valid6()] {
        let mut bench = Bench::new();
        let waker = Waker::on(&bench);
        let frame = valid.frame();
        let (row, expected) = advert(&bench, &valid);

        run(&mut bench, &frame);
        assert!(waker.was_woken(SOON), "no fingerprint is published");
        bench.run(&frame, LOOPBACK);
        assert!(!waker.was_woken(NOW), "the reader is already awake");
        assert_eq!(records(&mut bench).len(), 2);
        let [a, b, c, d] = expected.source;
        let others = [
            Advert { addresses: expected.addresses ^ 1, ..expected },
            Advert { source: [a, b, c, d ^ 1], ..expected },
            Advert { source: [a ^ 1, b, c, d], ..expected },
            Advert { interval: expected.interval + 1, ..expected },
            Advert { priority: 99, ..expected },
            Advert { priority: 0, ..expected },
            Advert { checksum: ChecksumForm::Rfc9568, ..expected },
        ];
        let before = time();
        for other in others {
            bench.loaded.steady.publish(row, Some(other.fingerprint()), before);
            run(&mut bench, &frame);
            assert!(waker.was_woken(SOON), "{other:?}");
            assert_eq!(bench.loaded.steady.last_arrival(row), before, "{other:?}");
        }
        assert_eq!(records(&mut bench).len(), others.len());

        bench.loaded.steady.publish(row, Some(expected.fingerprint()), before);
        let mut last = before;
        for _ in 0..100 {
            run(&mut bench, &frame);
            let arrival = bench.loaded.steady.last_arrival(row);
            assert!(last < arrival && arrival <= time(), "the arrival is stored");
            last = arrival;
        }
        assert!(!waker.was_woken(NOW), "unchanged adverts do not wake the reader");
        assert_eq!(bench.row(row.number()).get(COUNTED), 2 + 7 + 100, "all are counted");
        // The record of a changed advert includes the arrival time of the last unchanged advert.
        run(&mut bench, &Frame { priority: 0, ..valid.clone() }.frame());
        assert!(waker.was_woken(SOON), "priority 0 is a change");
        let [(arrival, last_unchanged)] = records(&mut bench)[..] else { panic!("one record") };
        assert_eq!(last_unchanged, last.as_nanos());
        assert!(arrival > last_unchanged);

        assert_eq!(bench.loaded.steady.publish(row, None, last), last, "the last arrival");
        run(&mut bench, &frame);
        assert!(waker.was_woken(SOON), "the fingerprint was withdrawn");
        assert_eq!(records(&mut bench).len(), 1);
    }
}

const COUNTED: vipd_common::counters::Counter = vipd_common::counters::Counter::AdvertisementRcvd;

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn a_new_fingerprint_does_not_inherit_the_arrival_of_the_old_one() {
    let mut bench = Bench::new();
    let (one, other) = (frame::valid(3), Frame { priority: 99, ..frame::valid(3) });
    let (row, first) = advert(&bench, &one);
    let (_, second) = advert(&bench, &other);
    let begin = time();
    assert_eq!(bench.loaded.steady.publish(row, Some(first.fingerprint()), begin), Timestamp::ZERO);
    run(&mut bench, &one.frame());
    let arrival = bench.loaded.steady.last_arrival(row);
    assert!(arrival > begin);
    assert_eq!(bench.loaded.steady.publish(row, Some(second.fingerprint()), begin), arrival);
    assert_eq!(bench.loaded.steady.last_arrival(row), begin, "the second advert has not arrived yet");
    run(&mut bench, &one.frame());
    assert_eq!(records(&mut bench).len(), 1, "the first advert is a change now");
    assert_eq!(bench.loaded.steady.last_arrival(row), begin);
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn a_row_out_of_range_is_ignored() {
    let bench = Bench::new();
    let begin = time();
    assert_eq!(bench.loaded.steady.publish(crate::bench::row(1_000_000), Some(7), begin), begin);
    assert_eq!(bench.loaded.steady.last_arrival(crate::bench::row(1_000_000)), Timestamp::ZERO);
}

/// Two CPUs store arrival times of the same advert. The arrival times that a reader reads never
/// decrease.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn the_last_arrival_never_decreases() {
    let bench = Bench::new();
    let valid = frame::valid(3);
    let (row, expected) = advert(&bench, &valid);
    let bytes = valid.frame();
    bench.loaded.steady.publish(row, Some(expected.fingerprint()), Timestamp::ZERO);
    let (kernel, steady) = (&bench.loaded.kernel, &bench.loaded.steady);
    let running = std::sync::atomic::AtomicUsize::new(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..50 {
                    kernel.test_run(bench.entry, &bytes, LOOPBACK, 2000).expect("the program runs");
                }
                running.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            });
        }
        let mut last = steady.last_arrival(row);
        while running.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            let next = steady.last_arrival(row);
            assert!(next >= last, "{next:?} after {last:?}");
            last = next;
        }
    });
}
