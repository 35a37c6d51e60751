//! Shows progress on standard error: as a bar on a terminal, otherwise as lines. Tables go to
//! standard output.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "[bench] {bar:16} {elapsed}, {wide_msg}";

/// Progress through steps of known approximate duration.
pub(crate) struct Progress {
    /// The progress bar; `None` if standard error is not a terminal.
    bar: Option<ProgressBar>,
    started: Instant,
    total: Duration,
    done: Duration,
}

impl Progress {
    /// Starts the display. `total` is the expected duration of all steps.
    pub(crate) fn new(total: Duration) -> Result<Self> {
        let bar = io::stderr().is_terminal().then(|| -> Result<ProgressBar> {
            let bar = ProgressBar::new(total.as_secs());
            bar.set_style(ProgressStyle::with_template(TEMPLATE).context("invalid progress bar template")?);
            bar.enable_steady_tick(Duration::from_secs(1));
            Ok(bar)
        });
        Ok(Self { bar: bar.transpose()?, started: Instant::now(), total, done: Duration::ZERO })
    }

    /// Shows the next step and the remaining time.
    pub(crate) fn begin(&self, step: &str) {
        let remaining = remaining(self.started.elapsed(), self.done, self.total);
        let step = format!("about {} min remaining: {step}", remaining.as_secs().div_ceil(60));
        match &self.bar {
            Some(bar) => bar.set_message(step),
            None => eprintln!("[bench] {step}"),
        }
    }

    /// Ends a step whose expected duration was `expected`.
    pub(crate) fn end(&mut self, expected: Duration) {
        self.done += expected;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done.as_secs());
        }
    }

    /// Prints a message without disturbing the bar.
    pub(crate) fn remark(&self, remark: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("[bench] {remark}")),
            None => eprintln!("[bench] {remark}"),
        }
    }

    /// Prints to standard output without disturbing the bar.
    pub(crate) fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print!("{text}")),
            None => print!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Estimates the remaining time: the expected duration of the remaining steps, multiplied by the
/// ratio of actual to expected duration of the finished steps.
fn remaining(elapsed: Duration, done: Duration, total: Duration) -> Duration {
    let left = total.saturating_sub(done);
    if done.is_zero() { left } else { left.mul_f64(elapsed.as_secs_f64() / done.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_scales_with_the_time_taken_so_far() {
        let seconds = Duration::from_secs;
        assert_eq!(remaining(seconds(0), seconds(0), seconds(60)), seconds(60));
        assert_eq!(remaining(seconds(40), seconds(20), seconds(60)), seconds(80));
        assert_eq!(remaining(seconds(40), seconds(80), seconds(60)), seconds(0));
    }
}
