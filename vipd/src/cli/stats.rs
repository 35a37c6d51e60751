//! `vipd stats`, once or repeatedly.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::args::StatsArgs;
use super::filter::Filter;
use super::output;
use super::table::{Align, BAD, Cell, Table};
use crate::control::client::Client;
use crate::control::counters::{Counter, Kind};
use crate::control::model::{InstanceStats, StatsReport};
use crate::web::metrics::prometheus;

/// The counters shown as columns, and the column headings.
const COLUMNS: [(&str, &str); 5] = [
    ("advertisement-rcvd", "RCVD"),
    ("advertisement-sent", "SENT"),
    ("master-transitions", "MASTER"),
    ("priority-zero-pkts-rcvd", "PRIO0-RCVD"),
    ("priority-zero-pkts-sent", "PRIO0-SENT"),
];

pub(super) fn run(args: &StatsArgs, runtime_dir: &Path) -> anyhow::Result<()> {
    let client = Client::new(runtime_dir);
    let filter = Filter { interface: args.interface.clone(), vrid: args.vrid };
    let terminal = io::stdout().is_terminal();
    let mut before: Option<(Instant, StatsReport)> = None;
    let mut next = Instant::now();
    loop {
        let report = filter.apply(client.stats()?)?;
        let now = Instant::now();
        if terminal && args.watch.is_some() {
            output::clear_screen()?;
        } else if before.is_some() && !args.json {
            output::print("\n")?;
        }
        let text = if args.json {
            serde_json::to_string(&report)? + "\n"
        } else if args.prometheus {
            prometheus(&report)
        } else {
            let past = before.as_ref().map(|(then, report)| (report, now.duration_since(*then)));
            render(&report, past.filter(|_| terminal))
        };
        output::print(&text)?;
        let Some(period) = args.watch else { return Ok(()) };
        before = Some((now, report));
        // Follow a fixed schedule, so that the duration of a request does not add to the interval.
        // If a request takes longer, the next one follows at once, and the schedule restarts.
        next = (next + period).max(now);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Renders the totals, with rates if there is an earlier report.
pub(super) fn render(report: &StatsReport, past: Option<(&StatsReport, Duration)>) -> String {
    let mut out = overview(report, past).render();
    if let Some(table) = details(report, past) {
        out.push('\n');
        out.push_str(&table.render());
    }
    out
}

fn overview(report: &StatsReport, past: Option<(&StatsReport, Duration)>) -> Table {
    let mut columns = vec![("NAME", Align::Left), ("INTERFACE", Align::Left), ("VRID", Align::Right)];
    columns.extend(COLUMNS.map(|(_, head)| (head, Align::Right)));
    columns.push(("ERRORS", Align::Right));
    let mut table = Table::new(&columns);
    for instance in &report.instances {
        let now = Counters::of(instance);
        let then = then(instance, past);
        let mut row: Vec<Cell> =
            vec![(&instance.name).into(), (&instance.interface).into(), instance.vrid.into()];
        for (name, _) in COLUMNS {
            row.push(amount(now.get(name), then.as_ref().map(|(then, time)| (then.get(name), *time))).into());
        }
        let errors = now.errors();
        let text = amount(errors, then.as_ref().map(|(then, time)| (then.errors(), *time)));
        row.push(if errors == 0 { text.into() } else { Cell::styled(text, BAD) });
        table.row(row);
    }
    table
}

/// Lists the nonzero counters that have no column. The counters of the agent as a whole, which
/// include sums over all instances, are listed under the name `global`.
fn details(report: &StatsReport, past: Option<(&StatsReport, Duration)>) -> Option<Table> {
    let mut table = Table::new(&[("NAME", Align::Left), ("COUNTER", Align::Left), ("COUNT", Align::Right)]);
    let mut empty = true;
    let mut add = |name: &str, now: &Counters, then: Option<(Counters, Duration)>| {
        for (counter, count) in &now.0 {
            if *count == 0 || COLUMNS.iter().any(|(column, _)| *column == counter.name) {
                continue;
            }
            empty = false;
            let then = then.as_ref().filter(|_| counter.kind == Kind::Counter);
            let text = amount(*count, then.map(|(then, time)| (then.get(counter.name), *time)));
            let count = if counter.is_error() { Cell::styled(text, BAD) } else { text.into() };
            table.row(vec![name.into(), counter.name.into(), count]);
        }
    };
    for instance in &report.instances {
        add(&instance.name, &Counters::of(instance), then(instance, past));
    }
    let then = past.map(|(report, time)| (Counters(report.global.entries().collect()), time));
    add("global", &Counters(report.global.entries().collect()), then);
    (!empty).then_some(table)
}

/// Returns this instance's counters from the earlier report.
fn then(instance: &InstanceStats, past: Option<(&StatsReport, Duration)>) -> Option<(Counters, Duration)> {
    let (report, time) = past?;
    let same = |other: &&InstanceStats| other.name == instance.name && other.vrid == instance.vrid;
    Some((Counters::of(report.instances.iter().find(same)?), time))
}

/// Formats a counter as `1234`, or with its rate as `1234(+100.0/s)`.
pub(super) fn amount(now: u64, then: Option<(u64, Duration)>) -> String {
    let rate = then.and_then(|(before, time)| rate(now, before, time));
    rate.map_or_else(|| now.to_string(), |rate| format!("{now}(+{rate:.1}/s)"))
}

/// Returns the increase per second, or `None` if no time has passed, or if the value has decreased:
/// the agent or the instance was restarted, or a gauge in a sum of counters has decreased.
pub(super) fn rate(now: u64, before: u64, time: Duration) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with one decimal")]
    let gained = now.checked_sub(before)? as f64;
    Some(gained / time.as_secs_f64()).filter(|rate| rate.is_finite())
}

/// The counters of an instance or of the agent, with their values.
pub(super) struct Counters(Vec<(&'static Counter, u64)>);

impl Counters {
    pub(super) fn of(instance: &InstanceStats) -> Self {
        Self(instance.statistics.entries().collect())
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'static Counter, u64)> {
        self.0.iter().copied()
    }

    pub(super) fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(counter, _)| counter.name == name).map_or(0, |(_, value)| *value)
    }

    fn errors(&self) -> u64 {
        let errors = self.0.iter().filter(|(counter, _)| counter.is_error());
        errors.fold(0, |sum, (_, value)| sum.saturating_add(*value))
    }
}
