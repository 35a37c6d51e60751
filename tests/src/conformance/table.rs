//! Plays scenarios with all programs, several at once, and says what came of it: by scenario and by item.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Error;

use super::scenario::Note;
use super::{Item, Program, Scenario, lab};
use crate::agent::AgentKind;

/// Scenarios played at once. Most of the time all of them wait for a timer.
const AT_ONCE: usize = 9;

/// What came of a scenario with a program.
#[derive(Debug)]
pub enum Verdict {
    /// It does what the scenario says.
    Does,
    /// It does not, as was said beforehand.
    Differs,
    /// It cannot be configured so, as was said beforehand.
    Cannot,
    /// The lab cannot show it: it was played with vipd's core alone.
    InCore,
    /// It does what the scenario says, though it was said to differ.
    DoesAfterAll,
    /// It does not, and nobody has said why.
    Misses(Error),
    /// The lab failed, or the program ended by itself: nothing was shown.
    Broken(Error),
}

impl Verdict {
    /// Whether somebody has to look at it.
    pub fn is_unexplained(&self) -> bool {
        matches!(self, Self::Misses(_) | Self::Broken(_) | Self::DoesAfterAll)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Does => "ok",
            Self::Differs => "differs",
            Self::Cannot => "cannot",
            Self::InCore => "-",
            Self::DoesAfterAll => "ok after all",
            Self::Misses(_) => "MISSES",
            Self::Broken(_) => "BROKEN",
        })
    }
}

/// A scenario with what came of it with each program.
#[derive(Debug)]
pub struct Row<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// A verdict for each of the programs that were asked for.
    pub verdicts: Vec<(Program, Verdict)>,
}

/// Plays scenarios with these programs; `vipd` is the one under that name, `progress` is told of each end.
///
/// What is not as it was said to be is played once more when nothing else runs: a machine that is busy with
/// many labs may have been late.
pub fn play_all<'a>(
    scenarios: &'a [Scenario],
    programs: &[Program],
    vipd: &AgentKind,
    progress: impl Fn(&Scenario, Program, &Verdict) + Sync,
) -> Vec<Row<'a>> {
    let all = || (0..scenarios.len()).flat_map(|index| programs.iter().map(move |program| (index, *program)));
    let waiting: Mutex<VecDeque<_>> = Mutex::new(all().collect());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((index, program)) = next else { return };
                    let verdict = play(&scenarios[index], program, vipd);
                    if !verdict.is_unexplained() {
                        progress(&scenarios[index], program, &verdict);
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, program, verdict));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (index, program, verdict) in &mut done {
        if verdict.is_unexplained() {
            *verdict = play(&scenarios[*index], *program, vipd);
            progress(&scenarios[*index], *program, verdict);
        }
    }
    done.sort_by_key(|(index, program, _)| (*index, *program));
    let mut rows: Vec<_> = scenarios.iter().map(|scenario| Row { scenario, verdicts: Vec::new() }).collect();
    for (index, program, verdict) in done {
        rows[index].verdicts.push((program, verdict));
    }
    rows
}

fn play(scenario: &Scenario, program: Program, vipd: &AgentKind) -> Verdict {
    let note = scenario.note(program);
    if let Some(Note::Cannot(_)) = note {
        return Verdict::Cannot;
    }
    if !scenario.in_lab {
        return Verdict::InCore;
    }
    match (lab::play(scenario, program, vipd), note) {
        (Ok(()), None) => Verdict::Does,
        (Ok(()), Some(_)) => Verdict::DoesAfterAll,
        (Err(error), _) if error.downcast_ref::<lab::Unlike>().is_none() => Verdict::Broken(error),
        (Err(_), Some(_)) => Verdict::Differs,
        (Err(error), None) => Verdict::Misses(error),
    }
}

/// Both tables in Markdown: by scenario with the notes, and by item.
pub fn markdown(rows: &[Row<'_>], items: &[Item]) -> String {
    let mut text = String::from("## By scenario\n\n| scenario | items |");
    let programs: Vec<_> = rows
        .first()
        .map(|row| row.verdicts.iter().map(|(program, _)| *program).collect())
        .unwrap_or_default();
    for program in &programs {
        let _ = write!(text, " {program} |");
    }
    text += " remarks |\n| --- | --- |";
    text += &" --- |".repeat(programs.len() + 1);
    for Row { scenario, verdicts } in rows {
        let (name, items) = (&scenario.name, scenario.items.join(", "));
        let _ = write!(text, "\n| [{}](../tests/conformance/{name}.md) | {items} |", scenario.title);
        for (_, verdict) in verdicts {
            let _ = write!(text, " {verdict} |");
        }
        let mut remarks: Vec<_> =
            scenario.notes.iter().map(|(program, note)| format!("{program}: {}", note.text())).collect();
        if !scenario.in_lab {
            remarks.push("in virtual time, with vipd's core".to_owned());
        }
        let _ = write!(text, " {} |", remarks.join("; "));
    }
    text += "\n\n## By item\n\n| item | source | level | what it demands |";
    for program in &programs {
        let _ = write!(text, " {program} |");
    }
    text += " besides, or why not |\n| --- | --- | --- | --- |";
    text += &" --- |".repeat(programs.len() + 1);
    for item in items {
        let Item { name, source, level, demand, elsewhere } = item;
        let _ = write!(text, "\n| {name} | {source} | {level} | {demand} |");
        for program in &programs {
            let _ = write!(text, " {} |", of_item(name, *program, rows));
        }
        let _ = write!(text, " {elsewhere} |");
    }
    text.push('\n');
    text
}

/// `3 of 4`: how many scenarios of an item a program does.
fn of_item(item: &str, program: Program, rows: &[Row<'_>]) -> String {
    let of_item = rows.iter().filter(|row| row.scenario.items.iter().any(|name| name == item));
    let (mut does, mut played) = (0, 0);
    for (_, verdict) in of_item.flat_map(|row| &row.verdicts).filter(|(who, _)| *who == program) {
        match verdict {
            Verdict::Cannot => {}
            // The core's suite has shown it for vipd before the labs began.
            Verdict::InCore if program != Program::Vipd => {}
            Verdict::Does | Verdict::DoesAfterAll | Verdict::InCore => {
                (does, played) = (does + 1, played + 1);
            }
            Verdict::Differs | Verdict::Misses(_) | Verdict::Broken(_) => played += 1,
        }
    }
    match (does, played) {
        (_, 0) => "-".to_owned(),
        (does, played) if does == played => "ok".to_owned(),
        (does, played) => format!("{does} of {played}"),
    }
}
