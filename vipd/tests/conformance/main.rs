//! Runs the conformance suite on vipd's core in virtual time. Input and output are frames, and
//! times are exact to the microsecond.
//!
//! The scenarios are in `tests/conformance`. `cargo xtask conformance` runs them with real
//! programs.

mod node;
mod receive;
mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use vipd::vrrp::Policy;
use vipd_tests::conformance::stage::At;
use vipd_tests::conformance::{Note, Program, document, items};

/// vipd's policy without `group_adverts`. That setting shortens some intervals by up to 1 ms, which
/// the lab tolerates, but this test checks exact times.
const POLICY: Policy = Policy { group_adverts: false, ..Policy::VIPD };

#[test]
fn the_core_passes_scenarios_or_differs_as_noted() {
    let scenarios = document::all().expect("valid scenarios");
    let mut failed = Vec::new();
    let mut played = 0;
    for scenario in scenarios.iter().filter(|scenario| scenario.in_core) {
        played += 1;
        let result = stage::play(scenario, POLICY);
        match (scenario.note(Program::Vipd), result) {
            (None, Ok(())) => {}
            (Some(Note::Differs(_)), Err(error))
                if error.downcast_ref::<At>().is_some_and(|at| scenario.differs_at(Program::Vipd, at.0)) => {}
            (_, Err(error)) => failed.push(format!("{}: {error:#}", scenario.name)),
            (Some(_), Ok(())) => {
                failed.push(format!("{}: passes despite the deviation noted for vipd", scenario.name));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {played} scenarios:\n{}", failed.len(), failed.join("\n"));
    assert!(played > 0, "no scenarios");
}

#[test]
fn with_the_rfc_policy_every_scenario_passes() {
    let scenarios = document::all().expect("valid scenarios");
    let mut failed = Vec::new();
    for scenario in scenarios.iter().filter(|scenario| scenario.in_core) {
        if let Err(error) = stage::play(scenario, Policy::RFC) {
            failed.push(format!("{}: {error:#}", scenario.name));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_item_has_a_scenario_a_test_or_a_reason() {
    let shown: BTreeSet<String> =
        document::all().expect("valid scenarios").into_iter().flat_map(|scenario| scenario.items).collect();
    let items = items::all().expect("valid items");
    for item in &items {
        assert!(
            shown.contains(&item.name) || item.is_explained() || item.tests().next().is_some(),
            "{} has no scenario, no test, and no reason why neither is needed",
            item.name
        );
    }
    for name in shown {
        assert!(items.iter().any(|item| item.name == name), "unknown item {name}");
    }
}

/// Returns whether the source contains, outside comments, this function with the attribute
/// `#[test]`.
fn has_test(source: &str, function: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let starts = format!("fn {function}(");
    let above = |at: usize| {
        lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"))
    };
    lines
        .iter()
        .enumerate()
        .any(|(at, line)| line.starts_with(&starts) && above(at).any(|line| *line == "#[test]"))
}

#[test]
fn commented_out_functions_do_not_count_as_tests() {
    assert!(has_test("    #[test]\n    // why\n    #[ignore = \"slow\"]\n    fn a() {}", "a"));
    for source in ["// #[test]\n// fn a() {}", "fn a() {}", "#[test]\nfn ab() {}"] {
        assert!(!has_test(source, "a"), "{source}");
    }
}

#[test]
fn tests_referenced_by_items_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for item in items::all().expect("valid items") {
        for (file, function) in item.tests() {
            let path = root.join(file);
            let source =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {file}: {error}", item.name));
            assert!(has_test(&source, function), "{}: no test {function} in {file}", item.name);
        }
    }
}
