//! Plans the hosts and virtual routers of a world.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd::vrrp::{Family, Interval, RouterConfig, Version, VirtualAddress};

use crate::clock::{Clock, MAX_DRIFT};
use crate::host::Host;
use crate::random::Random;

pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLI;

/// A virtual router: members with the same VRID on several hosts.
pub(crate) struct Group {
    /// Indices of the members in `World::members`, and of their plans in `Plan::roles`.
    pub(crate) members: Vec<usize>,
    /// Number of transitions to Master.
    pub(crate) takeovers: u64,
    /// The member that most recently became master.
    pub(crate) last_master: Option<usize>,
    /// Start of the current period with more than one running master.
    pub(crate) contested_since: Option<u64>,
    /// Start of the current period in which several hosts answer for the VIPs.
    pub(crate) answered_twice_since: Option<u64>,
}

/// The plan for one member of a virtual router.
pub(crate) struct Role {
    pub(crate) host: usize,
    pub(crate) group: usize,
    pub(crate) address: IpAddr,
    pub(crate) config: RouterConfig,
}

/// The distribution of virtual routers among hosts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// 4 to 12 hosts with 30 to 60 virtual routers, each of which runs on some of the hosts.
    Mesh,
    /// 4 to 12 hosts, all of which run the same 30 to 60 virtual routers. One host has the highest
    /// priority in all virtual routers.
    Ladder,
    /// 60 hosts, all of which run the same three virtual routers.
    Crowd,
}

impl Shape {
    /// The shapes, each repeated according to its probability.
    const ALL: [Self; 8] = {
        let (mesh, ladder) = (Self::Mesh, Self::Ladder);
        [mesh, mesh, mesh, mesh, ladder, ladder, ladder, Self::Crowd]
    };
}

pub(crate) struct Plan {
    pub(crate) hosts: Vec<Host>,
    pub(crate) groups: Vec<Group>,
    pub(crate) roles: Vec<Role>,
    /// Maximum delay of an advert, in nanoseconds.
    pub(crate) delay: u64,
}

impl Plan {
    /// Creates a plan with a random [`Shape`].
    pub(crate) fn new(random: &mut Random) -> Self {
        let shape = random.of(&Shape::ALL);
        let crowd = shape == Shape::Crowd;
        let hosts: Vec<_> = (0..if crowd { 60 } else { random.between(4, 12) })
            .map(|_| {
                let gain = i64::try_from(random.between(0, 2 * MAX_DRIFT.unsigned_abs())).expect("small")
                    - MAX_DRIFT;
                Host::new(Clock::new(SECOND * random.between(100, 1_000_000), gain))
            })
            .collect();
        let unit = random.of(&[10 * MILLI, 10 * MILLI, 30 * MILLI, 100 * MILLI, SECOND]);
        let mut plan = Self {
            hosts,
            groups: Vec::new(),
            roles: Vec::new(),
            // A priority difference of 1 changes Skew_Time by 39 µs at the shortest interval. With
            // longer delays, a backup's timer may fire before the advert of a faster backup
            // arrives.
            delay: random.of(&[20_000, 200_000, 2 * MILLI]),
        };
        for group in 0..if crowd { 3 } else { random.between(30, 60) } {
            plan.add_group(usize::try_from(group).expect("small"), unit, shape, random);
        }
        plan
    }

    fn add_group(&mut self, group: usize, unit: u64, shape: Shape, random: &mut Random) {
        let crowd = shape == Shape::Crowd;
        let everywhere = shape != Shape::Mesh;
        let version = if unit == SECOND && random.one_in(2) { Version::V2 } else { Version::V3 };
        let family = if version == Version::V3 && random.one_in(3) { Family::V6 } else { Family::V4 };
        // Usually, all members have the same interval and different priorities, as RFC 9568 section
        // 8.3.2 recommends. Otherwise, their priorities may be equal and, in VRRPv3, their
        // intervals may differ.
        let uniform = everywhere || !random.one_in(4);
        let shared = unit * random.of(&[1, 1, 2, 3]);
        // All members must have the same `down_after_adverts`. If their intervals may differ, or
        // their priorities may be equal, use 3, as in the RFC.
        let mut down_after_adverts = if uniform { random.of(&[2, 3, 3, 3]) } else { 3 };
        let preempt_delay = if random.one_in(6) { shared * random.between(1, 6) } else { 0 };
        let owner = random.one_in(8);
        let size = if everywhere { self.hosts.len() } else { self.hosts.len().min(random.index(5) + 2) };
        let first = if everywhere { 0 } else { random.index(self.hosts.len()) };
        // With `down_after_adverts` 1, a master counts as down as soon as an advert is late by more
        // than Skew_Time. Use 1 only if Skew_Time exceeds the differences in clocks and delays,
        // that is, with long intervals and priorities below 200.
        if down_after_adverts == 2 && shared >= 100 * MILLI && size <= 9 && !owner {
            down_after_adverts = 1;
        }
        let mut members = Vec::new();
        for index in 0..size {
            let own =
                if uniform || version == Version::V2 { shared } else { unit * random.of(&[1, 2, 10, 30]) };
            let small = u8::try_from(index).expect("at most 60 members");
            // In a uniform virtual router, the priorities are spread so that no two are equal.
            let step = if crowd { 4 } else { 20 };
            let spread = 10 + small * step + u8::try_from(random.index(step.into())).expect("below 20");
            let mut priority = if uniform { spread } else { random.of(&[1, 99, 100, 100, 101, 200, 254]) };
            if owner && index + 1 == size {
                priority = 255;
            }
            let interval = Interval::from_nanos(version, own).expect("a valid interval");
            let byte = u8::try_from(group + 1).expect("at most 60 groups");
            let address = virtual_address(family, byte);
            members.push(self.roles.len());
            self.roles.push(Role {
                host: (first + index) % self.hosts.len(),
                group,
                address: own_address(family, (first + index) % self.hosts.len()),
                config: RouterConfig {
                    priority,
                    preempt: uniform || !random.one_in(3),
                    preempt_delay,
                    startup_delay: if random.one_in(10) { shared * random.between(1, 5) } else { 0 },
                    down_after_adverts,
                    ..RouterConfig::new(byte, family, interval, vec![address])
                },
            });
        }
        self.groups.push(Group {
            members,
            takeovers: 0,
            last_master: None,
            contested_since: None,
            answered_twice_since: None,
        });
    }
}

fn virtual_address(family: Family, byte: u8) -> VirtualAddress {
    match family {
        Family::V4 => VirtualAddress { address: Ipv4Addr::new(10, 1, 0, byte).into(), prefix: 24 },
        Family::V6 => {
            let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, byte.into()).into();
            VirtualAddress { address, prefix: 64 }
        }
    }
}

fn own_address(family: Family, host: usize) -> IpAddr {
    let last = u8::try_from(host + 1).expect("at most 60 hosts");
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, 0, last).into(),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into()).into(),
    }
}
