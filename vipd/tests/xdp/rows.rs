//! Reuse of rows and map entries.

use vipd::xdp::Action;
use vipd_common::Timestamp;
use vipd_common::address::ipv4;
use vipd_common::counters::{Counter, CounterRow};
use vipd_common::records::{BURST, PeerKey, RouterKey};
use vipd_witness::Advert;

use crate::bench::{Bench, LOOPBACK, multicast, row};
use crate::frame;
use crate::reference::Verdict;

/// A cleared row is like a new row: counters at 0, no fast path, full buckets.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn a_cleared_row_keeps_no_state_of_its_former_router() {
    let mut bench = Bench::limiting();
    let valid = frame::valid(3);
    let bytes = valid.frame();
    let Verdict::Accepted(number, advert) = bench.reference(&bytes, LOOPBACK) else { panic!("{valid:?}") };
    for _ in 0..10 * BURST {
        bench.run(&bytes, LOOPBACK);
    }
    while bench.loaded.feed.pop().is_some() {}
    bench.loaded.steady.publish(row(number), Some(advert.fingerprint()), Timestamp::ZERO);
    bench.run(&bytes, LOOPBACK);
    let other = bench.row(2);
    bench.forget(LOOPBACK, valid.vrid, 4);
    bench.loaded.kernel.clear_rows(&[row(number)]).expect("the row exists");
    assert_eq!(bench.row(number), CounterRow::default());
    assert_eq!(bench.row(2), other, "other rows are untouched");
    assert_eq!(bench.loaded.steady.last_arrival(row(number)), Timestamp::ZERO);
    assert!(!bench.loaded.steady.take_lost(row(number)));

    bench.watch(LOOPBACK, valid.vrid, 4, multicast(4, 3, number));
    for _ in 0..BURST {
        bench.run(&bytes, LOOPBACK);
    }
    let records = std::iter::from_fn(|| bench.loaded.feed.pop()).count();
    assert_eq!(records, BURST as usize, "no fast path and a full bucket");
    assert_eq!(bench.row(number).get(Counter::RateLimited), 0);
}

/// Maps with three free entries accept ten thousand routers and peers in sequence.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn inserting_and_removing_routers_and_peers_does_not_leak_entries() {
    let mut bench = Bench::new();
    let frame = Advert { vrid: 99, ..frame::valid(3) }.frame();
    let key = RouterKey::new(LOOPBACK, 99, 4);
    for round in 0..10_000u32 {
        let peer = PeerKey { row: 12, address: ipv4(round.to_be_bytes()) };
        bench.loaded.kernel.insert_router(key, multicast(4, 3, 12)).expect("there is room");
        bench.loaded.kernel.insert_peer(peer, 255).expect("there is room");
        if round % 1000 == 0 {
            assert_eq!(bench.run(&frame, LOOPBACK), Action::Drop);
        }
        bench.loaded.kernel.remove_peer(peer).expect("existing entry");
        bench.loaded.kernel.remove_router(key).expect("existing entry");
        if round % 1000 == 0 {
            assert_eq!(bench.run(&frame, LOOPBACK), Action::Pass);
            bench.loaded.kernel.clear_rows(&[row(12)]).expect("the row exists");
        }
    }
}
