//! The command lines in the documentation.

use std::path::Path;

use clap::{CommandFactory as _, Parser as _};
use vipd_tests::markdown::{Code, documents};

use crate::cli::args::Cli;
use crate::cli::before_stop;
use crate::{guardian, handover, process::exec};

/// Hidden subcommands, with which the agent or systemd starts other processes.
const INTERNAL: [&str; 4] = [exec::VERB, guardian::VERB, handover::VERB, before_stop::VERB];

/// Returns the arguments of each call of vipd in a line of shell code or in inline code.
fn calls(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default();
    line.split([';', '|', '&', '>']).filter_map(|part| arguments(&words(part))).collect()
}

/// Returns the arguments of vipd if the command runs it, directly or through another program.
fn arguments(command: &[String]) -> Option<Vec<String>> {
    let (program, rest) = command.split_first()?;
    let skip = |count: usize| arguments(rest.get(count..)?);
    match program.as_str() {
        "vipd" => Some(rest.to_vec()),
        path if path.ends_with("/vipd") => Some(rest.to_vec()),
        "sudo" if rest.first().is_some_and(|option| option == "-u") => skip(2),
        "sudo" | "$" => skip(0),
        "ssh" => skip(if rest.first().is_some_and(|option| option == "-t") { 2 } else { 1 }),
        "ip" if rest.iter().take(2).eq(["netns", "exec"]) => skip(3),
        "cargo" => {
            let separator = rest.iter().position(|word| word == "--")?;
            let (build, own) = (&rest[..separator], &rest[separator + 1..]);
            if build.ends_with(&["-p".to_owned(), "vipd".to_owned()]) {
                Some(own.to_vec())
            } else if *build == ["xtask", "run"] {
                Some([&["run".to_owned()][..], own].concat())
            } else {
                None
            }
        }
        variable if variable.contains('=') => skip(0),
        _ => None,
    }
}

/// Splits a command at white space outside single quotation marks.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '\'' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => words.last_mut().expect("a word").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Checks a command in shell code, which users copy: it must be valid.
fn check_line(arguments: &[String]) -> Result<(), String> {
    let words = ["vipd"].into_iter().chain(arguments.iter().map(String::as_str));
    Cli::try_parse_from(words).map(drop).map_err(|error| error.to_string())
}

/// Checks a command in prose or in a table, which may be incomplete or a synopsis such as
/// `vipd drain [NAME…]`: the verb and its options must exist.
fn check_synopsis(arguments: &[String]) -> Result<(), String> {
    let plain = |word: &String| word.trim_matches(['[', ']', '(', ')', ',']).to_owned();
    let words: Vec<String> = arguments.iter().map(plain).collect();
    let mut cli = Cli::command();
    cli.build();
    let verb = words.iter().find(|word| word.starts_with(|first: char| first.is_ascii_lowercase()));
    let command = match verb {
        Some(verb) if INTERNAL.contains(&verb.as_str()) => return Ok(()),
        Some(verb) => cli.find_subcommand(verb).ok_or_else(|| format!("there is no `vipd {verb}`"))?,
        None => &cli,
    };
    for option in words.iter().filter(|word| word.starts_with('-')) {
        let name = option.split('=').next().unwrap_or_default();
        let exists = command.get_arguments().any(|argument| {
            argument.get_long().is_some_and(|long| name == format!("--{long}"))
                || argument.get_short().is_some_and(|short| name == format!("-{short}"))
        });
        if !exists {
            return Err(format!("`vipd {}` has no option {name}", command.get_name()));
        }
    }
    Ok(())
}

/// Checks the commands in a piece of code, and returns a result for each.
fn check(code: &Code) -> Vec<Result<(), String>> {
    let joined = code.text.replace("\\\n", " ");
    let lines = joined.lines();
    match code.language.as_deref() {
        Some("sh") => lines.flat_map(calls).map(|call| check_line(&call)).collect(),
        // Other lines are output.
        Some("console") => {
            let commands = lines.filter(|line| line.starts_with("$ ")).flat_map(calls);
            commands.map(|call| check_line(&call)).collect()
        }
        Some(_) => Vec::new(),
        None => calls(&joined).iter().map(|call| check_synopsis(call)).collect(),
    }
}

#[test]
fn calls_are_found_after_other_programs() {
    for (line, expected) in [
        ("sudo vipd status # comment", "status"),
        ("sudo -u vipd vipd check -c a.toml", "check -c a.toml"),
        ("ip netns exec node1 target/release/vipd run", "run"),
        ("cargo run --release -p vipd -- check", "check"),
        ("cargo xtask run -- -c a.toml", "run -c a.toml"),
        ("VIPD_LOG=debug vipd run", "run"),
        ("ssh -t NODE sudo vipd top", "top"),
        ("vipd events --json | jq 'select(.a == 1)'", "events --json"),
    ] {
        let words: Vec<_> = expected.split(' ').map(str::to_owned).collect();
        assert_eq!(calls(line), [words], "{line}");
    }
    for line in
        ["install -m 755 target/release/vipd /usr/bin/vipd", "systemctl enable --now vipd", "man vipd"]
    {
        assert!(calls(line).is_empty(), "{line}");
    }
}

#[test]
fn wrong_commands_are_reported() {
    let code = |language: Option<&str>, text: &str| Code {
        line: 1,
        language: language.map(str::to_owned),
        text: text.to_owned(),
    };
    for (language, text, valid) in [
        (None, "vipd stats [--json | --prometheus]", true),
        (None, "vipd failover", true),
        (None, "vipd --runtime-dir DIR cleanup", true),
        (None, "vipd statistics", false),
        (None, "vipd status [--yaml]", false),
        (Some("sh"), "vipd failover", false),
        (Some("sh"), "vipd failover \\\n  VI_1", true),
        (Some("console"), "$ vipd stats --vrid 51\nvipd output", true),
        (Some("console"), "$ vipd stats --vrid 0", false),
        (Some("text"), "vipd output", true),
    ] {
        let results = check(&code(language, text));
        assert_eq!(results.iter().all(Result::is_ok), valid, "{text}: {results:?}");
    }
}

#[test]
fn commands_in_the_documentation_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let (mut checked, mut found) = (0, Vec::new());
    for document in documents(root).expect("documentation") {
        // The changelog also describes former versions, and the scenarios have a syntax of their
        // own.
        if document.path == Path::new("CHANGELOG.md") || document.path.starts_with("tests") {
            continue;
        }
        for code in &document.code {
            let results = check(code);
            checked += results.len();
            let errors = results.into_iter().filter_map(Result::err);
            found.extend(errors.map(|error| format!("{}:{}: {error}", document.path.display(), code.line)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(checked > 200, "only {checked} commands were found");
}
