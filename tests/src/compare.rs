//! One scenario, many times, for several agents in turn: figures that were made on the same machine
//! in the same minutes can be held against each other.

use anyhow::{Context, Result};

use crate::agent::AgentKind;
use crate::scenario::{Outcome, Scenario, Setup, Takeover};
use crate::time::millis;

/// The outcomes of one agent against itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Which agent.
    pub kind: AgentKind,
    /// One outcome for each round.
    pub outcomes: Vec<Outcome>,
}

/// The least, the middle and the greatest of some milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Least.
    pub min: f64,
    /// Middle; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// Greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of some figures; `None` of none.
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

/// Plays `scenario` `rounds` times with each of the `kinds` on both nodes, the kinds in turn so that
/// whatever else the machine does meets them alike. `progress` is called after each.
///
/// # Errors
/// When a round fails; the message says which.
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
    /// How much later than its deadline the new master's first advert came (t1 - t0 - deadline).
    pub fn lateness(&self) -> Option<Spread> {
        Spread::of(self.failovers().filter_map(Takeover::lateness))
    }

    /// From the new master's first advert to its first gratuitous ARP (t2 - t1).
    pub fn announcement(&self) -> Option<Spread> {
        Spread::of(self.failovers().map(Takeover::announcement))
    }

    /// From the new master's first advert to its first answer (t3 - t1).
    pub fn service(&self) -> Option<Spread> {
        Spread::of(self.failovers().map(Takeover::service))
    }

    /// The longest gap in the client's ping around the failover.
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
    fn the_median_is_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
    }
}
