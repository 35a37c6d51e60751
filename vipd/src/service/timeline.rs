//! The latest events that the status page shows.

use std::collections::VecDeque;
use std::sync::Arc;

use super::public;
use crate::control::event::EventRecord;

/// Number of events that are kept.
const CAPACITY: usize = 50;

/// The latest events, without discarded adverts: a flood of them would displace all other events.
#[derive(Debug, Default)]
pub(super) struct Timeline(VecDeque<Arc<EventRecord>>);

impl Timeline {
    /// Adds an event unless it is a discarded advert. If the timeline is full, drops the oldest
    /// event.
    pub(super) fn add(&mut self, record: &EventRecord) {
        if is_shown(record) {
            self.0.truncate(CAPACITY - 1);
            self.0.push_front(public::event(record.clone()).into());
        }
    }

    /// Adds the events of a predecessor, each a line of JSON, before those of this process.
    pub(super) fn resume(&mut self, former: &[String]) {
        let records = former.iter().rev().filter_map(|line| serde_json::from_str(line).ok());
        let room = CAPACITY - self.0.len();
        self.0.extend(records.filter(is_shown).take(room).map(|record| Arc::new(public::event(record))));
    }

    /// Returns the events, the latest first.
    pub(super) fn latest(&self) -> Vec<Arc<EventRecord>> {
        self.0.iter().cloned().collect()
    }
}

/// Returns whether the timeline shows an event of this kind.
fn is_shown(record: &EventRecord) -> bool {
    record.event != "advert-discarded"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize, object: Option<&str>) -> EventRecord {
        EventRecord {
            instance: number.to_string(),
            event: "object-changed".to_owned(),
            reason: Some("secret".to_owned()),
            object: object.map(str::to_owned),
            ..EventRecord::default()
        }
    }

    fn numbers(timeline: &Timeline) -> Vec<usize> {
        timeline.latest().iter().map(|record| record.instance.parse().expect("a number")).collect()
    }

    #[test]
    fn latest_events_are_kept() {
        let mut timeline = Timeline::default();
        (0..CAPACITY + 10).for_each(|number| timeline.add(&event(number, None)));
        let expected: Vec<_> = (10..CAPACITY + 10).rev().collect();
        assert_eq!(numbers(&timeline), expected);
    }

    #[test]
    fn events_of_a_predecessor_precede_those_of_this_process() {
        let mut timeline = Timeline::default();
        for number in [1000, 1001] {
            timeline.add(&event(number, None));
        }
        let former: Vec<_> =
            (0..CAPACITY).map(|number| serde_json::to_string(&event(number, None)).expect("JSON")).collect();
        timeline.resume(&former);
        let expected: Vec<_> = [1001, 1000].into_iter().chain((2..CAPACITY).rev()).collect();
        assert_eq!(numbers(&timeline), expected);
    }

    #[test]
    fn discarded_adverts_and_explanations_of_tracked_objects_are_not_shown() {
        let mut timeline = Timeline::default();
        timeline.add(&event(1, Some("script web")));
        timeline.add(&event(2, Some("file manual")));
        timeline.add(&event(4, None));
        timeline.add(&EventRecord { event: "advert-discarded".to_owned(), ..event(3, None) });
        let reasons: Vec<_> = timeline.latest().iter().map(|record| record.reason.clone()).collect();
        assert_eq!(reasons, [Some("secret".to_owned()), None, None]);
    }
}
