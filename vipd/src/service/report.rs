//! Builds the `status` and `stats` reports.

use std::sync::Arc;

use tokio::sync::oneshot;
use vipd_common::Timestamp;
use vipd_common::counters::{Counter, CounterRow, ROW_FOREIGN};
use vipd_common::parse::ChecksumForm;

use super::bus::{Latest, Transition};
use super::supervisor::DiscardCounters;
use crate::config::Instance;
use crate::config::settings::Transport;
use crate::control::model::{
    self, GlobalStatistics, InstanceStats, InstanceStatus, PeerStatus, Statistics, StatsReport, StatusReport,
};
use crate::control::server::Source;
use crate::engine::Handle;
use crate::engine::command::{Command, EngineSnapshot, RouterSnapshot};
use crate::engine::instance::checksum_form;
use crate::vrrp::{Family, Fault, Peer, State};
use crate::xdp::{Counters, Row};

/// Builds the reports from the engine's snapshot and the XDP program's counters.
pub(super) struct Reporter {
    counters: Arc<Counters>,
    engine: Handle,
    latest: Latest,
}

impl Reporter {
    pub(super) fn new(counters: Arc<Counters>, engine: Handle, latest: Latest) -> Self {
        Self { counters, engine, latest }
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
    async fn status(&self) -> Result<StatusReport, String> {
        let snapshot = self.snapshot().await?;
        let instances = snapshot.routers.iter().map(|router| {
            let transition = self.latest.get(router.id);
            status(&router.settings, router, transition, &snapshot)
        });
        Ok(StatusReport { instances: instances.collect() })
    }

    async fn stats(&self) -> Result<StatsReport, String> {
        let snapshot = self.snapshot().await?;
        let rows: Vec<_> = snapshot.routers.iter().map(|router| self.row(router.row)).collect();
        let foreign = self.counters.row(ROW_FOREIGN).unwrap_or_default();
        let global = global(&foreign, &rows, &snapshot);
        let instances = snapshot.routers.iter().zip(&rows).map(|(router, row)| InstanceStats {
            name: router.settings.name.clone(),
            interface: router.settings.interface.clone(),
            vrid: router.settings.router.vrid,
            family: router.settings.router.family.to_string(),
            statistics: statistics(row, router),
        });
        Ok(StatsReport { global, instances: instances.collect() })
    }
}

fn status(
    config: &Instance,
    instance: &RouterSnapshot,
    transition: Option<Transition>,
    snapshot: &EngineSnapshot,
) -> InstanceStatus {
    let router = &instance.router;
    InstanceStatus {
        name: config.name.clone(),
        interface: config.interface.clone(),
        vrid: config.router.vrid,
        family: config.router.family.to_string(),
        version: config.router.version().number(),
        state: match router.state {
            State::Initialize => model::State::Initialize,
            State::Fault(_) => model::State::Fault,
            State::Backup => model::State::Backup,
            State::Master => model::State::Master,
        },
        priority: config.router.priority,
        effective_priority: router.priority,
        last_adv_source: router.master,
        master_down_interval: router.master_down_interval / 10_000_000,
        skew_time: router.skew / 1_000,
        virtual_addresses: config.router.virtual_addresses.iter().map(ToString::to_string).collect(),
        accept_mode: config.accept || config.router.is_owner(),
        excluded_addresses: config.router.excluded_addresses.iter().map(ToString::to_string).collect(),
        virtual_mac: instance.virtual_mac.map(mac),
        transport: match config.transport {
            Transport::Multicast => "multicast",
            Transport::Unicast(_) => "unicast",
        }
        .to_owned(),
        authentication: if config.password.is_some() { "pass" } else { "none" }.to_owned(),
        checksum: form(checksum_form(config)),
        peers: instance.peers.iter().map(|peer| peer_status(peer, snapshot.now)).collect(),
        advertise_interval_ns: config.router.interval.nanos(),
        active_advertise_interval_ns: router.active_interval.nanos(),
        master_down_interval_ns: router.master_down_interval,
        preempt: config.router.preempt,
        xdp_mode: instance.mode.map(|mode| mode.to_string()),
        missing_addresses: instance.missing.iter().map(ToString::to_string).collect(),
        primary_address: instance.primary,
        fault_reason: match router.state {
            State::Fault(fault) => Some(sentence(fault, config, instance)),
            State::Initialize | State::Backup | State::Master => None,
        },
        last_transition_reason: transition.map(|transition| transition.reason.to_string()),
        last_transition_ms: transition.map(|transition| snapshot.now.nanos_since(transition.at) / 1_000_000),
        master_down_in_ns: router.master_down_at.map(|at| at.nanos_since(snapshot.now)),
    }
}

fn peer_status(peer: &Peer, now: Timestamp) -> PeerStatus {
    PeerStatus {
        address: peer.address,
        priority: peer.priority,
        checksum: form(peer.checksum),
        last_heard_ms: now.nanos_since(peer.last_heard) / 1_000_000,
    }
}

fn form(form: ChecksumForm) -> String {
    match form {
        ChecksumForm::V2 => "v2",
        ChecksumForm::Rfc5798 => "rfc5798",
        ChecksumForm::Rfc9568 => "rfc9568",
        ChecksumForm::Ipv6 => "ipv6",
    }
    .to_owned()
}

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Why an instance is in fault, for a person.
fn sentence(fault: Fault, config: &Instance, instance: &RouterSnapshot) -> String {
    let interface = &config.interface;
    match fault {
        Fault::NoInterface => format!("interface {interface} does not exist"),
        Fault::InterfaceDown => format!("interface {interface} is down or has no carrier"),
        Fault::NoPrimaryAddress => match (config.source, config.router.family) {
            (Some(source), _) => {
                format!("interface {interface} does not have the configured source {source}")
            }
            (None, Family::V4) => format!("interface {interface} has no IPv4 address of its own"),
            (None, Family::V6) => format!("interface {interface} has no usable link-local address"),
        },
        Fault::PrimaryIsVirtual => {
            let vip = instance.conflict.map_or_else(|| "a VIP".to_owned(), |vip| vip.to_string());
            format!(
                "{vip} is the primary address of {interface} and a VIP with priority {}; give the interface an address \
                 of its own before it, or configure priority 255",
                config.router.priority
            )
        }
        Fault::NoHardwareAddress => format!(
            "interface {interface} has no Ethernet address and cannot carry multicast adverts; configure unicast_peers"
        ),
        Fault::AddressInterface => {
            "an interface that its addresses are on (`dev`, or its macvlan) is missing or down".to_owned()
        }
        Fault::NotAttached => {
            instance.failure.clone().unwrap_or_else(|| format!("interface {interface} is being set up"))
        }
        Fault::NotReceiving => format!("adverts can no longer be received on interface {interface}"),
        Fault::Tracking => "a tracked object failed".to_owned(),
        Fault::Group => "a member of its sync group failed".to_owned(),
        Fault::Administrator => "disabled by the administrator".to_owned(),
        Fault::Drained => "drained by the administrator".to_owned(),
    }
}

fn global(foreign: &CounterRow, rows: &[CounterRow], snapshot: &EngineSnapshot) -> GlobalStatistics {
    let mut sum = *foreign;
    for row in rows {
        sum.add(row);
    }
    GlobalStatistics {
        checksum_errors: sum.get(Counter::ChecksumErrors),
        version_errors: sum.get(Counter::VersionErrors),
        vrid_errors: sum.get(Counter::VridErrors),
        ip_ttl_errors: sum.get(Counter::IpTtlErrors),
        fragments_passed: sum.get(Counter::FragmentsPassed),
        destination_passed: sum.get(Counter::DestinationPassed),
        unparsable_passed: sum.get(Counter::UnparsablePassed),
        ring_full: sum.get(Counter::RingFull),
        events_dropped: snapshot.reports_dropped,
        netlink_overruns: snapshot.overruns,
        engine_wakeups: snapshot.wakeups,
    }
}

fn statistics(row: &CounterRow, instance: &RouterSnapshot) -> Statistics {
    let (core, sent) = (&instance.router.counters, &instance.sent);
    Statistics {
        master_transitions: core.master_transitions,
        advertisement_rcvd: row.get(Counter::AdvertisementRcvd),
        advertisement_sent: sent.adverts,
        interval_errors: core.interval_errors,
        priority_zero_pkts_rcvd: row.get(Counter::PriorityZeroRcvd),
        priority_zero_pkts_sent: sent.priority_zero,
        invalid_type_pkts_rcvd: row.get(Counter::InvalidTypeRcvd),
        address_list_errors: core.address_list_errors,
        packet_length_errors: row.get(Counter::PacketLengthErrors),
        checksum_errors: row.get(Counter::ChecksumErrors),
        version_errors: row.get(Counter::VersionErrors),
        ip_ttl_errors: row.get(Counter::IpTtlErrors),
        ip_header_errors: row.get(Counter::IpHeaderErrors),
        address_count_errors: row.get(Counter::AddressCountErrors),
        interval_zero_errors: row.get(Counter::IntervalZeroErrors),
        invalid_auth_type: row.get(Counter::InvalidAuthType),
        auth_type_mismatch: row.get(Counter::AuthTypeMismatch),
        auth_failures: row.get(Counter::AuthFailures),
        peer_errors: row.get(Counter::PeerErrors),
        not_link_local_rcvd: row.get(Counter::NotLinkLocal),
        checksum_rfc5798_rcvd: row.get(Counter::ChecksumRfc5798Rcvd),
        checksum_rfc9568_rcvd: row.get(Counter::ChecksumRfc9568Rcvd),
        ring_full: row.get(Counter::RingFull),
        rate_limited: row.get(Counter::RateLimited),
        owner_conflicts: core.owner_conflicts,
        own_adverts_rcvd: core.own_adverts,
        losing_adverts_rcvd: core.losing_adverts,
        assert_adverts_sent: core.asserts_sent,
        assert_adverts_suppressed: core.asserts_suppressed,
        priority_zero_ignored_rcvd: core.priority_zero_ignored,
        stalls: core.stalls,
        gratuitous_arp_sent: sent.gratuitous_arps,
        neighbor_advertisements_sent: sent.neighbor_advertisements,
        not_accepted: row.get(Counter::NotAccepted),
        send_errors: sent.send_errors,
        addresses_restored: core.addresses_restored,
        address_errors: sent.address_errors,
    }
}
