//! What the bench is at, on standard error: a bar on a terminal, lines elsewhere. Standard output has the tables.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::support::process::say;

const TEMPLATE: &str = "[bench] {bar:16} {elapsed}, {wide_msg}";

/// Progress through steps that are expected to take some time each.
pub(super) struct Progress {
    /// Where somebody looks.
    bar: Option<ProgressBar>,
    begun: Instant,
    total: Duration,
    done: Duration,
}

impl Progress {
    /// Of all steps together.
    pub(super) fn new(total: Duration) -> Result<Self> {
        let bar = io::stderr().is_terminal().then(|| -> Result<ProgressBar> {
            let bar = ProgressBar::new(total.as_secs());
            bar.set_style(ProgressStyle::with_template(TEMPLATE).context("the bar's form")?);
            bar.enable_steady_tick(Duration::from_secs(1));
            Ok(bar)
        });
        Ok(Self { bar: bar.transpose()?, begun: Instant::now(), total, done: Duration::ZERO })
    }

    /// A step begins.
    pub(super) fn begin(&self, step: &str) {
        let left = left(self.begun.elapsed(), self.done, self.total);
        let step = format!("about {} min left: {step}", left.as_secs().div_ceil(60));
        match &self.bar {
            Some(bar) => bar.set_message(step),
            None => say("bench", step),
        }
    }

    /// A step is done that was expected to take so long.
    pub(super) fn end(&mut self, expected: Duration) {
        self.done += expected;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done.as_secs());
        }
    }

    /// Something that whoever looks should know.
    pub(super) fn remark(&self, remark: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("[bench] {remark}")),
            None => say("bench", remark),
        }
    }

    /// Prints something on standard output, with the bar out of the way.
    pub(super) fn print(&self, text: &str) {
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

/// What is left, if it takes as much longer than expected as what is done.
fn left(elapsed: Duration, done: Duration, total: Duration) -> Duration {
    let left = total.saturating_sub(done);
    if done.is_zero() { left } else { left.mul_f64(elapsed.as_secs_f64() / done.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_is_slow_to_the_end() {
        let seconds = Duration::from_secs;
        assert_eq!(left(seconds(0), seconds(0), seconds(60)), seconds(60));
        assert_eq!(left(seconds(40), seconds(20), seconds(60)), seconds(80));
        assert_eq!(left(seconds(40), seconds(80), seconds(60)), seconds(0));
    }
}
