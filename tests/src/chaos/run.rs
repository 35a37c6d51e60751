//! A run: episode after episode, each with its own seed, until the time is up or, unless
//! [`Options::keep_going`] is set, an invariant is violated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::attacker::STALE;
use super::episode::{Episode, Played};
use super::fault::Kind;
use super::genuine::Attack;
use super::judge::{Bounds, Invariant};
use super::pcapng;
use super::plan::{Outline, Plan};
use super::subject::Subject;
use crate::station::Station;
use crate::time::millis;

/// Planned length of an episode. Each episode has its own segment.
const EPISODE: Duration = Duration::from_secs(60);

/// The options of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program that runs on all nodes.
    pub subject: Subject,
    /// Options from which the plans are drawn.
    pub outline: Outline,
    /// Seed of the first episode; each later episode has the next seed.
    pub seed: u64,
    /// Planned length of the run.
    pub length: Duration,
    /// Bounds of the judge. A guardian is expected only if the program has one.
    pub bounds: Bounds,
    /// Whether to continue after a violation.
    pub keep_going: bool,
    /// Directory for the captures of rounds with violations.
    pub captures: PathBuf,
}

/// Progress of a run.
#[derive(Debug)]
pub enum Progress<'a> {
    /// An episode begins.
    Episode(&'a Plan),
    /// A round of the plan was played, or the start of the episode ([`Played::number`] 0).
    Round(&'a Plan, &'a Played),
    /// The frames of a round with violations were written to this file.
    Captured(&'a Path),
}

/// Figures of a run.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Figures of the rounds with a single fault, by kind of fault.
    pub kinds: BTreeMap<Kind, Figures>,
    /// Figures of the rounds with two faults.
    pub pairs: Figures,
    /// Number of violations of each invariant.
    pub violations: BTreeMap<Invariant, u64>,
    /// Number of answers to clients.
    pub answers: u64,
    /// Number of answers and announcements that old owners sent although they had to be silent.
    pub unlawful: u64,
    /// The forged and replayed adverts that have reached nodes.
    pub attack: Attack,
    /// Number of episodes that were started.
    pub episodes: u64,
    /// How long the machine was stalled.
    pub stalled: Duration,
}

/// Figures of rounds with similar faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Number of rounds.
    pub rounds: u64,
    /// Number of rounds with a violation.
    pub violated: u64,
    /// Number of answers and announcements that old owners sent although they had to be silent.
    pub unlawful: u64,
    /// The longest gap between answers to a client.
    pub longest_gap: Duration,
    /// The longest takeover; `None` if there was none.
    pub longest_takeover: Option<Duration>,
}

/// Plays episodes until the time is up, or, unless `keep_going` is set, until the first round with
/// a violation.
///
/// # Errors
/// Returns an error if a plan cannot be played, or if the frames of a round with violations cannot
/// be written to a file. Violations are not errors; the summary counts them.
pub fn run(options: &Options, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Summary> {
    let mut summary = Summary::default();
    let mut seed = options.seed;
    let mut rest = options.length;
    while !rest.is_zero() {
        let length = rest.min(EPISODE);
        rest -= length;
        let plan = Plan::draw(seed, &options.outline, length);
        progress(Progress::Episode(&plan));
        let complete = play(&plan, options, &mut summary, progress);
        if !complete.with_context(|| format!("playing this plan:\n{plan}"))? {
            break;
        }
        seed = seed.wrapping_add(1);
    }
    Ok(summary)
}

/// Plays an episode, and returns whether to continue with the next one.
fn play(
    plan: &Plan,
    options: &Options,
    summary: &mut Summary,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<bool> {
    let guardian = options.bounds.guardian && options.subject.has_guardian();
    let replay = if options.subject.is_attacked { STALE } else { Duration::ZERO };
    let bounds = Bounds { replay, guardian, ..options.bounds };
    let mut episode = Episode::start(plan, &options.subject, bounds)?;
    summary.episodes += 1;
    while let Some(played) = episode.play_next()? {
        summary.add(plan, &played);
        progress(Progress::Round(plan, &played));
        if played.verdict.violations.is_empty() {
            continue;
        }
        let name = format!("chaos-{}-{}-{}.pcapng", options.subject.agent, plan.seed, played.number);
        let path = options.captures.join(name);
        capture(&path, plan, &played).with_context(|| format!("writing {}", path.display()))?;
        progress(Progress::Captured(&path));
        if !options.keep_going {
            return Ok(false);
        }
    }
    Ok(true)
}

fn capture(path: &Path, plan: &Plan, played: &Played) -> Result<()> {
    let stations: Vec<_> = plan.segment.nodes().map(Station::Node).chain([Station::Client]).collect();
    let found = played.verdict.violations.iter().map(|found| format!("{}: {}\n", found.time, found.text));
    let found = found.collect::<Vec<_>>().concat();
    let comment = format!("round {}\n{found}{plan}", played.number);
    let mut out = BufWriter::new(File::create(path)?);
    pcapng::write(&mut out, &comment, &stations, &played.records)?;
    Ok(out.into_inner()?.sync_all()?)
}

impl Summary {
    /// Returns the number of violations of all invariants.
    pub fn violated(&self) -> u64 {
        self.violations.values().sum()
    }

    fn add(&mut self, plan: &Plan, played: &Played) {
        let verdict = &played.verdict;
        for violation in &verdict.violations {
            *self.violations.entry(violation.invariant).or_default() += 1;
        }
        self.answers += verdict.answers;
        self.unlawful += verdict.unlawful;
        self.stalled += played.stalled;
        self.attack += played.attack;
        let Some(round) = played.number.checked_sub(1).and_then(|index| plan.rounds.get(index)) else {
            return;
        };
        let figures = match &round.faults[..] {
            [fault] => self.kinds.entry(fault.kind).or_default(),
            _ => &mut self.pairs,
        };
        figures.rounds += 1;
        figures.violated += u64::from(!verdict.violations.is_empty());
        figures.unlawful += verdict.unlawful;
        figures.longest_gap = figures.longest_gap.max(verdict.longest_gap);
        figures.longest_takeover = figures.longest_takeover.max(verdict.longest_takeover);
    }
}

impl Figures {
    /// Formats the figures as the cells of a table row.
    pub fn cells(&self) -> [String; 5] {
        let takeover =
            self.longest_takeover.map_or_else(String::new, |time| format!("{:.0} ms", millis(time)));
        [
            self.rounds.to_string(),
            self.violated.to_string(),
            self.unlawful.to_string(),
            format!("{:.0} ms", millis(self.longest_gap)),
            takeover,
        ]
    }
}
