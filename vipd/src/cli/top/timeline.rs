//! The latest transitions and other events.

use std::collections::{HashMap, VecDeque};

use super::row::Lateness;
use crate::control::event::EventRecord;

/// Number of events that are kept: twice as many as an agent keeps. After a reconnection, the agent
/// sends all of its events again. With this capacity, the repeated events are still recognized,
/// even alongside the events of the agent's previous process.
const CAPACITY: usize = 2048;

/// The latest events, including events of previous runs of the agent.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    events: VecDeque<EventRecord>,
    lateness: HashMap<String, Lateness>,
}

impl Timeline {
    /// Adds an event, unless it is already listed. Ignores events about discarded adverts, because
    /// a flood of them would displace all other events.
    pub(super) fn add(&mut self, event: EventRecord) {
        if event.event == "advert-discarded" || self.is_known(&event) {
            return;
        }
        // 0 means that no timer caused the transition.
        if let Some(late) = event.late_ns.filter(|late| *late > 0) {
            let longest = self.lateness.get(&event.instance).map_or(0, |before| before.longest);
            let lateness = Lateness { last: late, longest: longest.max(late) };
            self.lateness.insert(event.instance.clone(), lateness);
        }
        if self.events.len() == CAPACITY {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Returns the events, the latest first.
    pub(super) fn latest(&self) -> impl Iterator<Item = &EventRecord> {
        self.events.iter().rev()
    }

    pub(super) fn lateness(&self, instance: &str) -> Option<Lateness> {
        self.lateness.get(instance).copied()
    }

    fn is_known(&self, event: &EventRecord) -> bool {
        self.events.iter().rev().any(|known| known == event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize, late_ns: u64) -> EventRecord {
        EventRecord {
            time: format!("2026-11-26T16:01:02.{number:09}Z"),
            instance: "VI_1".to_owned(),
            event: "state-changed".to_owned(),
            late_ns: Some(late_ns),
            ..EventRecord::default()
        }
    }

    #[test]
    fn events_that_are_sent_again_are_recognized() {
        let mut timeline = Timeline::default();
        // The agent was restarted: the last 1,024 of these events are its own, and the earlier ones
        // are from its previous process.
        for number in 0..CAPACITY + 10 {
            timeline.add(event(number, 0));
        }
        // After a reconnection, the agent sends its own events again, then a new event.
        for number in CAPACITY + 10 - 1024..CAPACITY + 11 {
            timeline.add(event(number, 0));
        }
        let times: Vec<_> = timeline.latest().map(|event| event.time.clone()).collect();
        let expected: Vec<_> = (11..CAPACITY + 11).rev().map(|number| event(number, 0).time).collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn lateness_ignores_transitions_without_a_timer() {
        let mut timeline = Timeline::default();
        for (number, late) in [0, 40, 12, 0].into_iter().enumerate() {
            timeline.add(event(number, late));
        }
        assert_eq!(timeline.lateness("VI_1"), Some(Lateness { last: 12, longest: 40 }));
        assert_eq!(timeline.lateness("VI_2"), None);
    }

    #[test]
    fn discarded_adverts_are_not_listed() {
        let mut timeline = Timeline::default();
        timeline.add(EventRecord { event: "advert-discarded".to_owned(), ..event(1, 0) });
        assert_eq!(timeline.latest().count(), 0);
    }
}
