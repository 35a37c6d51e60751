//! The results of a measurement.

use super::metric::Metric;

/// The values of one metric in one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) metric: Metric,
    /// Nominal point of a sweep: the number of virtual routers, flood adverts per second (0:
    /// unlimited), or a fault and an interval (see [`crate::measure::owners::point`]).
    pub(crate) point: Option<u32>,
    /// A single value, or all samples of the run; empty if a time limit was exceeded.
    pub(crate) values: Vec<f64>,
    /// Whether the values are samples, for which percentiles are meaningful.
    pub(crate) sampled: bool,
    /// The x value that was actually reached at this point of the sweep.
    pub(crate) at: Option<f64>,
    /// The timeline from which the value was computed.
    pub(crate) timeline: Option<Timeline>,
}

/// Times at which each node used the VIP, in milliseconds after the old master's fault.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timeline {
    /// Periods in which the old master used the VIP without a gap.
    pub(crate) old: Vec<(f64, f64)>,
    /// Periods in which the new master used the VIP without a gap.
    pub(crate) new: Vec<(f64, f64)>,
    /// Time of the new master's first advert.
    pub(crate) takeover: f64,
    /// End of the observation.
    pub(crate) end: f64,
}

impl Figure {
    /// Creates a figure with a single value.
    pub(crate) fn new(metric: Metric, value: f64) -> Self {
        Self { metric, point: None, values: vec![value], sampled: false, at: None, timeline: None }
    }

    /// Creates a figure with all samples of a run.
    pub(crate) fn samples(metric: Metric, values: Vec<f64>) -> Self {
        Self { values, sampled: true, ..Self::new(metric, 0.0) }
    }

    /// Creates a figure with a single value, or with none if a time limit was exceeded.
    pub(crate) fn perhaps(metric: Metric, value: Option<f64>) -> Self {
        Self { values: value.into_iter().collect(), ..Self::new(metric, 0.0) }
    }

    /// Turns the figure into a point of a sweep. `at` is the x value that was actually reached.
    #[must_use]
    pub(crate) fn at(self, point: u32, at: f64) -> Self {
        Self { point: Some(point), at: Some(at), ..self }
    }

    /// Adds the timeline from which the value was computed.
    #[must_use]
    pub(crate) fn with_timeline(self, timeline: Timeline) -> Self {
        Self { timeline: Some(timeline), ..self }
    }
}

/// Returns the nearest-rank percentile: the smallest of the values for which at least the fraction
/// `share` (0 to 1) of all values is less than or equal to it. Returns `None` if there are no
/// values.
pub(crate) fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "the number of samples is small"
    )]
    let index = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(index.saturating_sub(1).min(last)).copied()
}

/// Formats a number with a thousands separator: "16,000".
pub(crate) fn thousands(number: u32) -> String {
    match number / 1000 {
        0 => number.to_string(),
        thousands => format!("{thousands},{:03}", number % 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_one_of_the_values() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.99), Some(99.0));
        assert_eq!(percentile(&hundred, 0.5), Some(50.0));
        assert_eq!(percentile(&hundred, 1.0), Some(100.0));
        assert_eq!(percentile(&hundred, 0.0), Some(1.0));
        assert_eq!(percentile(&[7.0], 0.999), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn large_numbers_have_separators() {
        assert_eq!([255, 1_020, 120_000].map(thousands), ["255", "1,020", "120,000"]);
    }
}
