//! Commands that the agent runs: notifications in a mass failover, and a check that hangs.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{REST, adverts, routers, wait_for_masters};
use vipd_tests::configuration::Instance;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::time::{WallTime, millis};

use crate::figure::Figure;
use crate::metric::Metric;
use crate::subject::Subject;

const MASTER: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);
/// Maximum time until all commands have run.
const BOUND: Duration = Duration::from_secs(60);

/// Fails over `number` virtual routers that each have a notification command, and measures the time
/// until all commands have run.
///
/// # Errors
/// Returns an error if the lab fails.
pub(crate) fn notifications(subject: &Subject, number: u8, interval: Duration) -> Result<Vec<Figure>> {
    let lab = Lab::new(2)?;
    let script = Script::new("notify", "echo \"$2 $3\" >>$(dirname $0)/out")?;
    let notify = Some(script.path().display().to_string());
    let with = |one: Instance| Instance { notify: notify.clone(), ..one };
    let mut master = subject.agent(&lab, MASTER, &routers(number, 200, interval))?;
    let backups: Vec<_> = routers(number, 100, interval).into_iter().map(with).collect();
    let mut backup = subject.agent(&lab, BACKUP, &backups)?;
    let capture = lab.capture()?;
    let began = WallTime::now();
    master.start()?;
    wait_for_masters(&capture, began, number.into())?;
    backup.start()?;
    script
        .wait(BOUND, |states| states.len() >= number.into() && states.values().all(|last| last == "BACKUP"));
    thread::sleep(REST);
    lab.cut(MASTER)?;
    let cut = Instant::now();
    let mut delays = BTreeMap::new();
    script.wait(BOUND, |states| {
        for name in states.iter().filter(|(_, last)| *last == "MASTER").map(|(name, _)| name) {
            delays.entry(name.clone()).or_insert_with(|| millis(cut.elapsed()));
        }
        states.values().all(|last| last == "MASTER")
    });
    let elapsed = cut.elapsed();
    let states = script.states();
    let notified = states.values().filter(|last| *last == "MASTER").count();
    capture.stop()?;
    Ok(vec![
        Figure::samples(Metric::NotifyDelay, delays.into_values().collect()),
        Figure::new(Metric::NotifyTime, millis(elapsed)),
        Figure::new(Metric::NotifyMissing, f64::from(u32::from(number) - u32::try_from(notified)?)),
    ])
}

/// Measures the longest gap between adverts of masters that track a hanging check, which times out
/// after 1 s and ignores SIGTERM.
///
/// # Errors
/// Returns an error if the lab fails.
pub(crate) fn hanging_check(
    subject: &Subject,
    number: u8,
    interval: Duration,
    length: Duration,
) -> Result<Vec<Figure>> {
    let lab = Lab::new(1)?;
    let script = Script::new("check", "trap '' TERM; sleep 1000")?;
    let check = Some(script.path().display().to_string());
    let with = |one: Instance| Instance { check: check.clone(), ..one };
    let instances: Vec<_> = routers(number, 200, interval).into_iter().map(with).collect();
    let mut master = subject.agent(&lab, MASTER, &instances)?;
    let capture = lab.capture()?;
    let began = WallTime::now();
    master.start()?;
    wait_for_masters(&capture, began, number.into())?;
    thread::sleep(REST);
    let (start, end) = (WallTime::now(), Instant::now() + length);
    thread::sleep(end.saturating_duration_since(Instant::now()));
    let end = WallTime::now();
    let mut frames = capture.stop()?;
    frames.retain(|frame| (start..end).contains(&frame.time));
    let by_vrid = adverts(&frames);
    ensure!(by_vrid.len() == usize::from(number), "{} of {number} masters sent adverts", by_vrid.len());
    let mut gap = Duration::ZERO;
    for sent in by_vrid.values() {
        let times: Vec<_> = sent.iter().map(|(_, time)| *time).chain([end]).collect();
        let gaps = times.windows(2).map(|pair| pair[1].saturating_since(pair[0]));
        gap = gap.max(gaps.max().unwrap_or_default());
    }
    Ok(vec![Figure::new(Metric::CheckGap, millis(gap))])
}

/// A script in its own temporary directory, which is deleted when this value is dropped.
struct Script {
    directory: PathBuf,
    name: &'static str,
}

impl Script {
    fn new(name: &'static str, text: &str) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("vipd-bench-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
        let script = Self { directory, name };
        fs::write(script.path(), format!("#!/bin/sh\n{text}\n")).context("cannot write the script")?;
        fs::set_permissions(script.path(), Permissions::from_mode(0o755))
            .context("cannot make the script executable")?;
        Ok(script)
    }

    fn path(&self) -> PathBuf {
        self.directory.join(self.name)
    }

    /// Returns the last recorded state of each instance.
    fn states(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(Path::new(&self.directory).join("out")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, state)| (name.to_owned(), state.to_owned()))
            .collect()
    }

    /// Waits up to `bound` for the recorded states to meet a condition.
    fn wait(&self, bound: Duration, mut is_met: impl FnMut(&BTreeMap<String, String>) -> bool) {
        let end = Instant::now() + bound;
        while !is_met(&self.states()) && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
