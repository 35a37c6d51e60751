//! Error counters.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::html::{Text, Values};
use crate::control::counters::Counter;
use crate::control::model::StatsReport;

/// Maximum number of counters that are shown.
const LIMIT: usize = 40;

/// Returns the HTML of the error counters that are not 0, the largest first, and the values for its
/// slots.
pub(super) fn render(report: &StatsReport) -> (String, Values) {
    let mut values = Values::default();
    let agent = report.global.entries().filter(|(counter, _)| is_agentwide(counter));
    let agent = agent.map(|(counter, value)| ("agent", counter, value));
    let instances = report.instances.iter().flat_map(|instance| {
        let entries = instance.statistics.entries();
        entries.map(|(counter, value)| (instance.name.as_str(), counter, value))
    });
    let is_error = |(_, counter, value): &(&str, &Counter, u64)| counter.is_error() && *value > 0;
    let mut errors: Vec<_> = agent.chain(instances).filter(is_error).collect();
    errors.sort_by_key(|(_, _, value)| Reverse(*value));

    let mut out = "<section id=\"errors\"><h2>Errors by reason</h2>".to_owned();
    if errors.is_empty() {
        out.push_str("<p class=\"empty\">None so far.</p></section>");
        return (out, values);
    }
    out.push_str("<ol>");
    for (name, counter, value) in errors.iter().take(LIMIT) {
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "<li><b>{}</b><p>{}</p><p class=\"below\">{} · {}</p></li>",
            values.add(value),
            Text(counter.help),
            Text(name),
            counter.short_name()
        );
    }
    out.push_str("</ol>");
    if errors.len() > LIMIT {
        let _ = write!(out, "<p class=\"below\">and {} more: `vipd stats`</p>", errors.len() - LIMIT);
    }
    out.push_str("</section>");
    (out, values)
}

/// Returns whether no instance has this counter. The agent's other counters include those of the
/// instances.
fn is_agentwide(counter: &Counter) -> bool {
    let is_same = |other: &Counter| other.short_name() == counter.short_name();
    !crate::control::counters::INSTANCE.iter().any(is_same)
}
