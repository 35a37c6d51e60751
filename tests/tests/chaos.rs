//! A short chaos run with a fixed seed: random faults against real agents, judged by the wire. For
//! longer runs and other seeds see `cargo xtask chaos`.

use std::path::Path;
use std::time::Duration;

use vipd_tests::TestResult;
use vipd_tests::binary::vipd;
use vipd_tests::chaos::fault::Kind;
use vipd_tests::chaos::judge::Bounds;
use vipd_tests::chaos::plan::Outline;
use vipd_tests::chaos::run::{Options, Progress, run};

const SEED: u64 = 15;
const LENGTH: Duration = Duration::from_secs(25);

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_NICE, CAP_BPF and CAP_PERFMON"]
fn random_faults_violate_no_invariant() -> TestResult {
    let interval = Some(Duration::from_millis(100));
    let options = Options {
        agent: vipd()?,
        settings: String::new(),
        outline: Outline { nodes: 3, routers: 3, interval, kinds: Kind::ALL.to_vec() },
        seed: SEED,
        length: LENGTH,
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
    assert_eq!(summary.violated(), 0, "{}", found.join("\n"));
    assert!(summary.answers > 1000, "only {} answers were judged", summary.answers);
    Ok(())
}
