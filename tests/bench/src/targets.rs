//! vipd's performance targets, and whether the results meet them.

mod table;

use crate::metric::Metric;
use crate::results::Results;
use crate::scenario::Scenario;
use crate::subject::Who;
use table::TARGETS;

/// How the value of a target is computed from the results.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// The median of a metric.
    Median(Scenario, Metric),
    /// The median at a point of a sweep.
    At(Scenario, Metric, u32),
    /// The maximum of all runs and, for a sweep, of all points.
    Worst(Scenario, Metric),
    /// The maximum of all runs at a point of a sweep.
    WorstAt(Scenario, Metric, u32),
    /// The first value divided by the second.
    Ratio(&'static Reading, &'static Reading),
    /// The maximum of several values.
    Greatest(&'static [Reading]),
}

impl Reading {
    fn of(&self, results: &Results, who: Who) -> Option<f64> {
        match *self {
            Self::Median(scenario, metric) => results.median(scenario, who, metric, None),
            Self::At(scenario, metric, point) => results.median(scenario, who, metric, Some(point)),
            Self::Worst(scenario, metric) => results.worst(scenario, who, metric),
            Self::WorstAt(scenario, metric, point) => {
                let series = results.of(scenario)?.series(who, (metric, Some(point)))?;
                Some(series.spread()?.max)
            }
            Self::Ratio(one, other) => Some(one.of(results, who)? / other.of(results, who)?),
            Self::Greatest(all) => all.iter().filter_map(|one| one.of(results, who)).max_by(f64::total_cmp),
        }
    }
}

/// A reference value: the cost of the same work without an agent, or a constant. A program that
/// overlaps system calls can be faster.
#[derive(Debug, Clone, Copy)]
enum Floor {
    /// Not measured.
    Unknown,
    /// A constant, and its description.
    Fixed(f64, &'static str),
    /// A value measured in this run, a factor that converts its unit, and its description.
    Measured(Who, Reading, f64, &'static str),
}

/// The limit that vipd must meet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// At most this value.
    AtMost(f64),
    /// At least this value.
    AtLeast(f64),
    /// At most this fraction of keepalived's value.
    OfKeepalived(f64),
    /// No limit; shown for comparison.
    Unlimited,
}

/// A value and its limit.
pub(crate) struct Target {
    /// The key in `docs/bench/misses.md`.
    pub(crate) key: &'static str,
    /// Description of the value, for the tables.
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    of: Reading,
    floor: Floor,
    limit: Limit,
}

/// A target with its limit and the measured values.
pub(crate) struct Verdict {
    pub(crate) target: &'static Target,
    /// keepalived's value.
    pub(crate) keepalived: Option<f64>,
    /// The floor, and its description.
    pub(crate) floor: Option<(f64, &'static str)>,
    /// The limit in the target's unit.
    pub(crate) limit: Limit,
    /// vipd's value; `None` if there are no results, for example because a time limit was exceeded.
    pub(crate) vipd: Option<f64>,
}

impl Verdict {
    /// Returns whether vipd meets the limit.
    pub(crate) fn is_met(&self) -> bool {
        match (self.limit, self.vipd) {
            (Limit::Unlimited, _) => true,
            (_, None) | (Limit::OfKeepalived(_), _) => false,
            (Limit::AtMost(limit), Some(vipd)) => vipd <= limit,
            (Limit::AtLeast(limit), Some(vipd)) => vipd >= limit,
        }
    }
}

/// Compares the results with the targets. Targets without results are omitted, unless all scenarios
/// were run: then they count as missed, except those without a limit. Targets that are relative to
/// keepalived are omitted if keepalived was not measured.
pub(crate) fn judge(results: &Results) -> Vec<Verdict> {
    TARGETS.iter().filter_map(|target| verdict(results, target)).collect()
}

fn verdict(results: &Results, target: &'static Target) -> Option<Verdict> {
    let vipd = target.of.of(results, Who::Vipd);
    if vipd.is_none() && !results.is_complete() {
        return None;
    }
    let keepalived = target.of.of(results, Who::Keepalived);
    let limit = match target.limit {
        Limit::OfKeepalived(part) => Limit::AtMost(part * keepalived?),
        limit => limit,
    };
    let floor = match target.floor {
        Floor::Unknown => None,
        Floor::Fixed(value, name) => Some((value, name)),
        Floor::Measured(who, reading, factor, name) => {
            reading.of(results, who).map(|value| (value * factor, name))
        }
    };
    Some(Verdict { target, keepalived, floor, limit, vipd })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;
    use crate::results::Measured;
    use clap::ValueEnum as _;

    use Scenario::{Backup, Cut, Flood, Foreign, Machine};

    fn measured(scenario: Scenario, figures: Vec<(Who, Figure)>) -> Results {
        let mut measured = Measured::new(scenario);
        for (who, figure) in figures {
            measured.add(who, vec![figure]);
        }
        Results { measured: vec![measured], ..Results::default() }
    }

    fn met(results: &Results) -> Vec<(&'static str, bool)> {
        judge(results).iter().map(|verdict| (verdict.target.key, verdict.is_met())).collect()
    }

    #[test]
    fn unmeasured_targets_are_omitted() {
        assert!(judge(&Results::default()).is_empty());
        let last = |who, value| (who, Figure::new(Metric::LastAnnounced, value));
        assert_eq!(met(&measured(Cut, vec![last(Who::Vipd, 15.0)])), [("cut", true)]);
        let slow = vec![last(Who::Vipd, 15.1), last(Who::Keepalived, 269.0)];
        assert_eq!(met(&measured(Cut, slow)), [("cut", false)]);
    }

    #[test]
    fn missing_results_of_a_complete_run_are_missed_targets() {
        let all = Scenario::value_variants().iter().copied().map(Measured::new);
        let verdicts = judge(&Results { measured: all.collect(), ..Results::default() });
        let need_keepalived =
            TARGETS.iter().filter(|target| matches!(target.limit, Limit::OfKeepalived(_))).count();
        assert_eq!(verdicts.len(), TARGETS.len() - need_keepalived, "all except those that need keepalived");
        assert!(
            verdicts.iter().all(|verdict| matches!(verdict.limit, Limit::Unlimited) || !verdict.is_met())
        );
    }

    #[test]
    fn targets_relative_to_keepalived_need_keepalived() {
        let cpu = |who, value| (who, Figure::new(Metric::MachinePerAdvert, value));
        assert!(judge(&measured(Machine, vec![cpu(Who::Vipd, 3.0)])).is_empty());
        for (vipd, expected) in [(3.0, true), (4.0, false)] {
            let both = measured(Machine, vec![cpu(Who::Vipd, vipd), cpu(Who::Keepalived, 10.0)]);
            assert_eq!(met(&both), [("machine", expected)]);
        }
    }

    #[test]
    fn one_false_takeover_at_one_rate_misses_the_target() {
        let flood = [(4_000, 0.0), (4_000, 1.0), (16_000, 0.0)];
        let flood = flood.map(|(rate, takeovers)| {
            (Who::Vipd, Figure::new(Metric::FalseTakeovers, takeovers).at(rate, 1.0))
        });
        assert_eq!(met(&measured(Flood, flood.to_vec())), [("takeovers", false)]);
    }

    #[test]
    fn growth_compares_points_of_the_sweep() {
        let share = |count: u32, value| {
            (Who::Vipd, Figure::new(Metric::ProcessShare, value).at(count, f64::from(count)))
        };
        assert_eq!(met(&measured(Backup, vec![share(25, 0.2), share(255, 0.5)])), [("growth", false)]);
    }

    #[test]
    fn throughput_has_a_lower_limit() {
        for (kept, expected) in [(97.5, true), (96.9, false)] {
            let foreign = measured(Foreign, vec![(Who::Vipd, Figure::new(Metric::ThroughputKept, kept))]);
            assert_eq!(met(&foreign), [("throughput", expected)]);
        }
    }
}
