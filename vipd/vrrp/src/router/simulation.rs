//! Several routers on one LAN in virtual time.
//!
//! A LAN delays, reorders and loses adverts and falls apart; routers stop, crash, lose their interface and are held
//! up. Each run follows from its seed, which a failure names. A router is driven as the agent drives it: what has
//! arrived is handed over before timers are served, and a router that is held up hears all of it afterwards.

mod lan;
mod random;

use lan::{Lan, Node, Plan};
use random::Random;

use super::tests::{MILLI, SECOND, config};
use crate::config::DOWN_AFTER_ADVERTS;
use crate::{Fault, RouterConfig, State, Version};

/// Runs of each scenario; together they take some seconds.
const RUNS: u64 = 800;

/// A LAN of 2 to 5 routers. `uniform`: one interval and preemption for all, and no two of a priority.
fn lan(random: &mut Random, uniform: bool) -> Lan {
    let version = if random.one_in(3) { Version::V2 } else { Version::V3 };
    let unit = match version {
        Version::V2 => SECOND,
        Version::V3 => 10 * MILLI,
    };
    let shared = unit * random.of(&[1, 1, 3, 100]);
    // All routers must use the same number; where intervals differ, the RFC's.
    let down_after_adverts = if uniform { random.of(&[1, 2, 3]) } else { DOWN_AFTER_ADVERTS };
    let mut nodes = Vec::new();
    for index in 0..random.between(2, 5) {
        // RFC 3768 demands one interval; RFC 9568 lives with several.
        let own = if uniform || version == Version::V2 { shared } else { unit * random.of(&[1, 2, 10, 100]) };
        let spread = u8::try_from(10 + 40 * index + random.between(0, 39)).expect("at most 209");
        let mut priority = if uniform { spread } else { random.of(&[1, 99, 100, 100, 101, 200, 254]) };
        // An owner now and then; two would be a misconfiguration.
        if index == 4 && random.one_in(2) {
            priority = 255;
        }
        let preempt = uniform || !random.one_in(3);
        nodes.push(Node::new(
            RouterConfig { priority, preempt, down_after_adverts, ..config(version, own) },
            index,
        ));
    }
    // A priority point is 39 µs at 1 cs: a LAN that is slower than that makes two of them fire together, which
    // the protocol allows for a delay's length.
    let delay = random.of(&[20_000, 200_000, 2 * MILLI]);
    Lan::new(nodes, delay, random.next())
}

/// Bad times: everything may happen, for about `intervals` of the longest interval.
fn disturb(lan: &mut Lan, random: &mut Random, intervals: u64) {
    let end = lan.now + lan.longest_interval() * intervals;
    lan.plan = Plan { loss: random.of(&[0, 0, 10, 50]), check: false };
    while lan.now < end {
        let node = random.index(lan.nodes.len());
        match random.between(0, 11) {
            0 => lan.stop(node),
            1 => lan.crash(node),
            2 => lan.fault(node, random.of(&[Fault::InterfaceDown, Fault::NotAttached])),
            3..=5 => lan.start(node),
            6 | 7 => lan.pause(node, lan.longest_interval() * random.between(0, 60) / 10),
            8 => lan.partition(|_| random.between(0, 1)),
            9 => lan.partition(|_| 0),
            10 => lan.lose_feed(node),
            _ => lan.steal_address(node),
        }
        let step = lan.longest_interval() * random.between(0, 30) / 10;
        lan.run_for(step);
    }
}

#[test]
fn a_whole_lan_comes_to_rest_with_the_one_right_master() {
    for seed in 0..RUNS {
        let random = &mut Random::new(seed);
        let mut lan = lan(random, false);
        lan.name(format!("seed {seed}"));
        disturb(&mut lan, random, 30);
        // Whole again: all are up, nobody is held up, nothing is lost.
        lan.plan = Plan { loss: 0, check: false };
        lan.partition(|_| 0);
        for node in 0..lan.nodes.len() {
            lan.resume(node);
            lan.start(node);
        }
        // The longest Active_Down_Interval, and the way of the last adverts.
        lan.run_for(4 * lan.longest_interval() + 4 * lan.slack());
        lan.plan.check = true;
        lan.run_for(8 * lan.longest_interval());
        let master = lan.only_master();
        let (priority, _) = lan.nodes[master].rank();
        for (index, node) in lan.nodes.iter().enumerate() {
            let preempts = node.config().preempt || node.config().is_owner();
            assert!(
                index == master || !preempts || node.rank().0 <= priority,
                "seed {seed}: router {index} should have preempted router {master}"
            );
            assert_eq!(node.followed(), (index != master).then(|| lan.nodes[master].primary), "seed {seed}");
        }
    }
}

#[test]
fn from_a_cold_start_the_highest_priority_wins_and_the_tie_goes_to_the_highest_address() {
    for seed in 0..RUNS {
        let random = &mut Random::new(seed);
        let mut lan = lan(random, false);
        lan.name(format!("seed {seed}"));
        for node in &mut lan.nodes {
            node.preempts();
        }
        // All are master in a LAN of their own, and then it heals.
        lan.partition(|index| index as u64);
        lan.start_all();
        lan.run_for(5 * lan.longest_interval());
        assert!(lan.nodes.iter().all(|node| node.state() == State::Master), "seed {seed}");
        lan.partition(|_| 0);
        // One advert of each is enough.
        lan.run_for(lan.longest_interval() + 2 * lan.slack());
        lan.plan.check = true;
        lan.run_for(8 * lan.longest_interval());
        let best =
            (0..lan.nodes.len()).max_by_key(|index| lan.nodes[*index].rank()).expect("there are nodes");
        assert_eq!(lan.only_master(), best, "seed {seed}: S22, S26");
    }
}

#[test]
fn a_router_that_was_held_up_never_takes_over_by_mistake() {
    for seed in 0..RUNS {
        let random = &mut Random::new(seed);
        let mut lan = lan(random, true);
        lan.name(format!("seed {seed}"));
        lan.start_all();
        lan.run_for(5 * lan.longest_interval());
        lan.only_master();
        lan.plan.check = true;
        for _ in 0..20 {
            // Around the deadlines of the backups, and well beyond.
            let length = lan.longest_interval() * random.between(1, 80) / 10 + random.between(0, MILLI);
            lan.pause(random.index(lan.nodes.len()), length);
            lan.run_for(lan.longest_interval() * random.between(1, 100) / 10);
        }
        lan.run_for(20 * lan.longest_interval());
        let best =
            (0..lan.nodes.len()).max_by_key(|index| lan.nodes[*index].rank()).expect("there are nodes");
        assert_eq!(lan.only_master(), best, "seed {seed}: the best one is master again");
    }
}

#[test]
fn a_backup_that_was_held_up_changes_nothing() {
    for seed in 0..RUNS {
        let random = &mut Random::new(seed);
        let mut lan = lan(random, true);
        lan.name(format!("seed {seed}"));
        lan.start_all();
        lan.run_for(5 * lan.longest_interval());
        let master = lan.only_master();
        let transitions = lan.transitions();
        for _ in 0..20 {
            let node = random.index(lan.nodes.len());
            if node != master {
                lan.pause(node, lan.longest_interval() * random.between(1, 500) / 10);
            }
            lan.run_for(lan.longest_interval() * random.between(1, 100) / 10);
        }
        lan.run_for(60 * lan.longest_interval());
        assert_eq!(lan.transitions(), transitions, "seed {seed}: the feed is heard before the timers");
    }
}

#[test]
fn when_the_master_stops_or_dies_the_next_one_takes_over_in_time() {
    for seed in 0..RUNS {
        let random = &mut Random::new(seed);
        let mut lan = lan(random, true);
        lan.name(format!("seed {seed}"));
        lan.start_all();
        lan.run_for(5 * lan.longest_interval());
        let master = lan.only_master();
        let next = (0..lan.nodes.len())
            .filter(|index| *index != master)
            .max_by_key(|index| lan.nodes[*index].rank())
            .expect("there are at least two");
        let snapshot = lan.nodes[next].snapshot();
        lan.plan.check = true;
        let wait = if random.one_in(2) {
            lan.stop(master);
            snapshot.skew
        } else {
            lan.crash(master);
            snapshot.master_down_interval
        };
        lan.run_for(wait + lan.slack());
        assert_eq!(lan.only_master(), next, "seed {seed}");
        // And when it comes back, it preempts.
        lan.start(master);
        lan.run_for(4 * lan.longest_interval() + lan.slack());
        assert_eq!(lan.only_master(), master, "seed {seed}");
    }
}
