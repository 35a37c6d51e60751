//! Details of individual instances, for `vipd status NAME`.

use std::fmt::{self, Write as _};

use anyhow::bail;

use super::status::{age, seconds, state, waits_for};
use super::table::{BAD, Cell, HEAD, WAITING};
use super::wrap::wrap;
use crate::control::explain::{authentication, clock_offset};
use crate::control::model::{InstanceStatus, PeerStatus, StatusReport, TrackedObject, UnicastPeer};

/// Column in which the values start.
const VALUE: usize = 18;

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
            let existing = if existing.is_empty() { "none".to_owned() } else { existing.join(", ") };
            bail!("no instance or sync group is named {name:?}; instances: {existing}");
        }
    }
    report.instances.retain(|one| names.is_empty() || names.iter().any(|name| has_name(one, name)));
    Ok(report)
}

/// Renders one block of lines per instance, each line with a label and a value, for a terminal of
/// this width or for a pipe.
pub(super) fn render(report: &StatusReport, width: Option<usize>) -> String {
    let blocks: Vec<String> = report.instances.iter().map(|one| block(one, width)).collect();
    blocks.join("\n")
}

fn block(one: &InstanceStatus, width: Option<usize>) -> String {
    let mut block = Block { text: format!("{HEAD}{}{HEAD:#}\n", one.name), width };
    let duration = one.last_transition_ms.map(|millis| format!(" for {}", age(millis))).unwrap_or_default();
    let reason = one.last_transition_reason.as_ref().map(|reason| format!(" ({reason})"));
    block.line(
        "state",
        format_args!("{}{duration}{}", state(one.state).to_ansi(), reason.unwrap_or_default()),
    );
    block.optional("waits for", waits_for(one).map(|reason| Cell::styled(reason, WAITING).to_ansi()));
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
    block.line("preempt", preempt(one));
    block.optional("startup delay", Some(one.startup_delay_ns).filter(|delay| *delay > 0).map(seconds));
    if one.authentication != "none" {
        block.line("authentication", authentication(one));
    }
    block.line("accept", if one.accept_mode { "yes" } else { "no" });
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
    let is_configured =
        |peer: &PeerStatus| one.unicast_peers.iter().any(|found| found.address == peer.address);
    for peer in &one.unicast_peers {
        block.line("unicast peer", describe_unicast_peer(peer, &one.peers));
    }
    for peer in one.peers.iter().filter(|peer| !is_configured(peer)) {
        block.line("peer", format_args!("{}, {}", peer.address, adverts(peer)));
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
    for route in &one.routes {
        block.line("route", route.strip_prefix("route ").unwrap_or(route));
    }
    for rule in &one.rules {
        block.line("rule", rule.strip_prefix("rule ").unwrap_or(rule));
    }
    for missing in one.missing_addresses.iter().chain(&one.missing_routes) {
        block.line("missing", Cell::styled(missing, BAD).to_ansi());
    }
    for object in &one.track {
        block.line("tracked", describe_tracked(object));
    }
    block.text
}

fn preempt(one: &InstanceStatus) -> String {
    let left = one.preempt_in_ns.map(|left| format!(" ({} left)", age(left / 1_000_000))).unwrap_or_default();
    match (one.preempt, one.preempt_delay_ns) {
        (false, _) => "no".to_owned(),
        (true, 0) => "yes".to_owned(),
        (true, delay) => format!("yes, after {}{left}", seconds(delay)),
    }
}

/// Describes the effective priority. If it differs from the configured priority, or tracked objects
/// contribute to it, also describes the configured priority and the sum of their weights.
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
    format!("{}, {}", peer.address, adverts(peer))
}

/// Describes a configured peer, and the adverts received from it.
fn describe_unicast_peer(peer: &UnicastPeer, senders: &[PeerStatus]) -> String {
    let UnicastPeer { address, min_ttl } = peer;
    let min_ttl = if *min_ttl == u8::MAX { String::new() } else { format!(" (min_ttl {min_ttl})") };
    let sender = senders.iter().find(|sender| sender.address == *address);
    let adverts = sender.map(adverts);
    format!("{address}{min_ttl}, {}", adverts.unwrap_or_else(|| "no advert received".to_owned()))
}

/// Describes the adverts of another router.
fn adverts(peer: &PeerStatus) -> String {
    let PeerStatus { address: _, priority, checksum, last_heard_ms, key_id: _, clock_offset_ms: _ } = peer;
    let signed = signed(peer);
    format!("priority {priority}, checksum {checksum}{signed}, last advert {} ago", age(*last_heard_ms))
}

/// Describes the key and the clock of a peer that signs its adverts: `, key 1, clock 3 ms ahead`.
/// Empty for any other peer.
fn signed(peer: &PeerStatus) -> String {
    let (Some(key), Some(offset)) = (peer.key_id, peer.clock_offset_ms) else { return String::new() };
    format!(", key {key}, clock {}", clock_offset(offset))
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
struct Block {
    text: String,
    /// Width of the terminal; `None` for a pipe.
    width: Option<usize>,
}

impl Block {
    fn line(&mut self, label: &str, value: impl fmt::Display) {
        let mut value = value.to_string();
        if let Some(width) = self.width {
            value = wrap(&value, width, VALUE);
        }
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "  {label:<14}  {value}");
    }

    fn optional(&mut self, label: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.line(label, value);
        }
    }
}
