//! Short chaos runs with fixed seeds: real agents under random faults, judged only by the captured
//! frames. For longer runs and other seeds, see `cargo xtask chaos`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use vipd_tests::TestResult;
use vipd_tests::binary::vipd;
use vipd_tests::chaos::fault::Kind;
use vipd_tests::chaos::genuine::Attack;
use vipd_tests::chaos::judge::{Bounds, Invariant};
use vipd_tests::chaos::plan::Outline;
use vipd_tests::chaos::run::{Options, Progress, Summary, run};
use vipd_tests::chaos::sabotage::Sabotage;
use vipd_tests::chaos::subject::Subject;

/// A seed whose first round has a single fault that lasts long enough for a takeover.
const SEED: u64 = 1;

/// Plays a plan until the first round with a violation. Returns the figures and the descriptions of
/// the violations.
fn play(
    seed: u64,
    seconds: u64,
    kinds: &[Kind],
    sabotage: Option<Sabotage>,
    is_attacked: bool,
) -> Result<(Summary, String)> {
    let interval = Some(Duration::from_millis(100));
    let options = Options {
        subject: Subject { agent: vipd()?, settings: String::new(), sabotage, is_attacked },
        outline: Outline { nodes: 3, routers: 3, interval, kinds: kinds.to_vec() },
        seed,
        length: Duration::from_secs(seconds),
        bounds: Bounds::default(),
        keep_going: false,
        captures: Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned(),
    };
    let mut found = Vec::new();
    let summary = run(&options, &mut |progress| match progress {
        Progress::Round(plan, played) if !played.verdict.violations.is_empty() => {
            found.push(played.describe(plan));
        }
        Progress::Captured(path) => found.push(format!("frames written to {}", path.display())),
        Progress::Episode(_) | Progress::Round(..) => {}
    })?;
    Ok((summary, found.join("\n")))
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_NICE, CAP_BPF and CAP_PERFMON"]
fn random_faults_violate_no_invariant() -> TestResult {
    let (summary, found) = play(15, 25, &Kind::ALL, None, false)?;
    assert_eq!(summary.violated(), 0, "{found}");
    assert!(summary.answers > 1000, "only {} answers were judged", summary.answers);
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_NICE, CAP_BPF and CAP_PERFMON"]
fn attacker_without_the_key_causes_no_transition() -> TestResult {
    let kinds = [Kind::Calm, Kind::Restart, Kind::KillAll, Kind::Upgrade];
    let (summary, found) = play(3, 25, &kinds, None, true)?;
    assert_eq!(summary.violated(), 0, "{found}");
    let Attack { received, forged, replayed } = summary.attack;
    assert!(received > 1000 && forged > 200 && replayed > 100, "{:?}", summary.attack);
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_NICE, CAP_BPF and CAP_PERFMON"]
fn spoofed_adverts_are_found_if_routers_accept_them() -> TestResult {
    let (summary, found) = play(SEED, 8, &[Kind::Calm], Some(Sabotage::Permissive), true)?;
    let has_found = summary.violations.contains_key(&Invariant::Ownership);
    assert!(has_found, "the attacker was not found: {summary:?}\n{found}");
    Ok(())
}

/// Plays faults of one kind against agents with this defect. Checks that the judge finds a
/// violation of `invariant` and that its description contains `text`.
#[track_caller]
fn expect(sabotage: Sabotage, kind: Kind, invariant: Invariant, text: &str) -> TestResult {
    let (summary, found) = play(SEED, 8, &[kind], Some(sabotage), false)?;
    let has_found = summary.violations.contains_key(&invariant) && found.contains(text);
    assert!(has_found, "{sabotage} was not found: {summary:?}\n{found}");
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_NICE, CAP_BPF and CAP_PERFMON"]
fn two_owners_are_found_without_a_fence() -> TestResult {
    expect(Sabotage::NoFence, Kind::KillAll, Invariant::Ownership, "the new master, reached it")
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_NICE, CAP_BPF and CAP_PERFMON"]
fn stuck_lease_of_a_suspended_agent_is_found() -> TestResult {
    expect(Sabotage::StuckLease, Kind::Pause, Invariant::Ownership, "the new master, reached it")
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_NICE, CAP_BPF and CAP_PERFMON"]
fn late_guardian_is_found() -> TestResult {
    expect(Sabotage::LateGuardian, Kind::Kill, Invariant::Takeover, "its guardian sent")
}
