//! The invariants hold for vipd's core, and do not hold for routers that are broken.

use std::fs;
use std::path::Path;

use vipd_simulator::violation::Invariant;
use vipd_simulator::{Sabotage, run};

/// Seeds that once found a fault, with a word about it: `17  what it was`.
fn regressions() -> Vec<u64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let text = fs::read_to_string(path).expect("the file of seeds can be read");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_whitespace().next().expect("a seed").parse().expect("a number")).collect()
}

#[test]
fn they_hold_where_they_once_did_not() {
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

/// Whether one of the first worlds with such routers violates this invariant.
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
fn a_master_that_hears_nobody_is_found() {
    expect_found(Sabotage::DeafMaster, Invariant::OneMasterAtMost);
}

#[test]
fn timers_before_the_feed_are_found() {
    expect_found(Sabotage::TimersFirst, Invariant::NoFalseTakeover);
}

#[test]
fn a_release_that_nobody_hears_is_found() {
    expect_found(Sabotage::NoRelease, Invariant::TakeoverInTime);
}

#[test]
fn addresses_without_mastership_are_found() {
    expect_found(Sabotage::KeepsAddresses, Invariant::AddressesAreAMasters);
}

#[test]
fn a_router_that_goes_on_after_its_stop_is_found() {
    expect_found(Sabotage::Revives, Invariant::SilentAfterStop);
}

#[test]
fn preemption_that_does_not_happen_is_found() {
    expect_found(Sabotage::Polite, Invariant::TheRightMaster);
}
