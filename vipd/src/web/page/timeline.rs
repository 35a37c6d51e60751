//! The latest transitions and other events.

use std::fmt::Write as _;
use std::sync::Arc;

use super::html::Text;
use crate::control::event::EventRecord;
use crate::control::explain;

/// Renders events, the latest first.
pub(super) fn render(events: &[Arc<EventRecord>]) -> String {
    // The list is focusable, so that it can be scrolled with the keyboard.
    let mut out = "<section id=\"timeline\"><h2>Timeline <small>UTC</small></h2>\
                   <ol tabindex=\"0\" aria-label=\"Timeline\">"
        .to_owned();
    let mut day = "";
    for record in events {
        let date = record.time.get(..10).unwrap_or_default();
        if date != std::mem::replace(&mut day, date) {
            // Writing to a string does not fail.
            let _ = write!(out, "<li class=\"day\">{}</li>", Text(date));
        }
        event(&mut out, record);
    }
    if events.is_empty() {
        out.push_str("<li class=\"empty\">No events so far.</li>");
    }
    out.push_str("</ol></section>");
    out
}

fn event(out: &mut String, record: &EventRecord) {
    let subject = record.group.as_ref().unwrap_or(&record.instance);
    let time = record.time.get(11..23).unwrap_or(&record.time);
    let _ = write!(
        out,
        "<li><time datetime=\"{}\">{}</time><p><b>{}</b> ",
        Text(&record.time),
        Text(time),
        Text(subject)
    );
    let _ = match (&record.object, &record.from, &record.to) {
        (Some(object), from, Some(to)) => {
            write!(out, "{}: {} → {}", Text(object), Text(from.as_deref().unwrap_or("unknown")), Text(to))
        }
        // A new cause of a fault is an event without a change of state.
        (None, Some(from), Some(to)) if from == to => write!(out, "{}", State(to)),
        (None, Some(from), Some(to)) => write!(out, "{} → {}", State(from), State(to)),
        _ => write!(out, "{}", Text(record.event.replace('-', " "))),
    };
    let further = [
        record.reason.clone(),
        record.address.map(|address| address.to_string()),
        record.priority.map(|priority| format!("priority {priority}")),
        record.late_ns.filter(|late| *late > 0).map(|late| format!("{} µs late", late / 1000)),
        record.missed.map(explain::unrecorded),
    ];
    let further: Vec<_> = further.into_iter().flatten().collect();
    out.push_str("</p>");
    if !further.is_empty() {
        let _ = write!(out, "<p class=\"below\">{}</p>", Text(further.join(" · ")));
    }
    out.push_str("</li>");
}

/// The name of a state, in its color.
struct State<'a>(&'a str);

impl std::fmt::Display for State<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let class = match self.0 {
            "master" | "backup" | "fault" => self.0,
            _ => "initialize",
        };
        write!(formatter, "<span class=\"{class}\">{}</span>", Text(self.0))
    }
}
