//! Simulated sync groups: all members of a group are masters or none is, transitions end after the
//! last fault, and once all segments are connected, one node is master on all of them, if all
//! routers of each node are in one group.

use std::thread::available_parallelism;

use vipd_simulator::sync::{LeftOut, Nodes, run, run_all};

/// Number of worlds of each kind. `cargo xtask simulate` runs more.
const WORLDS: u64 = 300;

#[test]
fn all_kinds_of_worlds_settle() {
    let summary = run_all(1, WORLDS, available_parallelism().map_or(1, Into::into));
    if let Some((_, violation)) = summary.violation {
        panic!("{violation}");
    }
    assert_eq!(summary.worlds, 3 * WORLDS);
    assert!(summary.transitions > 20 * summary.worlds, "{} transitions", summary.transitions);
}

#[test]
fn missing_rules_are_detected() {
    for (left_out, nodes) in [
        (LeftOut::Waiting, Nodes::Grouped),
        (LeftOut::Contest, Nodes::Grouped),
        (LeftOut::Joining, Nodes::Regrouped),
    ] {
        let detected = (1..=100).any(|seed| run(seed, nodes, left_out, false).violation.is_some());
        assert!(detected, "{left_out:?}");
    }
}
