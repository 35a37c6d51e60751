//! Plays scenarios with all programs, several at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Error;

use super::scenario::Note;
use super::{Program, Scenario, lab};
use crate::agent::AgentKind;

/// Scenarios played at once. Most of the time all of them wait for a timer.
const AT_ONCE: usize = 9;

/// What came of a scenario with a program.
#[derive(Debug)]
pub enum Verdict {
    /// It does what the scenario says.
    Does,
    /// It does when nothing else runs; before that it did not.
    DoesAlone(Error),
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
            Self::DoesAlone(_) => "ok (2nd)",
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
            let again = play(&scenarios[*index], *program, vipd);
            let first = std::mem::replace(verdict, again);
            if let (Verdict::Does, Verdict::Misses(error) | Verdict::Broken(error)) = (&*verdict, first) {
                *verdict = Verdict::DoesAlone(error);
            }
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
        (Err(error), Some(_))
            if error.downcast_ref::<lab::At>().is_some_and(|at| scenario.differs_at(program, at.0)) =>
        {
            Verdict::Differs
        }
        (Err(error), _) => Verdict::Misses(error),
    }
}
