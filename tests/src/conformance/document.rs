//! Reads a scenario from its document.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::scenario::{Line, Moment, Note, Scenario, Step};
use super::words::{Heard, RouterWords, Said, duration};
use super::{Program, directory};

/// All scenarios, by name.
///
/// # Errors
/// When a document cannot be read; it names the file and the line.
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

/// Reads a document.
///
/// # Errors
/// When a line says nothing that is known, with its number.
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
    ensure!(!scenario.title.is_empty(), "there is no title");
    ensure!(!scenario.items.is_empty(), "it names no item");
    ensure!(scenario.routers().next().is_some(), "there is no router");
    for program in Program::ALL {
        let noted = matches!(scenario.note(program), Some(Note::Differs(_)));
        let marked = scenario.lines.iter().any(|line| line.not.contains(&program));
        ensure!(
            noted == marked,
            "{program}: `differs: …` and a line that ends in `# not {program}` go together"
        );
    }
    Ok(scenario)
}

/// `expect advert at once  # not FRR, keepalived`.
fn script(number: usize, line: &str) -> Result<Line> {
    let (statement, remark) = line.split_once('#').unwrap_or((line, ""));
    let programs = remark.trim().strip_prefix("not ").unwrap_or_default();
    let named = |name: &str| Program::ALL.into_iter().find(|program| program.to_string() == name.trim());
    let programs = programs.split(',').filter(|name| !name.is_empty());
    let not = programs.map(|name| named(name).with_context(|| format!("there is no program {name:?}")));
    Ok(Line { number, step: step(statement.trim())?, not: not.collect::<Result<_>>()? })
}

fn head(scenario: &mut Scenario, line: &str) -> Result<()> {
    let (key, value) = line.split_once(": ").context("a header is `* key: value`")?;
    match key {
        "items" => scenario.items = value.split(", ").map(str::to_owned).collect(),
        // For people.
        "source" => {}
        "played" => {
            scenario.in_core = value.contains("core");
            scenario.in_lab = value.contains("lab");
            ensure!(scenario.in_core || scenario.in_lab, "it is played in the core or in the lab");
        }
        "vipd configuration" => scenario.vipd_lines.push(value.trim_matches('`').to_owned()),
        _ => {
            let program = Program::ALL.into_iter().find(|program| program.to_string() == key);
            let program = program.with_context(|| format!("there is no header {key:?}"))?;
            let (kind, text) = value.split_once(": ").context("a note is `differs: …` or `cannot: …`")?;
            let note = match kind {
                "differs" => Note::Differs(text.to_owned()),
                "cannot" => Note::Cannot(text.to_owned()),
                other => bail!("a note is `differs: …` or `cannot: …`, not {other:?}"),
            };
            scenario.notes.push((program, note));
        }
    }
    Ok(())
}

fn step(text: &str) -> Result<Step> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match (verb, rest) {
        ("router", _) => Step::Router(RouterWords::parse(rest)?),
        ("start", "") => Step::Start,
        ("stop", "") => Step::Stop,
        ("hear", _) => Step::Hear(heard(rest)?),
        ("keep", _) => {
            let rest = rest.strip_prefix("hearing ").context("`keep hearing advert … for D`")?;
            let (what, time) = rest.rsplit_once(" for ").context("`keep hearing advert … for D`")?;
            Step::KeepHearing(heard(what)?, duration(time)?)
        }
        ("expect", "address") => Step::Address(true),
        ("expect", "no address") => Step::Address(false),
        ("expect", "echo") => Step::Echo(true),
        ("expect", "no echo") => Step::Echo(false),
        ("expect", _) => expect(rest)?,
        _ => bail!("{verb:?} is no verb"),
    })
}

fn expect(text: &str) -> Result<Step> {
    if let Some(rest) = text.strip_prefix("no advert ") {
        let (what, time) = rest.rsplit_once("for ").context("`expect no advert for D`")?;
        let family = Said::parse(&format!("advert {what}"))?.family;
        return Ok(Step::Silence(family, duration(time)?));
    }
    if let Some(counter) = text.strip_prefix("counter ") {
        let (name, value) = counter.split_once(' ').context("`expect counter NAME N`")?;
        return Ok(Step::Counter(name.to_owned(), value.parse().context("a counter is a number")?));
    }
    if let Some(what) = text.strip_suffix(" at once") {
        return Ok(Step::Expect(Said::parse(what)?, Moment::After(std::time::Duration::ZERO)));
    }
    if let Some((what, time)) = text.rsplit_once(" after ") {
        return Ok(Step::Expect(Said::parse(what)?, Moment::After(duration(time)?)));
    }
    Ok(Step::Expect(Said::parse(text)?, Moment::Eventually))
}

fn heard(text: &str) -> Result<Heard> {
    Heard::parse(text.strip_prefix("advert").context("`hear advert …`")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HEAD: &str = "# T\n\n* items: S1, S2\n* keepalived: differs: it waits\n\nWords.\n\n```scenario\n";

    #[test]
    fn a_document_is_read() {
        let text = format!(
            "{HEAD}router priority 90  # that is us\nstart\nhear advert from lower priority 100\nkeep hearing advert for 2s\n\
             expect advert first priority 90 after 3.5s  # not keepalived\nexpect no advert for 20ms\n```\n"
        );
        let scenario = parse("s1-x", &text).unwrap();
        assert_eq!(scenario.items, ["S1", "S2"]);
        assert_eq!(scenario.note(Program::Keepalived), Some(&Note::Differs("it waits".to_owned())));
        assert_eq!(scenario.lines.len(), 6);
        let Step::Expect(said, moment) = &scenario.lines[4].step else { panic!("{:?}", scenario.lines[4]) };
        assert!(said.first && said.priority == Some(90));
        assert_eq!(*moment, Moment::After(Duration::from_millis(3500)));
        assert!(
            matches!(scenario.lines[5].step, Step::Silence(None, time) if time == Duration::from_millis(20))
        );
    }

    #[test]
    fn what_is_unknown_is_named_with_its_line() {
        for (line, wanted) in [
            ("hear advert colour red", "line 10: hear advert colour red: a heard advert has no \"colour\""),
            ("hear advert priority 300", "priority is a number"),
            ("expect advert after 3x", "a duration is like"),
            ("sleep 3s", "\"sleep\" is no verb"),
            ("expect advert  # not bird", "there is no program"),
            ("expect advert  # not FRR", "keepalived: `differs: …` and a line"),
            ("expect advert mac vritual", "mac is virtual or own, not \"vritual\""),
        ] {
            let text = format!("{HEAD}router\n{line}\n```\n");
            let error = format!("{:#}", parse("x", &text).unwrap_err());
            assert!(error.contains(wanted), "{error}");
        }
    }
}
