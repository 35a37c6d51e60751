//! What a measurement comes to.

/// One figure of a measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// In what.
    pub unit: &'static str,
    /// What was found: one value of a run, or all its samples; none where a bound was not kept.
    pub values: Vec<f64>,
    /// Whether the values are samples, of which percentiles say something.
    pub sampled: bool,
    /// Where in a sweep it stands: adverts a second, or virtual routers.
    pub at: Option<f64>,
}

impl Figure {
    /// One value.
    pub fn new(name: &str, unit: &'static str, value: f64) -> Self {
        Self { name: name.to_owned(), unit, values: vec![value], sampled: false, at: None }
    }

    /// All samples of a run.
    pub fn samples(name: &str, unit: &'static str, values: Vec<f64>) -> Self {
        Self { name: name.to_owned(), unit, values, sampled: true, at: None }
    }

    /// A value that there should be, if a bound was kept.
    pub fn perhaps(name: &str, unit: &'static str, value: Option<f64>) -> Self {
        Self { values: value.into_iter().collect(), ..Self::new(name, unit, 0.0) }
    }

    /// The same as one point of a sweep.
    #[must_use]
    pub fn at(self, point: &str, at: f64) -> Self {
        Self { name: format!("{point}: {}", self.name), at: Some(at), ..self }
    }
}

/// The value that this share of all values, 0 to 1, does not exceed; `None` of none.
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a share of a number of samples"
    )]
    let index = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(index.saturating_sub(1).min(last)).copied()
}

/// "16,000".
pub fn thousands(number: u32) -> String {
    match number / 1000 {
        0 => number.to_string(),
        thousands => format!("{thousands},{:03}", number % 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.99), Some(99.0));
        assert_eq!(percentile(&hundred, 0.5), Some(50.0));
        assert_eq!(percentile(&hundred, 1.0), Some(100.0));
        assert_eq!(percentile(&hundred, 0.0), Some(1.0));
        assert_eq!(percentile(&[7.0], 0.999), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_point_of_a_sweep_says_so_in_its_name() {
        let figure = Figure::new("process CPU", "µs", 1.0).at("25 virtual routers", 2500.0);
        assert_eq!((figure.name.as_str(), figure.at), ("25 virtual routers: process CPU", Some(2500.0)));
        assert!(Figure::perhaps("start", "ms", None).values.is_empty());
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([255, 1_020, 120_000].map(thousands), ["255", "1,020", "120,000"]);
    }
}
