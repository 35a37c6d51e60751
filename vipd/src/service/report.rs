//! Builds the `status` and `stats` reports.

mod reason;

use std::sync::Arc;
use std::time::SystemTime;

use rustix::system::uname;
use tokio::sync::oneshot;
use vipd_common::Timestamp;
use vipd_common::counters::{Counter, CounterRow, ROW_UNASSIGNED};
use vipd_common::parse::ChecksumForm;

use super::bus::{Latest, Transition};
use super::configured::Configured;
use super::events::{EventLog, rfc3339};
use super::groups::group_state;
use super::health;
use super::notify::{Counts, SharedCounts};
use super::order::{Author, Order, Orders};
use super::public;
use super::routing::missing;
use super::supervisor::DiscardCounters;
use super::track::SharedTracker;
use crate::config::Instance;
use crate::config::settings::{self, Transport};
use crate::control::access::Credentials;
use crate::control::counters::table;
use crate::control::model::{
    self, ChangeReport, GlobalStatistics, HmacStatus, InstanceStats, InstanceStatus, PeerStatus, Statistics,
    StatsReport, StatusReport, UnicastPeer,
};
use crate::control::protocol::Request;
use crate::control::server::Source;
use crate::control::stream::Subscription;
use crate::engine::Handle;
use crate::engine::command::{Command, EngineSnapshot, RouterSnapshot, Sent};
use crate::engine::instance::checksum_form;
use crate::guardian::GuardianState;
use crate::observe::{checksum_name, mac_text};
use crate::vrrp::hmac::{self, AntiReplay, Key, Sender};
use crate::vrrp::{self, Peer, State};
use crate::web::{self, Scrape};
use crate::xdp::{Counters, Row};

/// Builds the reports from the engine's snapshot and the BPF program's counters.
pub(super) struct Reporter {
    pub(super) counters: Arc<Counters>,
    pub(super) engine: Handle,
    pub(super) latest: Latest,
    pub(super) orders: Orders,
    pub(super) tracker: SharedTracker,
    pub(super) events: EventLog,
    pub(super) notifications: SharedCounts,
    pub(super) configured: Configured,
    /// State of the guardian, if there is one.
    pub(super) guardian: Option<GuardianState>,
}

impl Reporter {
    /// Adds the tracked objects of the instance. If a tracked object caused the instance's fault,
    /// replaces the fault reason with descriptions of the objects that are down.
    fn tracked(&self, status: InstanceStatus) -> InstanceStatus {
        let (track, track_weight) = self.tracker.report(&status.name);
        let fault_reason = status.fault_reason.map(|found| {
            let is_down = |one: &&model::TrackedObject| one.weight.is_none() && one.state != "up";
            let down: Vec<_> = track.iter().filter(is_down).map(describe_tracked).collect();
            if found == reason::TRACKED_FAILED && !down.is_empty() { down.join("; ") } else { found }
        });
        InstanceStatus { fault_reason, track, track_weight, ..status }
    }

    async fn snapshot(&self) -> Result<Arc<EngineSnapshot>, String> {
        let (sender, receiver) = oneshot::channel();
        self.engine.send(Command::Snapshot(sender));
        receiver.await.map_err(|_| "the agent is stopping".to_owned())
    }
}

impl DiscardCounters for Reporter {
    fn take_discarded(&self) -> bool {
        self.counters.take_discarded()
    }

    fn row(&self, row: Row) -> CounterRow {
        self.counters.row(row.number()).unwrap_or_default()
    }
}

impl Source for Reporter {
    fn events(&self) -> Option<Subscription> {
        Some(self.events.subscribe())
    }

    async fn status(&self) -> Result<StatusReport, String> {
        let snapshot = self.snapshot().await?;
        Ok(self.status_of(&snapshot, &self.in_order(&snapshot)))
    }

    async fn stats(&self) -> Result<StatsReport, String> {
        let snapshot = self.snapshot().await?;
        Ok(self.stats_of(&snapshot, &self.in_order(&snapshot)))
    }

    async fn change(&self, request: Request, by: Credentials) -> Result<ChangeReport, String> {
        let (reply, answer) = oneshot::channel();
        let order = Order { request, by: Author::Client(by, reply) };
        let stopping = || "the agent is stopping".to_owned();
        self.orders.send(order).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

impl web::Source for Reporter {
    async fn scrape(&self) -> Result<Scrape, String> {
        let snapshot = self.snapshot().await?;
        let routers = self.in_order(&snapshot);
        let StatusReport { instances, guardian } = self.status_of(&snapshot, &routers);
        let problems = routers.iter().zip(&instances);
        let problems = problems
            .filter_map(|(router, status)| health::problem(router, status, &snapshot.routers))
            .collect();
        let instances = routers.iter().zip(instances);
        let instances = instances.map(|(router, status)| public::status(router, status)).collect();
        Ok(Scrape {
            status: StatusReport { instances, guardian },
            stats: self.stats_of(&snapshot, &routers),
            delays: snapshot.delays,
            events: self.events.timeline(),
            host: uname().nodename().to_string_lossy().into_owned(),
            time: rfc3339(SystemTime::now()),
            problems,
        })
    }
}

impl Reporter {
    /// Returns the routers in the order of the configuration.
    fn in_order<'a>(&self, snapshot: &'a EngineSnapshot) -> Vec<&'a RouterSnapshot> {
        let positions = self.configured.positions();
        let mut routers: Vec<_> = snapshot.routers.iter().collect();
        routers
            .sort_by_cached_key(|router| positions.get(&router.settings.name).copied().unwrap_or(usize::MAX));
        routers
    }

    fn status_of(&self, snapshot: &EngineSnapshot, routers: &[&RouterSnapshot]) -> StatusReport {
        let instances = routers.iter().map(|router| {
            let transition = self.latest.get(router.id);
            self.tracked(status(&router.settings, router, transition, snapshot))
        });
        let guardian = self.guardian.as_ref().map(GuardianState::is_running);
        StatusReport { instances: instances.collect(), guardian }
    }

    fn stats_of(&self, snapshot: &EngineSnapshot, routers: &[&RouterSnapshot]) -> StatsReport {
        let rows: Vec<_> = routers.iter().map(|router| self.row(router.row)).collect();
        let foreign = self.counters.row(ROW_UNASSIGNED).unwrap_or_default();
        let mut sum = foreign;
        for row in &rows {
            sum.add(row);
        }
        let global = global(&GlobalSources {
            kernel: sum,
            engine: snapshot,
            service: Agentwide { fifo_dropped: self.notifications.fifo_dropped() },
        });
        let instances = routers.iter().zip(&rows).map(|(router, row)| InstanceStats {
            name: router.settings.name.clone(),
            interface: router.settings.interface.clone(),
            vrid: router.settings.router.vrid,
            family: router.settings.router.family.to_string(),
            statistics: instance(&InstanceSources {
                kernel: row,
                core: &router.router.counters,
                sent: &router.sent,
                engine: Computed {
                    missing_addresses: router.missing.len() as u64,
                    missing_routes: router.missing_routes.len() as u64,
                },
                service: self.notifications.of(&router.settings),
            }),
        });
        StatsReport { global, instances: instances.collect() }
    }
}

fn status(
    config: &Instance,
    instance: &RouterSnapshot,
    transition: Option<Transition>,
    snapshot: &EngineSnapshot,
) -> InstanceStatus {
    let router = &instance.router;
    let members =
        snapshot.routers.iter().filter(|other| other.group.is_some() && other.group == instance.group);
    let left = |until: Option<Timestamp>| until.map(|until| until.nanos_since(snapshot.now));
    InstanceStatus {
        name: config.name.clone(),
        interface: config.interface.clone(),
        vrid: config.router.vrid,
        family: config.router.family.to_string(),
        version: config.router.version().number(),
        state: state(router.state),
        priority: config.router.priority,
        effective_priority: router.priority,
        last_adv_source: router.master,
        master_down_interval: router.master_down_interval / 10_000_000,
        skew_time: router.skew / 1_000,
        virtual_addresses: config.router.virtual_addresses.iter().map(ToString::to_string).collect(),
        accept_mode: config.accept || config.router.is_owner(),
        excluded_addresses: config.router.excluded_addresses.iter().map(ToString::to_string).collect(),
        virtual_mac: instance.virtual_mac.map(mac_text),
        transport: match config.transport {
            Transport::Multicast => "multicast",
            Transport::Unicast(_) => "unicast",
        }
        .to_owned(),
        authentication: match (config.password, &config.hmac) {
            (Some(_), _) => "pass",
            (None, Some(_)) => "hmac",
            (None, None) => "none",
        }
        .to_owned(),
        hmac: config.hmac.as_ref().map(hmac_status),
        checksum: form(checksum_form(config)),
        unicast_peers: unicast_peers(&config.transport),
        peers: instance.peers.iter().map(|peer| peer_status(peer, instance, snapshot.now)).collect(),
        group: instance.group.as_ref().map(ToString::to_string),
        group_state: group_state(members.clone().map(|member| member.router.state)).map(state),
        advertise_interval_ns: config.router.interval.nanos(),
        active_advertise_interval_ns: router.active_interval.nanos(),
        master_down_interval_ns: router.master_down_interval,
        preempt: config.router.preempt,
        preempt_delay_ns: config.router.preempt_delay,
        preempt_in_ns: left(router.hold_until),
        startup_delay_ns: config.router.startup_delay,
        starts_in_ns: left(router.starts_at),
        fence: instance.fence.map(|fence| fence.to_string()),
        xdp_mode: instance.mode.map(|mode| mode.to_string()),
        missing_addresses: instance.missing.iter().map(ToString::to_string).collect(),
        routes: config.routes.iter().map(ToString::to_string).collect(),
        rules: config.rules.iter().map(ToString::to_string).collect(),
        missing_routes: instance.missing_routes.iter().filter_map(|one| missing(config, *one)).collect(),
        primary_address: instance.primary,
        initialize_reason: reason::of_initialize(router),
        fault_reason: reason::of_fault(config, instance, members),
        fault: match router.state {
            State::Fault(fault) => Some(fault.to_string()),
            State::Initialize | State::Backup | State::Master => None,
        },
        last_transition_reason: transition.map(|transition| transition.reason.to_string()),
        last_transition_ms: transition.map(|transition| snapshot.now.nanos_since(transition.at) / 1_000_000),
        track: Vec::new(),
        track_weight: 0,
        master_down_in_ns: left(router.master_down_at),
    }
}

/// Describes a tracked object that is not up.
fn describe_tracked(object: &model::TrackedObject) -> String {
    let model::TrackedObject { kind, name, state, detail, .. } = object;
    match detail {
        Some(detail) => format!("{kind} {name} is {state}: {detail}"),
        None => format!("{kind} {name} is {state}"),
    }
}

fn state(state: State) -> model::State {
    match state {
        State::Initialize => model::State::Initialize,
        State::Fault(_) => model::State::Fault,
        State::Backup => model::State::Backup,
        State::Master => model::State::Master,
    }
}

fn unicast_peers(transport: &Transport) -> Vec<UnicastPeer> {
    match transport {
        Transport::Multicast => Vec::new(),
        Transport::Unicast(peers) => {
            let peer = |peer: &settings::Peer| UnicastPeer { address: peer.address, min_ttl: peer.min_ttl };
            peers.iter().map(peer).collect()
        }
    }
}

/// Returns the reported settings for signed adverts: key IDs and rules, without the keys
/// themselves.
pub(crate) fn hmac_status(config: &hmac::Config) -> HmacStatus {
    HmacStatus {
        mode: match config.mode {
            hmac::Mode::Enforce => "enforce",
            hmac::Mode::Permissive => "permissive",
            hmac::Mode::ReceiveOnly => "receive-only",
        }
        .to_owned(),
        active_key: config.signing_key().map(Key::id),
        keys: config.keys.iter().map(Key::id).collect(),
        anti_replay: match config.anti_replay {
            AntiReplay::Time => "time",
            AntiReplay::Monotonic => "monotonic",
        }
        .to_owned(),
        window_ns: (config.anti_replay == AntiReplay::Time)
            .then_some(u64::from(config.window) * 1_000_000_000),
    }
}

fn peer_status(peer: &Peer, instance: &RouterSnapshot, now: Timestamp) -> PeerStatus {
    let is_current = |sender: &&Sender| {
        // The peer's last adverts may be unsigned.
        sender.address == peer.address && sender.last_arrival >= peer.last_arrival.as_nanos()
    };
    let sender = instance.senders.iter().find(is_current);
    PeerStatus {
        address: peer.address,
        priority: peer.priority,
        checksum: form(peer.checksum),
        last_heard_ms: now.nanos_since(peer.last_arrival) / 1_000_000,
        key_id: sender.map(|sender| sender.key_id),
        clock_offset_ms: sender.map(|sender| sender.clock_offset),
    }
}

fn form(form: ChecksumForm) -> String {
    checksum_name(form).to_owned()
}

/// Sources of the agent's global counters.
struct GlobalSources<'a> {
    /// The BPF program's counters, summed over row 0 and the rows of all routers.
    kernel: CounterRow,
    engine: &'a EngineSnapshot,
    service: Agentwide,
}

/// The service's counters for the agent as a whole.
struct Agentwide {
    fifo_dropped: u64,
}

/// Sources of an instance's counters.
struct InstanceSources<'a> {
    kernel: &'a CounterRow,
    core: &'a vrrp::Counters,
    sent: &'a Sent,
    engine: Computed,
    service: Counts,
}

/// Counters of an instance that are computed from the engine's snapshot.
struct Computed {
    missing_addresses: u64,
    missing_routes: u64,
}

/// Fills each field of the statistics from its source.
macro_rules! collect {
    ($(
        $(#[$doc:meta])* $name:ident, $table:ident, $scope:ident {
            $($field:ident: $json:literal, $kind:ident, $severity:ident, $source:ident($from:ident $(, $also:ident)?),
                $help:literal
                $(, dropped $reason:literal)?;)*
        }
    )*) => {$(
        fn $scope(sources: &collect!(@sources $scope)) -> $name {
            $name { $($field: collect!(@value sources $source $from $($also)?)),* }
        }
    )*};
    (@sources global) => { GlobalSources<'_> };
    (@sources instance) => { InstanceSources<'_> };
    (@value $sources:ident Kernel $cell:ident $also:ident) => {
        $sources.kernel.get(Counter::$cell) + $sources.sent.$also
    };
    (@value $sources:ident Kernel $cell:ident) => { $sources.kernel.get(Counter::$cell) };
    (@value $sources:ident Core $field:ident) => { $sources.core.$field };
    (@value $sources:ident Sent $field:ident) => { $sources.sent.$field };
    (@value $sources:ident Engine $field:ident) => { $sources.engine.$field };
    (@value $sources:ident Service $field:ident) => { $sources.service.$field };
}
table!(collect);
