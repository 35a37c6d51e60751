//! Keeps the latest events of all instances, and sends new events to the clients that follow them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;
use vipd_common::Timestamp;

use super::bus::{Latest, Transition};
use super::changes::{Change, Changes};
use super::groups::GroupChange;
use super::timeline::Timeline;
use super::track::ObjectChange;
use crate::config::Instance;
use crate::control::event::EventRecord;
use crate::control::stream::Subscription;
use crate::engine::clock;
use crate::engine::command::Report;
use crate::engine::id::RouterId;
use crate::vrrp::{Discard, Event, State};

/// Number of events that are kept.
const HISTORY: usize = 1024;
/// Number of events that a client may lag behind: enough for all routers to change state several
/// times while the client is not scheduled.
const BACKLOG: usize = 16_384;

/// The kept events and the channel for new events. Clones share the events and the channel.
#[derive(Clone, Debug)]
pub(super) struct EventLog(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    history: VecDeque<Arc<str>>,
    timeline: Timeline,
    live: broadcast::Sender<Arc<str>>,
}

impl EventLog {
    pub(super) fn new() -> Self {
        let history = VecDeque::with_capacity(HISTORY);
        let (timeline, live) = (Timeline::default(), broadcast::Sender::new(BACKLOG));
        Self(Arc::new(Mutex::new(Shared { history, timeline, live })))
    }

    /// Returns the kept events and a receiver of all later events.
    pub(super) fn subscribe(&self) -> Subscription {
        let shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Subscription { history: shared.history.iter().cloned().collect(), live: shared.live.subscribe() }
    }

    /// Returns the latest events for the status page, newest first.
    pub(super) fn timeline(&self) -> Vec<Arc<EventRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).timeline.latest()
    }

    /// Returns the kept events as lines of JSON, for a successor.
    pub(super) fn history(&self) -> Vec<String> {
        let shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.history.iter().map(ToString::to_string).collect()
    }

    /// Inserts the events of a predecessor before those of this process. If there is not enough
    /// room, drops the oldest events.
    pub(super) fn resume(&self, former: Vec<String>) {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.timeline.resume(&former);
        for line in former.into_iter().rev() {
            if shared.history.len() == HISTORY {
                break;
            }
            shared.history.push_front(line.into());
        }
    }

    fn push(&self, record: &EventRecord) {
        // Strings and numbers can always be encoded.
        let Ok(mut line) = serde_json::to_string(record) else { return };
        line.push('\n');
        let line: Arc<str> = line.into();
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.timeline.add(record);
        if shared.history.len() == HISTORY {
            shared.history.pop_front();
        }
        shared.history.push_back(Arc::clone(&line));
        // Sending fails if no client follows the events, which is harmless.
        let _ = shared.live.send(line);
    }
}

/// Records the engine's reports as events.
pub(super) struct Recorder {
    log: EventLog,
    changes: Changes,
    latest: Latest,
}

impl Recorder {
    pub(super) fn new(log: EventLog, latest: Latest) -> Self {
        Self { log, changes: Changes::default(), latest }
    }

    /// Records a report if it is an event of an instance. Returns the state change if the event is
    /// a state change. `instance` returns the instance of a router.
    pub(super) fn report<'a>(
        &mut self,
        report: &Report,
        instance: impl FnOnce(RouterId) -> Option<&'a Arc<Instance>>,
    ) -> Option<(Change, &'a Arc<Instance>)> {
        let Report::Router { router, event } = report else { return None };
        let instance = instance(*router)?;
        let change = self.changes.reported(*router, event, self.latest.get(*router));
        self.log.push(&match &change {
            Some(change) => record(&instance.name, change),
            None => describe(&instance.name, event),
        });
        change.map(|change| (change, instance))
    }

    /// Sets the state that a router had in a predecessor.
    pub(super) fn resume(&mut self, router: RouterId, state: State) {
        self.changes.resume(router, state);
    }

    /// Returns the log of the kept events.
    pub(super) fn log(&self) -> &EventLog {
        &self.log
    }

    /// Forgets routers that a reload has removed.
    pub(super) fn forget(&mut self, removed: &[RouterId]) {
        self.changes.forget(removed);
    }

    /// Records a state change of a sync group.
    pub(super) fn group(&self, change: &GroupChange) {
        let GroupChange { name, from, to, reason } = change;
        self.log.push(&EventRecord {
            time: rfc3339(SystemTime::now()),
            group: Some(name.clone()),
            event: "group-state-changed".to_owned(),
            from: Some(from.to_string()),
            to: Some(to.to_string()),
            reason: Some(reason.to_string()),
            ..EventRecord::default()
        });
    }

    /// Records changes of tracked objects.
    pub(super) fn objects(&self, changes: Vec<ObjectChange>) {
        for ObjectChange { instance, object, from, to, detail } in changes {
            self.log.push(&EventRecord {
                time: rfc3339(SystemTime::now()),
                instance,
                event: "object-changed".to_owned(),
                from,
                to: Some(to),
                reason: detail,
                object: Some(object),
                ..EventRecord::default()
            });
        }
    }

    /// Records and returns each router's latest change, unless it has already been recorded. A
    /// change is recorded here if its report was dropped. All earlier reports must have been passed
    /// to [`report`](Self::report).
    pub(super) fn published<'a>(
        &mut self,
        published: &[(RouterId, Transition)],
        instance: impl Fn(RouterId) -> Option<&'a Arc<Instance>>,
    ) -> Vec<(Change, &'a Arc<Instance>)> {
        // State changes of a router that a reload is adding are returned later.
        let known = published.iter().filter(|(router, _)| instance(*router).is_some());
        let known: Vec<_> = known.copied().collect();
        let changes = self.changes.published(&known).into_iter();
        let known: Vec<_> = changes.filter_map(|change| Some((change, instance(change.router)?))).collect();
        for (change, instance) in &known {
            self.log.push(&record(&instance.name, change));
        }
        known
    }
}

fn record(instance: &str, change: &Change) -> EventRecord {
    let Change { router: _, from, to, reason, at, late, changes } = *change;
    EventRecord {
        time: rfc3339(at.map_or_else(SystemTime::now, |at| wall_clock(at, clock::now(), SystemTime::now()))),
        instance: instance.to_owned(),
        event: "state-changed".to_owned(),
        from: Some(from.to_string()),
        to: Some(to.to_string()),
        reason: Some(reason.to_string()),
        late_ns: late,
        missed: Some(changes.saturating_sub(1)).filter(|missed| *missed > 0),
        ..EventRecord::default()
    }
}

/// Describes an event that is not a change of state.
fn describe(instance: &str, event: &Event) -> EventRecord {
    let (name, address, priority, reason) = match event {
        Event::StateChanged { .. } => ("state-changed", None, None, None),
        Event::MasterChanged { source, priority } => ("master-changed", Some(*source), Some(*priority), None),
        Event::Discarded { reason, source } => {
            let reason = match reason {
                Discard::OwnSource => "own-source",
                Discard::Interval => "interval",
                Discard::AddressList => "address-list",
                Discard::Owner => "owner",
            };
            ("advert-discarded", Some(*source), None, Some(reason.to_owned()))
        }
        Event::IntervalAdopted { source, .. } => ("interval-adopted", Some(*source), None, None),
        Event::AddressListDiffers { source } => ("address-list-differs", Some(*source), None, None),
        Event::OwnerConflict { source } => ("owner-conflict", Some(*source), None, None),
        Event::LosingAdvert { source, priority } => ("split-brain", Some(*source), Some(*priority), None),
        Event::Reannounced => ("split-brain-over", None, None, None),
        Event::AddressRestored(vip) => ("address-restored", Some(vip.address), None, None),
        Event::PrimaryChanged { primary } => ("primary-address-changed", Some(*primary), None, None),
        Event::FeedLoss => ("adverts-lost", None, None, None),
    };
    EventRecord {
        time: rfc3339(SystemTime::now()),
        instance: instance.to_owned(),
        event: name.to_owned(),
        address,
        priority,
        reason,
        ..EventRecord::default()
    }
}

/// Converts a time of the engine's clock to wall-clock time. `now` and `wall_now` are readings of
/// the two clocks at the same moment.
fn wall_clock(at: Timestamp, now: Timestamp, wall_now: SystemTime) -> SystemTime {
    wall_now.checked_sub(Duration::from_nanos(now.nanos_since(at))).unwrap_or(wall_now)
}

/// Formats a time in UTC. A time before 1970 is formatted as the start of 1970.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (mut days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days since 0000-03-01. A year that starts in March ends with the leap day.
    days += 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let nanos = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::engine::id::Id as _;
    use crate::vrrp::{Fault, Reason, State};

    #[test]
    fn times_are_formatted_in_utc() {
        let at = |seconds, nanos| rfc3339(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(951_782_399, 1), "2000-02-28T23:59:59.000000001Z");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(at(1_798_761_599, 999_999_999), "2026-12-31T23:59:59.999999999Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
    }

    #[test]
    fn engine_time_is_converted_by_its_distance_from_now() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let [at, now] = [3, 5].map(|seconds| Timestamp::from_nanos(seconds * 1_000_000_000));
        assert_eq!(wall_clock(at, now, wall), SystemTime::UNIX_EPOCH + Duration::from_secs(98));
    }

    /// The engine may report a fault of a new router before the service has added the router.
    #[test]
    fn change_of_a_router_not_added_yet_is_recorded_later() {
        let (_publisher, transitions) = crate::service::bus::bus(1);
        let log = EventLog::new();
        let mut recorder = Recorder::new(log.clone(), transitions.latest());
        let text = "[[instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvrid = 1\nvirtual_addresses = [\"10.0.0.1\"]\n";
        let config = Config::parse(text, "vipd.toml").expect("a valid configuration");
        let (router, fault) = (RouterId::new(3, 1), Fault::Tracking);
        let (from, to, reason) = (State::Initialize, State::Fault(fault), Reason::Fault(fault));
        let report = Report::Router { router, event: Event::StateChanged { from, to, reason, late: 0 } };
        assert!(recorder.report(&report, |_| None).is_none());
        let transition = Transition { state: to, reason, at: Timestamp::from_nanos(1), count: 1 };
        assert!(recorder.published(&[(router, transition)], |_| None).is_empty());
        let changes = recorder.published(&[(router, transition)], |_| config.instances.first());
        assert_eq!(
            changes.iter().map(|(change, _)| (change.from, change.to)).collect::<Vec<_>>(),
            [(from, to)]
        );
        assert_eq!(log.subscribe().history.len(), 1);
    }

    #[test]
    fn subscribers_get_the_latest_events_and_all_later_events() {
        let log = EventLog::new();
        let event = |number: usize| EventRecord { instance: number.to_string(), ..EventRecord::default() };
        (0..HISTORY + 10).for_each(|number| log.push(&event(number)));
        let mut subscription = log.subscribe();
        log.push(&event(HISTORY + 10));
        let number = |line: &str| -> usize {
            let record: EventRecord = serde_json::from_str(line).expect("an event");
            record.instance.parse().expect("a number")
        };
        let kept: Vec<usize> = subscription.history.iter().map(|line| number(line)).collect();
        assert_eq!(kept, (10..HISTORY + 10).collect::<Vec<_>>());
        let later = subscription.live.try_recv().expect("an event");
        assert_eq!(number(&later), HISTORY + 10);
    }
}
