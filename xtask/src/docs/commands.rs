//! Tests the `cargo xtask` command lines in the documentation.

use clap::Parser as _;
use clap::error::ErrorKind;
use vipd_tests::markdown::{Code, documents};

use crate::Verb;
use crate::support::workspace;

/// Returns the arguments of each call of `cargo xtask` in a code block or inline code. Omits
/// comments, which begin after two spaces or with `#`.
fn calls(code: &Code) -> Vec<Vec<String>> {
    let joined = code.text.replace("\\\n", " ");
    let calls = joined.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("$ ").trim_start_matches("sudo ");
        let call = line.strip_prefix("cargo xtask ")?;
        // After a line break, two spaces are indentation.
        let call = if code.text == joined { call.split("  ").next()? } else { call };
        let call = call.split(" #").next()?;
        Some(call.split_whitespace().map(|word| if word == "N" { "1" } else { word }.to_owned()).collect())
    });
    calls.collect()
}

/// Returns the error in a call, or `None` if the call is valid. In prose, and before an ellipsis,
/// arguments may be missing.
fn error(code: &Code, words: &[String]) -> Option<String> {
    let line = ["cargo xtask"].into_iter().chain(words.iter().map(String::as_str));
    let error = Verb::try_parse_from(line).err()?;
    let is_part = code.language.is_none() || words.iter().any(|word| word == "…");
    let is_accepted = is_part && error.kind() == ErrorKind::MissingRequiredArgument;
    (!is_accepted).then(|| error.to_string())
}

fn code(language: Option<&str>, text: &str) -> Code {
    Code { line: 1, language: language.map(str::to_owned), text: text.to_owned() }
}

#[test]
fn calls_end_before_comments() {
    for (text, expected) in [
        ("cargo xtask test --quick   comment", &["test", "--quick"][..]),
        ("$ cargo xtask run # comment\noutput", &["run"]),
        ("cargo xtask simulate --seed N", &["simulate", "--seed", "1"]),
        ("cargo xtask lab cut \\\n  --repeat 20", &["lab", "cut", "--repeat", "20"]),
    ] {
        assert_eq!(calls(&code(None, text)), [expected], "{text}");
    }
    assert!(calls(&code(None, "cargo test")).is_empty());
}

#[test]
fn wrong_calls_are_reported() {
    for (language, text, valid) in [
        (None, "cargo xtask bench --quick", true),
        (None, "cargo xtask fuzz --sekonds 10", false),
        (None, "cargo xtask conformance --device IF", true),
        (Some("sh"), "cargo xtask conformance --device eth1", false),
        (Some(""), "cargo xtask conformance --device eth1 …", true),
        (Some(""), "cargo xtask conformance --devise eth1 …", false),
    ] {
        let code = code(language, text);
        let errors: Vec<_> = calls(&code).iter().filter_map(|words| error(&code, words)).collect();
        assert_eq!(errors.is_empty(), valid, "{text}: {errors:?}");
    }
}

#[test]
fn calls_in_the_documentation_are_valid() {
    let (mut found, mut errors) = (0, Vec::new());
    for document in documents(workspace::root()).expect("documentation") {
        for code in &document.code {
            for words in calls(code).iter().filter(|words| *words != &["…"]) {
                found += 1;
                if let Some(error) = error(code, words) {
                    errors.push(format!("{}:{}: {error}", document.path.display(), code.line));
                }
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    assert!(found > 20, "only {found} calls were found");
}
