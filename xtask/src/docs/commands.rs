//! Tests of the calls of `cargo xtask` in the documentation.

use clap::Parser as _;
use vipd_tests::markdown::{Code, documents};

use crate::Verb;
use crate::support::workspace;

/// Returns the arguments of each call of `cargo xtask` in a code block or in inline code, without
/// comments after two spaces or `#`.
fn calls(code: &Code) -> Vec<Vec<&str>> {
    let calls = code.text.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("$ ").trim_start_matches("sudo ");
        let call = line.strip_prefix("cargo xtask ")?;
        let call = call.split("  ").next().unwrap_or_default().split(" #").next().unwrap_or_default();
        Some(call.split_whitespace().map(|word| if word == "N" { "1" } else { word }).collect())
    });
    calls.collect()
}

#[test]
fn calls_end_before_comments() {
    let code = |text: &str| Code { line: 1, language: None, text: text.to_owned() };
    assert_eq!(calls(&code("cargo xtask test --quick   comment")), [["test", "--quick"]]);
    assert_eq!(calls(&code("$ cargo xtask run # comment\noutput")), [["run"]]);
    assert_eq!(calls(&code("cargo xtask simulate --seed N")), [["simulate", "--seed", "1"]]);
    assert!(calls(&code("cargo test")).is_empty());
}

#[test]
fn calls_in_the_documentation_are_valid() {
    let (mut found, mut errors) = (0, Vec::new());
    for document in documents(workspace::root()).expect("documentation") {
        for code in &document.code {
            for words in calls(code).into_iter().filter(|words| *words != ["…"]) {
                found += 1;
                if let Err(error) = Verb::try_parse_from(["cargo xtask"].into_iter().chain(words)) {
                    errors.push(format!("{}:{}: {error}", document.path.display(), code.line));
                }
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    assert!(found > 20, "only {found} calls were found");
}
