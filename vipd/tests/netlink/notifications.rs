//! Notifications: filters, the drain budget, and the resync after a buffer overrun.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vipd::netlink::{Address, BATCH, Change, Drained, Monitor, Notice, Requests};

use super::{LO, add, address, apply, drain, ip, pair, private_namespace};

fn is_readable(monitor: &Monitor) -> bool {
    let mut fds = [PollFd::new(monitor, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll works") > 0
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn notifications_about_unrelated_links_and_addresses_are_filtered() {
    private_namespace();
    ip("link set lo up");
    let mut monitor = Monitor::open().expect("a monitor");
    let mut requests = Requests::open().expect("a socket");
    let mut read = Vec::new();
    requests
        .read(&mut monitor, &["lo", "eth9", "macvlan-to-be-created"], |notice| read.push(notice))
        .expect("links and addresses");
    assert!(matches!(&read[..], [Notice::Link(link), ..] if link.name == "lo"), "{read:?}");
    drain(&mut monitor);
    let before = monitor.traffic();

    ip("link add br0 type bridge");
    for name in ["c1", "c2", "eth", "eth99"] {
        pair(name);
        ip(&format!("link set {name} up master br0"));
        ip(&format!("address add 198.51.100.1/24 dev {name}-peer"));
        ip(&format!("link set {name}-peer up"));
        ip(&format!("link delete {name}"));
    }
    assert!(!is_readable(&monitor), "the socket filter passed an unrelated notification");
    assert_eq!(monitor.traffic(), before);

    ip("address add 10.0.0.5/32 dev lo");
    assert!(is_readable(&monitor));
    let (notices, _) = drain(&mut monitor);
    assert_eq!(notices, [Notice::Address(Address { protocol: 0, ..address(5, 32) })]);
    assert_eq!(monitor.traffic().decoded, before.decoded + 1);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn an_appearing_or_renamed_link_is_reported_with_its_addresses() {
    private_namespace();
    let mut monitor = Monitor::open().expect("a monitor");
    let mut requests = Requests::open().expect("a socket");
    requests.read(&mut monitor, &["eth9"], |notice| panic!("{notice:?}")).expect("nothing to read");

    let index = pair("eth9");
    let (notices, drained) = drain(&mut monitor);
    assert!(drained.appeared);
    assert!(notices.iter().any(|notice| matches!(notice, Notice::Link(link) if link.ifindex == index)));
    ip("address add 10.0.0.5/32 dev eth9");
    let wanted = Address { protocol: 0, ifindex: index, ..address(5, 32) };
    let (notices, drained) = drain(&mut monitor);
    assert_eq!((notices, drained.appeared), (vec![Notice::Address(wanted)], false));

    // A renamed link is reported under its new name, and another link may take the old name.
    ip("link set eth9 name other");
    let (notices, _) = drain(&mut monitor);
    assert!(notices.iter().any(|notice| matches!(notice, Notice::Link(link) if link.name == "other")));
    let index = pair("second");
    assert_eq!(drain(&mut monitor).0, []);
    ip("link set second name eth9");
    let (notices, drained) = drain(&mut monitor);
    assert!(drained.appeared, "{notices:?}");
    let mut read = Vec::new();
    requests.read(&mut monitor, &["eth9"], |notice| read.push(notice)).expect("links and addresses");
    assert!(matches!(&read[..], [Notice::Link(link)] if link.ifindex == index), "{read:?}");
    ip("link delete eth9");
    let (notices, _) = drain(&mut monitor);
    assert!(notices.contains(&Notice::LinkGone { ifindex: index }), "{notices:?}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn a_link_renamed_to_a_watched_name_has_appeared() {
    private_namespace();
    let index = pair("eth9");
    let mut monitor = Monitor::open().expect("a monitor");
    let mut requests = Requests::open().expect("a socket");
    requests.read(&mut monitor, &["eth9", "eth8"], drop).expect("links and addresses");
    drain(&mut monitor);

    // Addresses added while the link has an unwatched name are not reported.
    ip("link set eth9 name other");
    ip("address add 10.0.0.5/32 dev other");
    assert!(!drain(&mut monitor).1.appeared);
    ip("link set other name eth9");
    assert!(drain(&mut monitor).1.appeared);
    let mut read = Vec::new();
    requests.read(&mut monitor, &["eth9", "eth8"], |notice| read.push(notice)).expect("links and addresses");
    let wanted = Address { protocol: 0, ifindex: index, ..address(5, 32) };
    assert!(read.contains(&Notice::Address(wanted)), "{read:?}");

    ip("link set eth9 up");
    assert!(!drain(&mut monitor).1.appeared, "only the link's state changed");
    ip("link set eth9 name eth8");
    assert!(drain(&mut monitor).1.appeared, "another watched name");
}

/// A reload adds a link. The link changes after it was read, and before the filter contains its
/// index.
#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn change_of_a_new_link_while_it_is_read_is_reported() {
    private_namespace();
    let mut monitor = Monitor::open().expect("a monitor");
    let mut requests = Requests::open().expect("a socket");
    for change in ["link set eth9 up", "link delete eth9"] {
        requests.read(&mut monitor, &["lo"], drop).expect("links and addresses");
        drain(&mut monitor);
        let index = pair("eth9");
        let is_new = |notice: &Notice| matches!(notice, Notice::Link(link) if link.ifindex == index);
        let read = requests.read(&mut monitor, &["lo", "eth9"], |notice| {
            if is_new(&notice) {
                ip(change);
            }
        });
        read.expect("links and addresses");
        let (notices, _) = drain(&mut monitor);
        let is_reported = |notice: &Notice| is_new(notice) || *notice == Notice::LinkGone { ifindex: index };
        assert!(notices.iter().any(is_reported), "{change}: {notices:?}");
        if change == "link set eth9 up" {
            ip("link delete eth9");
        }
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn a_drain_stops_at_its_budget() {
    private_namespace();
    let mut monitor = Monitor::open().expect("a monitor");
    let mut requests = Requests::open().expect("a socket");
    let all: Vec<Change> = (0..10).map(|last| add(address(last, 32))).collect();
    apply(&mut requests, &all);
    let mut seen = Vec::new();
    let mut record = |notice| match notice {
        Notice::Address(found) => seen.push(found),
        other => panic!("{other:?}"),
    };
    assert!(monitor.drain(4, &mut record).expect("the monitor works").more);
    assert!(monitor.drain(4, &mut record).expect("the monitor works").more);
    assert!(!monitor.drain(4, &mut record).expect("the monitor works").more);
    let wanted: Vec<_> = (0..10).map(|last| address(last, 32)).collect();
    assert_eq!(seen, wanted);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn an_overrun_is_reported_and_followed_by_a_resync() {
    private_namespace();
    let mut monitor = Monitor::open().expect("a monitor");
    let mut requests = Requests::open().expect("a socket");
    let kept: Vec<_> = (0..3).map(|last| add(address(last, 32))).collect();
    apply(&mut requests, &kept);
    drain(&mut monitor);
    // Fills the socket's buffer.
    let toggles = [Change::Up { ifindex: LO }, Change::Down { ifindex: LO }].repeat(BATCH / 2);
    for _ in 0..10_000 {
        apply(&mut requests, &toggles);
    }
    apply(&mut requests, &[Change::Remove(address(1, 32))]);
    assert!(drain(&mut monitor).1.overrun);
    assert_eq!(drain(&mut monitor).1, Drained::default());
    let mut read = Vec::new();
    requests.read(&mut monitor, &["lo"], |notice| read.push(notice)).expect("links and addresses");
    let addresses = read.into_iter().filter_map(|notice| match notice {
        Notice::Address(found) if found.protocol != 0 => Some(found),
        _ => None,
    });
    let read: Vec<_> = addresses.collect();
    assert_eq!(read, [address(0, 32), address(2, 32)]);
}
