//! An instance as shown: its status, and rates computed from two reports.

use std::time::Duration;

use crate::cli::stats::{Counters, rate};
use crate::control::counters::Counter;
use crate::control::explain;
use crate::control::model::{InstanceStats, InstanceStatus, PeerStatus, State, TrackedObject};

/// An instance with its rates, and with the lateness of its timers as reported by events.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) status: InstanceStatus,
    /// Valid adverts received per second; `None` without two reports of the same agent.
    pub(super) received: Option<f64>,
    /// Adverts sent per second; `None` without two reports of the same agent.
    pub(super) sent: Option<f64>,
    /// Nonzero counters of dropped adverts.
    pub(super) drops: Vec<Drops>,
    pub(super) lateness: Option<Lateness>,
}

/// Adverts dropped for one reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drops {
    pub(super) counter: &'static Counter,
    pub(super) count: u64,
    /// The count in the previous report, and the time since that report.
    pub(super) before: Option<(u64, Duration)>,
}

/// Delay of the timers that changed the state of an instance, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lateness {
    pub(super) last: u64,
    pub(super) longest: u64,
}

/// The router that is master, as seen by this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Master<'a> {
    Unknown,
    This,
    /// Another router; its priority and last advert are known unless more than 16 routers have sent
    /// adverts.
    Other(String, Option<&'a PeerStatus>),
}

impl Row {
    /// Creates a row. `now` holds the instance's counters; `then` holds those of the previous
    /// report and the time since that report.
    pub(super) fn new(
        status: InstanceStatus,
        now: Option<&InstanceStats>,
        then: Option<(&InstanceStats, Duration)>,
        lateness: Option<Lateness>,
    ) -> Self {
        let now = now.map(Counters::of);
        let then = then.map(|(stats, time)| (Counters::of(stats), time));
        let per_second = |name: &str| {
            let (then, time) = then.as_ref()?;
            rate(now.as_ref()?.get(name), then.get(name), *time)
        };
        let received = per_second("advertisement-rcvd");
        let sent = per_second("advertisement-sent");
        let drops = now
            .iter()
            .flat_map(Counters::entries)
            .filter(|(counter, count)| counter.reason.is_some() && *count > 0);
        let drops = drops.map(|(counter, count)| Drops {
            counter,
            count,
            before: then.as_ref().map(|(then, time)| (then.get(counter.name), *time)),
        });
        Self { received, sent, drops: drops.collect(), lateness, status }
    }

    pub(super) fn name(&self) -> &str {
        &self.status.name
    }

    /// Returns the number of dropped adverts.
    pub(super) fn dropped(&self) -> u64 {
        self.drops.iter().fold(0, |sum, drops| sum.saturating_add(drops.count))
    }

    pub(super) fn master(&self) -> Master<'_> {
        match (self.status.state, self.status.last_adv_source) {
            (State::Master, _) => Master::This,
            (State::Backup, Some(source)) => {
                let peer = self.status.peers.iter().find(|peer| peer.address == source);
                Master::Other(source.to_string(), peer)
            }
            _ => Master::Unknown,
        }
    }

    /// Returns the milliseconds since the master's last advert; `None` unless another router is
    /// master and its last advert is known (see [`Master::Other`]).
    pub(super) fn last_advert_ms(&self) -> Option<u64> {
        match self.master() {
            Master::Other(_, peer) => peer.map(|peer| peer.last_heard_ms),
            Master::This | Master::Unknown => None,
        }
    }

    /// Returns the number of tracked objects whose state is neither down nor unknown.
    pub(super) fn passing_checks(&self) -> usize {
        self.status.track.iter().filter(|object| !is_failing(object)).count()
    }

    /// Explains in a few words a fault, a missing address or route, or an effective priority other
    /// than the configured one.
    pub(super) fn note(&self) -> Option<String> {
        let status = &self.status;
        if let Some(reason) = &status.fault_reason {
            return Some(reason.clone());
        }
        if let Some(missing) = status.missing_addresses.iter().chain(&status.missing_routes).next() {
            return Some(format!("missing: {missing}"));
        }
        explain::priority(status)
    }
}

/// Returns whether the object is down or has no known state yet.
pub(super) fn is_failing(object: &TrackedObject) -> bool {
    matches!(object.state.as_str(), "down" | "unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{instance_stats, instance_status};
    use crate::control::model::Statistics;

    fn stats(statistics: &Statistics) -> InstanceStats {
        instance_stats("VI_1", "eth1", 51, statistics)
    }

    fn row(status: InstanceStatus) -> Row {
        Row::new(status, None, None, None)
    }

    #[test]
    fn rates_and_drops_come_from_two_reports() {
        let then = stats(&Statistics { advertisement_rcvd: 100, checksum_errors: 1, ..Default::default() });
        let now = stats(&Statistics {
            advertisement_rcvd: 150,
            checksum_errors: 4,
            ip_ttl_errors: 2,
            // Refused by the engine.
            hmac_failures: 5,
            // This counter does not count dropped adverts.
            gratuitous_arp_sent: 9,
            ..Default::default()
        });
        let time = Duration::from_secs(2);
        let status = instance_status("VI_1", State::Backup);
        let row = Row::new(status.clone(), Some(&now), Some((&then, time)), None);
        assert_eq!((row.received, row.sent, row.dropped()), (Some(25.0), Some(0.0), 11));
        let drops: Vec<_> =
            row.drops.iter().map(|drops| (drops.counter.name, drops.count, drops.before)).collect();
        assert_eq!(
            drops,
            [
                ("vipd:checksum-errors", 4, Some((1, time))),
                ("vipd:ip-ttl-errors", 2, Some((0, time))),
                ("vipd:hmac-failures", 5, Some((0, time))),
            ]
        );
        let first = Row::new(status.clone(), Some(&now), None, None);
        assert_eq!((first.received, first.dropped()), (None, 11));
        // The agent was restarted: its counters were reset.
        let restarted = Row::new(status, Some(&then), Some((&now, time)), None);
        assert_eq!(restarted.received, None);
    }

    #[test]
    fn time_since_the_last_advert_refers_to_the_master() {
        let peer = |last: u8, priority, last_heard_ms| PeerStatus {
            address: [192, 0, 2, last].into(),
            priority,
            checksum: "rfc5798".to_owned(),
            last_heard_ms,
            key_id: None,
            clock_offset_ms: None,
        };
        let peers = vec![peer(3, 50, 90_000), peer(2, 150, 320)];
        let backup = row(InstanceStatus { peers: peers.clone(), ..instance_status("VI_1", State::Backup) });
        assert_eq!(backup.last_advert_ms(), Some(320));
        assert_eq!(backup.master(), Master::Other("192.0.2.2".to_owned(), Some(&peers[1])));
        let master = row(InstanceStatus { peers, ..instance_status("VI_1", State::Master) });
        assert_eq!((master.last_advert_ms(), master.master()), (None, Master::This));
        let waiting = row(InstanceStatus { last_adv_source: None, ..instance_status("VI_1", State::Backup) });
        assert_eq!((waiting.last_advert_ms(), waiting.master()), (None, Master::Unknown));
    }

    #[test]
    fn note_explains_faults_and_priorities() {
        let object = |state: &str, weight| TrackedObject {
            kind: "script".to_owned(),
            name: "web".to_owned(),
            state: state.to_owned(),
            weight,
            detail: None,
            since_ms: 0,
            changes: 0,
        };
        let plain = instance_status("VI_1", State::Backup);
        assert_eq!(row(plain.clone()).note(), None);
        let lowered = InstanceStatus { effective_priority: 40, ..plain };
        assert_eq!(row(lowered.clone()).note().as_deref(), Some("set by `vipd priority`"));
        let tracked = InstanceStatus {
            track: vec![object("down", Some(-60)), object("up", Some(-5)), object("unknown", None)],
            ..lowered.clone()
        };
        assert_eq!(row(tracked.clone()).note().as_deref(), Some("script web down (-60)"));
        assert_eq!(row(tracked.clone()).passing_checks(), 1);
        let member = InstanceStatus { group: Some("gateway".to_owned()), ..lowered };
        assert_eq!(row(member).note().as_deref(), Some("lowest priority of the sync group gateway"));
        let fault = InstanceStatus { fault_reason: Some("interface eth1 is down".to_owned()), ..tracked };
        assert_eq!(row(fault).note().as_deref(), Some("interface eth1 is down"));
    }
}
