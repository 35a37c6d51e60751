//! Log lines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vipd_common::counters::{Counter, CounterRow};

use crate::config::Instance;
use crate::engine::command::Report;
use crate::engine::id::RouterId;
use crate::netlink::Address;
use crate::vrrp::{Discard, Event, Interval, Reason, State, Version};
use crate::xdp::Row;

/// Lines an instance may write back to back.
const BURST: u32 = 20;
/// After that, one in this time.
const REFILL: Duration = Duration::from_millis(500);

/// The kernel side's reasons to discard, with the words for them.
const DISCARDS: [(Counter, &str); 13] = [
    (Counter::IpHeaderErrors, "wrong IPv4 header checksum, or an impossible source"),
    (
        Counter::IpTtlErrors,
        "TTL or Hop Limit is too small: routed, or forged from afar; a unicast peer behind routers needs min_ttl",
    ),
    (Counter::VersionErrors, "another VRRP version than configured"),
    (Counter::InvalidTypeRcvd, "unknown type"),
    (Counter::PacketLengthErrors, "length does not fit the address count"),
    (Counter::AddressCountErrors, "no addresses"),
    (Counter::ChecksumErrors, "wrong VRRP checksum"),
    (Counter::IntervalZeroErrors, "interval is 0"),
    (Counter::InvalidAuthType, "unknown authentication type"),
    (Counter::AuthTypeMismatch, "another authentication type than configured"),
    (Counter::AuthFailures, "another password than configured"),
    (Counter::PeerErrors, "its sender is no configured unicast peer"),
    (
        Counter::RateLimited,
        "valid, but its sender says more than any interval allows; `vipd status --json` lists who was heard",
    ),
];

/// Writes reports as log lines; who has too much to say is cut short, and that is said.
pub(super) struct Log {
    instances: BTreeMap<RouterId, Voice>,
    /// For what belongs to no instance.
    agent: Limit,
}

struct Voice {
    config: Arc<Instance>,
    row: Row,
    limit: Limit,
    /// Which of the kernel side's discards were told, until the state changes.
    told: [bool; DISCARDS.len()],
    last: CounterRow,
}

/// How many lines one speaker may still write.
struct Limit {
    tokens: u32,
    refilled: Instant,
    suppressed: u64,
}

impl Limit {
    fn new() -> Self {
        Self { tokens: BURST, refilled: Instant::now(), suppressed: 0 }
    }

    /// Whether `speaker` may write a line now.
    fn permits(&mut self, speaker: &str) -> bool {
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
            tracing::warn!(instance = speaker, lines, "lines left out: too many in a short time");
        }
        true
    }
}

impl Voice {
    fn may_speak(&mut self) -> bool {
        self.limit.permits(&self.config.name)
    }
}

impl Log {
    pub(super) fn new(roster: &[(RouterId, Row, Arc<Instance>)]) -> Self {
        let voice = |row, config| Voice {
            config,
            row,
            limit: Limit::new(),
            told: [false; DISCARDS.len()],
            last: CounterRow::default(),
        };
        let voices = roster.iter().map(|(id, row, config)| (*id, voice(*row, Arc::clone(config))));
        Self { instances: voices.collect(), agent: Limit::new() }
    }

    /// Writes a report.
    pub(super) fn write(&mut self, report: Report) {
        match report {
            Report::Router { router, event } => self.event(router, &event),
            Report::SendRefused { router, error } => {
                if let Some(voice) = self.instances.get_mut(&router)
                    && voice.may_speak()
                {
                    let remedy = match error.raw_os_error() {
                        // The list does not fit into a packet.
                        Some(libc::EMSGSIZE) => "move addresses to virtual_addresses_excluded",
                        _ => "told once until it works",
                    };
                    tracing::warn!(instance = voice.config.name, %error, remedy, "cannot send");
                }
            }
            _ if !self.agent.permits("agent") => {}
            Report::StaleVipRemoved(found) => {
                tracing::warn!(address = %found.address, prefix = found.prefix, "removed stale VIP left by a previous run");
            }
            Report::VipRemoved { router, address: Address { address, prefix, .. } } => {
                let instance = self.instances.get(&router).map_or("", |voice| voice.config.name.as_str());
                tracing::warn!(instance, %address, prefix, "VIP present while not master; removed");
            }
            Report::AddressRefused { address: Address { address, prefix, .. }, is_added, error } => {
                let verb = if is_added { "add" } else { "remove" };
                tracing::error!(%address, prefix, %error, "cannot {verb} VIP; retrying after 1 to 60 s");
            }
            Report::NoRoom(error) => tracing::error!("{error}"),
            Report::NetlinkOverrun => {
                tracing::warn!("netlink notifications were lost; reading everything anew");
            }
            Report::NetlinkFailed(error) => tracing::error!(%error, "netlink failed"),
            Report::NotRealtime { what, error } => {
                tracing::warn!(%error, "running without {what}: deadlines may be missed under load");
            }
        }
    }

    fn event(&mut self, router: RouterId, event: &Event) {
        let Some(voice) = self.instances.get_mut(&router) else { return };
        if matches!(event, Event::StateChanged { .. }) {
            voice.told = [false; DISCARDS.len()];
        }
        if voice.may_speak() {
            write(&voice.config, event);
        }
    }

    /// Tells once, until the state changes, of each reason for which the kernel side has discarded adverts.
    pub(super) fn discards(&mut self, row_of: impl Fn(Row) -> CounterRow) {
        for voice in self.instances.values_mut() {
            let row = row_of(voice.row);
            for (place, (counter, reason)) in DISCARDS.iter().enumerate() {
                let new = row.get(*counter).wrapping_sub(voice.last.get(*counter));
                if new > 0 && !voice.told[place] && voice.may_speak() {
                    voice.told[place] = true;
                    tracing::warn!(instance = voice.config.name, adverts = new, reason, "adverts discarded");
                }
            }
            voice.last = row;
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
                    ("it comes from our own address", "look for a loop or a duplicate address")
                }
                Discard::Interval => {
                    ("its interval is not ours", "configure the same advert_interval everywhere")
                }
                Discard::AddressList => {
                    ("its addresses are not ours", "configure the same virtual_addresses everywhere")
                }
                Discard::Owner => ("we own the addresses", "configure priority 255 on one router only"),
            };
            tracing::warn!(instance, %source, reason, remedy, "advert ignored");
        }
        Event::IntervalAdopted { source, interval } => {
            let theirs = Interval::from_wire(Version::V3, *interval).map(|interval| interval.to_string());
            let theirs = theirs.unwrap_or_default();
            let ours = config.router.interval;
            tracing::warn!(instance, %source, theirs, %ours, "the master's interval is not ours; following it");
        }
        Event::AddressListDiffers { source } => {
            tracing::warn!(instance, %source, "a router advertises other addresses than ours");
        }
        Event::OwnerConflict { source } => {
            tracing::warn!(instance, %source, "another router claims priority 255, too; configure it on one only");
        }
        Event::LosingAdvert { source, priority } => {
            tracing::warn!(instance, %source, priority, "a second master of lower precedence; asserting ourselves");
        }
        Event::Reannounced => {
            tracing::info!(instance, "the second master is gone; addresses announced again");
        }
        Event::AddressRestored(address) => {
            tracing::warn!(instance, %address, "VIP removed externally; restored and announced");
        }
        Event::PrimaryChanged { primary } => tracing::info!(instance, %primary, "primary address changed"),
        Event::FeedLoss => tracing::warn!(instance, "adverts were lost between the kernel and the agent"),
    }
}
