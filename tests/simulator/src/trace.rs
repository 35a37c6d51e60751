//! The last events of a world, as text.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::IpAddr;

use vipd::vrrp::{Reason, State};

/// An event on a host, on one of its virtual routers, or on the LAN.
#[derive(Clone, Copy, Debug, Hash)]
pub enum TraceEvent {
    /// A router sent an advert with this priority.
    Sent(u8),
    /// A router handled an advert with this source and priority.
    Received(IpAddr, u8),
    /// A router changed state, for this reason.
    Changed(State, State, Reason),
    /// A host started, or its link came back.
    Started,
    /// A host shut down cleanly.
    Stopped,
    /// A host crashed, or its killed process is about to be started again.
    Crashed,
    /// The process of a host was killed; the host's kernel keeps running.
    Killed,
    /// A host lost its link.
    LostLink,
    /// A host's process stalled for this many nanoseconds.
    Stalled(u64),
    /// A host's process resumed.
    Resumed,
    /// A host was moved to this partition of the LAN.
    Partition(u64),
    /// The LAN starts to lose this percentage of adverts.
    Loses(u64),
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(priority) => write!(f, "sends an advert, priority {priority}"),
            Self::Received(source, priority) => {
                write!(f, "handles an advert from {source}, priority {priority}")
            }
            Self::Changed(from, to, reason) => write!(f, "changes from {from} to {to}: {reason}"),
            Self::Started => f.write_str("starts"),
            Self::Stopped => f.write_str("stops"),
            Self::Crashed => f.write_str("crashes"),
            Self::Killed => f.write_str("has its process killed"),
            Self::LostLink => f.write_str("loses its link"),
            Self::Stalled(nanos) => write!(f, "stalls for {} ms", nanos / 1_000_000),
            Self::Resumed => f.write_str("resumes"),
            Self::Partition(partition) => write!(f, "is in partition {partition} of the LAN"),
            Self::Loses(percent) => write!(f, "the LAN loses {percent} % of all adverts"),
        }
    }
}

/// An event with its time, host and virtual router.
#[derive(Clone, Copy, Debug, Hash)]
struct Entry {
    now: u64,
    host: usize,
    group: Option<usize>,
    event: TraceEvent,
}

/// The last events, and a digest of all events.
pub(crate) struct Trace {
    last: VecDeque<Entry>,
    digest: DefaultHasher,
    /// Whether events are printed as they happen.
    verbose: bool,
}

/// Number of events that are kept: several hundred per virtual router.
const KEPT: usize = 20_000;
/// Number of events that are shown for a virtual router.
const SHOWN: usize = 60;

impl Trace {
    pub(crate) fn new(verbose: bool) -> Self {
        Self { last: VecDeque::with_capacity(KEPT), digest: DefaultHasher::new(), verbose }
    }

    pub(crate) fn add(&mut self, now: u64, host: usize, group: Option<usize>, event: TraceEvent) {
        let entry = Entry { now, host, group, event };
        if self.verbose {
            anstream::println!("{entry}");
        }
        entry.hash(&mut self.digest);
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(entry);
    }

    /// Returns the digest of all events.
    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// Returns the last events of a virtual router. Adverts handled by hosts other than `host` are
    /// omitted.
    pub(crate) fn of(&self, group: usize, host: usize) -> Vec<String> {
        let relevant = self.last.iter().rev().filter(|entry| {
            let other_host = matches!(entry.event, TraceEvent::Received(..)) && entry.host != host;
            entry.group.is_none_or(|other| other == group) && !other_host
        });
        let mut lines: Vec<_> = relevant.take(SHOWN).map(ToString::to_string).collect();
        lines.reverse();
        lines
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now, host, group, event } = self;
        write!(f, "{:>9}.{:06} ms  host {host:<3}", now / 1_000_000, now % 1_000_000)?;
        match group {
            Some(group) => write!(f, " vrid {:<4} {event}", group + 1),
            None => write!(f, "           {event}"),
        }
    }
}
