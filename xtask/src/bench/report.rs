//! What was measured, for a terminal and as a document.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;

use super::machine;
use super::pictures::Picture;
use super::results::{Measured, Results, Series};
use super::targets::Verdict;
use crate::support::debian;

/// A table of medians.
pub(super) fn plain(measured: &Measured) -> String {
    let mut text = format!("{:<62}", measured.scenario.to_string());
    for (who, _) in &measured.columns {
        let _ = write!(text, "  {:>24}", who.to_string());
    }
    text.push('\n');
    for name in measured.names() {
        let _ = write!(text, "  {name:<60}");
        for (_, column) in &measured.columns {
            let cell = column.iter().find(|series| series.name == name).map_or_else(String::new, brief);
            let _ = write!(text, "  {cell:>24}");
        }
        text.push('\n');
    }
    text
}

/// Which targets are reached.
pub(super) fn plain_targets(verdicts: &[Verdict]) -> String {
    let mut text = format!(
        "{:<88}  {:>10}  {:>10}  {:>10}  {:>10}\n",
        "what vipd must reach", "keepalived", "floor", "at most", "vipd"
    );
    for verdict in verdicts {
        let [keepalived, floor, limit, vipd] = figures(verdict);
        let _ = writeln!(
            text,
            "{:<88}  {keepalived:>10}  {floor:>10}  {limit:>10}  {vipd:>10}  {}",
            verdict.target.what,
            answer(verdict, None)
        );
    }
    text
}

/// What the report says of the run besides its figures.
pub(super) struct Run<'a> {
    /// The command that repeats it.
    pub(super) command: &'a str,
    /// How long it took.
    pub(super) took: Duration,
    /// Why targets are missed, by their keys.
    pub(super) reasons: &'a BTreeMap<String, String>,
}

/// Targets, pictures and all tables with their spreads, the machine, and how to repeat them.
pub(super) fn markdown(
    results: &Results,
    verdicts: &[Verdict],
    pictures: &[Picture],
    run: &Run<'_>,
) -> Result<String> {
    let mut text = format!(
        "# Bench\n\n\
         Made by `{}` in {} minutes: vipd and keepalived {} of Debian in turn, in labs of network namespaces with veth and a \
         bridge.\n\n\
         Machine: {}.\n\n\
         ## What vipd must reach\n\n",
        run.command,
        run.took.as_secs().div_ceil(60),
        debian::version("keepalived")?,
        machine::described()?,
    );
    text += &targets(verdicts, run.reasons);
    text += ABOUT_TARGETS;
    text += "\n## Pictures\n";
    for picture in pictures {
        let _ = write!(text, "\n![{}]({})\n", picture.title, picture.file);
    }
    if !results.again.is_empty() {
        text += "\n## Measured once more\n\nWhat a busy machine, or the agent, made fail:\n\n";
        for reason in &results.again {
            let _ = writeln!(text, "* {reason}");
        }
    }
    text += ABOUT_TABLES;
    for measured in &results.measured {
        text += &table(measured);
    }
    Ok(text)
}

const ABOUT_TARGETS: &str = "\n\
    A floor is what the kernel alone takes for the work in the same lab, measured in the same run, one step after the other: only \
    who does two at once can be under it. Memory is what is resident of the process; the XDP program's maps are the kernel's. \
    \"All the machine\" is what a thread of the lowest priority on each processor does not get, interrupts included. It has the \
    generator's work, here 32 adverts a system call, and the way of each frame through a veth, which are there without \
    an agent, too, and alike for both: what an agent adds is the fair comparison, and the total, of which a third of \
    keepalived's is asked, the severe one.\n";

const ABOUT_TABLES: &str = "\n## Figures\n\n\
    A cell is the median of the runs, and the least and the greatest; where a run has many samples, it is the median and the \
    99th percentile of all, and their number. Process CPU is what the kernel accounts to the program and its children; that of \
    sending holds the way of each frame through veth and bridge to the other side.\n";

fn targets(verdicts: &[Verdict], reasons: &BTreeMap<String, String>) -> String {
    let mut text =
        "| | keepalived | floor | vipd must reach | vipd | reached |\n| --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for verdict in verdicts {
        let [keepalived, floor, limit, vipd] = figures(verdict);
        let floor = match verdict.target.floor_is {
            is if verdict.floor.is_none() || is.is_empty() => floor,
            is => format!("{floor} ({is})"),
        };
        let limit = if verdict.limit.is_some() { format!("≤ {limit}") } else { limit };
        let reason = reasons.get(verdict.target.key).map(String::as_str);
        let _ = writeln!(
            text,
            "| {} | {keepalived} | {floor} | {limit} | **{vipd}** | {} |",
            verdict.target.what,
            answer(verdict, reason)
        );
    }
    text
}

/// keepalived's figure, the floor, the limit and vipd's figure.
fn figures(verdict: &Verdict) -> [String; 4] {
    let all = [verdict.keepalived, verdict.floor, verdict.limit, verdict.vipd];
    all.map(|value| value.map_or_else(|| "–".to_owned(), |value| shown(value, verdict.target.unit)))
}

fn answer(verdict: &Verdict, reason: Option<&str>) -> String {
    match (verdict.limit, verdict.is_reached(), reason) {
        (None, _, _) => "–".to_owned(),
        (_, true, _) => "yes".to_owned(),
        (_, false, None) => "**no**".to_owned(),
        (_, false, Some(reason)) => format!("**no**, because {reason}"),
    }
}

fn table(measured: &Measured) -> String {
    let names: Vec<_> = measured.columns.iter().map(|(who, _)| who.to_string()).collect();
    let rules = " --- |".repeat(names.len());
    let mut text = format!("\n| {} | {} |\n| --- |{rules}\n", measured.scenario, names.join(" | "));
    for name in measured.names() {
        let _ = write!(text, "| {name} |");
        for (_, column) in &measured.columns {
            let cell = column.iter().find(|series| series.name == name).map_or_else(String::new, full);
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

/// A series in few words.
fn brief(series: &Series) -> String {
    match (series.spread(), series.p99()) {
        (Some(spread), Some(p99)) if series.sampled => {
            format!("{} (p99 {})", shown(spread.median, series.unit), shown(p99, ""))
        }
        (Some(spread), _) => shown(spread.median, series.unit),
        (None, _) => NOT_REACHED.to_owned(),
    }
}

/// A series with its spread.
fn full(series: &Series) -> String {
    let Some(spread) = series.spread() else { return NOT_REACHED.to_owned() };
    let median = shown(spread.median, series.unit);
    match series.p99() {
        Some(p99) if series.sampled => {
            format!("{median}, p99 {} (of {})", shown(p99, ""), series.values.len())
        }
        _ => format!("{median} ({} to {})", shown(spread.min, ""), shown(spread.max, "")),
    }
}

const NOT_REACHED: &str = "not within 30 s";

/// Three figures that count.
fn shown(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        small if small < 1.0 => 3,
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    // A count is whole.
    let digits = if value.fract() == 0.0 { 0 } else { digits };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

/// Why targets are missed: lines "* key: reason".
pub(super) fn reasons(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("* ")?.split_once(": "));
    lines.map(|(key, reason)| (key.to_owned(), reason.trim_end_matches('.').to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::scenario::{Scenario, Who};
    use crate::bench::targets::judge;
    use vipd_tests::bench::Figure;

    fn slow() -> Measured {
        let mut slow = Measured::new(Scenario::Many);
        let start = |value| Figure::perhaps("start", "ms", value);
        for value in [900.0, 1000.0, 1100.0] {
            slow.add(Who::Vipd, vec![start(Some(value)), Figure::samples("gap", "ms", vec![1.0, 2.0])]);
        }
        slow.add(Who::Keepalived, vec![start(None)]);
        slow
    }

    #[test]
    fn a_table_has_medians_spreads_and_percentiles() {
        let text = table(&slow());
        assert!(text.contains("| start | 1000 ms (900 to 1100) | not within 30 s |\n"), "{text}");
        assert!(text.contains("| gap | 1.50 ms, p99 2 (of 6) |  |\n"), "{text}");
        let text = plain(&slow());
        assert!(text.contains("1.50 ms (p99 2)"), "{text}");
    }

    #[test]
    fn a_missed_target_has_its_reason() {
        let mut cut = Measured::new(Scenario::Cut);
        cut.add(Who::Vipd, vec![Figure::new("longest silence of the new master", "ms", 25.0)]);
        let reasons = reasons("# Reasons\n\n* silence: the machine has one processor.\n* cut: none\n");
        let text = targets(&judge(&Results { measured: vec![cut], ..Results::default() }), &reasons);
        assert!(
            text.contains("| ≤ 20 ms | **25 ms** | **no**, because the machine has one processor |\n"),
            "{text}"
        );
    }

    #[test]
    fn three_figures_count() {
        let all = [0.0, 0.1234, 1.234, 12.34, 1234.5, 7.0].map(|value| shown(value, "ms"));
        assert_eq!(all, ["0 ms", "0.123 ms", "1.23 ms", "12.3 ms", "1234 ms", "7 ms"]);
    }
}
