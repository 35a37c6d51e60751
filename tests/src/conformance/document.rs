//! Parser of scenario documents.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::scenario::{Line, Moment, Note, Scenario, Step};
use super::syntax::{ExpectedFrame, ReceivedAdvert, RouterSpec, duration};
use super::{Program, directory};

/// Returns all scenarios, sorted by name.
///
/// # Errors
/// Returns an error, with the file and the line, if a document cannot be read or parsed.
pub fn all() -> Result<Vec<Scenario>> {
    let directory = directory();
    let mut scenarios = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))? {
        let path = entry?.path();
        let is_document = path.extension().is_some_and(|ending| ending == "md");
        if path.is_file() && is_document && path.file_name().is_none_or(|name| name != "README.md") {
            scenarios.push(read(&path)?);
        }
    }
    scenarios.sort_by_key(|scenario| super::items::natural(&scenario.name));
    Ok(scenarios)
}

fn read(path: &Path) -> Result<Scenario> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    parse(&name, &text).with_context(|| format!("{}", path.display()))
}

/// Parses a scenario document.
///
/// # Errors
/// Returns an error if a line is invalid (with its number), or if a required line is missing.
pub fn parse(name: &str, text: &str) -> Result<Scenario> {
    let mut scenario = Scenario {
        name: name.to_owned(),
        title: String::new(),
        items: Vec::new(),
        in_core: true,
        in_lab: true,
        notes: Vec::new(),
        vipd_lines: Vec::new(),
        lines: Vec::new(),
    };
    let mut in_script = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.starts_with("```") {
            in_script = line == "```scenario";
        } else if in_script {
            if !line.trim().is_empty() {
                let line = script(number, line).with_context(|| format!("line {number}: {line}"))?;
                scenario.lines.push(line);
            }
        } else if let Some(title) = line.strip_prefix("# ") {
            title.clone_into(&mut scenario.title);
        } else if let Some(header) = line.strip_prefix("* ") {
            head(&mut scenario, header).with_context(|| format!("line {number}: {line}"))?;
        }
    }
    ensure!(!scenario.title.is_empty(), "the document has no title");
    ensure!(!scenario.items.is_empty(), "the document has no `* items: …` line");
    ensure!(scenario.routers().next().is_some(), "the script has no `router` line");
    for program in Program::ALL {
        let noted = matches!(scenario.note(program), Some(Note::Differs(_)));
        let marked = scenario.lines.iter().any(|line| line.not.contains(&program));
        ensure!(
            noted == marked,
            "{program}: a `differs: …` note requires a script line ending in `# not {program}`, and vice versa"
        );
    }
    Ok(scenario)
}

/// Parses a script line such as `expect advert at once # not FRR, keepalived`.
fn script(number: usize, line: &str) -> Result<Line> {
    let (statement, remark) = line.split_once('#').unwrap_or((line, ""));
    let programs = remark.trim().strip_prefix("not ").unwrap_or_default();
    let named = |name: &str| Program::ALL.into_iter().find(|program| program.to_string() == name.trim());
    let programs = programs.split(',').filter(|name| !name.is_empty());
    let not = programs.map(|name| named(name).with_context(|| format!("unknown program {name:?}")));
    Ok(Line { number, step: step(statement.trim())?, not: not.collect::<Result<_>>()? })
}

fn head(scenario: &mut Scenario, line: &str) -> Result<()> {
    let (key, value) = line.split_once(": ").context("expected a header: `* key: value`")?;
    match key {
        "items" => scenario.items = value.split(", ").map(str::to_owned).collect(),
        // The source is for readers of the document only.
        "source" => {}
        "played" => {
            scenario.in_core = value.contains("core");
            scenario.in_lab = value.contains("lab");
            ensure!(scenario.in_core || scenario.in_lab, "`played` must be `core`, `lab` or both");
        }
        "vipd configuration" => scenario.vipd_lines.push(value.trim_matches('`').to_owned()),
        _ => {
            let program = Program::ALL.into_iter().find(|program| program.to_string() == key);
            let program = program.with_context(|| format!("unknown header {key:?}"))?;
            let (kind, text) =
                value.split_once(": ").context("expected a note: `differs: …` or `unsupported: …`")?;
            let note = match kind {
                "differs" => Note::Differs(text.to_owned()),
                "unsupported" => Note::Unsupported(text.to_owned()),
                other => bail!("expected a note: `differs: …` or `unsupported: …`, not {other:?}"),
            };
            scenario.notes.push((program, note));
        }
    }
    Ok(())
}

fn step(text: &str) -> Result<Step> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match (verb, rest) {
        ("router", _) => Step::Router(RouterSpec::parse(rest)?),
        ("start", "") => Step::Start,
        ("stop", "") => Step::Stop,
        ("receive", "again") => Step::ReceiveAgain,
        ("receive", _) => Step::Receive(received(rest)?),
        ("keep", _) => {
            let rest = rest.strip_prefix("receiving ").context("expected `keep receiving advert … for D`")?;
            let (what, time) =
                rest.rsplit_once(" for ").context("expected `keep receiving advert … for D`")?;
            Step::KeepReceiving(received(what)?, duration(time)?)
        }
        ("expect", "address") => Step::Address(true),
        ("expect", "no address") => Step::Address(false),
        ("expect", "echo") => Step::Echo(true),
        ("expect", "no echo") => Step::Echo(false),
        ("expect", _) => expect(rest)?,
        _ => bail!("unknown step {text:?}"),
    })
}

fn expect(text: &str) -> Result<Step> {
    if let Some(rest) = text.strip_prefix("no advert ") {
        let (what, time) = rest.rsplit_once("for ").context("expected `expect no advert … for D`")?;
        let family = ExpectedFrame::parse(&format!("advert {what}"))?.family;
        return Ok(Step::Silence(family, duration(time)?));
    }
    if let Some(counter) = text.strip_prefix("counter ") {
        let (name, value) = counter.split_once(' ').context("expected `expect counter NAME N`")?;
        return Ok(Step::Counter(
            name.to_owned(),
            value.parse().with_context(|| format!("invalid counter value {value:?}"))?,
        ));
    }
    if let Some(what) = text.strip_suffix(" at once") {
        return Ok(Step::Expect(ExpectedFrame::parse(what)?, Moment::After(std::time::Duration::ZERO)));
    }
    if let Some((what, time)) = text.rsplit_once(" after ") {
        return Ok(Step::Expect(ExpectedFrame::parse(what)?, Moment::After(duration(time)?)));
    }
    Ok(Step::Expect(ExpectedFrame::parse(text)?, Moment::Eventually))
}

fn received(text: &str) -> Result<ReceivedAdvert> {
    ReceivedAdvert::parse(text.strip_prefix("advert").context("expected `receive advert …`")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HEAD: &str =
        "# T\n\n* items: S1, S2\n* keepalived: differs: waits longer\n\nProse.\n\n```scenario\n";

    #[test]
    fn document_is_parsed_into_items_notes_and_steps() {
        let text = format!(
            "{HEAD}router priority 90  # under test\nstart\nreceive advert from lower priority 100\nkeep receiving advert for 2s\n\
             expect advert first priority 90 after 3.5s  # not keepalived\nexpect no advert for 20ms\n```\n"
        );
        let scenario = parse("s1-x", &text).unwrap();
        assert_eq!(scenario.items, ["S1", "S2"]);
        assert_eq!(scenario.note(Program::Keepalived), Some(&Note::Differs("waits longer".to_owned())));
        assert_eq!(scenario.lines.len(), 6);
        let Step::Expect(expected, moment) = &scenario.lines[4].step else {
            panic!("{:?}", scenario.lines[4])
        };
        assert!(expected.first && expected.priority == Some(90));
        assert_eq!(*moment, Moment::After(Duration::from_millis(3500)));
        assert!(
            matches!(scenario.lines[5].step, Step::Silence(None, time) if time == Duration::from_millis(20))
        );
    }

    #[test]
    fn parse_errors_name_the_line_and_the_unknown_word() {
        for (line, wanted) in [
            (
                "receive advert color red",
                "line 10: receive advert color red: unknown key \"color\" of a received advert",
            ),
            ("receive advert priority 300", "invalid priority \"300\": number too large"),
            ("expect advert after 3x", "invalid duration"),
            ("sleep 3s", "unknown step \"sleep 3s\""),
            ("start now", "unknown step \"start now\""),
            ("expect advert  # not bird", "unknown program"),
            ("expect advert  # not FRR", "keepalived: a `differs: …` note requires a script line"),
            ("expect advert mac vritual", "mac must be virtual or own, not \"vritual\""),
        ] {
            let text = format!("{HEAD}router\n{line}\n```\n");
            let error = format!("{:#}", parse("x", &text).unwrap_err());
            assert!(error.contains(wanted), "{error}");
        }
    }
}
