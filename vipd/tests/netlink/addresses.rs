//! Adding and removing addresses, and recognizing vipd's own addresses by their mark.

use std::net::IpAddr;

use rustix::io::Errno;
use vipd::netlink::{Address, BATCH, Change, Drained, Monitor, Notice, PROTO_VIPD, Requests};

use super::{add, address, addresses, apply, drain, ip, private_namespace};

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn added_addresses_are_marked_and_reported() {
    private_namespace();
    let mut monitor = Monitor::open().expect("a monitor");
    let mut requests = Requests::open().expect("a socket");
    apply(&mut requests, &[add(address(1, 32)), add(address(2, 24))]);
    assert_eq!(addresses(&mut requests), [address(1, 32), address(2, 24)]);

    // Adding a present address and removing a missing address are not errors.
    apply(&mut requests, &[add(address(1, 32)), Change::Remove(address(3, 32))]);
    apply(&mut requests, &[Change::Remove(address(1, 32))]);
    assert_eq!(addresses(&mut requests), [address(2, 24)]);

    let (notices, drained) = drain(&mut monitor);
    assert_eq!(drained, Drained::default());
    assert!(notices.contains(&Notice::Address(address(1, 32))), "{notices:?}");
    assert!(notices.contains(&Notice::AddressGone(address(1, 32))), "{notices:?}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn each_rejected_change_in_a_batch_is_reported() {
    private_namespace();
    let mut requests = Requests::open().expect("a socket");
    let all: Vec<Change> = (0..=255).map(|last| add(address(last, 32))).collect();
    apply(&mut requests, &all);
    assert_eq!(addresses(&mut requests).len(), 256);

    // No interface has this index.
    let nowhere = |last| add(Address { ifindex: 4_000_000, ..address(last, 32) });
    let mut refused = Vec::new();
    requests
        .apply(&[nowhere(1), Change::Remove(address(1, 32)), nowhere(2)], |change, error| {
            refused.push((*change, error.raw_os_error()));
        })
        .expect("the socket works");
    assert_eq!(
        refused,
        [(nowhere(1), Some(Errno::NODEV.raw_os_error())), (nowhere(2), Some(Errno::NODEV.raw_os_error()))]
    );
    assert_eq!(addresses(&mut requests).len(), 255, "the change between the rejected ones was applied");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn batches_are_answered_in_order_with_and_without_the_worker() {
    for with_worker in [false, true] {
        private_namespace();
        let mut requests = Requests::open().expect("a socket");
        if with_worker {
            requests.start_worker().expect("a thread");
        }
        let mut all: Vec<Change> = (0..100).map(|last| add(address(last, 32))).collect();
        let nowhere = add(Address { ifindex: 4_000_000, ..address(200, 32) });
        all[3] = nowhere;
        all[BATCH] = nowhere;
        all[99] = nowhere;
        requests.submit(&all);
        let mut witness = Requests::open().expect("a socket");
        let mut refused = Vec::new();
        for (turn, batch) in all.chunks(BATCH).enumerate() {
            requests.wait(batch, |change, _| refused.push((turn, *change))).expect("the socket works");
            let present = addresses(&mut witness);
            let made = batch.iter().filter(|change| **change != nowhere);
            assert!(
                made.filter_map(Change::address).all(|address| present.contains(address)),
                "batch {turn}"
            );
        }
        assert_eq!(refused, [(0, nowhere), (1, nowhere), (99 / BATCH, nowhere)]);
        assert_eq!(addresses(&mut requests).len(), 97, "no replies are left in the socket");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn withdraw_removes_only_marked_addresses_on_named_interfaces() {
    private_namespace();
    let mut requests = Requests::open().expect("a socket");
    apply(&mut requests, &[add(address(1, 32)), add(address(2, 32))]);
    add_unmarked(IpAddr::from([10, 0, 0, 9]));
    assert_eq!(addresses(&mut requests).len(), 3);

    let vips = [address(1, 32).address, IpAddr::from([10, 0, 0, 9])];
    requests.withdraw(&["eth0".to_owned()], &vips).expect("nothing to do");
    assert_eq!(addresses(&mut requests).len(), 3, "not on the named interface");
    requests.withdraw(&["lo".to_owned()], &vips).expect("withdrawn");
    let left: Vec<_> = addresses(&mut requests).iter().map(|found| (found.address, found.protocol)).collect();
    let other = (address(2, 32).address, PROTO_VIPD);
    assert_eq!(
        left,
        [other, (IpAddr::from([10, 0, 0, 9]), 0)],
        "another agent's address and an unmarked one stay"
    );
}

/// Adds an address without vipd's mark.
fn add_unmarked(address: IpAddr) {
    ip(&format!("address add {address}/32 dev lo"));
}
