//! Behavior of routers with signed adverts when clocks are wrong, with an interval of 1 s and a
//! window of 5 s.

use std::collections::HashMap;

use vipd::vrrp::hmac::{AntiReplay, Mode, Refusal};
use vipd_simulator::signed::{SECOND, VIRTUAL_ROUTERS, World};

const WINDOW: u32 = 5;
const HOUR: u64 = 3600 * SECOND;

/// Returns a world with two nodes, of which node 0 is the master.
fn pair(anti_replay: AntiReplay) -> World {
    let mut world = World::new(2, Mode::Enforce, anti_replay, WINDOW);
    world.start(0);
    world.start(1);
    world.run(20 * SECOND);
    assert_eq!(world.masters(), [0]);
    assert!(world.refusals(0).is_empty() && world.refusals(1).is_empty());
    world.transitions();
    world
}

/// Runs the world, and checks that node 0 stays master and no advert is refused.
fn expect_rest(world: &mut World, nanos: u64, when: &str) {
    world.run(nanos);
    assert_eq!(world.transitions(), [], "{when}");
    assert_eq!(world.masters(), [0], "{when}");
    for node in [0, 1] {
        assert_eq!(world.refusals(node), HashMap::new(), "{when}, node {node}");
    }
}

/// Runs the world until the nodes have settled, then for a minute, in which both are masters
/// because each refuses the other's adverts for these reasons.
fn expect_split_brain(world: &mut World, reasons: [Refusal; 2], when: &str) {
    world.run(10 * SECOND);
    world.transitions();
    for node in [0, 1] {
        world.refusals(node);
    }
    world.run(60 * SECOND);
    assert_eq!(world.transitions(), [], "{when}");
    assert_eq!(world.masters(), [0, 1], "{when}");
    for (node, reason) in reasons.into_iter().enumerate() {
        let refusals = world.refusals(node);
        assert_eq!(refusals.keys().collect::<Vec<_>>(), [&reason], "{when}, node {node}");
        assert!(refusals[&reason] >= 59 * VIRTUAL_ROUTERS.len() as u64, "{when}: {refusals:?}");
    }
}

/// Runs the world for 2 s, after which node 0 is the only master.
fn expect_healed(world: &mut World, when: &str) {
    world.run(2 * SECOND);
    assert_eq!(world.masters(), [0], "{when}");
    world.transitions();
    for node in [0, 1] {
        world.refusals(node);
    }
    expect_rest(world, 60 * SECOND, when);
}

#[test]
fn correct_clocks_cause_no_transition() {
    for anti_replay in [AntiReplay::Time, AntiReplay::Monotonic] {
        expect_rest(&mut pair(anti_replay), 2 * HOUR, "correct clocks");
    }
}

#[test]
fn steps_within_the_window_have_no_effect() {
    for node in [0, 1] {
        let mut world = pair(AntiReplay::Time);
        for seconds in [3, -2, 5, 0, -5, 0] {
            world.set_clock(node, seconds);
            expect_rest(&mut world, 60 * SECOND, &format!("node {node}, {seconds} s"));
        }
    }
}

/// The sender's clock steps back by more than the window. Its sequence follows the clock, because
/// receivers whose clocks agree with the new time would refuse a continued sequence as stale. This
/// receiver has accepted adverts with the former time, so it refuses the new adverts as replays
/// until their time is after the former time, here for 8 s, or the former time is stale.
#[test]
fn step_across_the_window_is_refused_as_a_replay_until_the_former_time_is_stale() {
    let mut world = pair(AntiReplay::Time);
    world.set_clock(0, 4);
    expect_rest(&mut world, 60 * SECOND, "4 s ahead");
    world.set_clock(0, -4);
    world.run(6 * SECOND);
    assert_eq!(world.masters(), [0, 1]);
    assert_eq!(world.refusals(1).into_keys().collect::<Vec<_>>(), [Refusal::Replayed]);
    world.run(4 * SECOND);
    expect_healed(&mut world, "the former time is stale");
}

#[test]
fn step_beyond_the_window_makes_both_nodes_masters_until_it_is_corrected() {
    for node in [0, 1] {
        for seconds in [-3600, -7, 7, 3600] {
            let mut world = pair(AntiReplay::Time);
            let when = format!("node {node}, {seconds} s");
            world.set_clock(node, seconds);
            expect_split_brain(&mut world, [Refusal::Stale; 2], &when);
            world.set_clock(node, 0);
            expect_healed(&mut world, &when);
        }
    }
}

#[test]
fn steps_have_no_effect_without_a_window() {
    for node in [0, 1] {
        let mut world = pair(AntiReplay::Monotonic);
        for seconds in [7, -7, 3600, 0, -1_000_000_000] {
            world.set_clock(node, seconds);
            expect_rest(&mut world, 60 * SECOND, &format!("node {node}, {seconds} s"));
        }
    }
}

#[test]
fn clocks_may_drift_by_half_the_window_each() {
    let mut world = pair(AntiReplay::Time);
    let half = i64::from(WINDOW) * 500;
    // 1 ms per second, in opposite directions.
    let [fast, slow] = [1_000_000, -1_000_000];
    world.set_drift(0, fast);
    world.set_drift(1, slow);
    expect_rest(&mut world, (half.unsigned_abs() - 1) * SECOND, "half the window");
    assert_eq!((world.offset(0) - world.offset(1)) / 1_000_000, 2 * half - 2);
    // Times are compared in whole seconds, so that up to one more second may be accepted.
    world.run(600 * SECOND);
    expect_split_brain(&mut world, [Refusal::Stale; 2], "beyond the window");
    for node in [0, 1] {
        world.set_drift(node, 0);
        world.set_clock(node, 0);
    }
    expect_healed(&mut world, "corrected");
}

/// Clock minus true time, in seconds, of a node that boots without time: its clock shows 1970.
const WITHOUT_TIME: i64 = -1_764_000_000;

#[test]
fn node_that_boots_without_time_becomes_a_second_master_until_its_clock_is_set() {
    for node in [0, 1] {
        let mut world = pair(AntiReplay::Time);
        world.crash(node);
        world.run(10 * SECOND);
        world.set_clock(node, WITHOUT_TIME);
        world.start(node);
        expect_split_brain(&mut world, [Refusal::Stale; 2], "1970");
        world.set_clock(node, 0);
        expect_healed(&mut world, "set");
    }
}

/// Returns a world with two nodes without time, of which node 0 is the master.
fn pair_without_time(anti_replay: AntiReplay) -> World {
    let mut world = World::new(2, Mode::Enforce, anti_replay, WINDOW);
    for node in [0, 1] {
        world.set_clock(node, WITHOUT_TIME);
        world.start(node);
    }
    world.run(20 * SECOND);
    world.transitions();
    expect_rest(&mut world, 60 * SECOND, "1970");
    world
}

#[test]
fn cluster_that_boots_without_time_runs_until_the_first_clock_is_set() {
    let mut world = pair_without_time(AntiReplay::Time);
    world.set_clock(0, 0);
    expect_split_brain(&mut world, [Refusal::Stale; 2], "first clock");
    world.set_clock(1, 0);
    expect_healed(&mut world, "second clock");
}

#[test]
fn clocks_are_set_without_effect_without_a_window() {
    let mut world = pair_without_time(AntiReplay::Monotonic);
    for node in [0, 1] {
        world.set_clock(node, 0);
        expect_rest(&mut world, 60 * SECOND, &format!("node {node}"));
    }
}

#[test]
fn backup_that_boots_without_time_follows_the_master_without_a_window() {
    let mut world = pair(AntiReplay::Monotonic);
    world.crash(1);
    world.set_clock(1, WITHOUT_TIME);
    world.start(1);
    world.transitions();
    expect_rest(&mut world, 60 * SECOND, "1970");
    // The crash clears the sequences stored on node 0, so it accepts the adverts of node 1.
    world.crash(0);
    world.run(10 * SECOND);
    assert_eq!(world.masters(), [1]);
    world.start(0);
    world.run(10 * SECOND);
    assert_eq!(world.masters(), [0]);
}

#[test]
fn master_that_boots_without_time_is_refused_as_a_replay_without_a_window() {
    let mut world = pair(AntiReplay::Monotonic);
    world.crash(0);
    world.run(10 * SECOND);
    assert_eq!(world.masters(), [1]);
    world.set_clock(0, WITHOUT_TIME);
    world.start(0);
    world.run(10 * SECOND);
    world.transitions();
    world.refusals(0);
    world.refusals(1);
    world.run(60 * SECOND);
    // Node 1 refuses the adverts of node 0. Node 0 accepts those of node 1, but has a higher
    // priority.
    assert_eq!(world.masters(), [0, 1]);
    assert_eq!(world.refusals(0), HashMap::new());
    assert_eq!(world.refusals(1).into_keys().collect::<Vec<_>>(), [Refusal::Replayed]);
    world.set_clock(0, 0);
    expect_healed(&mut world, "set");
}

#[test]
fn restart_after_a_clock_was_ahead_is_refused_as_a_replay_until_the_clock_has_caught_up() {
    for (anti_replay, ahead) in [(AntiReplay::Time, 5), (AntiReplay::Monotonic, 60)] {
        let mut world = pair(anti_replay);
        world.set_clock(0, ahead);
        world.run(10 * SECOND);
        world.crash(0);
        world.set_clock(0, 0);
        world.start(0);
        let refused_for = u64::try_from(ahead).expect("positive");
        world.run(refused_for * SECOND - SECOND / 2);
        assert_eq!(world.refusals(1).into_keys().collect::<Vec<_>>(), [Refusal::Replayed], "{ahead} s");
        assert_eq!(world.masters(), [0, 1], "{ahead} s");
        expect_healed(&mut world, "caught up");
    }
}

#[test]
fn successor_of_an_agent_continues_its_sequence_after_a_clock_was_ahead() {
    for anti_replay in [AntiReplay::Time, AntiReplay::Monotonic] {
        let mut world = pair(anti_replay);
        world.set_clock(0, 5);
        world.run(10 * SECOND);
        world.set_clock(0, 0);
        world.upgrade(0);
        expect_rest(&mut world, 60 * SECOND, "upgraded");
    }
}
