//! Merges the engine's reports and the bus into one stream of state changes.
//!
//! The engine reports every change, but a report is dropped if the channel is full. The bus always
//! has the latest change of a router, but no earlier ones.

use std::collections::BTreeMap;

use vipd_common::Timestamp;

use crate::engine::id::RouterId;
use crate::service::bus::Transition;
use crate::vrrp::interval::Nanos;
use crate::vrrp::{Event, Reason, State};

/// A state change of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) router: RouterId,
    /// The previous state. If reports of earlier changes were dropped, the state before the first
    /// dropped change.
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) reason: Reason,
    /// Time of the change, if it is known.
    pub(crate) at: Option<Timestamp>,
    /// Delay in handling the timer that caused the change, if it is known; 0 if no timer caused the
    /// change.
    pub(crate) late: Option<Nanos>,
    /// Number of the router's state changes that this change represents, including this one. If
    /// reports were dropped, some state changes may be counted in a later change instead.
    pub(crate) changes: u64,
}

/// Follows the state changes of all routers.
#[derive(Debug, Default)]
pub(super) struct Changes {
    seen: BTreeMap<RouterId, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    count: u64,
    state: State,
}

impl Default for Seen {
    fn default() -> Self {
        Self { count: 0, state: State::Initialize }
    }
}

impl Changes {
    /// Returns the change that an event reports. `latest` is the latest change on the bus.
    pub(super) fn reported(
        &mut self,
        router: RouterId,
        event: &Event,
        latest: Option<Transition>,
    ) -> Option<Change> {
        let Event::StateChanged { from, to, reason, late } = *event else { return None };
        let seen = self.seen.entry(router).or_default();
        // If reports before this one were dropped, the change starts from the last known state. The
        // number of dropped reports is unknown: if `from` differs from that state, one is counted
        // here, and `published` adds the others. Otherwise, `published` adds all of them.
        let changes = if from == seen.state { 1 } else { 2 };
        let from = seen.state;
        *seen = Seen { count: seen.count + changes, state: to };
        let at = latest.filter(|latest| latest.count == seen.count).map(|latest| latest.at);
        Some(Change { router, from, to, reason, at, late: Some(late), changes })
    }

    /// Sets the state that a router had in a predecessor. This process's engine has published it on
    /// the bus as the router's first change.
    pub(super) fn resume(&mut self, router: RouterId, state: State) {
        self.seen.insert(router, Seen { count: 1, state });
    }

    /// Forgets routers that were removed.
    pub(super) fn forget(&mut self, removed: &[RouterId]) {
        for router in removed {
            self.seen.remove(router);
        }
    }

    /// Returns the latest change of each router, unless that change has already been returned.
    ///
    /// All reports sent before `published` was read must have been passed to
    /// [`reported`](Self::reported).
    pub(super) fn published(&mut self, published: &[(RouterId, Transition)]) -> Vec<Change> {
        let missed = published.iter().filter_map(|&(router, transition)| {
            let Transition { state, reason, at, count } = transition;
            let seen = self.seen.entry(router).or_default();
            let changes = count.checked_sub(seen.count).filter(|changes| *changes > 0)?;
            let from = seen.state;
            *seen = Seen { count, state };
            Some(Change { router, from, to: state, reason, at: Some(at), late: None, changes })
        });
        missed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::id::Id as _;
    use crate::vrrp::Fault;

    fn event(from: State, to: State) -> Event {
        Event::StateChanged { from, to, reason: Reason::PriorityZero, late: 5 }
    }

    fn transition(state: State, count: u64) -> Transition {
        Transition { state, reason: Reason::MasterTimeout, at: Timestamp::from_nanos(count), count }
    }

    #[test]
    fn each_change_is_returned_once_even_if_its_report_was_dropped() {
        let router = RouterId::new(3, 1);
        let mut changes = Changes::default();
        let (backup, master) = (State::Backup, State::Master);
        let first = changes.reported(router, &event(State::Initialize, backup), Some(transition(backup, 1)));
        assert_eq!(first.and_then(|change| change.at), Some(Timestamp::from_nanos(1)));
        assert_eq!(changes.published(&[(router, transition(backup, 1))]), []);
        // The bus is already ahead of this report, and the reports of two further changes were
        // dropped.
        let second = changes.reported(router, &event(backup, master), Some(transition(master, 4)));
        assert_eq!(second.map(|change| (change.at, change.late)), Some((None, Some(5))));
        let missed = changes.published(&[(router, transition(master, 4))]);
        assert_eq!(missed.len(), 1);
        assert_eq!((missed[0].from, missed[0].to, missed[0].changes), (master, master, 2));
        assert_eq!(changes.published(&[(router, transition(master, 4))]), []);
    }

    /// The first change is from Initialize to a fault, the second to another fault.
    #[test]
    fn change_before_the_first_report_is_counted() {
        let router = RouterId::new(3, 1);
        let mut changes = Changes::default();
        let (first, second) = (State::Fault(Fault::NotAttached), State::Fault(Fault::Tracking));
        let change = changes.reported(router, &event(first, second), None).expect("a change");
        assert_eq!((change.from, change.to, change.changes), (State::Initialize, second, 2));
        assert_eq!(changes.published(&[(router, transition(second, 2))]), [], "it was returned");
    }

    #[test]
    fn removed_routers_are_forgotten() {
        let router = RouterId::new(3, 1);
        let mut changes = Changes::default();
        changes.published(&[(router, transition(State::Backup, 1))]);
        changes.forget(&[router]);
        assert!(changes.seen.is_empty());
    }

    #[test]
    fn events_without_a_change_of_state_are_skipped() {
        let mut changes = Changes::default();
        assert_eq!(changes.reported(RouterId::new(0, 0), &Event::FeedLoss, None), None);
    }
}
