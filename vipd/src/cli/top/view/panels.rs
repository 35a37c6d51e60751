//! Details of the selected instance, and the timeline.

use anstream::adapter::strip_str;
use ratatui::text::{Line, Span};

use super::text::{clip, width, wrap};
use crate::cli::details::{describe_peer, describe_tracked, priority};
use crate::cli::events;
use crate::cli::stats::amount;
use crate::cli::status::{age, is_noteworthy, seconds, state};
use crate::cli::table::{BAD, HEAD, WAITING};
use crate::cli::top::model::{Connection, Model};
use crate::cli::top::row::{Drops, Master, Row, is_failing};
use crate::cli::top::theme::Theme;
use crate::control::event::EventRecord;

/// Width of the labels of details, in columns.
const LABEL: usize = 10;

/// A title in a horizontal rule.
pub(super) fn rule(title: &str, columns: usize, theme: Theme) -> Line<'static> {
    let title = clip(title, columns.saturating_sub(4));
    let after = "─".repeat(columns.saturating_sub(width(&title) + 4));
    Line::from(vec![Span::raw("── "), Span::styled(title, theme.style(HEAD)), Span::raw(format!(" {after}"))])
}

/// Returns the title of an instance's details.
pub(super) fn title(row: &Row) -> String {
    let status = &row.status;
    let family = if status.family == "ipv6" { "IPv6" } else { "IPv4" };
    let group = status.group.as_ref().map(|group| format!(", sync group {group}")).unwrap_or_default();
    format!(
        "{}: VRID {} on {}, {family}, VRRPv{}{group}",
        row.name(),
        status.vrid,
        status.interface,
        status.version
    )
}

/// Describes an instance, the most urgent facts first.
pub(super) fn details(row: &Row, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let status = &row.status;
    let mut details = Details { lines: Vec::new(), columns, theme };
    if let Some(reason) = &status.fault_reason {
        details.add("fault", reason, BAD);
    }
    for missing in status.missing_addresses.iter().chain(&status.missing_routes) {
        details.add("missing", missing, BAD);
    }
    let is_lowered = status.effective_priority != status.priority;
    details.add("priority", &priority(status), if is_lowered { WAITING } else { anstyle::Style::new() });
    for object in &status.track {
        let style = match object.weight {
            None if is_failing(object) => BAD,
            Some(_) if is_noteworthy(object) => WAITING,
            _ => anstyle::Style::new(),
        };
        details.add("tracked", &describe_tracked(object), style);
    }
    for Drops { counter, count, before } in &row.drops {
        let reason = counter.reason.unwrap_or(counter.help);
        let name = counter.short_name();
        details.add("dropped", &format!("{name} {}: {reason}", amount(*count, *before)), BAD);
    }
    if let Master::Other(address, peer) = row.master() {
        details.plain("master", &peer.map_or(address, describe_peer));
    }
    if let Some(late) = row.lateness {
        let micros = |nanos| nanos / 1000;
        let (last, longest) = (micros(late.last), micros(late.longest));
        details.plain("lateness", &format!("last timer {last} µs late, longest {longest} µs"));
    }
    let fires = status.master_down_in_ns.map(|left| format!(" (fires in {})", seconds(left)));
    let (interval, down) = (status.active_advertise_interval_ns, status.master_down_interval_ns);
    details.plain(
        "timers",
        &format!(
            "interval {}, master-down {}{}",
            seconds(interval),
            seconds(down),
            fires.unwrap_or_default()
        ),
    );
    if let (Some(millis), Some(reason)) = (status.last_transition_ms, &status.last_transition_reason) {
        details.plain("state", &format!("{} for {} ({reason})", state(status.state).text(), age(millis)));
    }
    let mode = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
    details.plain("fence", &format!("{}, XDP mode {}", mode(&status.fence), mode(&status.xdp_mode)));
    let vips: Vec<_> =
        status.virtual_addresses.iter().chain(&status.excluded_addresses).map(String::as_str).collect();
    details.plain("addresses", &vips.join(", "));
    details.lines
}

/// Lines with a label and a value. Continuation lines of a value are indented.
struct Details {
    lines: Vec<Line<'static>>,
    columns: usize,
    theme: Theme,
}

impl Details {
    fn plain(&mut self, label: &'static str, value: &str) {
        self.add(label, value, anstyle::Style::new());
    }

    fn add(&mut self, label: &'static str, value: &str, style: anstyle::Style) {
        let style = self.theme.style(style);
        for (index, text) in wrap(value, self.columns.saturating_sub(LABEL)).into_iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            self.lines
                .push(Line::from(vec![Span::raw(format!("{label:<LABEL$}")), Span::styled(text, style)]));
        }
    }
}

/// Returns at most `limit` lines: first the error if events cannot be read, then the events of
/// visible instances and sync groups, the latest first.
pub(super) fn timeline(model: &Model, limit: usize, theme: Theme) -> Vec<Line<'static>> {
    let error = model.events_error.iter().filter(|_| model.connection == Connection::Up);
    let error = error.map(|error| Line::styled(error.clone(), theme.style(WAITING)));
    let events = model.timeline.latest().filter(|event| model.is_visible(events::subject(event)));
    let events: Vec<_> = events.take(limit).collect();
    let names = events.iter().map(|event| width(events::subject(event))).max().unwrap_or_default();
    error.chain(events.into_iter().map(|event| moment(event, names, theme))).take(limit).collect()
}

/// Renders an event with its time of day, and with the name of its instance or sync group padded to
/// `names` columns.
fn moment(event: &EventRecord, names: usize, theme: Theme) -> Line<'static> {
    let time = event.time.get(11..23).unwrap_or(&event.time);
    let is_state = event.event.ends_with("state-changed");
    let style = event.to.as_deref().filter(|_| is_state).map(events::style).unwrap_or_default();
    Line::from(vec![
        Span::raw(format!("{time}  {:<names$}  ", events::subject(event))),
        Span::styled(strip_str(&events::describe(event)).to_string(), theme.style(style)),
    ])
}
