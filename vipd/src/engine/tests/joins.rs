//! Running routers join sync groups, move between them and leave them.
//!
//! All inputs and all changes to groups have the same timestamp, so that no timer fires in between.

use std::sync::Arc;

use vipd_common::parse::{ChecksumForm, address_digest};

use super::*;
use crate::config::operate::Group;
use crate::engine::id::RouterId;
use crate::vrrp::{Reason, Received};
use crate::xdp::Row;

/// Returns sync groups whose members are given by the routers' numbers.
fn groups(groups: &[&[usize]]) -> Vec<Arc<Group>> {
    let group = |(number, members): (usize, &&[usize])| {
        let members = members.iter().map(|member| (member + 1).to_string()).collect();
        Arc::new(Group { name: format!("group {number}"), members, track: Vec::new(), notify: None })
    };
    groups.iter().enumerate().map(group).collect()
}

/// A bench whose routers are all masters.
struct Masters {
    bench: Bench,
    ids: Vec<RouterId>,
    now: Timestamp,
}

impl Masters {
    fn new() -> Result<Self> {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        let ids = bench.engine.topology.routers.iter().map(|(id, _)| id).collect();
        Ok(Self { bench, ids, now: clock::now() })
    }

    fn router(&self, number: usize) -> &Router {
        &self.bench.engine.topology.routers.get(self.ids[number]).expect("it exists").router
    }

    fn input(&mut self, number: usize, input: Input) {
        self.bench.engine.dispatch(self.now, self.ids[number], input);
    }

    /// Passes an advert from the client station to a router.
    fn advert(&mut self, number: usize, priority: u8) {
        let vips = &self.router(number).config().virtual_addresses;
        let advert = Received {
            arrival: self.now,
            source: Station::Client.ipv4().into(),
            priority,
            interval: 1,
            addresses: address_digest(vips.iter().map(|vip| vip.address)),
            checksum: ChecksumForm::Rfc5798,
        };
        self.input(number, Input::Advert(advert));
    }

    fn regroup(&mut self, members: &[&[usize]]) {
        self.bench.engine.regroup(self.now, &groups(members));
    }

    /// Returns, for each of the first four routers, whether it is master.
    fn masters(&self) -> [bool; 4] {
        std::array::from_fn(|number| self.router(number).state() == State::Master)
    }

    /// Returns the number of times each of the first four routers has become master.
    fn takeovers(&self) -> [u64; 4] {
        std::array::from_fn(|number| self.router(number).snapshot().counters.master_transitions)
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn joining_routers_follow_the_running_members() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut all = Masters::new()?;
        all.regroup(&[&[0, 1]]);
        // A backup that was master and now follows a lower-priority master joins a group of
        // masters.
        all.input(2, Input::Failover);
        all.advert(2, 50);
        all.regroup(&[&[0, 1, 2]]);
        assert_eq!((all.masters(), all.takeovers()), ([true; 4], [1, 1, 2, 1]));
        // A master joins a group of backups that follow a running master.
        all.advert(0, 200);
        all.advert(1, 200);
        assert_eq!(all.masters(), [false, false, false, true]);
        all.regroup(&[&[0, 1, 2, 3]]);
        assert_eq!((all.masters(), all.takeovers()), ([false; 4], [1, 1, 2, 1]));
        assert_eq!(all.router(3).snapshot().reason, Some(Reason::Group));
        Ok(())
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn group_leaves_master_if_a_joining_router_follows_a_higher_priority_master() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut all = Masters::new()?;
        all.regroup(&[&[0, 1]]);
        all.advert(2, 200);
        assert_eq!(all.masters(), [true, true, false, true]);
        all.regroup(&[&[0, 1, 2]]);
        assert_eq!((all.masters(), all.takeovers()), ([false, false, false, true], [1; 4]));
        Ok(())
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn routers_form_groups_move_between_them_and_leave_them() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut all = Masters::new()?;
        all.advert(2, 200);
        // One new group contains a master and a backup, and the other contains two masters.
        all.regroup(&[&[2, 3], &[0, 1]]);
        assert_eq!(all.masters(), [true, true, false, false]);
        // One master moves to the group of the backups, and its former group remains.
        all.regroup(&[&[1, 2, 3], &[0, 4]]);
        assert_eq!(all.masters(), [true, false, false, false]);
        assert_eq!(all.router(4).state(), State::Master);
        // All groups are removed.
        all.regroup(&[]);
        assert_eq!((all.masters(), all.takeovers()), ([true, false, false, false], [1; 4]));
        Ok(())
    })
}

/// The last advert of a running master may not have been passed to the router yet.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unchanged_adverts_are_handled_before_a_router_joins() -> Result<()> {
    let lab = Lab::new(1)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    lab.host(NODE)?.run(move || {
        let mut all = Masters::new()?;
        injector.send(&advert(1, 200))?;
        let is_on_fast_path = |bench: &Bench| {
            bench
                .engine
                .topology
                .routers
                .values()
                .next()
                .is_some_and(|one| one.fast_path.published().is_some())
        };
        all.bench.turn_until("the first router is on the fast path", is_on_fast_path)?;
        let row = Row::new(1).expect("not 0");
        let first = all.bench.engine.steady.last_arrival(row);
        // Simulates a stall: for longer than the master-down interval, no turn runs.
        while clock::now() < first + u64::from(2 * MISSING) * 10_000_000 {
            thread::yield_now();
        }
        injector.send(&advert(1, 200))?;
        while all.bench.engine.steady.last_arrival(row) == first {
            thread::yield_now();
        }
        all.now = all.bench.engine.steady.last_arrival(row);
        all.regroup(&[&[0, 1]]);
        assert_eq!(all.masters(), [false, false, true, true]);
        Ok(())
    })
}
