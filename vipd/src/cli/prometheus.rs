//! Prometheus text exposition format 0.0.4.

use std::fmt::Write as _;

use crate::control::counters::{Counter, Kind};
use crate::control::model::{InstanceStats, StatsReport};

/// Renders every counter: those of the agent as `vipd_global_…`, those of instances as `vipd_…`
/// with labels.
///
/// The names differ because the agent's counters include those of the instances: a sum over a
/// common name would count them twice.
pub(super) fn render(report: &StatsReport) -> String {
    let mut out = String::new();
    for (counter, value) in report.global.entries() {
        let metric = family(&mut out, "vipd_global", counter);
        let _ = writeln!(out, "{metric} {value}");
    }
    let labels: Vec<String> = report.instances.iter().map(labels).collect();
    let values: Vec<Vec<_>> =
        report.instances.iter().map(|instance| instance.statistics.entries().collect()).collect();
    // The format requires all samples of a metric in one block.
    for (index, (counter, _)) in values.first().into_iter().flatten().enumerate() {
        let metric = family(&mut out, "vipd", counter);
        for (labels, values) in labels.iter().zip(&values) {
            let _ = writeln!(out, "{metric}{labels} {}", values[index].1);
        }
    }
    out
}

/// Writes a metric's header and returns its name.
fn family(out: &mut String, prefix: &str, counter: &Counter) -> String {
    let metric = counter.metric(prefix);
    let kind = match counter.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    let help = counter.help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(out, "# HELP {metric} {help}\n# TYPE {metric} {kind}");
    metric
}

fn labels(instance: &InstanceStats) -> String {
    format!(
        "{{name=\"{}\",interface=\"{}\",vrid=\"{}\",family=\"{}\"}}",
        escape(&instance.name),
        escape(&instance.interface),
        instance.vrid,
        escape(&instance.family)
    )
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
