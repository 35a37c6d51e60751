//! Routes and policy rules with vipd's mark.

use std::net::IpAddr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vipd::netlink::{
    Change, Destination, Label, Monitor, Notice, Requests, Route, RouteKind, RoutingEntry, Rule, Scope,
};

use super::{drain, ip, pair, private_namespace};

fn parsed(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn route(to: &str, prefix: u8, via: Option<&str>, ifindex: u32) -> Route {
    let to = parsed(to);
    Route {
        to,
        prefix,
        table: 100,
        metric: 1024,
        kind: RouteKind::Unicast,
        via: via.map(parsed),
        ifindex: Some(ifindex),
        source: None,
        scope: if via.is_none() && to.is_ipv4() { Scope::Link } else { Scope::Global },
        onlink: false,
    }
}

fn rule(from: &str, prefix: u8, priority: u32) -> Rule {
    let from = parsed(from);
    Rule {
        is_ipv6: from.is_ipv6(),
        priority,
        table: 100,
        from: Some((from, prefix)),
        to: None,
        iif: None,
        oif: None,
        fwmark: None,
    }
}

/// Adds an interface with addresses of both families, and returns its index.
fn uplink() -> u32 {
    let index = pair("uplink");
    ip("link set uplink-peer up");
    ip("link set uplink up");
    ip("address add 192.0.2.2/24 dev uplink");
    ip("address add 2001:db8::2/64 dev uplink nodad");
    index
}

/// Applies a change. Returns the errno if the kernel rejects the change.
fn apply(requests: &mut Requests, change: Change) -> Option<i32> {
    let mut failure = None;
    requests.apply(&[change], |_, error| failure = error.raw_os_error()).expect("the socket works");
    failure
}

fn dump(requests: &mut Requests) -> Vec<RoutingEntry> {
    let mut found = Vec::new();
    requests.dump_routing(|entry| found.push(entry)).expect("a dump");
    found.sort();
    found
}

/// Returns routes and rules with every attribute that the configuration supports.
fn all(ifindex: u32) -> Vec<RoutingEntry> {
    let blackhole = Route {
        ifindex: None,
        kind: RouteKind::Blackhole,
        scope: Scope::Global,
        ..route("10.9.0.0", 16, None, ifindex)
    };
    let routes = [
        route("0.0.0.0", 0, Some("192.0.2.1"), ifindex),
        Route { source: Some(parsed("192.0.2.2")), ..route("10.1.0.0", 16, Some("192.0.2.1"), ifindex) },
        Route { onlink: true, table: 70_000, ..route("10.1.0.0", 16, Some("198.51.100.1"), ifindex) },
        route("10.2.0.0", 16, None, ifindex),
        Route { metric: 0, ..route("10.2.0.0", 16, Some("192.0.2.1"), ifindex) },
        blackhole,
        Route { kind: RouteKind::Unreachable, to: parsed("10.10.0.0"), ..blackhole },
        Route { kind: RouteKind::Prohibit, to: parsed("10.11.0.0"), ..blackhole },
        Route { kind: RouteKind::Throw, to: parsed("10.12.0.0"), ..blackhole },
        route("::", 0, Some("2001:db8::1"), ifindex),
        Route { source: Some(parsed("2001:db8::2")), ..route("2001:db8:1::", 48, None, ifindex) },
        Route { metric: 7, ..route("2001:db8:1::", 48, Some("fe80::1"), ifindex) },
    ];
    let rules = [
        rule("192.0.2.10", 32, 100),
        Rule { to: Some((parsed("10.0.0.0"), 8)), oif: Label::new("uplink"), ..rule("192.0.2.10", 32, 101) },
        Rule { from: None, iif: Label::new("not-there"), ..rule("192.0.2.10", 32, 102) },
        Rule { fwmark: Some((0x10, 0xff)), table: 70_000, ..rule("2001:db8::", 32, 103) },
        Rule { from: None, fwmark: Some((1, u32::MAX)), ..rule("2001:db8::", 32, 104) },
        Rule { from: None, fwmark: Some((0, 0xff)), ..rule("2001:db8::", 32, 105) },
    ];
    let routes = routes.into_iter().map(RoutingEntry::Route);
    let mut all: Vec<_> = routes.chain(rules.into_iter().map(RoutingEntry::Rule)).collect();
    all.sort();
    all
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn added_routes_and_rules_are_read_back_and_removed() {
    private_namespace();
    let wanted = all(uplink());
    let mut requests = Requests::open().expect("a socket");
    for entry in &wanted {
        assert_eq!(apply(&mut requests, Change::AddEntry(*entry)), None, "{entry}");
        assert_eq!(apply(&mut requests, Change::AddEntry(*entry)), Some(libc::EEXIST), "{entry}");
        if let RoutingEntry::Route(route) = entry
            && route.to.is_ipv4()
        {
            assert_eq!(apply(&mut requests, Change::AppendRoute(*route)), Some(libc::EEXIST), "{entry}");
        }
    }
    assert_eq!(dump(&mut requests), wanted);
    let half = wanted.len() / 2;
    for entry in &wanted[..half] {
        assert_eq!(apply(&mut requests, Change::RemoveEntry(*entry)), None, "{entry}");
        assert_eq!(apply(&mut requests, Change::RemoveEntry(*entry)), None, "{entry}: already removed");
    }
    assert_eq!(dump(&mut requests), wanted[half..]);
    let mut removed = requests.remove_routing(|_| true).expect("removed");
    removed.sort();
    assert_eq!(removed, wanted[half..]);
    assert_eq!(dump(&mut requests), []);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn routes_and_rules_of_other_tools_stay() {
    private_namespace();
    let index = uplink();
    ip("route add 10.1.0.0/16 via 192.0.2.1 table 100 metric 1024");
    ip("-6 route add 2001:db8:1::/48 via 2001:db8::1 table 100");
    ip("rule add from 192.0.2.10 table 100 priority 100");
    let shown = || ip("route show table 100") + &ip("-6 route show table 100") + &ip("rule show");
    let before = shown();
    let mut requests = Requests::open().expect("a socket");
    let v4 = route("10.1.0.0", 16, Some("192.0.2.1"), index);
    let v6 = route("2001:db8:1::", 48, Some("2001:db8::1"), index);
    for route in [v4, v6].map(RoutingEntry::Route) {
        assert_eq!(apply(&mut requests, Change::AddEntry(route)), Some(libc::EEXIST), "{route}");
        assert_eq!(apply(&mut requests, Change::RemoveEntry(route)), None, "{route}");
    }
    let rule = RoutingEntry::Rule(rule("192.0.2.10", 32, 100));
    assert_eq!(apply(&mut requests, Change::RemoveEntry(rule)), None);
    assert_eq!(shown(), before);
    // The kernel accepts a duplicate rule with another protocol number.
    assert_eq!(apply(&mut requests, Change::AddEntry(rule)), None);
    assert_eq!(apply(&mut requests, Change::RemoveEntry(rule)), None);
    assert_eq!(shown(), before);
    // An appended route follows the other tool's route, which remains when vipd's route is removed.
    assert_eq!(apply(&mut requests, Change::AppendRoute(v4)), None);
    assert_eq!(apply(&mut requests, Change::RemoveEntry(RoutingEntry::Route(v4))), None);
    assert_eq!(shown(), before);
    assert_eq!(dump(&mut requests), []);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn only_lost_marked_entries_wake_the_monitor() {
    private_namespace();
    let index = uplink();
    let wanted = all(index);
    let mut monitor = Monitor::open().expect("a monitor");
    let mut requests = Requests::open().expect("a socket");
    requests.read(&mut monitor, &["uplink"], |_| {}).expect("links");
    let destinations = wanted.iter().filter_map(|entry| match entry {
        RoutingEntry::Route(route) => Some(Destination { address: route.to, prefix: route.prefix }),
        RoutingEntry::Rule(_) => None,
    });
    monitor.watch_routing(Some(&destinations.collect::<Vec<_>>())).expect("watched");
    drain(&mut monitor);
    let is_readable = |monitor: &Monitor| {
        let mut fds = [PollFd::new(monitor, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll works") > 0
    };
    for entry in &wanted {
        assert_eq!(apply(&mut requests, Change::AddEntry(*entry)), None, "{entry}");
    }
    ip("route add 10.3.0.0/16 via 192.0.2.1");
    ip("route replace 10.3.0.0/16 via 192.0.2.3");
    ip("route del 10.3.0.0/16");
    ip("-6 route add 2001:db8:1::/48 via 2001:db8::1");
    ip("-6 route del 2001:db8:1::/48");
    ip("rule add from 192.0.2.11 table 100 priority 200");
    ip("rule del priority 200");
    assert!(!is_readable(&monitor), "{:?}", drain(&mut monitor));
    for entry in &wanted {
        assert_eq!(apply(&mut requests, Change::RemoveEntry(*entry)), None, "{entry}");
        let (notices, _) = drain(&mut monitor);
        let gone: Vec<_> =
            notices.into_iter().filter(|one| matches!(one, Notice::RoutingEntryGone(_))).collect();
        assert_eq!(gone, [Notice::RoutingEntryGone(*entry)]);
    }
    for (added, replacement) in [
        (route("10.9.0.0", 16, Some("192.0.2.1"), index), "route replace blackhole 10.9.0.0/16"),
        (
            route("2001:db8:1::", 48, Some("2001:db8::1"), index),
            "-6 route replace 2001:db8:1::/48 via 2001:db8::3",
        ),
    ] {
        assert_eq!(apply(&mut requests, Change::AddEntry(RoutingEntry::Route(added))), None, "{added}");
        ip(&format!("{replacement} table 100 metric 1024"));
        let replaced = drain(&mut monitor).0.into_iter().find_map(|notice| match notice {
            Notice::RouteReplaced(route) => Some(route.first_of_its_key()),
            _ => None,
        });
        assert_eq!(replaced, Some(added.first_of_its_key()));
    }
    monitor.watch_routing(None).expect("no longer watched");
    assert_eq!(apply(&mut requests, Change::AddEntry(wanted[0])), None);
    assert_eq!(apply(&mut requests, Change::RemoveEntry(wanted[0])), None);
    assert!(!is_readable(&monitor));
    // The monitor still reports changes to links and addresses.
    ip("address add 192.0.2.3/24 dev uplink");
    let (notices, _) = drain(&mut monitor);
    assert!(matches!(notices[..], [Notice::Address(_)]), "{notices:?}");
}
