//! Details of individual instances, for `vipd status NAME`.

use std::fmt::{self, Write as _};

use anyhow::bail;

use super::status::{age, seconds, state};
use super::table::{BAD, Cell, HEAD};
use crate::control::model::{InstanceStatus, PeerStatus, StatusReport, TrackedObject};

/// Selects the instances with these names, and the members of sync groups with these names. Without
/// names, all instances are selected.
///
/// # Errors
/// Returns an error if a name is unknown. The error lists all instances.
pub(super) fn select(mut report: StatusReport, names: &[String]) -> anyhow::Result<StatusReport> {
    let has_name =
        |one: &InstanceStatus, name: &String| one.name == *name || one.group.as_ref() == Some(name);
    for name in names {
        if !report.instances.iter().any(|one| has_name(one, name)) {
            let existing: Vec<&str> = report.instances.iter().map(|one| one.name.as_str()).collect();
            bail!("no instance or sync group is named {name:?}; instances: {}", existing.join(", "));
        }
    }
    report.instances.retain(|one| names.is_empty() || names.iter().any(|name| has_name(one, name)));
    Ok(report)
}

/// Renders one block of lines per instance, each line with a label and a value.
pub(super) fn render(report: &StatusReport) -> String {
    let blocks: Vec<String> = report.instances.iter().map(block).collect();
    blocks.join("\n")
}

fn block(one: &InstanceStatus) -> String {
    let mut block = Block(format!("{HEAD}{}{HEAD:#}\n", one.name));
    let duration = one.last_transition_ms.map(|millis| format!(" for {}", age(millis))).unwrap_or_default();
    let reason = one.last_transition_reason.as_ref().map(|reason| format!(" ({reason})"));
    block.line(
        "state",
        format_args!("{}{duration}{}", state(one.state).to_ansi(), reason.unwrap_or_default()),
    );
    if let Some(reason) = &one.fault_reason {
        block.line("fault", Cell::styled(reason, BAD).to_ansi());
    }
    let family = if one.family == "ipv6" { "IPv6" } else { "IPv4" };
    block.line(
        "virtual router",
        format_args!(
            "VRID {} on {}, {family}, VRRPv{}, {}",
            one.vrid, one.interface, one.version, one.transport
        ),
    );
    block.line("priority", priority(one));
    block.line("preempt", if one.preempt { "yes" } else { "no" });
    if let (Some(group), Some(of_group)) = (&one.group, one.group_state) {
        block.line("sync group", format_args!("{group} ({})", state(of_group).to_ansi()));
    }
    let learned =
        Some(one.active_advertise_interval_ns).filter(|active| *active != one.advertise_interval_ns);
    let learned =
        learned.map(|active| format!(" (learned from the master: {})", seconds(active))).unwrap_or_default();
    block.line("interval", format_args!("{}{learned}", seconds(one.advertise_interval_ns)));
    let fires = one.master_down_in_ns.map(|left| format!(" (fires in {})", seconds(left)));
    let down = seconds(one.master_down_interval_ns);
    block.line("master-down", format_args!("{down}{}", fires.unwrap_or_default()));
    block.optional("last advert", one.last_adv_source.map(|source| format!("from {source}")));
    for peer in &one.peers {
        block.line("peer", describe_peer(peer));
    }
    block.optional("source", one.primary_address);
    block.optional("virtual MAC", one.virtual_mac.as_ref());
    block.optional("XDP mode", one.xdp_mode.as_ref());
    block.optional("fence", one.fence.as_ref());
    for vip in &one.virtual_addresses {
        block.line("address", vip);
    }
    for vip in &one.excluded_addresses {
        block.line("address", format_args!("{vip} (not advertised)"));
    }
    for missing in one.missing_addresses.iter().chain(&one.missing_routes) {
        block.line("missing", Cell::styled(missing, BAD).to_ansi());
    }
    for object in &one.track {
        block.line("tracked", describe_tracked(object));
    }
    block.0
}

/// Describes the effective priority and why it differs from the configured one.
pub(super) fn priority(one: &InstanceStatus) -> String {
    let InstanceStatus { effective_priority, priority, track_weight, .. } = one;
    match (effective_priority == priority, *track_weight) {
        (true, 0) => priority.to_string(),
        (_, 0) => format!("{effective_priority} (configured: {priority})"),
        (_, weight) => {
            format!("{effective_priority} (configured: {priority}; weights of tracked objects: {weight:+})")
        }
    }
}

/// Describes a peer: `192.0.2.2, priority 150, checksum rfc5798, last advert 320ms ago`.
pub(super) fn describe_peer(peer: &PeerStatus) -> String {
    let PeerStatus { address, priority, checksum, last_heard_ms } = peer;
    format!("{address}, priority {priority}, checksum {checksum}, last advert {} ago", age(*last_heard_ms))
}

/// Describes a tracked object: `script web: down for 3m02s, weight -60, 2 changes: exit status 1`.
pub(super) fn describe_tracked(object: &TrackedObject) -> String {
    let TrackedObject { kind, name, state, weight, detail, since_ms, changes } = object;
    let weight = match weight {
        Some(weight) => format!("weight {weight:+}"),
        None => "fault while down".to_owned(),
    };
    let plural = if *changes == 1 { "" } else { "s" };
    let detail = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{kind} {name}: {state} for {}, {weight}, {changes} change{plural}{detail}", age(*since_ms))
}

/// Lines with a label and a value.
struct Block(String);

impl Block {
    fn line(&mut self, label: &str, value: impl fmt::Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "  {label:<14}  {value}");
    }

    fn optional(&mut self, label: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.line(label, value);
        }
    }
}
