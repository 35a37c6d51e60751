//! `vipd events`.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;

use anstyle::Style;

use super::args::EventsArgs;
use super::output;
use super::table::{BAD, GOOD, WAITING};
use crate::control::client::Client;
use crate::control::event::EventRecord;
use crate::control::explain;

pub(super) fn run(args: &EventsArgs, runtime_dir: &Path) -> anyhow::Result<()> {
    Client::new(runtime_dir).events(args.follow, |line| {
        if args.json {
            return Ok(output::print(line)?);
        }
        let record = serde_json::from_str(line)?;
        Ok(output::print(&render(&record))?)
    })?;
    if args.follow && std::io::stdout().is_terminal() {
        eprintln!(
            "vipd: the agent has closed the connection: it is stopping or being upgraded, the output was too slow, or \
             this user no longer has access"
        );
    }
    Ok(())
}

/// Renders an event as one line.
pub(super) fn render(record: &EventRecord) -> String {
    // Microseconds are precise enough for readers.
    let time = record.time.get(..26).map_or_else(|| record.time.clone(), |start| format!("{start}Z"));
    format!("{time}  {:<12}  {}\n", subject(record), describe(record))
}

/// Returns the name of the instance or sync group.
pub(super) fn subject(record: &EventRecord) -> &str {
    record.group.as_ref().unwrap_or(&record.instance)
}

/// Returns the style of a state's name.
pub(super) fn style(state: &str) -> Style {
    match state {
        "master" => GOOD,
        "fault" => BAD,
        "initialize" => WAITING,
        _ => Style::new(),
    }
}

/// Renders an event without its time and subject.
pub(super) fn describe(record: &EventRecord) -> String {
    let mut line = String::new();
    // Writing to a string does not fail.
    let _ = if let (Some(object), Some(to)) = (&record.object, &record.to) {
        write!(line, "{object}: {} → {to}", record.from.as_deref().unwrap_or("unknown"))
    } else if let (Some(from), Some(to)) = (&record.from, &record.to) {
        let style = style(to);
        // A new cause of a fault is an event without a change of state.
        let from = if from == to { String::new() } else { format!("{from} → ") };
        write!(line, "{from}{style}{to}{style:#}")
    } else {
        write!(line, "{}", record.event.replace('-', " "))
    };
    let further = [
        record.reason.clone(),
        record.address.map(|address| address.to_string()),
        record.priority.map(|priority| format!("priority {priority}")),
        record.late_ns.filter(|late| *late > 0).map(|late| format!("{} µs late", late / 1000)),
        record.missed.map(explain::unrecorded),
    ];
    for text in further.into_iter().flatten() {
        line.push_str("  ");
        line.push_str(&text);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_is_one_line() {
        let mut record = EventRecord {
            time: "2026-11-26T16:01:02.123456789Z".to_owned(),
            instance: "VI_1".to_owned(),
            event: "state-changed".to_owned(),
            from: Some("backup".to_owned()),
            to: Some("fault".to_owned()),
            reason: Some("interface-down".to_owned()),
            late_ns: Some(0),
            ..EventRecord::default()
        };
        let line = anstream::adapter::strip_str(&render(&record)).to_string();
        assert_eq!(line, "2026-11-26T16:01:02.123456Z  VI_1          backup → fault  interface-down\n");
        record.from = record.to.clone();
        let line = anstream::adapter::strip_str(&render(&record)).to_string();
        assert_eq!(line, "2026-11-26T16:01:02.123456Z  VI_1          fault  interface-down\n");
        record.late_ns = Some(12_345);
        assert!(render(&record).ends_with("  12 µs late\n"));
        let record = EventRecord {
            time: record.time,
            instance: record.instance,
            event: "master-changed".to_owned(),
            address: Some([192, 0, 2, 1].into()),
            priority: Some(100),
            ..EventRecord::default()
        };
        let line = render(&record);
        assert!(line.ends_with("  master changed  192.0.2.1  priority 100\n"), "{line}");
    }
}
