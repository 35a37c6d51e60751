//! Writes log lines.
//!
//! Lines that another router can trigger repeatedly are limited twice. First, at their source: the
//! core does not report a kind of event again, except [`Event::Reannounced`], until the state, the
//! master, the configured interval or the virtual addresses change; and the engine reports refused
//! adverts at most once a minute per instance and reason. Second, this module limits the rate per
//! instance. The latest state change is always logged, if necessary in one line that covers several
//! changes.

mod event;
pub(super) mod limit;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use vipd_common::counters::CounterRow;

use super::bus::Transition;
use super::routing;
use crate::config::Instance;
use crate::control::counters::drop_reasons;
use crate::engine::command::{Added, Report};
use crate::engine::id::RouterId;
use crate::netlink::Address;
use crate::vrrp::Event;
use crate::xdp::{Position, Row};
use limit::{Limit, Repeats, Scope};

/// Writes reports as log lines.
pub(super) struct Log {
    instances: BTreeMap<RouterId, InstanceLog>,
    /// Limit shared by all reports that have no limit of their own.
    agent: Limit,
    /// Failures of the agent that may repeat, by subject.
    failures: BTreeMap<String, Repeats>,
    /// Whether the rate limit has suppressed a state change that
    /// [`lost_transitions`](Self::lost_transitions) has not yet logged.
    has_unlogged_transitions: bool,
}

struct InstanceLog {
    config: Arc<Instance>,
    row: Row,
    limit: Limit,
    /// Discard reasons logged since the last state change.
    logged: BTreeSet<&'static str>,
    /// The counters at the last check.
    last: CounterRow,
    /// Number of state changes logged so far, including those combined in one line.
    transitions: u64,
}

impl InstanceLog {
    fn new(row: Row, config: Arc<Instance>) -> Self {
        Self {
            config,
            row,
            limit: Limit::new(),
            logged: BTreeSet::new(),
            last: CounterRow::default(),
            transitions: 0,
        }
    }

    fn permits(&mut self) -> bool {
        self.limit.permits(Scope::Instance(&self.config.name))
    }
}

impl Log {
    pub(super) fn new(roster: &[(RouterId, Row, Arc<Instance>)]) -> Self {
        let instances =
            roster.iter().map(|(id, row, config)| (*id, InstanceLog::new(*row, Arc::clone(config))));
        Self {
            instances: instances.collect(),
            agent: Limit::new(),
            failures: BTreeMap::new(),
            has_unlogged_transitions: false,
        }
    }

    /// Prepares to log the events of a router taken over from a predecessor. Neither the router's
    /// present state, which the engine has published as a state change, nor adverts that the
    /// predecessor discarded will be logged.
    pub(super) fn resume(&mut self, router: RouterId, row_of: impl Fn(Row) -> CounterRow) {
        if let Some(log) = self.instances.get_mut(&router) {
            (log.transitions, log.last) = (1, row_of(log.row));
        }
    }

    /// Returns the instances and their rows in the BPF program's maps.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Arc<Instance>, Row)> {
        self.instances.values().map(|log| (&log.config, log.row))
    }

    /// Starts to log the events of routers that a reload has added.
    pub(super) fn add(&mut self, added: &[Added]) {
        for Added { router, row, settings } in added {
            self.instances.insert(*router, InstanceLog::new(*row, Arc::clone(settings)));
        }
    }

    /// Replaces the settings of routers that a reload has changed.
    pub(super) fn change(&mut self, changed: &[(RouterId, Arc<Instance>)]) {
        for (router, settings) in changed {
            if let Some(log) = self.instances.get_mut(router) {
                log.config = Arc::clone(settings);
            }
        }
    }

    /// Stops logging the events of routers that a reload has removed.
    pub(super) fn remove(&mut self, removed: &[RouterId]) {
        for router in removed {
            self.instances.remove(router);
        }
    }

    /// Returns the instance of a router; `None` if the router's events are not logged.
    pub(super) fn instance(&self, router: RouterId) -> Option<&Arc<Instance>> {
        self.instances.get(&router).map(|log| &log.config)
    }

    /// Returns the log of a router if it permits another line.
    fn permitted(&mut self, router: RouterId) -> Option<&InstanceLog> {
        let log = self.instances.get_mut(&router)?;
        log.permits().then_some(log)
    }

    /// Logs a report, unless a limit suppresses it.
    pub(super) fn write(&mut self, report: Report) {
        match report {
            Report::Router { router, event } => self.event(router, &event),
            Report::SendRefused { router, error } => {
                if let Some(log) = self.permitted(router) {
                    event::write_unsent(&log.config, &error);
                }
            }
            Report::AdvertRefused { router, refused } => {
                if let Some(log) = self.permitted(router) {
                    event::write_refused(&log.config, &refused);
                }
            }
            Report::NetlinkFailed(error) => {
                let failure = error.to_string();
                if self.is_due("netlink dump", &failure) {
                    tracing::error!(
                        error = failure,
                        "cannot read or change links, addresses, routes or rules; trying again"
                    );
                }
            }
            Report::NetlinkOverrun => {
                if self.is_due("netlink notifications", "") {
                    tracing::warn!("netlink notifications were lost; reading all links and addresses again");
                }
            }
            Report::ProgramLost { interface, position, lasted } => {
                let what = match position {
                    Position::Behind => "another program now runs before vipd's BPF program",
                    _ => "BPF program detached externally",
                };
                let remedy = if lasted { "attaching it again" } else { "attaching it again after 1 to 60 s" };
                let line = format!("{what}; {remedy}");
                if self.is_due(&interface, &line) {
                    tracing::warn!(interface, "{line}");
                }
            }
            _ if !self.agent.permits(Scope::Agent) => {}
            Report::StaleVipRemoved(found) => {
                let Address { address, prefix, .. } = found;
                tracing::warn!(%address, prefix, "removed stale VIP left by a previous run or by a removed instance");
            }
            Report::VipRemoved { router, address: Address { address, prefix, .. }, is_master } => {
                let instance = self.instance(router).map(|config| config.name.as_str());
                let found = if is_master { "on the macvlan's parent" } else { "while not master" };
                tracing::warn!(instance, %address, prefix, "VIP present {found}; removed");
            }
            Report::AddressRefused { address: Address { address, prefix, .. }, is_added, error } => {
                // Neither a change to the lifetime of a present VIP nor the removal of an address
                // that is no longer configured is retried.
                let (verb, when) = if is_added { ("add", "missing") } else { ("remove", "still configured") };
                tracing::error!(%address, prefix, %error, "cannot {verb} VIP; retrying after 1 to 60 s if it is {when}");
            }
            Report::MacvlanRefused { router, error } => {
                let instance = self.instance(router).map(|config| config.name.as_str());
                tracing::error!(instance, %error, "cannot bring the macvlan up; retrying after 1 to 60 s");
            }
            Report::RoutingRefused { settings, position, errno, explanation } => {
                let (instance, explanation) = (settings.name.as_str(), explanation.as_deref());
                let Some(entry) = routing::entry(&settings, position) else { return };
                let reason = routing::reason(&settings, position, errno);
                tracing::error!(
                    instance,
                    explanation,
                    "cannot add {entry}: {reason}; retrying after 1 to 60 s"
                );
            }
            Report::RoutingRestored { settings, position } => {
                let Some(entry) = routing::entry(&settings, position) else { return };
                tracing::warn!(instance = settings.name, "{entry} was missing; restored");
            }
            Report::RoutingNotRemoved { entry, errno } => {
                let error = io::Error::from_raw_os_error(errno);
                tracing::error!(%error, "cannot remove {entry}; retrying after 1 to 60 s");
            }
            Report::NotCovered { router, error } => {
                let config = self.instance(router);
                let instance = config.map(|config| config.name.as_str());
                if config.is_some_and(|config| config.accept) {
                    tracing::error!(instance, %error, "cannot update the BPF program's map of VIPs: VIPs that it lacks cannot be fenced");
                } else {
                    tracing::error!(
                        instance, %error,
                        "VIPs with accept = false not added: cannot block traffic to them; retrying after 1 to 60 s"
                    );
                }
            }
            Report::NotGuarded { router } => {
                let instance = self.instance(router).map(|config| config.name.as_str());
                tracing::error!(
                    instance,
                    "no room in the guardian's memory: if this process dies, no priority-0 advert is sent"
                );
            }
            Report::NoRoom(error) => tracing::error!("{error}"),
            Report::NotRealtime { what, error } => {
                tracing::warn!(%error, "running without {what}: deadlines may be missed under load");
            }
        }
    }

    /// Returns whether a failure that may repeat should be logged now.
    fn is_due(&mut self, subject: &str, failure: &str) -> bool {
        if !self.failures.contains_key(subject) {
            self.failures.insert(subject.to_owned(), Repeats::default());
        }
        self.failures.get_mut(subject).is_some_and(|repeats| repeats.is_due(failure, Instant::now()))
    }

    fn event(&mut self, router: RouterId, event: &Event) {
        let Some(log) = self.instances.get_mut(&router) else { return };
        let is_transition = matches!(event, Event::StateChanged { .. });
        if is_transition {
            log.logged.clear();
        }
        if log.permits() {
            log.transitions += u64::from(is_transition);
            event::write(&log.config, event);
        } else {
            self.has_unlogged_transitions |= is_transition;
        }
    }

    /// Returns whether the rate limit has suppressed a state change that
    /// [`lost_transitions`](Self::lost_transitions) has not yet logged.
    pub(super) fn has_unlogged_transitions(&self) -> bool {
        self.has_unlogged_transitions
    }

    /// Logs the latest state change of each instance whose state changes were not all logged,
    /// because the channel was full or the rate limit suppressed them.
    pub(super) fn lost_transitions(&mut self, latest: &[(RouterId, Transition)]) {
        self.has_unlogged_transitions = false;
        for (router, Transition { state, reason, count, .. }) in latest {
            let Some(log) = self.instances.get_mut(router) else { continue };
            let lost = count.saturating_sub(log.transitions);
            if lost == 0 {
                continue;
            }
            if !log.permits() {
                self.has_unlogged_transitions = true;
                continue;
            }
            log.transitions = *count;
            log.logged.clear();
            let instance = log.config.name.as_str();
            tracing::warn!(instance, to = %state, %reason, changes = lost, "state changed; earlier lines were dropped");
        }
    }

    /// Logs why adverts were discarded. Each reason is logged at most once until the instance
    /// changes state.
    pub(super) fn discards(&mut self, row_of: impl Fn(Row) -> CounterRow) {
        for log in self.instances.values_mut() {
            let row = row_of(log.row);
            for (counter, reason) in drop_reasons() {
                let new = row.get(counter).wrapping_sub(log.last.get(counter));
                if new > 0 && !log.logged.contains(reason) && log.permits() {
                    log.logged.insert(reason);
                    tracing::warn!(instance = log.config.name, adverts = new, reason, "adverts discarded");
                }
            }
            log.last = row;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use tokio::sync::mpsc;
    use vipd_common::Timestamp;

    use super::*;
    use crate::config::Config;
    use crate::engine::command::Reports;
    use crate::engine::id::Id as _;
    use crate::service::bus::bus;
    use crate::vrrp::{Reason, State};
    use crate::xdp::Rows;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        /// Runs `job` and returns the lines it logged.
        fn capture(job: impl FnOnce()) -> Vec<String> {
            let lines = Self::default();
            let writer = lines.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_writer(move || writer.clone())
                .with_ansi(false)
                .without_time()
                .with_target(false)
                .finish();
            tracing::subscriber::with_default(subscriber, job);
            let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("UTF-8");
            text.lines().map(|line| line.trim().to_owned()).collect()
        }
    }

    fn log() -> Log {
        let text = "[[instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvrid = 1\nvirtual_addresses = [\"10.0.0.1\"]\n";
        let Ok(config) = Config::parse(text, "vipd.toml") else { panic!("a valid configuration") };
        let row = Rows::new(1).allocate().expect("a row");
        Log::new(&[(RouterId::new(0, 0), row, Arc::clone(&config.instances[0]))])
    }

    fn change(to: State, reason: Reason) -> Event {
        Event::StateChanged { from: State::Backup, to, reason, late: 0 }
    }

    #[test]
    fn state_changes_missing_from_the_channel_are_logged_from_the_bus() {
        let mut log = log();
        let (sender, mut received) = mpsc::channel(2);
        let (publisher, mut transitions) = bus(1);
        let mut reports = Reports::new(sender, publisher);
        let router = RouterId::new(0, 0);
        for (at, to) in (1..=5).zip([State::Backup, State::Master].into_iter().cycle()) {
            reports.event(Timestamp::from_nanos(at), router, change(to, Reason::PriorityZero));
        }
        reports.event(Timestamp::from_nanos(6), router, change(State::Master, Reason::MasterTimeout));
        assert_eq!(reports.dropped, 4);
        let lines = Lines::capture(|| {
            let latest = transitions.take();
            while let Ok(report) = received.try_recv() {
                log.write(report);
            }
            log.lost_transitions(&latest);
            log.lost_transitions(&latest);
        });
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert_eq!(
            lines[2],
            "WARN state changed; earlier lines were dropped instance=\"VI_1\" to=master reason=master-timeout changes=4"
        );
    }

    #[test]
    fn rate_limited_state_changes_are_logged_later() {
        let mut log = log();
        let (sender, mut received) = mpsc::channel(64);
        let (publisher, mut transitions) = bus(1);
        let mut reports = Reports::new(sender, publisher);
        let router = RouterId::new(0, 0);
        for at in 0..30 {
            reports.event(Timestamp::from_nanos(at), router, change(State::Master, Reason::Startup));
        }
        let first = Lines::capture(|| {
            while let Ok(report) = received.try_recv() {
                log.write(report);
            }
        });
        let lost = 30 - first.len();
        assert!(lost > 0, "the rate limit is below 30 lines");
        assert!(log.has_unlogged_transitions());
        // A new limit simulates a pause after which lines are permitted again.
        log.instances.values_mut().for_each(|log| log.limit = Limit::new());
        let later = Lines::capture(|| log.lost_transitions(&transitions.take()));
        let expected = format!(
            "WARN state changed; earlier lines were dropped instance=\"VI_1\" to=master reason=startup changes={lost}"
        );
        assert_eq!(later, [expected]);
        assert!(!log.has_unlogged_transitions());
    }
}
