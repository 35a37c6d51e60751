//! Which pictures there are, and what of the figures is in them.

use super::results::Results;
use super::scenario::{Scenario, Who};

/// A picture: lines over an axis each.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picture {
    /// Name of its file.
    pub(super) file: &'static str,
    /// What it shows.
    pub(super) title: &'static str,
    /// Across.
    pub(super) x: Axis,
    /// Upwards.
    pub(super) y: Axis,
    /// What is drawn.
    pub(super) lines: Vec<Line>,
}

/// An axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    /// What it counts, in what.
    pub(super) label: &'static str,
    /// Whether equal steps are equal factors.
    pub(super) logarithmic: bool,
}

/// A line of a picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// Its name in the legend.
    pub(super) name: String,
    /// Whose it is: its colour.
    pub(super) who: Who,
    /// Whether it is dashed.
    pub(super) dashed: bool,
    /// Whether its points are marked.
    pub(super) marked: bool,
    /// Its points, from left to right.
    pub(super) points: Vec<(f64, f64)>,
}

const AGENTS: [Who; 2] = [Who::Vipd, Who::Keepalived];

/// The pictures for which there are figures.
pub(super) fn of(results: &Results) -> Vec<Picture> {
    let all = [latency(results), load(results), junk(results), start(results)];
    all.into_iter().filter(|picture| !picture.lines.is_empty()).collect()
}

fn latency(results: &Results) -> Picture {
    let of = |who: Who, what: &str, dashed| {
        let series = results.series(Scenario::One, who, &format!("{what} after its deadline"))?;
        Some(Line {
            name: format!("{who}, {what}"),
            who,
            dashed,
            marked: false,
            points: shares(&series.values),
        })
    };
    let lines =
        AGENTS.into_iter().flat_map(|who| [of(who, "first advert", true), of(who, "first GARP", false)]);
    Picture {
        file: "takeover.svg",
        title: "Takeover of one virtual router at 10 ms after a link cut",
        x: Axis { label: "milliseconds after the deadline", logarithmic: true },
        y: Axis { label: "takeovers done, %", logarithmic: false },
        lines: lines.flatten().collect(),
    }
}

fn load(results: &Results) -> Picture {
    Picture {
        file: "cpu.svg",
        title: "CPU of a backup at 10 ms, 25 to 255 virtual routers",
        x: Axis { label: "adverts a second", logarithmic: true },
        y: Axis { label: "process CPU, % of one core", logarithmic: true },
        lines: sweep(results, Scenario::Backup, "process, of one core"),
    }
}

fn junk(results: &Results) -> Picture {
    Picture {
        file: "junk.svg",
        title: "Junk against a healthy pair at 10 ms",
        x: Axis { label: "junk adverts a second, as reached", logarithmic: true },
        y: Axis { label: "false takeovers while it lasts", logarithmic: false },
        lines: sweep(results, Scenario::Flood, "false takeovers"),
    }
}

fn start(results: &Results) -> Picture {
    Picture {
        file: "start.svg",
        title: "Start with many virtual routers at 100 ms",
        x: Axis { label: "virtual routers, 255 an interface", logarithmic: false },
        y: Axis { label: "milliseconds until all are backups", logarithmic: true },
        lines: sweep(results, Scenario::Many, "from its start until all are backups"),
    }
}

/// The medians of a sweep, a line for each agent.
fn sweep(results: &Results, scenario: Scenario, name: &str) -> Vec<Line> {
    let of = |who: Who| {
        let mut points: Vec<_> =
            results.sweep(scenario, who, name).filter_map(super::results::Series::point).collect();
        // A rate that was not reached may stand behind a lower one that was.
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        (!points.is_empty()).then(|| Line { name: who.to_string(), who, dashed: false, marked: true, points })
    };
    AGENTS.into_iter().filter_map(of).collect()
}

/// For each value the share of all, in percent, that do not exceed it: a staircase.
fn shares(values: &[f64]) -> Vec<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "some hundred takeovers")]
    let share = |count: usize| 100.0 * count as f64 / sorted.len() as f64;
    let steps = sorted.iter().enumerate();
    steps.flat_map(|(index, value)| [(*value, share(index)), (*value, share(index + 1))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::Measured;
    use vipd_tests::bench::Figure;

    #[test]
    fn a_share_climbs_to_all() {
        assert_eq!(shares(&[3.0, 1.0]), [(1.0, 0.0), (1.0, 50.0), (3.0, 50.0), (3.0, 100.0)]);
        assert!(shares(&[]).is_empty());
    }

    #[test]
    fn a_picture_has_the_points_in_order_and_nothing_that_was_not_reached() {
        let mut many = Measured::new(Scenario::Many);
        let start = |at: f64, value| {
            Figure::perhaps("from its start until all are backups", "ms", value).at(&at.to_string(), at)
        };
        many.add(Who::Vipd, vec![start(4080.0, Some(600.0)), start(255.0, Some(90.0))]);
        many.add(Who::Keepalived, vec![start(255.0, None)]);
        let pictures = of(&Results { measured: vec![many], ..Results::default() });
        let [picture] = &pictures[..] else { panic!("{pictures:?}") };
        let [line] = &picture.lines[..] else { panic!("{picture:?}") };
        assert_eq!((line.who, &line.points[..]), (Who::Vipd, &[(255.0, 90.0), (4080.0, 600.0)][..]));
    }
}
