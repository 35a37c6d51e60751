//! Addresses over netlink, in a network namespace of the test's own thread.

use std::net::IpAddr;

use rustix::thread::{UnshareFlags, unshare_unsafe};
use vipd::netlink::{Address, Attributes, BATCH, Change, Monitor, Notice, Requests};

/// Loopback, the one interface a new namespace has.
const LO: u32 = 1;

/// Puts this thread, and so this test, into a namespace of its own. Needs root, and says so.
fn private_namespace() {
    // SAFETY: a new network namespace leaves the thread's file descriptors and memory as they are.
    let result = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
    result.expect("a network namespace needs CAP_SYS_ADMIN: run this test as root (`cargo xtask test`)");
}

fn address(last: u8, prefix: u8) -> Address {
    Address::vipd(LO, IpAddr::from([10, 0, 0, last]), prefix)
}

fn addresses(requests: &mut Requests) -> Vec<Address> {
    let mut all = Vec::new();
    requests
        .dump(|notice| {
            if let Notice::Address(found) = notice {
                all.push(found);
            }
        })
        .expect("a dump");
    all
}

/// In the usual way.
fn add(address: Address) -> Change {
    Change::Add(address, Attributes::default())
}

/// Everything asked for, nothing refused.
fn apply(requests: &mut Requests, changes: &[Change]) {
    requests
        .apply(changes, |change, error| panic!("{change:?} was refused: {error}"))
        .expect("the socket works");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn what_is_added_is_there_with_our_mark_and_is_notified() {
    private_namespace();
    let mut monitor = Monitor::open().expect("a monitor");
    let mut requests = Requests::open().expect("a socket");
    apply(&mut requests, &[add(address(1, 32)), add(address(2, 24))]);
    assert_eq!(addresses(&mut requests), [address(1, 32), address(2, 24)]);

    // Adding again and removing what is not there are no errors.
    apply(&mut requests, &[add(address(1, 32)), Change::Remove(address(3, 32))]);
    apply(&mut requests, &[Change::Remove(address(1, 32))]);
    assert_eq!(addresses(&mut requests), [address(2, 24)]);

    let mut notices = Vec::new();
    let overrun = monitor.drain(|notice| notices.push(notice)).expect("the monitor works");
    assert!(!overrun);
    assert!(notices.contains(&Notice::Address(address(1, 32))), "{notices:?}");
    assert!(notices.contains(&Notice::AddressGone(address(1, 32))), "{notices:?}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn a_batch_of_many_changes_is_answered_one_by_one() {
    private_namespace();
    let mut requests = Requests::open().expect("a socket");
    let all: Vec<Change> = (0..=255).map(|last| add(address(last, 32))).collect();
    apply(&mut requests, &all);
    assert_eq!(addresses(&mut requests).len(), 256);

    // An interface that does not exist: each refusal names its own change.
    let nowhere = |last| add(Address { ifindex: 4_000_000, ..address(last, 32) });
    let mut refused = Vec::new();
    requests
        .apply(&[nowhere(1), Change::Remove(address(1, 32)), nowhere(2)], |change, error| {
            refused.push((change.clone(), error.raw_os_error()));
        })
        .expect("the socket works");
    assert_eq!(refused, [(nowhere(1), Some(libc_enodev())), (nowhere(2), Some(libc_enodev()))]);
    assert_eq!(addresses(&mut requests).len(), 255, "the change between them was made");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn what_is_answered_is_there_and_each_batch_is_answered_in_its_turn() {
    for ahead in [false, true] {
        private_namespace();
        let mut requests = Requests::open().expect("a socket");
        if ahead {
            requests.make_ahead().expect("a thread");
        }
        let mut all: Vec<Change> = (0..100).map(|last| add(address(last, 32))).collect();
        let nowhere = add(Address { ifindex: 4_000_000, ..address(200, 32) });
        all[3] = nowhere.clone();
        all[BATCH] = nowhere.clone();
        all[99] = nowhere.clone();
        requests.ask(&all);
        // Another socket sees what the kernel has, whoever makes the changes.
        let mut onlooker = Requests::open().expect("a socket");
        let mut refused = Vec::new();
        for (turn, batch) in all.chunks(BATCH).enumerate() {
            requests
                .answer(batch, |change, _| refused.push((turn, change.clone())))
                .expect("the socket works");
            let there = addresses(&mut onlooker);
            let made = batch.iter().filter(|change| **change != nowhere);
            assert!(made.filter_map(Change::address).all(|address| there.contains(address)), "batch {turn}");
        }
        assert_eq!(refused, [(0, nowhere.clone()), (1, nowhere.clone()), (99 / BATCH, nowhere)]);
        assert_eq!(addresses(&mut requests).len(), 97, "nothing is left over in the socket");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn withdrawing_takes_only_our_own_addresses_away() {
    private_namespace();
    let mut requests = Requests::open().expect("a socket");
    apply(&mut requests, &[add(address(1, 32)), add(address(2, 32))]);
    foreign(IpAddr::from([10, 0, 0, 9]));
    assert_eq!(addresses(&mut requests).len(), 3);

    requests.withdraw(&["eth0".to_owned()]).expect("nothing to do");
    assert_eq!(addresses(&mut requests).len(), 3, "another interface is none of its business");
    requests.withdraw(&["lo".to_owned()]).expect("withdrawn");
    let left: Vec<_> = addresses(&mut requests).iter().map(|found| (found.address, found.protocol)).collect();
    assert_eq!(left, [(IpAddr::from([10, 0, 0, 9]), 0)]);
}

fn libc_enodev() -> i32 {
    rustix::io::Errno::NODEV.raw_os_error()
}

/// An address that somebody else puts on loopback, without a mark.
fn foreign(address: IpAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().expect("a connection");
        tokio::spawn(connection);
        handle.address().add(LO, address, 32).execute().await.expect("added");
    });
}
