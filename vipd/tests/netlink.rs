//! Links and addresses over netlink, each test in private namespaces of its thread.

use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use vipd::netlink::{
    Address, Attributes, BATCH, Change, Drained, Macvlans, Monitor, Notice, PROTO_VIPD, Requests, Traffic,
    Wanted,
};
use vipd::packet::Membership;

/// Loopback, the only interface of a new namespace.
const LO: u32 = 1;

/// Drain budget: more notifications than a test causes.
const ALL: usize = 100_000;

/// Moves this thread, and so this test, to new namespaces.
fn private_namespace() {
    // SAFETY: new network and mount namespaces do not affect the thread's file descriptors or
    // memory.
    let result = unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) };
    result.expect("new namespaces need CAP_SYS_ADMIN; run this test as root (`cargo xtask test`)");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private mounts");
}

/// Runs iproute2 in this thread's namespace.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Adds a pair of links and returns the index of the first.
fn pair(name: &str) -> u32 {
    ip(&format!("link add {name} type veth peer name {name}-peer"));
    index_of(name)
}

fn index_of(name: &str) -> u32 {
    let shown = ip(&format!("-o link show {name}"));
    shown.split(':').next().expect("an index").trim().parse().expect("a number")
}

fn is_readable(monitor: &Monitor) -> bool {
    let mut fds = [PollFd::new(monitor, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll works") > 0
}

fn drain(monitor: &mut Monitor) -> (Vec<Notice>, Drained) {
    let mut notices = Vec::new();
    let drained = monitor.drain(ALL, |notice| notices.push(notice)).expect("the monitor works");
    (notices, drained)
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

/// An addition without attributes.
fn add(address: Address) -> Change {
    Change::Add(address, Attributes::default())
}

/// Applies changes, none of which may be rejected.
fn apply(requests: &mut Requests, changes: &[Change]) {
    requests
        .apply(changes, |change, error| panic!("{change:?} was rejected: {error}"))
        .expect("the socket works");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn added_addresses_have_the_mark_and_are_notified() {
    private_namespace();
    let mut monitor = Monitor::open().expect("a monitor");
    let mut requests = Requests::open().expect("a socket");
    apply(&mut requests, &[add(address(1, 32)), add(address(2, 24))]);
    assert_eq!(addresses(&mut requests), [address(1, 32), address(2, 24)]);

    // Adding an address again and removing a missing one are not errors.
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
fn each_rejected_change_of_a_batch_is_reported() {
    private_namespace();
    let mut requests = Requests::open().expect("a socket");
    let all: Vec<Change> = (0..=255).map(|last| add(address(last, 32))).collect();
    apply(&mut requests, &all);
    assert_eq!(addresses(&mut requests).len(), 256);

    // An interface that does not exist.
    let nowhere = |last| add(Address { ifindex: 4_000_000, ..address(last, 32) });
    let mut refused = Vec::new();
    requests
        .apply(&[nowhere(1), Change::Remove(address(1, 32)), nowhere(2)], |change, error| {
            refused.push((*change, error.raw_os_error()));
        })
        .expect("the socket works");
    assert_eq!(refused, [(nowhere(1), Some(libc_enodev())), (nowhere(2), Some(libc_enodev()))]);
    assert_eq!(addresses(&mut requests).len(), 255, "the change between the two was applied");
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
        assert_eq!(addresses(&mut requests).len(), 97, "no replies remain in the socket");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn withdrawing_removes_only_the_given_marked_addresses_of_the_named_interfaces() {
    private_namespace();
    let mut requests = Requests::open().expect("a socket");
    apply(&mut requests, &[add(address(1, 32)), add(address(2, 32))]);
    foreign(IpAddr::from([10, 0, 0, 9]));
    assert_eq!(addresses(&mut requests).len(), 3);

    let vips = [address(1, 32).address, IpAddr::from([10, 0, 0, 9])];
    requests.withdraw(&["eth0".to_owned()], &vips).expect("nothing to do");
    assert_eq!(addresses(&mut requests).len(), 3, "not on the named interface");
    requests.withdraw(&["lo".to_owned()], &vips).expect("withdrawn");
    let left: Vec<_> = addresses(&mut requests).iter().map(|found| (found.address, found.protocol)).collect();
    let other = (address(2, 32).address, PROTO_VIPD);
    assert_eq!(left, [other, (IpAddr::from([10, 0, 0, 9]), 0)], "another agent's stays");
}

fn libc_enodev() -> i32 {
    rustix::io::Errno::NODEV.raw_os_error()
}

/// An address without vipd's mark.
fn foreign(address: IpAddr) {
    ip(&format!("address add {address}/32 dev lo"));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn notifications_of_unrelated_links_and_addresses_are_filtered() {
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
fn a_watched_link_that_appears_or_is_renamed_is_reported_with_its_addresses() {
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

    // Renamed: reported under its new name; another interface may then have the old name.
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
fn a_watched_link_that_is_renamed_back_has_appeared() {
    private_namespace();
    let index = pair("eth9");
    let mut monitor = Monitor::open().expect("a monitor");
    let mut requests = Requests::open().expect("a socket");
    requests.read(&mut monitor, &["eth9", "eth8"], drop).expect("links and addresses");
    drain(&mut monitor);

    // Addresses that it gets under the other name are not attributed to a link in use.
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
    assert!(!drain(&mut monitor).1.appeared, "a change of another kind");
    ip("link set eth9 name eth8");
    assert!(drain(&mut monitor).1.appeared, "another watched name");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn a_drain_stops_at_its_budget_and_resumes_there() {
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
    // Until the socket's buffer is full.
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

fn wanted(parent: u32, family: u8, vrid: u8) -> Wanted<'static> {
    Wanted { parent, parent_name: "eth0", family, vrid }
}

fn sysctl(path: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/{path}")).expect("a sysctl").trim().to_owned()
}

fn set_sysctl(path: &str, value: u32) {
    fs::write(format!("/proc/sys/net/{path}"), value.to_string()).expect("a sysctl");
}

fn links() -> usize {
    ip("-o link").lines().count()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn each_macvlan_takes_a_constant_number_of_requests() {
    private_namespace();
    let parent = pair("eth0");
    let mut macvlans = Macvlans::open("test").expect("a socket");
    let opened = macvlans.traffic();
    assert_eq!((opened.requests, opened.dumps), (1, 1));
    for vrid in 1..=100 {
        macvlans.ensure(&wanted(parent, 4, vrid)).expect("a macvlan");
    }
    let Traffic { requests, dumps, received } = macvlans.traffic();
    // Requests: create, find, set the alias.
    assert_eq!((requests, dumps), (opened.requests + 300, opened.dumps));
    assert!(received <= opened.received + 400, "{received} messages");
    let again = macvlans.ensure(&wanted(parent, 4, 7)).expect("a macvlan");
    assert_eq!((again.name.as_str(), again.ifindex), ("vrrp4-7", index_of("vrrp4-7")));
    assert_eq!(macvlans.traffic().requests, requests + 1, "an existing one is only looked up");

    // Moved to a separate group, which one request deletes.
    macvlans.clear();
    assert_eq!(links(), 3);
    let cleared = macvlans.traffic();
    assert_eq!((cleared.requests, cleared.dumps), (requests + 1 + 102, dumps + 1));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn creating_and_deleting_macvlans_does_not_leak_links() {
    private_namespace();
    let parent = pair("eth0");
    let mut macvlans = Macvlans::open("test").expect("a socket");
    let kept = macvlans.ensure(&wanted(parent, 6, 255)).expect("a macvlan");
    for round in 0..300 {
        let vrid = u8::try_from(round % 254 + 1).expect("a VRID");
        let created = macvlans.ensure(&wanted(parent, 4, vrid)).expect("a macvlan");
        assert_eq!(created, macvlans.ensure(&wanted(parent, 4, vrid)).expect("the same"));
        assert_eq!(sysctl("ipv4/conf/eth0/arp_ignore"), "1");
        macvlans.remove(parent, 4, vrid);
        macvlans.remove(parent, 4, vrid);
    }
    assert_eq!(links(), 4);
    assert_eq!(index_of("vrrp6-255"), kept.ifindex);
    macvlans.remove(parent, 6, 255);
    assert_eq!(
        sysctl("ipv4/conf/eth0/arp_ignore"),
        "0",
        "deleting the last one restores the parent's sysctls"
    );

    // Deleted by another tool.
    macvlans.ensure(&wanted(parent, 4, 1)).expect("a macvlan");
    ip("link delete vrrp4-1");
    let again = macvlans.ensure(&wanted(parent, 4, 1)).expect("a macvlan");
    assert_eq!(again.ifindex, index_of("vrrp4-1"));
    // The parent is replaced.
    ip("link delete eth0");
    let parent = pair("eth0");
    macvlans.ensure(&wanted(parent, 4, 1)).expect("a macvlan");
    drop(macvlans);
    assert_eq!(links(), 3);
    assert_eq!(sysctl("ipv4/conf/eth0/arp_ignore"), "0");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn only_macvlans_of_this_agent_are_deleted() {
    private_namespace();
    let parent = pair("eth0");
    // One with FRR's name and configuration, one of another agent, one that this agent did not
    // complete.
    ip("link add vrrp4-51 link eth0 address 00:00:5e:00:01:33 type macvlan mode bridge");
    ip("link set vrrp4-51 up");
    ip("link add vrrp4-52 link eth0 address 00:00:5e:00:01:34 type macvlan mode private");
    ip("link set vrrp4-52 alias other");
    ip("link add vrrp4-53 link eth0 address 00:00:5e:00:01:35 type macvlan mode private");
    ip("link set vrrp4-51 group 77");
    let mut macvlans = Macvlans::open("test").expect("a socket");
    for (vrid, own_name) in [(51, false), (52, false), (53, true)] {
        let created = macvlans.ensure(&wanted(parent, 4, vrid)).expect("a macvlan");
        assert_eq!(created.name == format!("vrrp4-{vrid}"), own_name, "{created:?}");
    }
    // After a crash, the next start deletes them.
    let before = links();
    drop(Macvlans::open("test").expect("a socket"));
    assert_eq!(links(), before - 3);
    drop(macvlans);
    index_of("vrrp4-51");
    index_of("vrrp4-52");
}

/// Makes /proc/sys read-only in this thread's mount namespace, as container runtimes do.
fn make_sysctls_read_only() {
    mount_bind("/proc/sys", "/proc/sys").expect("a bind mount");
    mount_remount("/proc/sys", MountFlags::BIND | MountFlags::RDONLY, "").expect("a read-only mount");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn read_only_sysctls_with_the_required_values_are_accepted() {
    private_namespace();
    let parent = pair("eth0");
    for (name, value) in [("arp_ignore", 1), ("arp_announce", 2), ("rp_filter", 2)] {
        set_sysctl(&format!("ipv4/conf/default/{name}"), value);
        set_sysctl(&format!("ipv4/conf/eth0/{name}"), value);
    }
    set_sysctl("ipv6/conf/default/disable_ipv6", 1);
    make_sysctls_read_only();
    let mut macvlans = Macvlans::open("test").expect("a socket");
    let created = macvlans.ensure(&wanted(parent, 4, 51)).expect("a macvlan");
    assert_eq!(created.name, "vrrp4-51");

    // IPv6 needs other values: the error names them, and no incomplete macvlan remains.
    for _ in 0..2 {
        let error = macvlans.ensure(&wanted(parent, 6, 51)).expect_err("wrong values").to_string();
        assert!(error.contains("net.ipv6.conf.vrrp6-51.addr_gen_mode is 0, must be 1"), "{error}");
        assert!(error.contains("set net.ipv6.conf.default.addr_gen_mode = 1"), "{error}");
        assert_eq!(links(), 4);
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn a_wrong_read_only_sysctl_of_the_parent_leaves_no_macvlan() {
    private_namespace();
    let parent = pair("eth0");
    // Once written, the value no longer follows the default.
    set_sysctl("ipv4/conf/eth0/arp_ignore", 0);
    for (name, value) in [("arp_ignore", 1), ("arp_announce", 2), ("rp_filter", 2)] {
        set_sysctl(&format!("ipv4/conf/default/{name}"), value);
    }
    set_sysctl("ipv6/conf/default/disable_ipv6", 1);
    make_sysctls_read_only();
    let mut macvlans = Macvlans::open("test").expect("a socket");
    for _ in 0..2 {
        let error = macvlans.ensure(&wanted(parent, 4, 51)).expect_err("a wrong value").to_string();
        assert!(error.contains("net.ipv4.conf.eth0.arp_ignore is 0, must be 1"), "{error}");
        assert_eq!(links(), 3);
    }
}

fn is_member(table: &str, group: &str) -> bool {
    let table = fs::read_to_string(format!("/proc/thread-self/net/{table}")).expect("a table");
    table.to_lowercase().contains(group)
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW"]
fn a_lost_membership_is_renewed_and_an_existing_one_is_kept() {
    private_namespace();
    let veth = pair("eth0");
    ip("link set eth0 up");
    ip("link set lo up");
    let group4 = format!("{:08x}", u32::from_ne_bytes([224, 0, 0, 18]));
    // A veth cannot have an MTU below IPv4's minimum, loopback can.
    for (table, group, family, name, index, too_small) in [
        ("igmp", group4.as_str(), 4, "lo", LO, 60),
        ("igmp6", "ff020000000000000000000000000012", 6, "eth0", veth, 1279),
    ] {
        let membership = Membership::join(index, family).expect("joined");
        assert!(is_member(table, group));
        assert!(!membership.renew().expect("a member"), "{table}: still a member");
        ip(&format!("link set {name} mtu {too_small}"));
        assert!(!is_member(table, group), "{table}");
        assert!(membership.renew().is_err(), "{table}: IP is disabled");
        ip(&format!("link set {name} mtu 1500"));
        assert!(!is_member(table, group), "{table}: not renewed by the kernel");
        assert!(membership.renew().expect("a member"), "{table}: was lost");
        assert!(is_member(table, group), "{table}");
        assert!(!membership.renew().expect("a member"), "{table}: still a member");
        drop(membership);
        // Between fork and exec, another test's child process also has the socket open.
        let mut waits = 0;
        while is_member(table, group) {
            waits += 1;
            assert!(waits < 10_000, "{table}: dropped");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
