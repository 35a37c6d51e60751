//! Prints the outcome of a scenario: timeline, measurements and logs.
//!
//! Output is colored; `anstream` strips the colors where they are not supported.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::arp::Neighbor;
use crate::compare::{Series, Spread};
use crate::scenario::{BACKUP, Outcome, PREFERRED, Takeover, View};
use crate::station::VIP;
use crate::time::{WallTime, millis};

const HEADING: Style = Style::new().bold();
const ACTION: Style = AnsiColor::Red.on_default().bold();
const WIRE: Style = AnsiColor::Cyan.on_default();
const FIGURE: Style = AnsiColor::Green.on_default().bold();
const QUIET: Style = Style::new().dimmed();

/// A line of the timeline: time, style, station and text.
type Line = (WallTime, Style, String, String);

/// Computes one cell of the comparison table from the outcomes of one agent.
type Figure = fn(&Series) -> Option<Spread>;

/// Prints the output of the vipd commands run at the end of a scenario.
///
/// # Errors
/// Returns an error if `out` cannot be written to.
pub fn write_views(views: &[View], out: &mut impl Write) -> io::Result<()> {
    for View { station, command, text } in views {
        writeln!(out, "{HEADING}{station}: {command}{HEADING:#}")?;
        for line in text.lines() {
            writeln!(out, "{}", format!("  {line}").trim_end())?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Prints the timeline and the measurements of a scenario.
///
/// # Errors
/// Returns an error if `out` cannot be written to.
pub fn write(outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let setup = &outcome.setup;
    writeln!(out, "{HEADING}{}: {}{HEADING:#}", outcome.scenario, outcome.scenario.summary())?;
    writeln!(
        out,
        "  node 1: {}, priority {}; node 2: {}, priority {}; VRRPv{} every {} ms, preemption {}",
        setup.preferred,
        setup.preferred_priority,
        setup.backup,
        setup.backup_priority,
        setup.version.number(),
        setup.interval.as_millis(),
        if setup.preempt { "on" } else { "off" },
    )?;
    timeline(outcome, out)?;
    for takeover in &outcome.takeovers {
        figures(outcome, takeover, out)?;
    }
    if outcome.takeovers.len() < 2 && outcome.events.len() > 1 {
        writeln!(out, "\n  No further takeover.")?;
    }
    let probes = &outcome.probes;
    writeln!(out, "\n  {HEADING}ping {VIP}{HEADING:#}  {} sent, {} lost", probes.sent(), probes.lost())
}

fn timeline(outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let Some(zero) = outcome.events.first().map(|event| event.time) else { return Ok(()) };
    let mut lines: Vec<Line> = Vec::new();
    for event in &outcome.events {
        lines.push((event.time, ACTION, String::new(), event.text.clone()));
    }
    for takeover in &outcome.takeovers {
        let Takeover { old, new, .. } = takeover;
        let mut wire = |time, who: &dyn ToString, what: &str| {
            lines.push((time, WIRE, who.to_string(), what.to_owned()));
        };
        wire(takeover.last_advert, old, "t0  last advert of the old master");
        wire(takeover.first_advert, new, "t1  first advert of the new master");
        wire(takeover.first_garp, new, &format!("t2  first gratuitous ARP: {VIP} is at {new}"));
        wire(takeover.first_answer, new, "t3  first reply to the client");
    }
    for station in [PREFERRED, BACKUP] {
        let agent = outcome.setup.kind(station);
        let log: Vec<_> =
            outcome.log.iter().filter(|(who, line)| *who == station && line.time >= zero).collect();
        for same in log.chunk_by(|(_, one), (_, next)| one.text == next.text) {
            let line = &same[0].1;
            let times = if same.len() > 1 { format!("  ({} times)", same.len()) } else { String::new() };
            let text = format!("{agent}: {}{times}", without_time(&line.text));
            lines.push((line.time, QUIET, station.to_string(), text));
        }
    }
    lines.sort_by_key(|line| line.0);
    writeln!(out, "\n  {QUIET}      ms{QUIET:#}")?;
    for (time, style, who, what) in lines {
        writeln!(out, "  {:>9.3}  {who:<7} {style}{what}{style:#}", time.millis_since(zero))?;
    }
    Ok(())
}

/// Returns a log line without its leading timestamp.
fn without_time(line: &str) -> &str {
    match line.split_once(' ') {
        Some((first, rest)) if first.starts_with("20") && first.ends_with('Z') => rest.trim_start(),
        _ => line,
    }
}

fn figures(outcome: &Outcome, takeover: &Takeover, out: &mut impl Write) -> io::Result<()> {
    let Takeover { old, new, .. } = takeover;
    writeln!(out, "\n  {HEADING}{new} takes over from {old}{HEADING:#}")?;
    let silence = takeover.silence();
    match (takeover.deadline, takeover.lateness()) {
        (Some(deadline), Some(lateness)) => writeln!(
            out,
            "    silence (t1 - t0)         {FIGURE}{silence:9.3} ms{FIGURE:#}  protocol deadline {:.3} ms, {lateness:+.3} ms",
            millis(deadline),
        )?,
        _ => writeln!(out, "    t1 - t0                   {FIGURE}{silence:9.3} ms{FIGURE:#}")?,
    }
    let announcement = takeover.announcement();
    let plural = if takeover.garps == 1 { "" } else { "s" };
    writeln!(
        out,
        "    announcement (t2 - t1)    {FIGURE}{announcement:9.3} ms{FIGURE:#}  {} gratuitous ARP{plural}",
        takeover.garps
    )?;
    writeln!(out, "    service (t3 - t1)         {FIGURE}{:9.3} ms{FIGURE:#}", takeover.service())?;
    if takeover.crossed > 0 {
        let plural = if takeover.crossed == 1 { "" } else { "s" };
        writeln!(out, "    {} advert{plural} of {old} after {new}'s first", takeover.crossed)?;
    }
    let probes = outcome.probes_around(takeover);
    if let Some((_, gap)) = probes.longest_gap() {
        let gap = millis(gap);
        writeln!(
            out,
            "    client's longest gap      {FIGURE}{gap:9.3} ms{FIGURE:#}  {} of {} pings lost",
            probes.lost(),
            probes.sent()
        )?;
    }
    writeln!(out, "    client's ARP table before   {}", entry(takeover.arp_before.as_ref()))?;
    writeln!(out, "                       after    {}", entry(takeover.arp_after.as_ref()))
}

fn entry(neighbor: Option<&Neighbor>) -> String {
    neighbor.map_or_else(|| format!("{VIP}: no entry"), ToString::to_string)
}

/// Prints the minimum, median and maximum of each measurement, with one column per agent.
///
/// # Errors
/// Returns an error if `out` cannot be written to.
pub fn write_comparison(all: &[Series], out: &mut impl Write) -> io::Result<()> {
    let heading = "milliseconds: min / median / max";
    write!(out, "{HEADING}{heading:<44}{HEADING:#}")?;
    for series in all {
        write!(out, "{HEADING}{:>30}{HEADING:#}", format!("{} ×{}", series.kind, series.outcomes.len()))?;
    }
    writeln!(out)?;
    let rows: [(&str, Figure); 4] = [
        ("first advert after the deadline (t1-t0-d)", Series::lateness),
        ("gratuitous ARP after first advert (t2-t1)", Series::announcement),
        ("reply after first advert (t3-t1)", Series::service),
        ("client's longest gap", Series::outage),
    ];
    for (name, figure) in rows {
        write!(out, "{name:<44}")?;
        for series in all {
            let text = figure(series).map_or_else(
                || "-".to_owned(),
                |Spread { min, median, max }| format!("{min:.3} / {median:.3} / {max:.3}"),
            );
            write!(out, "{text:>30}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
