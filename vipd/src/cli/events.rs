//! `vipd events`.

use std::io::IsTerminal as _;
use std::path::Path;

use anstyle::Style;

use super::args::EventsArgs;
use super::output;
use super::table::{BAD, GOOD, WAITING};
use crate::control::client::Client;
use crate::control::event::EventRecord;

pub(super) fn run(args: &EventsArgs, runtime_dir: &Path) -> anyhow::Result<()> {
    Client::new(runtime_dir).events(args.follow, |line| {
        if args.json {
            return Ok(output::print(line)?);
        }
        let record = serde_json::from_str(line)?;
        Ok(output::print(&render(&record))?)
    })?;
    if args.follow && std::io::stdout().is_terminal() {
        eprintln!("vipd: the agent has closed the connection: it is stopping, or the output was too slow");
    }
    Ok(())
}

/// Renders an event as one line.
pub(super) fn render(record: &EventRecord) -> String {
    // Microseconds are enough to read.
    let time = record.time.get(..26).map_or_else(|| record.time.clone(), |start| format!("{start}Z"));
    let instance = &record.instance;
    let mut line = format!("{time}  {instance:<12}  ");
    if let (Some(from), Some(to)) = (&record.from, &record.to) {
        let style = match to.as_str() {
            "master" => GOOD,
            "fault" => BAD,
            "initialize" => WAITING,
            _ => Style::new(),
        };
        line += &format!("{from} → {style}{to}{style:#}");
    } else {
        line += &record.event.replace('-', " ");
    }
    if let Some(reason) = &record.reason {
        line += &format!("  {reason}");
    }
    if let Some(address) = record.address {
        line += &format!("  {address}");
    }
    if let Some(priority) = record.priority {
        line += &format!("  priority {priority}");
    }
    if let Some(late) = record.late_ns.filter(|late| *late > 0) {
        line += &format!("  {} µs late", late / 1000);
    }
    if let Some(missed) = record.missed {
        line += &format!("  {missed} earlier changes not recorded");
    }
    line + "\n"
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
