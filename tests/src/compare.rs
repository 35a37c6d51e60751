//! Repeats a scenario with several agents in turn, so that their figures are comparable.

use anyhow::{Context, Result};

use crate::agent::AgentKind;
use crate::scenario::{Outcome, Scenario, Setup, Takeover};
use crate::time::millis;

/// The outcomes with the same agent on both nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Agent on both nodes.
    pub kind: AgentKind,
    /// One outcome per round.
    pub outcomes: Vec<Outcome>,
}

/// Minimum, median and maximum, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Minimum.
    pub min: f64,
    /// For an even number of values, the mean of the middle two.
    pub median: f64,
    /// Maximum.
    pub max: f64,
}

impl Spread {
    /// Returns the spread of `figures`; `None` without any.
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

/// Runs `scenario` `rounds` times with each of `kinds` on both nodes. The kinds alternate, so that
/// other load on the machine affects all. `progress` is called after each run.
///
/// # Errors
/// When a round fails, with its number.
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
    /// Returns the delay of the new master's first advert after its deadline (t1 - t0 - deadline).
    pub fn lateness(&self) -> Option<Spread> {
        Spread::of(self.failovers().filter_map(Takeover::lateness))
    }

    /// Returns the time from the new master's first advert to its first gratuitous ARP (t2 - t1).
    pub fn announcement(&self) -> Option<Spread> {
        Spread::of(self.failovers().map(Takeover::announcement))
    }

    /// Returns the time from the new master's first advert to its first echo reply (t3 - t1).
    pub fn service(&self) -> Option<Spread> {
        Spread::of(self.failovers().map(Takeover::service))
    }

    /// Returns the longest gap in the client's ping around the failover.
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
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
    }
}
