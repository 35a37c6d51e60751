//! Sync groups are masters together, settle after faults, and have one owner on connected segments.

use vipd_simulator::sync::{LeftOut, Nodes, run};

/// Number of worlds of each kind. `WORLDS=N` in the environment runs more.
fn worlds() -> u64 {
    std::env::var("WORLDS").map_or(300, |worlds| worlds.parse().expect("WORLDS is a number"))
}

fn expect_none(nodes: Nodes) {
    let mut transitions = 0;
    for seed in 1..=worlds() {
        let outcome = run(seed, nodes, LeftOut::Nothing, false);
        if let Some(violation) = outcome.violation {
            let events = run(seed, nodes, LeftOut::Nothing, true).events;
            let last = &events[events.len().saturating_sub(60)..];
            panic!("{}\nseed {seed}: {violation}", last.join("\n"));
        }
        transitions += outcome.transitions;
    }
    assert!(transitions > 20 * worlds(), "{transitions} transitions");
}

#[test]
fn nodes_with_groups_settle_and_one_owns_all_connected_segments() {
    expect_none(Nodes::Grouped);
}

#[test]
fn group_settles_beside_a_node_with_independent_routers() {
    expect_none(Nodes::OneWithoutGroup);
}

#[test]
fn missing_rules_are_detected() {
    for left_out in [LeftOut::Waiting, LeftOut::Contest] {
        let detected = (1..=100).any(|seed| run(seed, Nodes::Grouped, left_out, false).violation.is_some());
        assert!(detected, "{left_out:?}");
    }
}
