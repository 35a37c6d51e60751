//! Script checks, which run commands periodically.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::object::{ObjectId, Reading, Update, Updates};
use crate::config::track::Script;
use crate::process::child::{Child, End, Outcome, Spec};

/// The state of a check, which changes after `rise` successes or `fall` failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hysteresis {
    is_up: bool,
    /// Number of consecutive results that contradict `is_up`.
    streak: u8,
    rise: u8,
    fall: u8,
}

impl Hysteresis {
    /// Creates the state before the first result. `former` is the state under the previous settings
    /// or in a predecessor, if any.
    fn new(script: &Script, former: Option<Reading>) -> Self {
        let is_up = former.map_or(script.initially_up, |former| former == Reading::Up);
        Self { is_up, streak: 0, rise: script.rise, fall: script.fall }
    }

    /// Counts a result. Changes the state once `rise` or `fall` consecutive results contradict it.
    fn add(&mut self, is_success: bool) {
        if is_success == self.is_up {
            self.streak = 0;
            return;
        }
        self.streak += 1;
        if self.streak >= if is_success { self.rise } else { self.fall } {
            (self.is_up, self.streak) = (is_success, 0);
        }
    }

    fn reading(self) -> Reading {
        if self.is_up { Reading::Up } else { Reading::Down }
    }
}

/// Runs a script periodically until the task is aborted. Aborting the task also kills the command.
/// The first run starts after `delay`, so that many scripts do not start simultaneously. Each later
/// run waits until the previous run has ended.
///
/// `former` is the state under the previous settings or in a predecessor, if any.
pub(super) async fn watch(
    object: ObjectId,
    script: Arc<Script>,
    former: Option<Reading>,
    delay: Duration,
    updates: Updates,
) {
    let spec = Spec {
        argv: script.command.clone(),
        environment: vec![("VIPD_SCRIPT", script.name.clone())],
        user: script.user.as_ref().map(|user| user.name.clone()),
    };
    let state = Hysteresis::new(&script, former);
    let detail = Some("has not run yet".to_owned());
    let last = Update { object, reading: state.reading(), detail };
    let mut check = Check { state, last, updates };
    if former.is_none() {
        check.send().await;
    }
    sleep(delay).await;
    let mut starts = interval(Duration::from_nanos(script.interval));
    starts.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        starts.tick().await;
        let mut running = match Child::spawn(&spec) {
            Ok(running) => running,
            Err(error) => {
                // Counts as a failure: although a lack of resources does not show that the tracked
                // service has failed, a run that cannot start must not count as a success.
                let last_line = format!("cannot start a process: {error}");
                check.add(&Outcome { end: End::Unknown, last_line }).await;
                continue;
            }
        };
        if let Some(outcome) = running.wait(Duration::from_nanos(script.timeout)).await {
            check.add(&outcome).await;
            continue;
        }
        // Reported before the command is killed, which may take a long time.
        let outcome = Outcome { end: End::TimedOut, last_line: running.last_line() };
        check.add(&outcome).await;
        starts.reset();
        let mut termination = pin!(running.terminate());
        loop {
            tokio::select! {
                _ = &mut termination => break,
                // While the command is still running, each interval counts as another failed run.
                _ = starts.tick() => check.add(&outcome).await,
            }
        }
    }
}

/// The state of a check and its last update.
struct Check {
    state: Hysteresis,
    last: Update,
    updates: Updates,
}

impl Check {
    /// Adds the result of a run. Sends an update if the state or its detail has changed.
    async fn add(&mut self, outcome: &Outcome) {
        self.state.add(outcome.end.is_success());
        let (reading, detail) = (self.state.reading(), Some(describe(outcome)));
        if (self.last.reading, &self.last.detail) != (reading, &detail) {
            (self.last.reading, self.last.detail) = (reading, detail);
            self.send().await;
        }
    }

    async fn send(&self) {
        let _ = self.updates.send(self.last.clone()).await;
    }
}

fn describe(outcome: &Outcome) -> String {
    match (outcome.end.is_success(), outcome.last_line.as_str()) {
        (true, "") => "succeeded".to_owned(),
        (true, line) => line.to_owned(),
        (false, "") => outcome.end.to_string(),
        (false, line) => format!("{}: {line}", outcome.end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_changes_after_rise_or_fall_results_in_a_row() {
        let mut state = Hysteresis { is_up: true, streak: 0, rise: 2, fall: 3 };
        let results = "..x.xx.xxx.x..xxx";
        let states: String = results
            .chars()
            .map(|result| {
                state.add(result == '.');
                if state.is_up { '.' } else { 'x' }
            })
            .collect();
        assert_eq!(states, ".........xxxx...x");
    }

    /// Covers runs that take longer than the interval, and runs that time out and ignore SIGTERM.
    #[test]
    fn next_run_starts_after_the_previous_one_has_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        for (name, rest, timeout, runs) in
            [("slow", "sleep 0.2", 600_000, 4), ("hanging", "trap '' TERM; exec sleep 1000", 200, 2)]
        {
            let (out, lock) = (path(name), path(&format!("{name}.lock")));
            let begin = format!("exec 9>>{lock}; flock -n 9 || echo overlap; echo run");
            let script = Script {
                name: name.to_owned(),
                command: ["/bin/sh", "-c", &format!("{{ {begin}; }} >>{out}; {rest}")]
                    .map(str::to_owned)
                    .to_vec(),
                interval: 50_000_000,
                timeout: timeout * 1_000_000,
                rise: 1,
                fall: 1,
                user: None,
                initially_up: true,
            };
            runtime.block_on(async {
                let (updates, _received) = tokio::sync::mpsc::channel(256);
                let check = watch(ObjectId(1), Arc::new(script), None, Duration::ZERO, updates);
                let check = tokio::spawn(check);
                let text = loop {
                    let text = std::fs::read_to_string(&out).unwrap_or_default();
                    if text.lines().count() >= runs {
                        break text;
                    }
                    sleep(Duration::from_millis(5)).await;
                };
                check.abort();
                assert!(text.lines().all(|line| line == "run"), "{name}: {text}");
            });
        }
    }

    #[test]
    fn outcome_is_described_with_its_last_line() {
        let outcome = |end, line: &str| describe(&Outcome { end, last_line: line.to_owned() });
        assert_eq!(outcome(End::Exited(0), ""), "succeeded");
        assert_eq!(outcome(End::Exited(0), "3 workers"), "3 workers");
        assert_eq!(outcome(End::Exited(1), ""), "exit status 1");
        assert_eq!(outcome(End::Signaled(9), "started"), "ended by signal 9: started");
        assert_eq!(outcome(End::TimedOut, ""), "timed out");
    }
}
