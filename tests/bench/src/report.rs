//! Formats the results for a terminal and as a Markdown document.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::machine;
use crate::plot::Image;
use crate::regression;
use crate::results::{Measured, Results, Series};
use crate::targets::{Limit, Verdict};

/// Returns a table of medians and, if another build of vipd was measured, the comparison with that
/// build.
pub(crate) fn plain(measured: &Measured) -> String {
    let mut text = format!("{:<62}", measured.scenario.to_string());
    for (who, _) in &measured.columns {
        let _ = write!(text, "  {:>24}", who.to_string());
    }
    text.push('\n');
    for row in measured.rows() {
        let _ = write!(text, "  {:<60}", measured.row_name(row));
        for (who, _) in &measured.columns {
            let cell = measured.series(*who, row).map_or_else(String::new, terminal_cell);
            let _ = write!(text, "  {cell:>24}");
        }
        text.push('\n');
    }
    for (row, new, old, change) in regression::compare(measured) {
        let _ = writeln!(text, "  {row}: vipd {}, other build {}: {change}", shown(new, ""), shown(old, ""));
    }
    text
}

/// Returns a table of the targets and whether they are met.
pub(crate) fn plain_targets(verdicts: &[Verdict]) -> String {
    let mut text =
        format!("{:<88}  {:>10}  {:>10}  {:>10}  {:>10}\n", "target", "keepalived", "floor", "limit", "vipd");
    for verdict in verdicts {
        let [keepalived, floor, limit, vipd] = figures(verdict);
        let _ = writeln!(
            text,
            "{:<88}  {keepalived:>10}  {floor:>10}  {limit:>10}  {vipd:>10}  {}",
            verdict.target.title,
            verdict_text(verdict, None)
        );
    }
    text
}

/// Properties of the run that the document shows in addition to the results.
pub(crate) struct Run<'a> {
    /// The command that repeats the run.
    pub(crate) command: &'a str,
    /// Duration of the run.
    pub(crate) took: Duration,
    /// The reasons why targets are missed, by target key.
    pub(crate) reasons: &'a BTreeMap<String, String>,
}

/// Returns the document: targets, charts, and tables of results.
///
/// # Errors
/// Returns an error if the machine or the keepalived package cannot be described.
pub(crate) fn markdown(
    results: &Results,
    verdicts: &[Verdict],
    images: &[Image],
    run: &Run<'_>,
) -> Result<String> {
    let mut text = format!(
        "# Benchmark\n\n\
         Results of `{}`,\n\
         which took {} minutes. Measured: {}.\n\
         If several programs are listed, they took turns. The labs are identical: network namespaces\n\
         connected by veth pairs and a bridge.\n\n\
         Machine: {}.\n\n\
         ## Targets\n\n",
        run.command,
        run.took.as_secs().div_ceil(60),
        programs(results)?,
        machine::describe()?,
    );
    text += &targets(verdicts, run.reasons);
    text += ABOUT_TARGETS;
    if !images.is_empty() {
        text += "\n## Charts\n";
    }
    for image in images {
        let _ = write!(text, "\n![{}]({})\n", image.title, image.file);
    }
    if !results.repeated.is_empty() {
        text += "\n## Repeated runs\n\nThese runs failed and were repeated:\n\n";
        for reason in &results.repeated {
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
    A floor is a reference value: a constant, or the cost of the same work without the agent's process,\n\
    measured in the same run. Where it is the time of system calls, these are made one after the other;\n\
    a program that overlaps them can be faster. Memory is the resident memory of the process,\n\
    without the maps of the BPF program. Machine CPU is measured with an idle-priority thread on each\n\
    CPU: it is the time in which these threads do not run, so it includes interrupts. It also includes\n\
    the traffic generator (32 adverts per system call) and each frame's path through a veth, which cost\n\
    the same without an agent. A comparison of the CPU added by the agent is therefore fairer, and the\n\
    limit on machine CPU (one third of keepalived's total) is stricter than a limit of one third of the\n\
    CPU that keepalived adds.\n";

const ABOUT_TABLES: &str = "\n## Results\n\n\
    A cell shows the median of all runs, with minimum and maximum. For metrics with many samples per\n\
    run, it shows the median and the 99th percentile of all samples, and their number. Process CPU is\n\
    the time that the kernel accounts to the program and its child processes; for adverts sent, this\n\
    includes each frame's path through veth and bridge.\n\n\
    Signals to the master's processes: SIGKILL and SIGABRT are sent to the process that runs VRRP;\n\
    SIGSTOP and \"SIGKILL to all\" are sent to all processes of the agent, as a service manager signals a\n\
    control group. keepalived ignores a SIGABRT from another process and is sent SIGSEGV instead. Its\n\
    parent process restarts a killed VRRP process at once, and the new process removes the address. The\n\
    agents themselves are not restarted. Every 2 ms, a client sends an ARP request and an echo request\n\
    to each node. Answers are counted at the ports of the bridge. Gratuitous ARPs, and ARP requests with\n\
    the address as their source, are counted as well, but do not end the client's wait for an answer.\n\
    The takeover is the new master's first advert; answers of the old master up to 1 ms later were in\n\
    flight and are not counted. The observation ends half a second and half an interval after the\n\
    takeover.\n";

/// Returns the names of the measured programs.
fn programs(results: &Results) -> Result<String> {
    use crate::subject::Who;
    let has = |who| results.measured.iter().any(|measured| measured.columns.iter().any(|one| one.0 == who));
    if has(Who::Other) {
        return Ok("vipd and another build of vipd".to_owned());
    }
    if !has(Who::Keepalived) {
        return Ok("vipd".to_owned());
    }
    let mut query = Command::new("dpkg-query");
    let output = query.args(["--show", "--showformat=${Version}", "keepalived"]).output();
    let output = output.context("cannot start dpkg-query")?;
    ensure!(output.status.success(), "keepalived is not installed as a Debian package");
    Ok(format!("vipd and Debian's keepalived {}", String::from_utf8_lossy(&output.stdout)))
}

fn targets(verdicts: &[Verdict], reasons: &BTreeMap<String, String>) -> String {
    let mut text =
        "| | keepalived | floor | limit | vipd | met |\n| --- | --- | --- | --- | --- | --- |\n".to_owned();
    for verdict in verdicts {
        let [keepalived, mut floor, limit, vipd] = figures(verdict);
        if let Some((_, name)) = verdict.floor
            && !name.is_empty()
        {
            let _ = write!(floor, " ({name})");
        }
        let reason = reasons.get(verdict.target.key).map(String::as_str);
        let _ = writeln!(
            text,
            "| {} | {keepalived} | {floor} | {limit} | **{vipd}** | {} |",
            verdict.target.title,
            verdict_text(verdict, reason)
        );
    }
    text
}

/// Returns keepalived's value, the floor, the limit and vipd's value.
fn figures(verdict: &Verdict) -> [String; 4] {
    let unit = verdict.target.unit;
    let some = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| shown(value, unit));
    let limit = match verdict.limit {
        Limit::AtMost(limit) => format!("≤ {}", shown(limit, unit)),
        Limit::AtLeast(limit) => format!("≥ {}", shown(limit, unit)),
        Limit::OfKeepalived(_) | Limit::Unlimited => "–".to_owned(),
    };
    [some(verdict.keepalived), some(verdict.floor.map(|floor| floor.0)), limit, some(verdict.vipd)]
}

fn verdict_text(verdict: &Verdict, reason: Option<&str>) -> String {
    match (verdict.limit, verdict.is_met(), reason) {
        (Limit::Unlimited, _, _) => "–".to_owned(),
        (_, true, _) => "yes".to_owned(),
        (_, false, None) => "**no**".to_owned(),
        (_, false, Some(reason)) => format!("**no**, because {reason}"),
    }
}

fn table(measured: &Measured) -> String {
    let names: Vec<_> = measured.columns.iter().map(|(who, _)| who.to_string()).collect();
    let rules = " --- |".repeat(names.len());
    let mut text = format!("\n| {} | {} |\n| --- |{rules}\n", measured.scenario, names.join(" | "));
    for row in measured.rows() {
        let _ = write!(text, "| {} |", measured.row_name(row));
        for (who, _) in &measured.columns {
            let _ = write!(text, " {} |", measured.series(*who, row).map_or_else(String::new, document_cell));
        }
        text.push('\n');
    }
    let changes = regression::compare(measured);
    if !changes.is_empty() {
        text += "\nCPU cost compared with the other build of vipd (no worse: an increase of at most 5 % or \
                 within noise):\n\n";
        for (row, new, old, change) in changes {
            let _ = writeln!(text, "* {row}: {}, other build {}: {change}", shown(new, ""), shown(old, ""));
        }
    }
    text
}

/// Formats a cell for a terminal.
fn terminal_cell(series: &Series) -> String {
    match (series.spread(), series.p99()) {
        (Some(spread), Some(p99)) if series.sampled => {
            format!("{} (p99 {})", shown(spread.median, series.metric.unit()), shown(p99, ""))
        }
        (Some(spread), _) => shown(spread.median, series.metric.unit()),
        (None, _) => NOT_REACHED.to_owned(),
    }
}

/// Formats a cell of the document.
fn document_cell(series: &Series) -> String {
    let Some(spread) = series.spread() else { return NOT_REACHED.to_owned() };
    let median = shown(spread.median, series.metric.unit());
    match series.p99() {
        Some(p99) if series.sampled => {
            format!("{median}, p99 {} (of {})", shown(p99, ""), series.values.len())
        }
        _ => format!("{median} ({} to {})", shown(spread.min, ""), shown(spread.max, "")),
    }
}

const NOT_REACHED: &str = "not within 30 s";

/// Formats a value with about three significant digits and at most three decimal places.
fn shown(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        small if small < 1.0 => 3,
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    let digits = if value.fract() == 0.0 { 0 } else { digits };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

/// Parses the reasons why targets are missed, from list items of the form `* key: reason`, which
/// may have further, indented lines.
pub(crate) fn reasons(text: &str) -> BTreeMap<String, String> {
    let items = text.replace("\n  ", " ");
    let items = items.lines().filter_map(|item| item.strip_prefix("* ")?.split_once(": "));
    items.map(|(key, reason)| (key.to_owned(), reason.trim_end_matches('.').to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;
    use crate::metric::Metric;
    use crate::scenario::Scenario;
    use crate::subject::Who;
    use crate::targets::judge;

    fn slow() -> Measured {
        let mut slow = Measured::new(Scenario::Many);
        let start = |value| Figure::perhaps(Metric::Start, value);
        for value in [900.0, 1000.0, 1100.0] {
            slow.add(Who::Vipd, vec![start(Some(value)), Figure::samples(Metric::MasterGap, vec![1.0, 2.0])]);
        }
        slow.add(Who::Keepalived, vec![start(None)]);
        slow
    }

    #[test]
    fn table_has_medians_spreads_and_percentiles() {
        let text = table(&slow());
        let row = format!("| {} | 1000 ms (900 to 1100) | not within 30 s |\n", Metric::Start);
        assert!(text.contains(&row), "{text}");
        let row = format!("| {} | 1.50 ms, p99 2 (of 6) |  |\n", Metric::MasterGap);
        assert!(text.contains(&row), "{text}");
        let text = plain(&slow());
        assert!(text.contains("1.50 ms (p99 2)"), "{text}");
    }

    #[test]
    fn cpu_metrics_are_compared_with_another_build() {
        let mut master = Measured::new(Scenario::Master);
        master.add(Who::Vipd, vec![Figure::new(Metric::ProcessPerAdvertSent, 3.0)]);
        master.add(Who::Other, vec![Figure::new(Metric::ProcessPerAdvertSent, 3.1)]);
        assert!(plain(&master).contains("vipd 3, other build 3.10: no worse\n"), "{}", plain(&master));
        assert!(table(&master).contains("3, other build 3.10: no worse\n"), "{}", table(&master));
    }

    #[test]
    fn missed_target_is_shown_with_its_reason() {
        let mut cut = Measured::new(Scenario::Cut);
        cut.add(Who::Vipd, vec![Figure::new(Metric::LongestSilence, 25.0)]);
        let reasons = reasons("# Reasons\n\n* silence: the machine\n  has one processor.\n* cut: none\n");
        let text = targets(&judge(&Results { measured: vec![cut], ..Results::default() }), &reasons);
        assert!(
            text.contains("| ≤ 20 ms | **25 ms** | **no**, because the machine has one processor |\n"),
            "{text}"
        );
    }

    #[test]
    fn values_have_about_three_significant_digits() {
        let all = [0.0, 0.1234, 1.234, 12.34, 1234.5, 7.0].map(|value| shown(value, "ms"));
        assert_eq!(all, ["0 ms", "0.123 ms", "1.23 ms", "12.3 ms", "1234 ms", "7 ms"]);
    }
}
