//! The results of all runs, merged.

use clap::ValueEnum as _;
use serde_json::{Value, json};
use vipd_tests::compare::Spread;

use crate::figure::{Figure, Timeline, percentile};
use crate::metric::Metric;
use crate::scenario::Scenario;
use crate::subject::Who;

/// One metric over all runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) metric: Metric,
    /// Nominal point of a sweep, as in [`Figure::point`].
    pub(crate) point: Option<u32>,
    /// The values of all runs.
    pub(crate) values: Vec<f64>,
    /// Whether the values are samples, many per run.
    pub(crate) sampled: bool,
    /// The x value that was reached in each run.
    at: Vec<f64>,
    /// The timeline of the first run.
    pub(crate) timeline: Option<Timeline>,
}

impl Series {
    /// Returns the minimum, median and maximum; `None` if there are no values.
    pub(crate) fn spread(&self) -> Option<Spread> {
        Spread::of(self.values.iter().copied())
    }

    /// Returns the 99th percentile of the values; `None` if there are no values.
    pub(crate) fn p99(&self) -> Option<f64> {
        percentile(&self.values, 0.99)
    }

    /// Returns the median x value and the median value of a point of a sweep.
    pub(crate) fn position(&self) -> Option<(f64, f64)> {
        Some((Spread::of(self.at.iter().copied())?.median, self.spread()?.median))
    }
}

/// The results of one scenario, one column per program.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    pub(crate) scenario: Scenario,
    /// The series of each program, in order of measurement.
    pub(crate) columns: Vec<(Who, Vec<Series>)>,
}

impl Measured {
    /// Creates an entry without results.
    pub(crate) fn new(scenario: Scenario) -> Self {
        Self { scenario, columns: Vec::new() }
    }

    /// Adds the figures of a run.
    pub(crate) fn add(&mut self, who: Who, figures: Vec<Figure>) {
        let index = self.columns.iter().position(|(column, _)| *column == who).unwrap_or_else(|| {
            self.columns.push((who, Vec::new()));
            self.columns.len() - 1
        });
        let column = &mut self.columns[index].1;
        for Figure { metric, point, values, sampled, at, timeline } in figures {
            let row = (metric, point);
            if let Some(series) = column.iter_mut().find(|series| (series.metric, series.point) == row) {
                series.values.extend(values);
                series.at.extend(at);
            } else {
                let at = at.into_iter().collect();
                column.push(Series { metric, point, values, sampled, at, timeline });
            }
        }
    }

    /// Returns the rows: every metric and point that occurs in any column.
    pub(crate) fn rows(&self) -> Vec<(Metric, Option<u32>)> {
        let mut rows = Vec::new();
        for series in self.columns.iter().flat_map(|(_, column)| column) {
            let row = (series.metric, series.point);
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        rows
    }

    /// Returns a program's series in a row of the table; `None` if the program has no such series.
    pub(crate) fn series(&self, who: Who, row: (Metric, Option<u32>)) -> Option<&Series> {
        let (_, column) = self.columns.iter().find(|(column, _)| *column == who)?;
        column.iter().find(|series| (series.metric, series.point) == row)
    }

    /// Returns the name of a row: the metric, preceded by the name of the point if there is one.
    pub(crate) fn row_name(&self, (metric, point): (Metric, Option<u32>)) -> String {
        match point {
            Some(point) => format!("{}: {metric}", self.scenario.point_name(point)),
            None => metric.to_string(),
        }
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// One entry per scenario.
    pub(crate) measured: Vec<Measured>,
    /// Errors of failed runs that were repeated.
    pub(crate) repeated: Vec<String>,
}

impl Results {
    /// Returns whether all scenarios were measured.
    pub(crate) fn is_complete(&self) -> bool {
        Scenario::value_variants().iter().all(|scenario| self.of(*scenario).is_some())
    }

    /// Returns the results of a scenario; `None` if it was not measured.
    pub(crate) fn of(&self, scenario: Scenario) -> Option<&Measured> {
        self.measured.iter().find(|measured| measured.scenario == scenario)
    }

    /// Returns all series of a metric for one program: the points of its sweep.
    pub(crate) fn sweep(&self, scenario: Scenario, who: Who, metric: Metric) -> Vec<&Series> {
        let columns = self.of(scenario).map_or(&[][..], |measured| &measured.columns);
        let column = columns.iter().filter(|(column, _)| *column == who).flat_map(|(_, column)| column);
        column.filter(|series| series.metric == metric).collect()
    }

    /// Returns the median of a metric. `point` is `None` for a metric without a sweep.
    pub(crate) fn median(
        &self,
        scenario: Scenario,
        who: Who,
        metric: Metric,
        point: Option<u32>,
    ) -> Option<f64> {
        Some(self.of(scenario)?.series(who, (metric, point))?.spread()?.median)
    }

    /// Returns the maximum of a metric over all runs and, for a sweep, all points.
    pub(crate) fn worst(&self, scenario: Scenario, who: Who, metric: Metric) -> Option<f64> {
        let all = self.sweep(scenario, who, metric).into_iter();
        all.filter_map(|series| Some(series.spread()?.max)).max_by(f64::total_cmp)
    }

    /// Returns all series as JSON, one object each.
    pub(crate) fn json(&self) -> Value {
        let mut all = Vec::new();
        for measured in &self.measured {
            for (who, column) in &measured.columns {
                for series in column {
                    let spread = series.spread();
                    all.push(json!({
                        "scenario": measured.scenario.key(),
                        "subject": who.key(),
                        "metric": series.metric.key(),
                        "unit": series.metric.unit(),
                        "point": series.point,
                        "name": measured.row_name((series.metric, series.point)),
                        "median": spread.map(|spread| spread.median),
                        "min": spread.map(|spread| spread.min),
                        "max": spread.map(|spread| spread.max),
                        "values": series.values,
                    }));
                }
            }
        }
        Value::Array(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_merged_by_metric_and_point() {
        let mut flood = Measured::new(Scenario::Flood);
        for (reached, takeovers) in [(3_900.0, 0.0), (4_000.0, 2.0), (4_100.0, 1.0)] {
            flood.add(Who::Vipd, vec![Figure::new(Metric::FalseTakeovers, takeovers).at(4_000, reached)]);
        }
        flood.add(Who::Keepalived, vec![Figure::samples(Metric::MasterGap, vec![1.0, 2.0])]);
        assert_eq!(flood.rows(), [(Metric::FalseTakeovers, Some(4_000)), (Metric::MasterGap, None)]);
        assert_eq!(flood.row_name(flood.rows()[0]), "4,000/s: false takeovers");
        let results = Results { measured: vec![flood], ..Results::default() };
        let points = results.sweep(Scenario::Flood, Who::Vipd, Metric::FalseTakeovers);
        assert_eq!(points[0].position(), Some((4_000.0, 1.0)));
        assert_eq!(results.worst(Scenario::Flood, Who::Vipd, Metric::FalseTakeovers), Some(2.0));
        let gap = |scenario| results.median(scenario, Who::Keepalived, Metric::MasterGap, None);
        assert_eq!((gap(Scenario::Flood), gap(Scenario::Cut)), (Some(1.5), None));
        assert_eq!(results.json()[0]["metric"], "false-takeovers");
    }
}
