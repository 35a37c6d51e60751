//! Prometheus text exposition format 0.0.4.

use std::fmt::Write as _;

use super::counters::{self, GLOBAL, INSTANCE};
use crate::control::model::{InstanceStats, StatsReport};

/// Every counter: the agent's under `vipd_global_…`, the instances' under `vipd_…` with labels.
///
/// The prefix keeps a sum and its parts apart: they would count twice under one name.
pub(super) fn render(report: &StatsReport) -> String {
    let mut out = String::new();
    for (name, value) in counters::of(&report.global) {
        let metric = format!("vipd_global_{}_total", snake(&name));
        family(&mut out, &metric, counters::help(GLOBAL, &name));
        let _ = writeln!(out, "{metric} {value}");
    }
    let labels: Vec<String> = report.instances.iter().map(labels).collect();
    let values: Vec<_> = report.instances.iter().map(|instance| counters::of(&instance.statistics)).collect();
    // A family is one block: all instances of one counter, then the next counter.
    for (index, (name, _)) in values.first().into_iter().flatten().enumerate() {
        let metric = format!("vipd_{}_total", snake(name));
        family(&mut out, &metric, counters::help(INSTANCE, name));
        for (labels, values) in labels.iter().zip(&values) {
            let _ = writeln!(out, "{metric}{labels} {}", values[index].1);
        }
    }
    out
}

fn family(out: &mut String, metric: &str, help: &str) {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(out, "# HELP {metric} {help}\n# TYPE {metric} counter");
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

/// `vipd:ip-ttl-errors` as `ip_ttl_errors`.
fn snake(name: &str) -> String {
    name.trim_start_matches("vipd:").replace('-', "_")
}
