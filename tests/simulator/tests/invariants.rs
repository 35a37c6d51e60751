//! The invariants hold for vipd's core and not for broken routers.

use std::fs;
use std::path::Path;

use vipd_simulator::violation::Invariant;
use vipd_simulator::{Sabotage, run};

/// Seeds that once found a fault, each with a description.
fn regressions() -> Vec<u64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let text = fs::read_to_string(path).expect("the file of seeds can be read");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_whitespace().next().expect("a seed").parse().expect("a number")).collect()
}

#[test]
fn former_violations_do_not_come_back() {
    for seed in regressions() {
        if let Some(violation) = run(seed, Sabotage::None, false).violation {
            panic!("{violation}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    let (one, two, other) =
        (run(7, Sabotage::None, false), run(7, Sabotage::None, false), run(8, Sabotage::None, false));
    assert_eq!((one.digest, one.passed), (two.digest, two.passed));
    assert_ne!(one.digest, other.digest);
    assert!(one.routers >= 50 && one.tally.takeovers() > 100, "{} routers", one.routers);
}

/// Expects one of the first worlds with such routers to violate this invariant.
fn expect_found(sabotage: Sabotage, invariant: Invariant) {
    let mut found = Vec::new();
    for seed in 1..=12 {
        let violation = run(seed, sabotage, false).violation.map(|violation| violation.invariant);
        if violation == Some(invariant) {
            return;
        }
        found.push(violation);
    }
    panic!("{sabotage:?}: {found:?}, and never {invariant:?}");
}

#[test]
fn a_deaf_master_is_detected() {
    expect_found(Sabotage::DeafMaster, Invariant::OneMasterAtMost);
}

#[test]
fn timers_before_pending_adverts_are_detected() {
    expect_found(Sabotage::TimersFirst, Invariant::NoFalseTakeover);
}

#[test]
fn lost_priority_zero_adverts_are_detected() {
    expect_found(Sabotage::NoPriorityZero, Invariant::TakeoverInTime);
}

#[test]
fn addresses_outside_master_are_detected() {
    expect_found(Sabotage::KeepsAddresses, Invariant::AddressesInMasterOnly);
}

#[test]
fn a_router_that_continues_after_its_shutdown_is_detected() {
    expect_found(Sabotage::Restarts, Invariant::SilentAfterShutdown);
}

#[test]
fn missing_preemption_is_detected() {
    expect_found(Sabotage::NeverPreempts, Invariant::TheRightMaster);
}
