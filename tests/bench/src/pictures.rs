//! The charts of the report and their data, except the chart of answers (see [`crate::lanes`]).

use crate::metric::Metric;
use crate::results::{Results, Series};
use crate::scenario::Scenario;
use crate::subject::Who;

/// A chart, and the name of the file it is written to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Label of the axis: quantity and unit.
    pub(crate) label: &'static str,
    /// Whether the scale is logarithmic.
    pub(crate) logarithmic: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// Name in the legend.
    pub(crate) name: String,
    /// The measured program, which determines the color.
    pub(crate) who: Who,
    /// Whether the line is drawn thin, to distinguish it from another line of the same color.
    pub(crate) thin: bool,
    /// Points of the line, in ascending order of x.
    pub(crate) points: Vec<(f64, f64)>,
}

const AGENTS: [Who; 3] = [Who::Vipd, Who::Other, Who::Keepalived];

const fn linear(label: &'static str) -> Axis {
    Axis { label, logarithmic: false }
}

const fn logarithmic(label: &'static str) -> Axis {
    Axis { label, logarithmic: true }
}

/// Returns all charts for which there are results.
pub(crate) fn of(results: &Results) -> Vec<Picture> {
    let all = [
        Picture {
            file: "takeover.svg",
            title: "Takeover after a link cut, one virtual router at 10 ms",
            x: logarithmic("milliseconds after the deadline"),
            y: linear("takeovers completed, %"),
            lines: AGENTS.into_iter().flat_map(|who| latency(results, who)).collect(),
        },
        Picture {
            file: "cpu.svg",
            title: "CPU of a backup at 10 ms, 25 to 255 virtual routers",
            x: logarithmic("adverts per second"),
            y: logarithmic("process CPU, % of one core"),
            lines: sweep(results, Scenario::Backup, Metric::ProcessShare),
        },
        Picture {
            file: "junk.svg",
            title: "Flood against a pair of routers at 10 ms",
            x: logarithmic("actual flood rate, adverts per second"),
            y: linear("false takeovers"),
            lines: sweep(results, Scenario::Flood, Metric::FalseTakeovers),
        },
        Picture {
            file: "notify.svg",
            title: "Notification commands after a link cut, 255 virtual routers at 10 ms",
            x: linear("milliseconds after the cut"),
            y: linear("commands that have run, %"),
            lines: AGENTS.into_iter().filter_map(|who| notified(results, who)).collect(),
        },
        Picture {
            file: "start.svg",
            title: "Start of many virtual routers at 100 ms",
            x: linear("virtual routers, 255 per interface"),
            y: logarithmic("milliseconds until all routers are backups"),
            lines: sweep(results, Scenario::Many, Metric::Start),
        },
    ];
    all.into_iter().filter(|picture| !picture.lines.is_empty()).collect()
}

/// Returns the distributions of the delays of the first advert and the first GARP.
fn latency(results: &Results, who: Who) -> Vec<Line> {
    let of = |metric, name, thin| {
        let series = results.of(Scenario::One)?.series(who, (metric, None))?;
        Some(Line { name: format!("{who}, {name}"), who, thin, points: shares(&series.values) })
    };
    [of(Metric::FirstAdvert, "first advert", true), of(Metric::FirstGarp, "first GARP", false)]
        .into_iter()
        .flatten()
        .collect()
}

/// Returns the distribution of the times at which notification commands ran.
fn notified(results: &Results, who: Who) -> Option<Line> {
    let series = results.of(Scenario::Notify)?.series(who, (Metric::NotifyDelay, None))?;
    Some(Line { name: who.to_string(), who, thin: false, points: shares(&series.values) })
}

/// Returns the medians of a sweep, as one line per agent.
fn sweep(results: &Results, scenario: Scenario, metric: Metric) -> Vec<Line> {
    let of = |who: Who| {
        let series = results.sweep(scenario, who, metric).into_iter();
        let mut points: Vec<_> = series.filter_map(Series::position).collect();
        // If a flood rate was not reached, the point may be to the left of the previous one.
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        (!points.is_empty()).then(|| Line { name: who.to_string(), who, thin: false, points })
    };
    AGENTS.into_iter().filter_map(of).collect()
}

/// Returns the empirical distribution as a step function: for each value, the percentage of values
/// that do not exceed it.
fn shares(values: &[f64]) -> Vec<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "hundreds of takeovers")]
    let share = |count: usize| 100.0 * count as f64 / sorted.len() as f64;
    let steps = sorted.iter().enumerate();
    steps.flat_map(|(index, value)| [(*value, share(index)), (*value, share(index + 1))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;
    use crate::results::Measured;

    #[test]
    fn distribution_ends_at_100_percent() {
        assert_eq!(shares(&[3.0, 1.0]), [(1.0, 0.0), (1.0, 50.0), (3.0, 50.0), (3.0, 100.0)]);
        assert!(shares(&[]).is_empty());
    }

    #[test]
    fn points_are_sorted_and_timeouts_are_omitted() {
        let mut many = Measured::new(Scenario::Many);
        let start = |count: u32, value| Figure::perhaps(Metric::Start, value).at(count, count.into());
        many.add(Who::Vipd, vec![start(4080, Some(600.0)), start(255, Some(90.0))]);
        many.add(Who::Keepalived, vec![start(255, None)]);
        let pictures = of(&Results { measured: vec![many], ..Results::default() });
        let [picture] = &pictures[..] else { panic!("{pictures:?}") };
        let [line] = &picture.lines[..] else { panic!("{picture:?}") };
        assert_eq!((line.who, &line.points[..]), (Who::Vipd, &[(255.0, 90.0), (4080.0, 600.0)][..]));
    }
}
