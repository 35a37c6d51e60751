//! Generates the manual pages and the shell completions in `packaging/` from the definitions of the
//! command line.

use std::collections::BTreeMap;
use std::io;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::args::Cli;
use crate::generated;

/// Section of the manual: user commands, as for systemctl(1).
const SECTION: &str = "1";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The definition of the apostrophe, exactly as the `roff` crate writes it.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
/// Sections of a page that are generated from blocks of the help text, in the order in which they
/// appear on the page.
const SECTIONS: [&str; 4] = ["KEYS", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES"];

/// A part of the text that follows the options in a help message.
#[derive(Debug, PartialEq, Eq)]
enum Block<'a> {
    /// A heading, and indented lines that are printed as they are.
    Lines(String, Vec<&'a str>),
    /// A heading followed by text that starts on the same line and may continue on the next ones.
    Text(String, Vec<&'a str>),
    /// Text without a heading.
    Paragraph(Vec<&'a str>),
}

/// Splits the text after the options into blocks, which are separated by empty lines.
fn blocks(help: &str) -> Vec<Block<'_>> {
    let parts = help.split("\n\n").map(|part| part.lines().collect::<Vec<_>>());
    parts.filter(|lines| !lines.is_empty()).map(block).collect()
}

fn block(mut lines: Vec<&str>) -> Block<'_> {
    let Some((heading, rest)) = lines[0].split_once(':') else { return Block::Paragraph(lines) };
    let heading = heading.to_uppercase();
    if rest.is_empty() && lines.get(1).is_some_and(|line| line.starts_with("  ")) {
        return Block::Lines(heading, lines.split_off(1));
    }
    if SECTIONS.contains(&heading.as_str()) {
        lines[0] = rest.trim_start();
        return Block::Text(heading, lines);
    }
    Block::Paragraph(lines)
}

/// Returns the manual page of a command or subcommand.
fn page(command: &Command) -> io::Result<String> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let man = Man::new(command.clone()).section(SECTION);
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let blocks = blocks(&help);

    // The date is empty, because it would change with each build. clap_mangen's own title does not
    // quote an empty date.
    let title = format!(".TH {} {SECTION} \"\" \"vipd {VERSION}\"\n", name.to_uppercase());
    let mut page = Vec::new();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let mut paragraphs = Roff::new();
    for block in &blocks {
        if let Block::Paragraph(lines) = block {
            paragraphs.control("PP", []);
            text(&mut paragraphs, lines);
        }
    }
    paragraphs.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    for section in SECTIONS {
        for block in &blocks {
            add_section(&mut rest, section, block);
        }
    }
    see_also(&mut rest, name);
    rest.to_writer(&mut page)?;
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    // Each part begins with the preamble.
    Ok(format!("{PREAMBLE}{title}{}", page.replace(PREAMBLE, "")))
}

/// Adds a block to a page if it belongs to this section.
fn add_section(page: &mut Roff, section: &str, block: &Block<'_>) {
    match block {
        Block::Lines(heading, lines) if heading == section => {
            page.control("SH", [section]).control("nf", []);
            for line in lines {
                page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
            }
            page.control("fi", []);
        }
        Block::Text(heading, lines) if heading == section => {
            page.control("SH", [section]);
            text(page, lines);
        }
        _ => {}
    }
}

fn text(page: &mut Roff, lines: &[&str]) {
    for line in lines {
        page.text([roman(*line)]);
    }
}

fn see_also(page: &mut Roff, name: &str) {
    page.control("SH", ["SEE ALSO"]);
    let mut line: Vec<Inline> = Vec::new();
    if name != "vipd" {
        line.extend([bold("vipd"), roman("(1); ")]);
    }
    line.push(roman("the documentation in /usr/share/doc/vipd"));
    page.text(line);
}

/// Returns the manual pages of the command and all its subcommands, by file name.
fn pages() -> io::Result<BTreeMap<String, String>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let all = std::iter::once(&command).chain(command.get_subcommands());
    all.map(|command| {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        Ok((format!("{name}.{SECTION}"), page(command)?))
    })
    .collect()
}

/// Returns the completions for each shell, by the file name that the shell expects.
fn completions() -> io::Result<BTreeMap<String, String>> {
    let shells = [(Shell::Bash, "vipd"), (Shell::Zsh, "_vipd"), (Shell::Fish, "vipd.fish")];
    let generate = |(shell, name): (Shell, &str)| {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "vipd", &mut script);
        Ok((name.to_owned(), String::from_utf8(script).map_err(io::Error::other)?))
    };
    shells.into_iter().map(generate).collect()
}

#[test]
fn the_manual_is_current() {
    generated::check_files("packaging/man", &pages().expect("pages"));
}

#[test]
fn the_completion_of_each_shell_is_current() {
    generated::check_files("packaging/completions", &completions().expect("scripts"));
}

#[test]
fn help_text_is_split_at_headings() {
    let help = "Examples:\n  vipd top\n    more\n\nKeys: q quits.\n\nSome text: with\na colon.\n\nExit status: 0\nor 1.";
    assert_eq!(
        blocks(help),
        [
            Block::Lines("EXAMPLES".to_owned(), vec!["  vipd top", "    more"]),
            Block::Text("KEYS".to_owned(), vec!["q quits."]),
            Block::Paragraph(vec!["Some text: with", "a colon."]),
            Block::Text("EXIT STATUS".to_owned(), vec!["0", "or 1."]),
        ]
    );
}

#[test]
fn every_heading_of_a_help_text_is_a_section_of_its_page() {
    let mut command = Cli::command();
    command.build();
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for block in blocks(&help) {
            if let Block::Lines(heading, _) = block {
                assert!(SECTIONS.contains(&heading.as_str()), "{}: {heading}", command.get_name());
            }
        }
    }
}
