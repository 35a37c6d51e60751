//! Which adverts wake the reader of the ring.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::os::fd::OwnedFd;
use vipd_common::parse::Advert;
use vipd_common::records::{RING_BYTES, SteadyAdvert};

use crate::bench::{Bench, LOOPBACK};
use crate::frame::Frame;
use crate::reference::Verdict;

/// Long enough for a wake-up that is on its way.
const SOON: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// An epoll set that says each wake-up once.
struct Ear(OwnedFd);

impl Ear {
    fn on(bench: &Bench) -> Self {
        let set = epoll::create(CreateFlags::CLOEXEC).expect("a descriptor");
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&set, &bench.loaded.feed, EventData::new_u64(0), flags).expect("the ring can be polled");
        let ear = Self(set);
        ear.was_woken(NOW);
        ear
    }

    fn was_woken(&self, timeout: Timespec) -> bool {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 1];
        epoll::wait(&self.0, &mut events[..], Some(&timeout)).expect("epoll") > 0
    }
}

/// Runs the program on a frame while the reader sleeps, or is awake.
fn run(bench: &mut Bench, frame: &[u8], sleeps: bool) {
    if sleeps {
        bench.loaded.feed.sleep().expect("the map has one entry");
    }
    bench.run(frame, LOOPBACK);
}

fn advert(bench: &Bench, frame: &Frame) -> (u32, Advert) {
    match bench.reference(&frame.bytes(), LOOPBACK) {
        Verdict::Accepted(row, advert) => (row, advert),
        other => panic!("{other:?}"),
    }
}

/// What the engine would say of a router that follows the sender of this frame.
fn steady(bench: &Bench, frame: &Frame) -> (u32, SteadyAdvert) {
    let (row, Advert { source, priority, interval, addresses, .. }) = advert(bench, frame);
    (row, SteadyAdvert { addresses, source, interval, priority, armed: 1, zero: 0 })
}

#[test]
fn only_what_is_steady_wakes_nobody() {
    for valid in [Frame::valid(3), Frame::valid(2), Frame::valid6()] {
        let mut bench = Bench::new();
        let ear = Ear::on(&bench);
        let frame = valid.bytes();
        let (row, expected) = steady(&bench, &valid);
        let set = |bench: &mut Bench, advert| bench.loaded.steady.set(row, advert).expect("the row exists");

        run(&mut bench, &frame, true);
        assert!(ear.was_woken(SOON), "nothing is steady yet");
        run(&mut bench, &frame, false);
        assert!(!ear.was_woken(NOW), "it has been woken");
        let others = [
            SteadyAdvert { addresses: expected.addresses ^ 1, ..expected },
            SteadyAdvert {
                source: [expected.source[0], expected.source[1], expected.source[2], 7],
                ..expected
            },
            SteadyAdvert { interval: expected.interval + 1, ..expected },
            SteadyAdvert { priority: 99, ..expected },
            SteadyAdvert { priority: 0, ..expected },
            SteadyAdvert { armed: 0, ..expected },
        ];
        for other in others {
            set(&mut bench, Some(other));
            run(&mut bench, &frame, true);
            assert!(ear.was_woken(SOON), "{other:?}");
        }

        set(&mut bench, Some(expected));
        for _ in 0..100 {
            run(&mut bench, &frame, true);
        }
        assert!(!ear.was_woken(NOW), "these change nothing");
        // A surprise behind them is not left unseen.
        run(&mut bench, &Frame { priority: 0, ..valid }.bytes(), true);
        assert!(ear.was_woken(SOON), "its sender leaves");
        let records = std::iter::from_fn(|| bench.loaded.feed.pop());
        assert_eq!(records.count(), 2 + others.len() + 100 + 1, "all of them are there");

        set(&mut bench, None);
        run(&mut bench, &frame, true);
        assert!(ear.was_woken(SOON), "nothing is steady any more");
    }
}

#[test]
fn a_ring_that_is_half_full_wakes_the_reader() {
    let valid = Frame::valid(3);
    let mut bench = Bench::new();
    let ear = Ear::on(&bench);
    let (row, expected) = steady(&bench, &valid);
    bench.loaded.steady.set(row, Some(expected)).expect("the row exists");
    let frame = valid.bytes();
    // A record takes 8 bytes more than it has.
    let half = RING_BYTES / 2 / (48 + 8);
    for _ in 0..half {
        run(&mut bench, &frame, true);
    }
    assert!(!ear.was_woken(NOW), "it has room");
    run(&mut bench, &frame, true);
    run(&mut bench, &frame, true);
    assert!(ear.was_woken(SOON), "it is half full");
}
