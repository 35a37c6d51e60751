//! Tracked routes.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vipd::netlink::{Destination, RouteMonitor, RouteState, Routes};
use vipd_tests::wait::{try_wait_until, wait_until};

use super::{ip, pair, private_namespace};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Follows tracked routes as the agent does.
struct Follower {
    destinations: Vec<Destination>,
    monitor: RouteMonitor,
    routes: Routes,
}

impl Follower {
    fn new(destinations: &[Destination]) -> Self {
        let monitor = RouteMonitor::open(destinations).expect("a socket");
        let routes = Routes::read(destinations).expect("routes");
        Self { destinations: destinations.to_vec(), monitor, routes }
    }

    fn is_readable(&self) -> bool {
        let mut fds = [PollFd::new(&self.monitor, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll") > 0
    }

    /// Handles notifications until the routes have these states.
    fn wait_for(&mut self, states: &[RouteState]) {
        let mut is_changed = false;
        let result = try_wait_until("the states", TIMEOUT, || {
            let drained = self.monitor.drain(64, &self.routes)?;
            is_changed |= drained.appeared || drained.overrun;
            if is_changed {
                self.routes = Routes::read(&self.destinations)?;
            }
            Ok(is_changed && self.routes.states == states)
        });
        result.unwrap_or_else(|error| panic!("{error:#}: {:?} instead of {states:?}", self.routes));
    }
}

/// Adds the interface `uplink` with a carrier. Its other end is `uplink-peer`.
fn uplink() {
    pair("uplink");
    ip("link set uplink-peer up");
    ip("link set uplink up");
    ip("address add 192.0.2.2/24 dev uplink");
    ip("address add 2001:db8::2/64 dev uplink nodad");
    // The kernel reports the carrier later, from a work queue.
    for end in ["uplink", "uplink-peer"] {
        let is_up = || ip(&format!("-o link show {end}")).contains("state UP");
        wait_until("the carrier", TIMEOUT, is_up).expect("up");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn tracked_routes_follow_the_main_table() {
    use RouteState::{Missing, Rejecting, Unusable, Usable};
    private_namespace();
    let other: Destination = Destination { address: [10, 1, 0, 0].into(), prefix: 16 };
    let mut follower = Follower::new(&[Destination::DEFAULT_V4, Destination::DEFAULT_V6, other]);
    assert_eq!(follower.routes.states, [Missing, Missing, Missing]);
    uplink();
    for (command, states) in [
        ("route add default via 192.0.2.1 dev uplink", [Usable, Missing, Missing]),
        ("-6 route add default via 2001:db8::1 dev uplink", [Usable, Usable, Missing]),
        ("route add 10.1.0.0/16 via 192.0.2.1", [Usable, Usable, Usable]),
        ("route del 10.1.0.0/16", [Usable, Usable, Missing]),
        ("route add unreachable 10.1.0.0/16", [Usable, Usable, Rejecting]),
        ("link set uplink-peer down", [Unusable, Unusable, Rejecting]),
        ("link set uplink-peer up", [Usable, Usable, Rejecting]),
        ("route add default via 192.0.2.3 dev uplink metric 100", [Usable, Usable, Rejecting]),
        ("route del default via 192.0.2.1", [Usable, Usable, Rejecting]),
        (
            "route replace default metric 100 nexthop via 192.0.2.3 nexthop via 192.0.2.4",
            [Usable, Usable, Rejecting],
        ),
        // The kernel removes the IPv4 routes without a notification.
        ("link set uplink down", [Missing, Missing, Rejecting]),
    ] {
        ip(command);
        follower.wait_for(&states);
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn implicitly_removed_routes_are_detected() {
    private_namespace();
    uplink();
    let mut follower = Follower::new(&[Destination::DEFAULT_V4]);
    ip("nexthop add id 7 via 192.0.2.1 dev uplink");
    ip("route add default nhid 7");
    follower.wait_for(&[RouteState::Usable]);
    ip("nexthop del id 7");
    follower.wait_for(&[RouteState::Missing]);
    ip("address add 198.51.100.2/32 dev lo");
    ip("route add default via 192.0.2.1 src 198.51.100.2");
    follower.wait_for(&[RouteState::Usable]);
    ip("address del 198.51.100.2/32 dev lo");
    follower.wait_for(&[RouteState::Missing]);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn changes_to_other_routes_cause_no_wake_up() {
    private_namespace();
    uplink();
    let mut follower = Follower::new(&[Destination::DEFAULT_V4]);
    ip("route add default via 192.0.2.1");
    follower.wait_for(&[RouteState::Usable]);
    while follower.is_readable() {
        follower.monitor.drain(64, &follower.routes).expect("drained");
    }
    for number in 0..100 {
        ip(&format!("route add 10.{number}.0.0/16 via 192.0.2.1"));
    }
    ip("route add default via 192.0.2.1 table 100");
    ip("-6 route add default via 2001:db8::1");
    ip("address add 192.0.2.77/24 dev uplink");
    assert!(!follower.is_readable());
    ip("route del default");
    follower.wait_for(&[RouteState::Missing]);
}
