//! Repeats a scenario with several agents in turn, so that their results are comparable.

use anyhow::{Context, Result};

use crate::agent::AgentKind;
use crate::scenario::{Outcome, Scenario, Setup, Takeover};
use crate::time::millis;

/// The outcomes of one agent kind, which runs on both nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Agent that runs on both nodes.
    pub kind: AgentKind,
    /// One outcome per round.
    pub outcomes: Vec<Outcome>,
}

/// Minimum, median and maximum of a set of values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Minimum.
    pub min: f64,
    /// Median; for an even number of values, the mean of the middle two.
    pub median: f64,
    /// Maximum.
    pub max: f64,
}

impl Spread {
    /// Returns the spread of `figures`, or `None` if there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<_> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (&min, &max) = (figures.first()?, figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(figures[middle - 1], figures[middle])
        } else {
            figures[middle]
        };
        Some(Self { min, median, max })
    }
}

/// Runs `scenario` once per kind in each of `rounds` rounds. Alternating the kinds ensures that
/// other load on the machine affects all kinds equally. Calls `progress` after each run.
///
/// # Errors
/// Returns an error, with the round number, if a run fails.
pub fn compare(
    scenario: Scenario,
    setup: &Setup,
    kinds: &[AgentKind],
    rounds: usize,
    mut progress: impl FnMut(usize, &Outcome),
) -> Result<Vec<Series>> {
    let mut all: Vec<_> =
        kinds.iter().map(|kind| Series { kind: kind.clone(), outcomes: Vec::new() }).collect();
    for round in 1..=rounds {
        for series in &mut all {
            let setup =
                Setup { preferred: series.kind.clone(), backup: series.kind.clone(), ..setup.clone() };
            let outcome =
                scenario.play(&setup).with_context(|| format!("round {round} with {}", series.kind))?;
            progress(round, &outcome);
            series.outcomes.push(outcome);
        }
    }
    Ok(all)
}

impl Series {
    /// Returns how late the new master's first advert was (t1 - t0 - deadline), in milliseconds.
    pub fn lateness(&self) -> Option<Spread> {
        Spread::of(self.failovers().filter_map(Takeover::lateness))
    }

    /// Returns the time from the new master's first advert to its first gratuitous ARP (t2 - t1),
    /// in milliseconds.
    pub fn announcement(&self) -> Option<Spread> {
        Spread::of(self.failovers().map(Takeover::announcement))
    }

    /// Returns the time from the new master's first advert to its first echo reply (t3 - t1), in
    /// milliseconds.
    pub fn service(&self) -> Option<Spread> {
        Spread::of(self.failovers().map(Takeover::service))
    }

    /// Returns the longest gap in the client's ping around the failover, in milliseconds.
    pub fn outage(&self) -> Option<Spread> {
        Spread::of(self.outcomes.iter().filter_map(|outcome| {
            let failover = outcome.takeovers.first()?;
            outcome.probes_around(failover).longest_gap().map(|(_, gap)| millis(gap))
        }))
    }

    fn failovers(&self) -> impl Iterator<Item = &Takeover> {
        self.outcomes.iter().filter_map(|outcome| outcome.takeovers.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_number_is_the_mean_of_the_middle_two() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
    }
}
