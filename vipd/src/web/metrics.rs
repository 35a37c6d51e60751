//! The metrics of vipd. `docs/metrics.md` is the reference.

use std::collections::BTreeSet;

use super::exposition::{Exposition, Format, Kind, Labels, seconds};
use super::{Scrape, keepalived};
use crate::control::counters::{self, Counter};
use crate::control::model::{InstanceStats, InstanceStatus, StatsReport};

/// Renders the counters in the Prometheus text format.
pub(crate) fn prometheus(report: &StatsReport) -> String {
    let mut out = Exposition::new(Format::Prometheus);
    counters(&mut out, report);
    out.finish()
}

/// Renders all metrics.
pub(super) fn render(scrape: &Scrape, format: Format, keepalived_names: bool) -> String {
    let mut out = Exposition::new(format);
    out.metric("vipd_build_info", Kind::Info, "Version of the running agent")
        .add(&Labels::new([("version", env!("CARGO_PKG_VERSION"))]), 1);
    agent(&mut out, scrape);
    instances(&mut out, scrape);
    counters(&mut out, &scrape.stats);
    if keepalived_names {
        keepalived::add(&mut out, scrape);
    }
    out.finish()
}

fn agent(out: &mut Exposition, scrape: &Scrape) {
    if let Some(is_running) = scrape.status.guardian {
        out.metric(
            "vipd_guardian_up",
            Kind::Gauge,
            "Whether a guardian watches the engine; missing if the fence is off, or if the guardian could not be prepared when the agent started",
        )
        .add(&Labels::default(), u8::from(is_running));
    }
    out.metric(
        "vipd_advert_delay_seconds",
        Kind::Histogram,
        "Delay from the expiry of a master's advertisement timer until the engine handled it",
    )
    .add_histogram(&scrape.delays.advert);
    out.metric(
        "vipd_takeover_seconds",
        Kind::Histogram,
        "Time from the timer or event that made an instance master until all waiting VIPs, including those of other instances, were added and announced, or refused by the kernel; announcements delayed by `garp.interval` do not count",
    )
    .add_histogram(&scrape.delays.takeover);
}

/// Adds the metrics about the state of each instance.
fn instances(out: &mut Exposition, scrape: &Scrape) {
    let instances = &scrape.status.instances;
    let labels: Vec<Labels> = instances.iter().map(labels_of_status).collect();
    let each = || labels.iter().zip(instances);

    let mut states = out.metric("vipd_state", Kind::Gauge, "State of the instance: 1 for the present state");
    for (labels, instance) in each() {
        states.add_state(labels, "state", &STATES, instance.state.name());
    }
    let mut healthy = out.metric(
        "vipd_healthy",
        Kind::Gauge,
        "Whether the instance is in an expected state: 0 if it has a fault, has not started, or lacks VIPs, routes \
         or rules as master; a fault that is caused only by draining the instance, or a member of its sync group, is \
         expected",
    );
    for (labels, instance) in each() {
        let has_problem = scrape.problems.iter().any(|problem| problem.instance == instance.name);
        healthy.add(labels, u8::from(!has_problem));
    }
    let mut priority = out.metric("vipd_priority", Kind::Gauge, "Configured priority");
    for (labels, instance) in each() {
        priority.add(labels, instance.priority);
    }
    let mut effective = out.metric(
        "vipd_effective_priority",
        Kind::Gauge,
        "Priority in adverts: configured or set by an administrator, plus the weights of tracked objects; in a sync group, the lowest of its members",
    );
    for (labels, instance) in each() {
        effective.add(labels, instance.effective_priority);
    }
    let mut interval = out.metric(
        "vipd_advert_interval_seconds",
        Kind::Gauge,
        "Advertisement interval; in Backup, the one learned from the master",
    );
    for (labels, instance) in each() {
        interval.add(labels, seconds(instance.active_advertise_interval_ns));
    }
    let mut fence = out.metric(
        "vipd_fence",
        Kind::Gauge,
        "Fence level: 1 for the present level; missing while no interface of the instance is open",
    );
    for (labels, instance) in each() {
        if let Some(level) = &instance.fence {
            fence.add_state(labels, "level", &LEVELS, level);
        }
    }
    let mut mode = out.metric(
        "vipd_xdp_mode",
        Kind::Gauge,
        "XDP mode: 1 for the present mode; missing while the BPF program is not attached",
    );
    for (labels, instance) in each() {
        if let Some(present) = &instance.xdp_mode {
            mode.add_state(labels, "mode", &MODES, present);
        }
    }
    let mut tracked = out.metric(
        "vipd_tracked_object",
        Kind::Gauge,
        "State of a tracked object: 1 if it is up, 0 if it is down; for a file, its number",
    );
    for (labels, instance) in each() {
        // An instance and its group may track the same object.
        let mut seen = BTreeSet::new();
        for object in &instance.track {
            if let Some(state) = number(&object.state)
                && seen.insert((&object.kind, &object.name))
            {
                tracked.add(&labels.with("kind", &object.kind).with("object", &object.name), state);
            }
        }
    }
}

const STATES: [&str; 4] = ["initialize", "backup", "master", "fault"];
const LEVELS: [&str; 4] = ["off", "process", "ingress", "full"];
const MODES: [&str; 3] = ["native", "tc", "generic"];

/// Returns the state of a tracked object as a number; `None` before its first reading.
fn number(state: &str) -> Option<i64> {
    match state {
        "up" => Some(1),
        "down" => Some(0),
        number => number.parse().ok(),
    }
}

/// Adds every counter: the agent's counters as `vipd_global_…`, and the instances' counters as
/// `vipd_…` with labels.
///
/// The names differ because the agent's counters include the instances' counters, which a sum over
/// a common name would count twice.
fn counters(out: &mut Exposition, report: &StatsReport) {
    for (counter, value) in report.global.entries() {
        out.metric(&counter.metric("vipd_global"), kind(counter), counter.help)
            .add(&Labels::default(), value);
    }
    let labels: Vec<Labels> = report.instances.iter().map(labels_of_stats).collect();
    let values: Vec<Vec<_>> =
        report.instances.iter().map(|instance| instance.statistics.entries().collect()).collect();
    for (index, (counter, _)) in values.first().into_iter().flatten().enumerate() {
        let metric = counter.metric("vipd");
        let mut samples = out.metric(&metric, kind(counter), counter.help);
        for (labels, values) in labels.iter().zip(&values) {
            samples.add(labels, values[index].1);
        }
    }
}

fn kind(counter: &Counter) -> Kind {
    match counter.kind {
        counters::Kind::Counter => Kind::Counter,
        counters::Kind::Gauge => Kind::Gauge,
    }
}

fn labels_of_status(instance: &InstanceStatus) -> Labels {
    labels(&instance.name, &instance.interface, instance.vrid, &instance.family)
}

fn labels_of_stats(instance: &InstanceStats) -> Labels {
    labels(&instance.name, &instance.interface, instance.vrid, &instance.family)
}

fn labels(name: &str, interface: &str, vrid: u8, family: &str) -> Labels {
    let vrid = vrid.to_string();
    Labels::new([("name", name), ("interface", interface), ("vrid", vrid.as_str()), ("family", family)])
}
