//! The invariants hold for vipd's core, and detect defective routers.

use std::fs;
use std::path::Path;

use vipd_simulator::violation::Invariant;
use vipd_simulator::{Defect, run};

/// Returns the seeds that found bugs in the past.
fn regressions() -> Vec<u64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let text = fs::read_to_string(path).expect("the file of seeds can be read");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_whitespace().next().expect("a seed").parse().expect("a number")).collect()
}

#[test]
fn former_violations_do_not_recur() {
    for seed in regressions() {
        if let Some(violation) = run(seed, Defect::None, false).violation {
            panic!("{violation}");
        }
    }
}

#[test]
fn seed_determines_the_world() {
    let (one, two, other) =
        (run(7, Defect::None, false), run(7, Defect::None, false), run(8, Defect::None, false));
    assert_eq!((one.digest, one.passed), (two.digest, two.passed));
    assert_ne!(one.digest, other.digest);
    assert!(one.routers >= 50 && one.tally.takeovers() > 100, "{} routers", one.routers);
}

/// Checks that, with this defect, one of the first worlds violates this invariant.
fn expect_violation(defect: Defect, invariant: Invariant) {
    let mut found = Vec::new();
    for seed in 1..=12 {
        let violation = run(seed, defect, false).violation.map(|violation| violation.invariant);
        if violation == Some(invariant) {
            return;
        }
        found.push(violation);
    }
    panic!("{defect:?}: expected a violation of {invariant:?}, found {found:?}");
}

#[test]
fn master_that_receives_nothing_is_detected() {
    expect_violation(Defect::MasterReceivesNothing, Invariant::OneMasterAtMost);
}

#[test]
fn timers_before_pending_adverts_are_detected() {
    expect_violation(Defect::TimersFirst, Invariant::NoFalseTakeover);
}

#[test]
fn lost_priority_zero_adverts_are_detected() {
    expect_violation(Defect::NoPriorityZero, Invariant::TakeoverInTime);
}

#[test]
fn addresses_outside_master_are_detected() {
    expect_violation(Defect::KeepsAddresses, Invariant::AddressesInMasterOnly);
}

#[test]
fn router_that_continues_after_shutdown_is_detected() {
    expect_violation(Defect::Restarts, Invariant::SilentAfterShutdown);
}

#[test]
fn missing_preemption_is_detected() {
    expect_violation(Defect::NeverPreempts, Invariant::TheRightMaster);
}

#[test]
fn missing_fence_is_detected() {
    expect_violation(Defect::NoFence, Invariant::OneAnswersAtMost);
}

#[test]
fn lease_that_is_too_long_is_detected() {
    expect_violation(Defect::LongLease, Invariant::OneAnswersAtMost);
}

#[test]
fn fence_that_is_not_lifted_is_detected() {
    expect_violation(Defect::StuckFence, Invariant::MasterAnswers);
}
