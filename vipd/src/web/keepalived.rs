//! Metrics with the names and labels of keepalived-exporter, for existing dashboards and alerts
//! (`keepalived_names`).
//!
//! Metrics without an equivalent in vipd are omitted: the gratuitous ARP delay (a setting), the
//! state of script processes, and the exporter's own check script.

use std::collections::BTreeMap;

use super::Scrape;
use super::exposition::{Exposition, Kind, Labels};
use crate::control::model::{InstanceStats, InstanceStatus, State, Statistics};

/// A counter: its name, its help text, and a function that returns its value.
type Counter = (&'static str, &'static str, fn(&Statistics) -> u64);

const COUNTERS: [Counter; 13] = [
    ("keepalived_advertisements_received_total", "Valid adverts received", |one| one.advertisement_rcvd),
    ("keepalived_advertisements_sent_total", "Adverts sent", |one| one.advertisement_sent),
    ("keepalived_become_master_total", "Transitions to master", |one| one.master_transitions),
    ("keepalived_packet_length_errors_total", "Adverts with a wrong length", |one| one.packet_length_errors),
    (
        "keepalived_advertisements_interval_errors_total",
        "Adverts with an interval other than the configured one",
        |one| one.interval_errors,
    ),
    ("keepalived_ip_ttl_errors_total", "Adverts with a wrong TTL", |one| one.ip_ttl_errors),
    ("keepalived_invalid_type_received_total", "Adverts with a wrong type", |one| one.invalid_type_pkts_rcvd),
    (
        "keepalived_address_list_errors_total",
        "Adverts with an address list other than the configured one",
        |one| one.address_list_errors,
    ),
    ("keepalived_authentication_invalid_total", "Adverts with an unknown authentication type", |one| {
        one.invalid_auth_type
    }),
    (
        "keepalived_authentication_mismatch_total",
        "Adverts with an authentication type other than the configured one",
        |one| one.auth_type_mismatch,
    ),
    ("keepalived_authentication_failure_total", "Adverts with a wrong password", |one| one.auth_failures),
    ("keepalived_priority_zero_received_total", "Priority-0 adverts received", |one| {
        one.priority_zero_pkts_rcvd
    }),
    ("keepalived_priority_zero_sent_total", "Priority-0 adverts sent", |one| one.priority_zero_pkts_sent),
];

pub(super) fn add(out: &mut Exposition, scrape: &Scrape) {
    // Always 1: if the engine does not answer, the scrape fails without any metrics.
    out.metric("keepalived_up", Kind::Gauge, "Whether the agent runs").add(&Labels::default(), 1);
    let instances = &scrape.stats.instances;
    let labels: Vec<Labels> = instances.iter().map(labels_of_stats).collect();
    for (name, help, value) in COUNTERS {
        let mut samples = out.metric(name, Kind::Counter, help);
        for (labels, instance) in labels.iter().zip(instances) {
            samples.add(labels, value(&instance.statistics));
        }
    }
    let states = &scrape.status.instances;
    let mut released = out.metric(
        "keepalived_release_master_total",
        Kind::Counter,
        "Transitions from master to another state",
    );
    for (labels, (instance, status)) in labels.iter().zip(instances.iter().zip(states)) {
        let is_master = u64::from(status.state == State::Master);
        released.add(labels, instance.statistics.master_transitions.saturating_sub(is_master));
    }
    let mut state = out.metric("keepalived_vrrp_state", Kind::Gauge, STATES);
    for instance in states {
        let number = number(instance.state);
        for vip in &instance.virtual_addresses {
            state.add(&labels_of_vip(instance, vip), number);
        }
        if instance.virtual_addresses.is_empty() {
            state.add(&labels_of_vip(instance, ""), number);
        }
    }
    let mut excluded = out.metric("keepalived_vrrp_excluded_state", Kind::Gauge, STATES);
    for instance in states {
        for vip in &instance.excluded_addresses {
            excluded.add(&labels_of_vip(instance, vip), number(instance.state));
        }
    }
    let scripts = states.iter().flat_map(|instance| &instance.track).filter(|one| one.kind == "script");
    // Several instances may track the same script.
    let scripts: BTreeMap<&str, &str> =
        scripts.map(|script| (script.name.as_str(), script.state.as_str())).collect();
    let mut script_status = out.metric(
        "keepalived_script_status",
        Kind::Gauge,
        "State of a tracked script: 1 if it is up, 0 if it is down",
    );
    for (name, state) in scripts {
        if matches!(state, "up" | "down") {
            script_status.add(&Labels::new([("name", name)]), u8::from(state == "up"));
        }
    }
}

const STATES: &str = "State of the instance: 0 initialize, 1 backup, 2 master, 3 fault";

fn number(state: State) -> u8 {
    match state {
        State::Initialize => 0,
        State::Backup => 1,
        State::Master => 2,
        State::Fault => 3,
    }
}

fn labels_of_stats(instance: &InstanceStats) -> Labels {
    labels(&instance.name, &instance.interface, instance.vrid)
}

/// Returns the labels of a VIP, without its prefix length.
fn labels_of_vip(instance: &InstanceStatus, vip: &str) -> Labels {
    let address = vip.split('/').next().unwrap_or_default();
    labels(&instance.name, &instance.interface, instance.vrid).with("ip_address", address)
}

fn labels(name: &str, interface: &str, vrid: u8) -> Labels {
    Labels::new([("iname", name), ("intf", interface), ("vrid", vrid.to_string().as_str())])
}
