//! Condenses the events around a violation into a short timeline.

use std::time::Duration;

use super::judge::{Change, Event, Violation};
use super::observation::{Meaning, Observation};
use super::segment::Segment;
use crate::station::Station;
use crate::time::WallTime;

/// Events with the same text share a line if they are no further apart than this, or than one and a
/// half advert intervals.
const PAUSE: Duration = Duration::from_millis(60);
/// Time after the violation that the timeline covers.
const AFTER: Duration = Duration::from_millis(100);
/// Maximum number of lines; if there are more, the earliest are left out.
const LINES: usize = 60;

/// A line: an event, or several events with the same text.
#[derive(Debug, Clone)]
struct Entry {
    first: WallTime,
    last: WallTime,
    count: usize,
    text: String,
}

/// Returns the timeline of the router whose invariant was violated, with times in milliseconds
/// relative to the violation. `notes` contains the actions and their times.
pub(super) fn around(
    violation: &Violation,
    segment: &Segment,
    events: &[Event],
    notes: &[(WallTime, String)],
) -> Vec<String> {
    let router = &segment.routers[violation.router];
    let start = violation.time.before(2 * router.longest_down() + Duration::from_millis(500));
    let end = violation.time + AFTER;
    let pause = PAUSE.max(router.interval * 3 / 2);
    let mut entries: Vec<Entry> = Vec::new();
    let mut add = |time: WallTime, text: String| {
        let open = entries.iter_mut().rev().find(|entry| entry.text == text);
        match open.filter(|entry| time.saturating_since(entry.last) <= pause) {
            Some(entry) => (entry.last, entry.count) = (time, entry.count + 1),
            None => entries.push(Entry { first: time, last: time, count: 1, text }),
        }
    };
    for (time, note) in notes {
        if (start..=end).contains(time) {
            add(*time, format!("* {note}"));
        }
    }
    for event in events.iter().filter(|event| (start..=end).contains(&event.time())) {
        let text = match event {
            Event::Observation(observation) if observation.router == violation.router => {
                describe(observation, segment)
            }
            Event::Observation(_) => None,
            Event::Mark(mark) => match mark.change {
                Change::Process(node, activity) => Some(format!("* the agent of node {node}: {activity:?}")),
                Change::Detached { .. } | Change::Struck { .. } => None,
            },
        };
        if let Some(text) = text {
            add(event.time(), text);
        }
    }
    entries.sort_by_key(|entry| entry.first);
    let line = |entry: &Entry| {
        let at = entry.first.millis_since(violation.time);
        let until = entry.last.millis_since(violation.time);
        match entry.count {
            1 => format!("{at:>10.3}             {}", entry.text),
            count => format!("{at:>10.3} … {until:>8.3}  {} × {count}", entry.text),
        }
    };
    entries[entries.len().saturating_sub(LINES)..].iter().map(line).collect()
}

/// Describes a frame that a node sent, or an advert that reached it; `None` for other frames.
fn describe(observation: &Observation, segment: &Segment) -> Option<String> {
    let Station::Node(node) = observation.port else { return None };
    let family = segment.routers[observation.router].family();
    match (observation.meaning, observation.sent) {
        (Meaning::Advert { priority, .. }, true) => {
            Some(format!("node {node} advertises priority {priority}"))
        }
        (Meaning::Advert { node: from, priority }, false) => {
            Some(format!("  an advert of node {from}, priority {priority}, reaches node {node}"))
        }
        (Meaning::Answer(question), true) => Some(format!("node {node} answers {}", question.word(family))),
        (Meaning::Announcement, true) => Some(format!("node {node} announces the address")),
        _ => None,
    }
}
