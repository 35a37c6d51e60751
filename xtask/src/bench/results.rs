//! The figures of all runs, put together.

use clap::ValueEnum as _;
use vipd_tests::bench::{Figure, percentile};
use vipd_tests::compare::Spread;

use super::scenario::{Scenario, Who};

/// A figure over all runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// What was measured.
    pub(super) name: String,
    /// In what.
    pub(super) unit: &'static str,
    /// Everything that was found.
    pub(super) values: Vec<f64>,
    /// Whether each run had many.
    pub(super) sampled: bool,
    /// Where it stood in a sweep, in each run.
    at: Vec<f64>,
}

impl Series {
    /// Least, median and greatest, unless there is no value.
    pub(super) fn spread(&self) -> Option<Spread> {
        Spread::of(self.values.iter().copied())
    }

    /// What 99 of 100 values do not exceed.
    pub(super) fn p99(&self) -> Option<f64> {
        percentile(&self.values, 0.99)
    }

    /// Where it stands in a sweep and its median.
    pub(super) fn point(&self) -> Option<(f64, f64)> {
        Some((Spread::of(self.at.iter().copied())?.median, self.spread()?.median))
    }
}

/// A scenario's figures, a column for each who was measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    /// What it was.
    pub(super) scenario: Scenario,
    /// For each: the figures over all runs, in their order.
    pub(super) columns: Vec<(Who, Vec<Series>)>,
}

impl Measured {
    /// Nothing yet.
    pub(super) fn new(scenario: Scenario) -> Self {
        Self { scenario, columns: scenario.who().iter().map(|who| (*who, Vec::new())).collect() }
    }

    /// Puts a run's figures to those of the runs before.
    pub(super) fn add(&mut self, who: Who, figures: Vec<Figure>) {
        let Some((_, column)) = self.columns.iter_mut().find(|(name, _)| *name == who) else { return };
        for Figure { name, unit, values, sampled, at } in figures {
            match column.iter_mut().find(|series| series.name == name) {
                Some(series) => {
                    series.values.extend(values);
                    series.at.extend(at);
                }
                None => column.push(Series { name, unit, values, sampled, at: at.into_iter().collect() }),
            }
        }
    }

    /// All names in the order of the first column, and behind them what only others have.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for series in self.columns.iter().flat_map(|(_, column)| column) {
            if !names.contains(&series.name.as_str()) {
                names.push(&series.name);
            }
        }
        names
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// A scenario each.
    pub(super) measured: Vec<Measured>,
    /// What failed and was measured once more, and why.
    pub(super) again: Vec<String>,
}

impl Results {
    /// Whether every scenario was measured.
    pub(super) fn is_whole(&self) -> bool {
        let has = |scenario: &Scenario| self.measured.iter().any(|measured| measured.scenario == *scenario);
        Scenario::value_variants().iter().all(has)
    }

    /// All series of a column.
    pub(super) fn column(&self, scenario: Scenario, who: Who) -> &[Series] {
        let measured = self.measured.iter().find(|measured| measured.scenario == scenario);
        let column = measured.and_then(|measured| measured.columns.iter().find(|(name, _)| *name == who));
        column.map_or(&[], |(_, column)| column)
    }

    /// A series by its name.
    pub(super) fn series(&self, scenario: Scenario, who: Who, name: &str) -> Option<&Series> {
        self.column(scenario, who).iter().find(|series| series.name == name)
    }

    /// Its median.
    pub(super) fn median(&self, scenario: Scenario, who: Who, name: &str) -> Option<f64> {
        Some(self.series(scenario, who, name)?.spread()?.median)
    }

    /// The greatest of all values of all points of a sweep.
    pub(super) fn worst(&self, scenario: Scenario, who: Who, name: &str) -> Option<f64> {
        let points = self.sweep(scenario, who, name);
        points.filter_map(|series| Some(series.spread()?.max)).max_by(f64::total_cmp)
    }

    /// The points of a sweep.
    pub(super) fn sweep<'a>(
        &'a self,
        scenario: Scenario,
        who: Who,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Series> {
        let is_one = move |series: &&Series| series.name.rsplit(": ").next() == Some(name);
        self.column(scenario, who).iter().filter(is_one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_put_together_by_name() {
        let mut flood = Measured::new(Scenario::Flood);
        for (reached, takeovers) in [(3_900.0, 0.0), (4_000.0, 2.0), (4_100.0, 1.0)] {
            let point = |at: f64, value| Figure::new("false takeovers", "", value).at("4,000 a second", at);
            flood.add(Who::Vipd, vec![point(reached, takeovers)]);
        }
        flood.add(Who::Keepalived, vec![Figure::samples("other", "ms", vec![1.0, 2.0])]);
        assert_eq!(flood.names(), ["4,000 a second: false takeovers", "other"]);
        let results = Results { measured: vec![flood], ..Results::default() };
        let points: Vec<_> = results.sweep(Scenario::Flood, Who::Vipd, "false takeovers").collect();
        assert_eq!(points[0].point(), Some((4_000.0, 1.0)));
        assert_eq!(results.worst(Scenario::Flood, Who::Vipd, "false takeovers"), Some(2.0));
        assert_eq!(results.median(Scenario::Flood, Who::Keepalived, "other"), Some(1.5));
        assert_eq!(results.median(Scenario::Cut, Who::Keepalived, "other"), None);
    }
}
