//! Tests that the dashboard and the alert rules refer to metrics that vipd exports.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::exposition::Format;
use super::metrics;
use super::tests::scrape;
use crate::control::counters::{GLOBAL, INSTANCE, Kind};

fn packaging(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the metrics that a query refers to.
fn metrics_in(query: &str) -> impl Iterator<Item = &str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    query.split(move |character| !is_part(character)).filter(|word| word.starts_with("vipd_"))
}

#[track_caller]
fn check(queries: &[String]) {
    let text = metrics::render(&scrape(), Format::Prometheus, false);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let exported: BTreeSet<_> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    for query in queries {
        for metric in metrics_in(query) {
            assert!(exported.contains(metric), "vipd does not export {metric}, which is in {query}");
        }
    }
}

/// Returns the values of all fields with these names.
fn fields(value: &Value, names: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Object(fields_of) => {
            for (name, value) in fields_of {
                match value {
                    Value::String(text) if names.contains(&name.as_str()) => found.push(text.clone()),
                    _ => fields(value, names, found),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| fields(element, names, found)),
        _ => {}
    }
}

fn dashboard_queries() -> Vec<String> {
    let dashboard = serde_json::from_str(&packaging("vipd.dashboard.json")).expect("JSON");
    let mut queries = Vec::new();
    fields(&dashboard, &["expr", "query"], &mut queries);
    queries.retain(|query| query != "prometheus");
    queries
}

#[test]
fn dashboard_queries_only_exported_metrics() {
    let queries = dashboard_queries();
    assert!(queries.len() > 40, "{queries:?}");
    assert!(queries.iter().all(|query| metrics_in(query).next().is_some()), "{queries:?}");
    check(&queries);
}

#[test]
fn dashboard_has_all_error_counters() {
    let queries = dashboard_queries();
    let known: BTreeSet<_> = queries.iter().flat_map(|query| metrics_in(query)).collect();
    for counter in INSTANCE.iter().filter(|counter| counter.is_error()) {
        let metric = counter.metric("vipd");
        assert!(known.contains(metric.as_str()), "the dashboard lacks {metric}");
    }
    let is_sum = |name: &str| INSTANCE.iter().any(|counter| counter.metric("vipd_global") == name);
    for counter in GLOBAL.iter().filter(|counter| counter.is_error() && counter.kind == Kind::Counter) {
        let metric = counter.metric("vipd_global");
        assert!(is_sum(&metric) || known.contains(metric.as_str()), "the dashboard lacks {metric}");
    }
}

#[test]
fn alert_rules_query_only_exported_metrics() {
    let rules = packaging("vipd.rules.yml");
    let lines: Vec<_> = rules.lines().map(str::to_owned).collect();
    assert!(lines.iter().flat_map(|line| metrics_in(line)).count() > 10);
    check(&lines);
}
