//! The conformance suite with vipd's core in virtual time: frames in, frames out, and times to the
//! microsecond.
//!
//! The scenarios are the documents in `tests/conformance`; `cargo xtask conformance` plays them with real programs.

mod node;
mod receive;
mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use vipd::vrrp::Policy;
use vipd_tests::conformance::lab::At;
use vipd_tests::conformance::{Note, Program, document, items};

#[test]
fn the_core_passes_every_scenario() {
    let scenarios = document::all().expect("the scenarios can be read");
    let mut failed = Vec::new();
    let mut played = 0;
    for scenario in scenarios.iter().filter(|scenario| scenario.in_core) {
        played += 1;
        let result = stage::play(scenario, Policy::VIPD);
        match (scenario.note(Program::Vipd), result) {
            (None, Ok(())) => {}
            (Some(Note::Differs(_)), Err(error))
                if error.downcast_ref::<At>().is_some_and(|at| scenario.differs_at(Program::Vipd, at.0)) => {}
            (_, Err(error)) => failed.push(format!("{}: {error:#}", scenario.name)),
            (Some(_), Ok(())) => failed.push(format!("{}: vipd does not differ any more", scenario.name)),
        }
    }
    assert!(failed.is_empty(), "{} of {played} scenarios:\n{}", failed.len(), failed.join("\n"));
    assert!(played > 0, "there are scenarios");
}

#[test]
fn without_departures_from_the_rfc_no_scenario_differs() {
    let scenarios = document::all().expect("the scenarios can be read");
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
    let shown: BTreeSet<String> = document::all()
        .expect("the scenarios can be read")
        .into_iter()
        .flat_map(|scenario| scenario.items)
        .collect();
    let items = items::all().expect("the items can be read");
    for item in &items {
        assert!(
            shown.contains(&item.name) || item.is_explained() || item.tests().next().is_some(),
            "{} has no scenario and no test, and is neither a choice nor not applicable",
            item.name
        );
    }
    for name in shown {
        assert!(items.iter().any(|item| item.name == name), "there is no item {name}");
    }
}

/// Whether the source has this function with `#[test]` among the attributes above it; comments do not count.
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
fn commented_functions_are_no_tests() {
    assert!(has_test("    #[test]\n    // why\n    #[ignore]\n    fn a() {}", "a"));
    for source in ["// #[test]\n// fn a() {}", "fn a() {}", "#[test]\nfn ab() {}"] {
        assert!(!has_test(source, "a"), "{source}");
    }
}

#[test]
fn the_tests_that_items_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for item in items::all().expect("the items can be read") {
        for (file, function) in item.tests() {
            let path = root.join(file);
            let source =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {file}: {error}", item.name));
            assert!(has_test(&source, function), "{}: no test {function} in {file}", item.name);
        }
    }
}
