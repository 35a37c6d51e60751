//! The help of all commands.

use clap::{Command, CommandFactory as _, Parser as _};

use crate::cli::args::Cli;

/// Returns the commands that users run.
fn commands() -> Vec<Command> {
    let mut cli = Cli::command();
    cli.build();
    cli.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect()
}

fn after_help(command: &Command) -> String {
    command.get_after_help().map(ToString::to_string).unwrap_or_default()
}

/// Returns the lines below `Examples:`.
fn examples(help: &str) -> Vec<&str> {
    let after = help.split_once("Examples:\n").map_or("", |(_, after)| after);
    after.lines().take_while(|line| line.starts_with("  ")).map(str::trim).collect()
}

/// Returns the words of each call of vipd in a shell command. Two spaces begin a comment, which is
/// ignored.
fn calls(example: &str) -> Vec<Vec<&str>> {
    let command = example.split("  ").next().unwrap_or_default();
    let parts = command.split([';', '|', '&', '>']);
    let calls = parts.filter_map(|part| {
        let words: Vec<&str> = part.split_whitespace().collect();
        let program = words.iter().position(|word| *word == "vipd")?;
        Some(words[program..].to_vec())
    });
    calls.collect()
}

#[test]
fn calls_are_found_in_shell_commands() {
    assert_eq!(calls("sudo VIPD_LOG=debug vipd run -c a.toml"), [["vipd", "run", "-c", "a.toml"]]);
    assert_eq!(calls("vipd check && sudo vipd reload  a comment"), [["vipd", "check"], ["vipd", "reload"]]);
    assert_eq!(calls("vipd stats --json | jq .global"), [["vipd", "stats", "--json"]]);
    assert!(calls("systemctl reload vipd").iter().all(|words| words == &["vipd"]));
}

#[test]
fn every_command_has_valid_examples() {
    let all = commands();
    assert!(all.iter().any(|command| command.get_name() == "status"), "{all:?}");
    for command in [Cli::command()].iter().chain(&all) {
        let name = command.get_name();
        let help = after_help(command);
        let examples = examples(&help);
        assert!(!examples.is_empty(), "{name} has no examples: {help}");
        let mut own = 0;
        for example in examples {
            for words in calls(example).iter().filter(|words| words.len() > 1) {
                own += usize::from(name == "vipd" || words.contains(&name));
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{name}: {example}: {error}");
                }
            }
        }
        assert!(own > 0, "{name}: no example uses it: {help}");
    }
}

#[test]
fn every_command_documents_its_exit_status() {
    for command in [Cli::command()].iter().chain(&commands()) {
        let (name, help) = (command.get_name(), after_help(command));
        assert!(help.contains("Exit status:"), "{name}: {help}");
    }
}

/// Many terminals would wrap lines of more than 80 columns, even in the middle of a command.
#[test]
fn help_fits_a_terminal() {
    for command in &commands() {
        for line in after_help(command).lines() {
            assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
        }
    }
}
