//! Script checks: run commands periodically.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::object::{ObjectId, Reading, Update, Updates};
use crate::config::track::Script;
use crate::process::child::{Child, End, Outcome, Spec};

/// The state of a check, which changes after several equal results in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hysteresis {
    is_up: bool,
    /// Number of consecutive results that contradict `is_up`.
    streak: u8,
    rise: u8,
    fall: u8,
}

impl Hysteresis {
    fn new(script: &Script) -> Self {
        Self { is_up: script.initially_up, streak: 0, rise: script.rise, fall: script.fall }
    }

    /// Adds a result.
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

/// Runs a script until the task is aborted, which also kills the command. The first run starts after
/// `delay`, so that many scripts do not start at once. A run starts only after the previous one has ended.
pub(super) async fn watch(object: ObjectId, script: Arc<Script>, delay: Duration, updates: Updates) {
    let spec = Spec {
        argv: script.command.clone(),
        environment: vec![("VIPD_SCRIPT", script.name.clone())],
        user: script.user.as_ref().map(|user| user.name.clone()),
    };
    let mut state = Hysteresis::new(&script);
    let detail = Some("has not run yet".to_owned());
    let mut last = Update { object, reading: state.reading(), detail };
    let _ = updates.send(last.clone()).await;
    sleep(delay).await;
    let mut starts = interval(Duration::from_nanos(script.interval));
    starts.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        starts.tick().await;
        let outcome = match Child::spawn(&spec) {
            Ok(running) => running.wait_with_last_line(Duration::from_nanos(script.timeout)).await,
            Err(error) => {
                // Lack of resources says nothing about what the script checks, but it must not count as up.
                let last_line = format!("cannot start a process: {error}");
                Outcome { end: End::Unknown, last_line }
            }
        };
        state.add(outcome.end.is_success());
        let update = Update { object, reading: state.reading(), detail: Some(describe(&outcome)) };
        if update != last {
            last.clone_from(&update);
            let _ = updates.send(update).await;
        }
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
