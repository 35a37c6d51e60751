//! Limits on log lines that repeat.

use std::time::{Duration, Instant};

/// Number of lines that one [`Limit`] permits in a burst.
const BURST: u32 = 20;
/// Interval at which one more line is allowed after a burst.
const REFILL: Duration = Duration::from_millis(500);
/// Minimum pause before a repeated failure of the agent is logged again.
const MIN_PAUSE: Duration = Duration::from_secs(60);
/// Maximum pause before a repeated failure of the agent is logged again.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// The subject of rate-limited log lines.
#[derive(Clone, Copy, Debug)]
pub(in crate::service) enum Scope<'a> {
    /// The agent as a whole.
    Agent,
    /// An instance, by name.
    Instance(&'a str),
    /// A tracked object, by kind and name.
    Object(&'a str),
}

/// A token bucket for log lines.
pub(in crate::service) struct Limit {
    tokens: u32,
    refilled: Instant,
    suppressed: u64,
}

impl Limit {
    pub(in crate::service) fn new() -> Self {
        Self { tokens: BURST, refilled: Instant::now(), suppressed: 0 }
    }

    /// Returns whether a line may be logged now. If earlier lines were suppressed, first logs their
    /// number.
    pub(in crate::service) fn permits(&mut self, scope: Scope<'_>) -> bool {
        let periods = self.refilled.elapsed().as_millis() / REFILL.as_millis();
        if let Ok(periods @ 1..) = u32::try_from(periods) {
            self.tokens = self.tokens.saturating_add(periods).min(BURST);
            self.refilled = Instant::now();
        }
        if self.tokens == 0 {
            self.suppressed += 1;
            return false;
        }
        self.tokens -= 1;
        if self.suppressed > 0 {
            let lines = std::mem::take(&mut self.suppressed);
            let (instance, object) = match scope {
                Scope::Agent => (None, None),
                Scope::Instance(name) => (Some(name), None),
                Scope::Object(name) => (None, Some(name)),
            };
            tracing::warn!(instance, object, lines, "log lines were suppressed by the rate limit");
        }
        true
    }
}

/// A repeating failure. It is logged again when its text changes, or after a pause that doubles
/// each time.
#[derive(Default)]
pub(in crate::service) struct Repeats {
    last: String,
    next: Option<(Instant, Duration)>,
}

impl Repeats {
    pub(in crate::service) fn is_due(&mut self, failure: &str, now: Instant) -> bool {
        let pause = match self.next {
            Some((at, _)) if self.last == failure && now < at => return false,
            Some((at, pause)) if self.last == failure && now < at + pause => (pause * 2).min(MAX_PAUSE),
            // A different failure, or the same failure after a long interval without it.
            _ => MIN_PAUSE,
        };
        failure.clone_into(&mut self.last);
        self.next = Some((now + pause, pause));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_failure_is_logged_at_growing_intervals_until_it_changes() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        let logged: Vec<u64> = (0..1000)
            .filter(|second| repeats.is_due("no buffer space", start + Duration::from_secs(*second)))
            .collect();
        assert_eq!(logged, [0, 60, 180, 420, 900]);
        assert!(repeats.is_due("no memory", start + Duration::from_secs(1000)));
        let later = start + Duration::from_secs(100_000);
        assert!(repeats.is_due("no memory", later));
        assert!(repeats.is_due("no memory", later + Duration::from_secs(60)), "the pause is 60 s again");
    }
}
