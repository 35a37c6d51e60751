//! Plays scenarios with several programs in parallel labs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Error, Result};

use super::scenario::Note;
use super::{Program, Scenario, lab, stage};
use crate::agent::AgentKind;

/// Number of scenarios played in parallel. Scenarios spend most of their time waiting for timers.
const PARALLEL: usize = 9;

/// The result of playing a scenario with a program.
#[derive(Debug)]
pub enum Verdict {
    /// The program behaves as the scenario specifies.
    Passes,
    /// The scenario failed at the first attempt but passed at the second. In labs, the first
    /// attempt runs in parallel with other scenarios, the second alone.
    PassesOnRetry(Error),
    /// The program fails at a line marked as a known difference.
    Differs,
    /// The program does not support the configuration, as noted in the document.
    Unsupported,
    /// Not played in the lab, only with vipd's core.
    InCore,
    /// Not played, because the device does not meet this requirement of the scenario.
    Skipped(String),
    /// The program passes although the document notes a difference.
    UnexpectedPass,
    /// The program fails, and the document does not explain the failure.
    Fails(Error),
    /// The lab failed or the program exited, or frames could not be sent to or captured from a
    /// device, so there is no verdict.
    LabError(Error),
}

impl Verdict {
    /// Returns whether the verdict needs investigation.
    pub fn is_unexplained(&self) -> bool {
        matches!(self, Self::Fails(_) | Self::LabError(_) | Self::UnexpectedPass)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passes => "ok",
            Self::PassesOnRetry(_) => "ok (2nd)",
            Self::Differs => "differs",
            Self::Unsupported => "unsupported",
            Self::InCore => "-",
            Self::Skipped(_) => "skipped",
            Self::UnexpectedPass => "unexpected pass",
            Self::Fails(_) => "FAILS",
            Self::LabError(_) => "LAB ERROR",
        })
    }
}

/// A scenario and its verdicts.
#[derive(Debug)]
pub struct Row<'a> {
    /// The scenario, whether it was played or not (see [`Verdict`]).
    pub scenario: &'a Scenario,
    /// One verdict per selected program.
    pub verdicts: Vec<(Program, Verdict)>,
}

/// Plays scenarios with these programs, and calls `progress` for each verdict. `vipd` is the vipd
/// executable.
///
/// A scenario with an unexplained verdict is played again alone, because parallel labs can delay
/// frames.
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
        for _ in 0..PARALLEL {
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
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let settled = done.into_iter().map(|(index, program, first)| {
        if !first.is_unexplained() {
            return (index, program, first);
        }
        let verdict = retry(first, || play(&scenarios[index], program, vipd));
        progress(&scenarios[index], program, &verdict);
        (index, program, verdict)
    });
    let mut done: Vec<_> = settled.collect();
    done.sort_by_key(|(index, program, _)| (*index, *program));
    let mut rows: Vec<_> = scenarios.iter().map(|scenario| Row { scenario, verdicts: Vec::new() }).collect();
    for (index, program, verdict) in done {
        rows[index].verdicts.push((program, verdict));
    }
    rows
}

fn play(scenario: &Scenario, program: Program, vipd: &AgentKind) -> Verdict {
    if !scenario.in_lab && !matches!(scenario.note(program), Some(Note::Unsupported(_))) {
        return Verdict::InCore;
    }
    judge(scenario, program, |scenario| lab::play(scenario, program, vipd))
}

/// Plays a scenario, and plays it again if the verdict is unexplained, because a busy segment or
/// machine can delay frames.
pub(super) fn judge_twice(
    scenario: &Scenario,
    program: Program,
    mut play: impl FnMut(&Scenario) -> Result<()>,
) -> Verdict {
    let first = judge(scenario, program, &mut play);
    retry(first, || judge(scenario, program, play))
}

/// Returns the first verdict if it is explained. Otherwise, plays the scenario again and returns
/// the resulting verdict.
fn retry(first: Verdict, again: impl FnOnce() -> Verdict) -> Verdict {
    if !first.is_unexplained() {
        return first;
    }
    match (again(), first) {
        (Verdict::Passes, Verdict::Fails(error) | Verdict::LabError(error)) => Verdict::PassesOnRetry(error),
        (verdict, _) => verdict,
    }
}

/// Plays a scenario, unless the program does not support it, and returns the verdict.
fn judge(scenario: &Scenario, program: Program, play: impl FnOnce(&Scenario) -> Result<()>) -> Verdict {
    let note = scenario.note(program);
    if let Some(Note::Unsupported(_)) = note {
        return Verdict::Unsupported;
    }
    match (play(scenario), note) {
        (Ok(()), None) => Verdict::Passes,
        (Ok(()), Some(_)) => Verdict::UnexpectedPass,
        (Err(error), _) if error.downcast_ref::<stage::Mismatch>().is_none() => Verdict::LabError(error),
        (Err(error), Some(_))
            if error.downcast_ref::<stage::At>().is_some_and(|at| scenario.differs_at(program, at.0)) =>
        {
            Verdict::Differs
        }
        (Err(error), _) => Verdict::Fails(error),
    }
}
