//! Runs all combinations and formats the results as a table.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Cell, STEPS, Verdict, play};
use crate::agent::AgentKind;

/// Number of concurrent runs. It may exceed the number of CPUs, because runs spend most of their
/// time waiting for timers.
const AT_ONCE: usize = 6;

/// A combination and its result.
pub struct Row {
    /// The combination.
    pub cell: Cell,
    /// Result of the run; `None` if the combination is impossible.
    pub verdict: Option<Verdict>,
}

impl Row {
    /// Returns whether the combination passed or was skipped as impossible.
    pub fn is_fine(&self) -> bool {
        self.verdict.as_ref().is_none_or(|verdict| verdict.failure.is_none())
    }
}

/// Runs these combinations, except impossible ones, and calls `progress` after each run.
pub fn play_all(cells: &[Cell], vipd: &AgentKind, progress: impl Fn(&Cell, &Verdict) + Sync) -> Vec<Row> {
    let waiting: Mutex<VecDeque<_>> =
        Mutex::new((0..cells.len()).filter(|index| cells[*index].impossible().is_none()).collect());
    let mut verdicts: Vec<Option<Verdict>> = cells.iter().map(|_| None).collect();
    let done = Mutex::new(&mut verdicts);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(index) = next else { return };
                    let verdict = play(cells[index], vipd);
                    progress(&cells[index], &verdict);
                    done.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(verdict);
                }
            });
        }
    });
    cells.iter().zip(verdicts).map(|(cell, verdict)| Row { cell: *cell, verdict }).collect()
}

/// Formats the results as a Markdown table.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| peer | version | family | transport | MAC | preferred |");
    for step in STEPS {
        let _ = write!(text, " {step} |");
    }
    text += "\n| --- | --- | --- | --- | --- | --- |";
    text += &" --- |".repeat(STEPS.len());
    text.push('\n');
    for Row { cell, verdict } in rows {
        let Cell { peer, version, family, unicast, virtual_mac, vipd_preferred } = cell;
        let transport = if *unicast { "unicast" } else { "multicast" };
        let mac = if *virtual_mac { "virtual" } else { "interface" };
        let preferred = if *vipd_preferred { "vipd" } else { "peer" };
        let version = version.number();
        let _ = write!(text, "| {peer} | {version} | {family} | {transport} | {mac} | {preferred} |");
        match (verdict, cell.impossible()) {
            (Some(verdict), _) => {
                for step in 0..STEPS.len() {
                    let word = match step.cmp(&verdict.passed) {
                        std::cmp::Ordering::Less => "ok",
                        std::cmp::Ordering::Equal => "**FAILED**",
                        std::cmp::Ordering::Greater => "not reached",
                    };
                    let _ = write!(text, " {word} |");
                }
            }
            (None, reason) => {
                let _ = write!(text, " {} |", reason.unwrap_or("not run"));
                text += &" |".repeat(STEPS.len() - 1);
            }
        }
        text.push('\n');
    }
    text
}
