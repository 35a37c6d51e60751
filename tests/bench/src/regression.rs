//! Compares this build of vipd with another: CPU costs must not increase by more than 5 %, not
//! counting noise.
//!
//! There are about 20 metrics, and the runs of one build differ by 15 %. A test with a
//! false-positive rate of 10 % would report about two metrics even if the builds were equal. An
//! increase therefore counts only if almost all runs of this build cost more than almost all runs
//! of the other build (the Mann-Whitney test). By chance, this happens once in 126 comparisons with
//! five runs each, once in 20 with three (`flood`), and once in six with two (`many`).

use std::fmt;

use crate::results::{Measured, Series};
use crate::subject::Who;

/// Allowed ratio of a CPU metric, new to old.
const ALLOWED: f64 = 1.05;
/// Minimum share of pairs (one run of each build) in which this build costs more. If the share is
/// lower, an increase counts as noise.
const CLEAR: f64 = 0.95;

/// The comparison of one CPU metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Change {
    /// Increased by at most 5 %.
    NoWorse,
    /// Increased by more than 5 %, but the runs of both builds overlap.
    Noise,
    /// Increased by more than 5 %, and almost all runs of this build cost more.
    Worse,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWorse => "no worse",
            Self::Noise => "no worse (within noise)",
            Self::Worse => "WORSE",
        })
    }
}

/// Returns, for each CPU metric that was measured for both builds, its row name, the medians of
/// this build and the other, and the change.
pub(crate) fn compare(measured: &Measured) -> Vec<(String, f64, f64, Change)> {
    let rows = measured.rows().into_iter().filter(|(metric, _)| metric.is_cpu());
    rows.filter_map(|row| {
        let (new, old) = (measured.series(Who::Vipd, row)?, measured.series(Who::Other, row)?);
        let (new_median, old_median) = (new.spread()?.median, old.spread()?.median);
        Some((measured.row_name(row), new_median, old_median, change(new, old)?))
    })
    .collect()
}

fn change(new: &Series, old: &Series) -> Option<Change> {
    if new.spread()?.median <= old.spread()?.median * ALLOWED {
        return Some(Change::NoWorse);
    }
    let pairs = new.values.iter().flat_map(|new| old.values.iter().map(move |old| new > old));
    let (count, greater) = pairs.fold((0.0, 0.0), |(count, greater), is_greater| {
        (count + 1.0, greater + f64::from(u8::from(is_greater)))
    });
    Some(if greater >= CLEAR * count { Change::Worse } else { Change::Noise })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;
    use crate::metric::Metric;
    use crate::scenario::Scenario;

    #[test]
    fn increases_up_to_5_percent_and_overlapping_runs_are_allowed() {
        for (new, old, expected) in [
            (&[1.05, 1.05][..], &[1.0, 1.0][..], Change::NoWorse),
            (&[1.15, 1.15], &[1.0, 1.2], Change::NoWorse),
            (&[1.19, 1.19], &[1.0, 1.2], Change::Noise),
            (&[1.21, 1.21], &[1.0, 1.2], Change::Worse),
            (&[1.0, 1.3, 1.4], &[1.0, 1.0, 1.1], Change::Noise),
            (&[1.05, 1.3, 1.3, 1.4, 1.5], &[1.0, 1.0, 1.0, 1.0, 1.1], Change::Worse),
            (&[1.05, 1.05, 1.3, 1.4, 1.5], &[1.0, 1.0, 1.0, 1.0, 1.1], Change::Noise),
        ] {
            let mut measured = Measured::new(Scenario::Master);
            for value in new {
                measured.add(Who::Vipd, vec![Figure::new(Metric::ProcessPerAdvertSent, *value)]);
            }
            for value in old {
                measured.add(Who::Other, vec![Figure::new(Metric::ProcessPerAdvertSent, *value)]);
            }
            measured.add(Who::Other, vec![Figure::new(Metric::SpacingP99, 1.0)]);
            let rows = compare(&measured);
            assert_eq!(rows.iter().map(|row| row.3).collect::<Vec<_>>(), [expected], "{new:?} {old:?}");
        }
    }
}
