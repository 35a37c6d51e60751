//! Writes log lines.
//!
//! Two limits apply to lines that another router can trigger repeatedly: the core reports each kind
//! of event once until the state or the master changes, and this module limits the rate per
//! instance. The latest state change is always logged, if necessary as one line for several
//! changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vipd_common::counters::CounterRow;

use super::bus::Transition;
use crate::config::Instance;
use crate::control::counters::drop_reasons;
use crate::engine::command::Report;
use crate::engine::id::RouterId;
use crate::netlink::Address;
use crate::vrrp::{Discard, Event, Interval, Reason, State, Version};
use crate::xdp::Row;

/// Number of lines that an instance may log in one burst.
const BURST: u32 = 20;
/// Interval at which one more line is allowed after a burst.
const REFILL: Duration = Duration::from_millis(500);
/// Minimum pause before a repeated failure of the agent is logged again.
const MIN_PAUSE: Duration = Duration::from_secs(60);
/// Maximum pause before a repeated failure of the agent is logged again.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// Writes reports as log lines.
pub(super) struct Log {
    instances: BTreeMap<RouterId, InstanceLog>,
    /// Limit for reports that do not belong to an instance.
    agent: Limit,
    /// Failures of the agent that may repeat, by subject.
    failures: BTreeMap<String, Repeats>,
}

struct InstanceLog {
    config: Arc<Instance>,
    row: Row,
    limit: Limit,
    /// Discard reasons logged since the last state change.
    logged: BTreeSet<&'static str>,
    /// Counters when they were last checked.
    last: CounterRow,
    /// Number of state changes logged so far, including those in a line for several changes.
    transitions: u64,
}

/// A token bucket for log lines.
struct Limit {
    tokens: u32,
    refilled: Instant,
    suppressed: u64,
}

impl Limit {
    fn new() -> Self {
        Self { tokens: BURST, refilled: Instant::now(), suppressed: 0 }
    }

    /// Returns whether a line may be logged now. If lines were suppressed before it, first logs how
    /// many, with `name` as the instance.
    fn permits(&mut self, name: &str) -> bool {
        let periods = self.refilled.elapsed().as_millis() / REFILL.as_millis();
        if let Ok(periods @ 1..) = u32::try_from(periods) {
            self.tokens = self.tokens.saturating_add(periods).min(BURST);
            self.refilled = Instant::now();
        }
        if self.tokens == 0 {
            self.suppressed += 1;
            return false;
        }
        self.tokens -= 1;
        if self.suppressed > 0 {
            let lines = std::mem::take(&mut self.suppressed);
            tracing::warn!(instance = name, "log rate limit: {lines} lines suppressed");
        }
        true
    }
}

/// A failure that may repeat. It is logged again when its text changes, or after a pause that
/// doubles each time.
#[derive(Default)]
struct Repeats {
    last: String,
    next: Option<(Instant, Duration)>,
}

impl Repeats {
    fn is_due(&mut self, failure: &str, now: Instant) -> bool {
        let pause = match self.next {
            Some((at, _)) if self.last == failure && now < at => return false,
            Some((at, pause)) if self.last == failure && now < at + pause => (pause * 2).min(MAX_PAUSE),
            // A different failure, or one that has not occurred for a while.
            _ => MIN_PAUSE,
        };
        failure.clone_into(&mut self.last);
        self.next = Some((now + pause, pause));
        true
    }
}

impl InstanceLog {
    fn permits(&mut self) -> bool {
        self.limit.permits(&self.config.name)
    }
}

impl Log {
    pub(super) fn new(roster: &[(RouterId, Row, Arc<Instance>)]) -> Self {
        let log = |row, config| InstanceLog {
            config,
            row,
            limit: Limit::new(),
            logged: BTreeSet::new(),
            last: CounterRow::default(),
            transitions: 0,
        };
        let instances = roster.iter().map(|(id, row, config)| (*id, log(*row, Arc::clone(config))));
        Self { instances: instances.collect(), agent: Limit::new(), failures: BTreeMap::new() }
    }

    /// Logs a report, unless a limit suppresses it.
    pub(super) fn write(&mut self, report: Report) {
        match report {
            Report::Router { router, event } => self.event(router, &event),
            Report::SendRefused { router, error } => {
                if let Some(log) = self.instances.get_mut(&router)
                    && log.permits()
                {
                    let remedy = match error.raw_os_error() {
                        // The address list does not fit into one packet.
                        Some(libc::EMSGSIZE) => "move addresses to virtual_addresses_excluded",
                        _ => "further failures are not logged until a send succeeds",
                    };
                    tracing::warn!(instance = log.config.name, %error, remedy, "cannot send");
                }
            }
            Report::NetlinkFailed(error) => {
                let failure = error.to_string();
                if self.is_due("netlink dump", &failure) {
                    tracing::error!(error = failure, "cannot read links and addresses; trying again");
                }
            }
            Report::NetlinkOverrun => {
                if self.is_due("netlink notifications", "") {
                    tracing::warn!("netlink notifications were lost; reading all links and addresses again");
                }
            }
            Report::XdpDetached { interface } => {
                if self.is_due(&interface, "") {
                    tracing::warn!(interface, "XDP program detached externally; attaching it again");
                }
            }
            _ if !self.agent.permits("agent") => {}
            Report::StaleVipRemoved(found) => {
                tracing::warn!(address = %found.address, prefix = found.prefix, "removed stale VIP left by a previous run");
            }
            Report::VipRemoved { router, address: Address { address, prefix, .. } } => {
                let instance = self.instances.get(&router).map_or("", |log| log.config.name.as_str());
                tracing::warn!(instance, %address, prefix, "VIP present while not master; removed");
            }
            Report::AddressRefused { address: Address { address, prefix, .. }, is_added, error } => {
                let verb = if is_added { "add" } else { "remove" };
                tracing::error!(%address, prefix, %error, "cannot {verb} VIP; retrying after 1 to 60 s");
            }
            Report::MacvlanRefused { router, error } => {
                let instance = self.instances.get(&router).map_or("", |log| log.config.name.as_str());
                tracing::error!(instance, %error, "cannot bring the macvlan up; retrying after 1 to 60 s");
            }
            Report::NotClosed { router, error } => {
                let instance = self.instances.get(&router).map_or("", |log| log.config.name.as_str());
                tracing::error!(
                    instance, %error,
                    "VIPs with accept = false not added: cannot block traffic to them; retrying after 1 to 60 s"
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
            write(&log.config, event);
        }
    }

    /// Logs the latest state change of each instance whose state changes were not all logged,
    /// because the channel was full or the rate limit suppressed them.
    pub(super) fn lost_transitions(&mut self, latest: &[(RouterId, Transition)]) {
        for (router, Transition { state, reason, count, .. }) in latest {
            let Some(log) = self.instances.get_mut(router) else { continue };
            let lost = count.saturating_sub(log.transitions);
            if lost > 0 && log.permits() {
                log.transitions = *count;
                log.logged.clear();
                let instance = log.config.name.as_str();
                tracing::warn!(instance, to = %state, %reason, changes = lost, "state changed; earlier lines were dropped");
            }
        }
    }

    /// Logs why adverts were discarded: each reason once until the instance changes state.
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

fn write(config: &Instance, event: &Event) {
    let instance = config.name.as_str();
    match event {
        Event::StateChanged { from, to, reason, late } => {
            if matches!(reason, Reason::MasterTimeout | Reason::Preempted | Reason::PriorityZero) {
                tracing::info!(instance, %from, %to, %reason, late_us = late / 1000, "state changed");
            } else if matches!(to, State::Fault(_)) || *reason == Reason::Stalled {
                tracing::warn!(instance, %from, %to, %reason, "state changed");
            } else {
                tracing::info!(instance, %from, %to, %reason, "state changed");
            }
        }
        Event::MasterChanged { source, priority } => {
            tracing::info!(instance, master = %source, priority, "following a master");
        }
        Event::Discarded { reason, source } => {
            let (reason, remedy) = match reason {
                Discard::OwnSource => {
                    ("its source is our own address", "look for a loop or a duplicate address")
                }
                Discard::Interval => {
                    ("advert interval mismatch", "configure the same advert_interval on all routers")
                }
                Discard::AddressList => {
                    ("address list mismatch", "configure the same virtual_addresses on all routers")
                }
                Discard::Owner => {
                    ("this router is the address owner", "configure priority 255 on one router only")
                }
            };
            tracing::warn!(instance, %source, reason, remedy, "advert ignored");
        }
        Event::IntervalAdopted { source, interval } => {
            let theirs = Interval::from_wire(Version::V3, *interval).map(|interval| interval.to_string());
            let theirs = theirs.unwrap_or_default();
            let ours = config.router.interval;
            tracing::warn!(instance, %source, theirs, %ours, "advert interval mismatch; using the master's interval");
        }
        Event::AddressListDiffers { source } => {
            tracing::warn!(instance, %source, "address list mismatch: the router advertises other addresses");
        }
        Event::OwnerConflict { source } => {
            tracing::warn!(instance, %source, "another router also has priority 255; configure it on one only");
        }
        Event::LosingAdvert { source, priority } => {
            tracing::warn!(
                instance, %source, priority,
                "split brain: a lower-priority router also claims master; re-advertising"
            );
        }
        Event::Reannounced => {
            tracing::info!(instance, "split brain is over; VIPs announced again");
        }
        Event::AddressRestored(address) => {
            tracing::warn!(instance, %address, "VIP removed externally; restored and announced");
        }
        Event::PrimaryChanged { primary } => tracing::info!(instance, %primary, "primary address changed"),
        Event::FeedLoss => {
            tracing::warn!(instance, "adverts were lost between the XDP program and the agent");
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
        Log::new(&[(RouterId::new(0, 0), row, Arc::new(config.instances[0].clone()))])
    }

    fn change(to: State, reason: Reason) -> Event {
        Event::StateChanged { from: State::Backup, to, reason, late: 0 }
    }

    #[test]
    fn state_changes_dropped_from_the_channel_are_logged_from_the_bus() {
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
    fn state_changes_suppressed_by_the_rate_limit_are_logged_later() {
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
        // Simulates a pause after which lines are allowed again.
        log.instances.values_mut().for_each(|log| log.limit = Limit::new());
        let later = Lines::capture(|| log.lost_transitions(&transitions.take()));
        let expected = format!(
            "WARN state changed; earlier lines were dropped instance=\"VI_1\" to=master reason=startup changes={lost}"
        );
        assert_eq!(later, [expected]);
    }

    #[test]
    fn repeated_failure_is_logged_at_growing_intervals_until_it_changes() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        let logged: Vec<u64> = (0..1000)
            .filter(|second| repeats.is_due("no buffer space", start + Duration::from_secs(*second)))
            .collect();
        assert_eq!(logged, [0, 60, 180, 420, 900]);
        assert!(repeats.is_due("no memory", start + Duration::from_secs(1000)));
        let later = start + Duration::from_secs(100_000);
        assert!(repeats.is_due("no memory", later));
        assert!(repeats.is_due("no memory", later + Duration::from_secs(60)), "the pause is 60 s again");
    }
}
