//! Compares this build of vipd with another: CPU costs must not increase by more than 5 %, unless
//! they stay within the spread of the other build.

use std::fmt;

use crate::results::{Measured, Series};
use crate::subject::Who;

/// Allowed ratio of a CPU metric, new to old.
const ALLOWED: f64 = 1.05;

/// The comparison of one CPU metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Change {
    /// Increased by at most 5 %.
    NoWorse,
    /// Increased by more than 5 %, but not beyond the maximum of the other build.
    Noise,
    /// Increased by more than 5 %, and beyond the maximum of the other build.
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

/// Returns, for each CPU metric, its row name, the medians of this build and the other, and the
/// change.
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
    let (new, old) = (new.spread()?, old.spread()?);
    Some(if new.median <= old.median * ALLOWED {
        Change::NoWorse
    } else if new.median <= old.max {
        Change::Noise
    } else {
        Change::Worse
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;
    use crate::metric::Metric;
    use crate::scenario::Scenario;

    #[test]
    fn increases_up_to_5_percent_or_within_the_spread_are_allowed() {
        for (new, old, expected) in [
            (1.05, [1.0, 1.0], Change::NoWorse),
            (1.15, [1.0, 1.2], Change::NoWorse),
            (1.19, [1.0, 1.2], Change::Noise),
            (1.21, [1.0, 1.2], Change::Worse),
        ] {
            let mut measured = Measured::new(Scenario::Master);
            measured.add(Who::Vipd, vec![Figure::new(Metric::ProcessPerAdvertSent, new)]);
            for value in old {
                measured.add(Who::Other, vec![Figure::new(Metric::ProcessPerAdvertSent, value)]);
            }
            measured.add(Who::Other, vec![Figure::new(Metric::SpacingP99, 1.0)]);
            let rows = compare(&measured);
            assert_eq!(rows.iter().map(|row| row.3).collect::<Vec<_>>(), [expected]);
        }
    }
}
