//! One instance.

use std::fmt::{Display, Write as _};

use super::html::Text;
use crate::control::explain::{self, age, is_noteworthy, seconds};
use crate::control::model::{InstanceStatus, PeerStatus, State, Statistics, TrackedObject};
use crate::web::Problem;

/// The states, the most important first.
pub(super) const STATES: [State; 4] = [State::Fault, State::Master, State::Backup, State::Initialize];
/// Number of VIPs that are shown outside the details.
const VIPS: usize = 4;
/// Maximum number of VIPs, routes, peers or tracked objects of an instance; it limits the memory for
/// slow clients.
const MAX_ROWS: usize = 64;

pub(super) fn render(id: &str, one: &InstanceStatus, stats: &Statistics, problems: &[Problem]) -> String {
    let class = one.state.name();
    let family = if one.family == "ipv6" { "IPv6" } else { "IPv4" };
    let mut out = format!(
        "<article id=\"{id}\" class=\"instance {class}\"><div class=\"who\"><h3>{}</h3><p>{} · VRID {} · {family}</p></div>\
         <div class=\"state\"><p class=\"pill {class}\">{class}</p><p>{}</p></div><dl class=\"facts\">",
        Text(&one.name),
        Text(&one.interface),
        one.vrid,
        Text(since(one)),
    );
    let (master, of_master) = master(one);
    fact(&mut out, "Master", &master, &of_master);
    let (advert, interval) = advert(one, stats);
    fact(&mut out, "Adverts", &advert, &interval);
    fact(&mut out, "Priority", &one.effective_priority.to_string(), &priority(one));
    vips(&mut out, one);
    let (fence, mode) = (one.fence.as_deref().unwrap_or("–"), one.xdp_mode.as_deref());
    fact(&mut out, "Fence", fence, &mode.map(|mode| format!("XDP mode {mode}")).unwrap_or_default());
    out.push_str("</dl>");
    notes(&mut out, one, problems);
    checks(&mut out, &one.track);
    details(&mut out, one, stats);
    out.push_str("</article>");
    out
}

/// Adds a value with a second line.
fn fact(out: &mut String, label: &str, value: &str, below: &str) {
    // Writing to a string does not fail.
    let _ = write!(out, "<div><dt>{label}</dt><dd>{}</dd>", Text(value));
    if !below.is_empty() {
        let _ = write!(out, "<dd class=\"below\">{}</dd>", Text(below));
    }
    out.push_str("</div>");
}

fn since(one: &InstanceStatus) -> String {
    let duration = one.last_transition_ms.map(|millis| format!("for {}", age(millis)));
    let parts = duration.into_iter().chain(one.last_transition_reason.clone());
    parts.collect::<Vec<_>>().join(" · ")
}

fn sender(one: &InstanceStatus) -> Option<&PeerStatus> {
    one.peers.iter().find(|peer| Some(peer.address) == one.last_adv_source)
}

/// Returns the present master, and its priority if another router is master.
fn master(one: &InstanceStatus) -> (String, String) {
    match (one.state, one.last_adv_source) {
        (State::Master, _) => {
            let source = one.primary_address.map(|source| source.to_string());
            ("this node".to_owned(), source.unwrap_or_default())
        }
        (State::Backup, Some(source)) => {
            let priority = sender(one).map(|peer| format!("priority {}", peer.priority));
            (source.to_string(), priority.unwrap_or_default())
        }
        (State::Backup, None) => ("none yet".to_owned(), String::new()),
        (State::Initialize | State::Fault, _) => ("–".to_owned(), String::new()),
    }
}

/// Returns the time since the last advert, and the interval of adverts. A master receives none.
fn advert(one: &InstanceStatus, stats: &Statistics) -> (String, String) {
    let interval = format!("every {}", seconds(one.active_advertise_interval_ns));
    match one.state {
        State::Master => (interval, format!("{} sent", stats.advertisement_sent)),
        State::Backup => {
            let last = sender(one).map(|peer| format!("last {} ago", age(peer.last_heard_ms)));
            (last.unwrap_or_else(|| "none received".to_owned()), interval)
        }
        State::Initialize | State::Fault => ("–".to_owned(), String::new()),
    }
}

fn priority(one: &InstanceStatus) -> String {
    match explain::priority(one) {
        Some(reason) => format!("of {}: {reason}", one.priority),
        None if one.priority == u8::MAX => "owner".to_owned(),
        None => String::new(),
    }
}

fn vips(out: &mut String, one: &InstanceStatus) {
    let _ = write!(out, "<div class=\"vips\"><dt>VIPs</dt>");
    let all: Vec<_> = one.virtual_addresses.iter().chain(&one.excluded_addresses).collect();
    for vip in all.iter().take(VIPS) {
        let class = if one.missing_addresses.contains(vip) { "missing" } else { "vip" };
        let _ = write!(out, "<dd class=\"{class}\">{}</dd>", Text(vip));
    }
    if all.len() > VIPS {
        let _ = write!(out, "<dd class=\"below\">{} more in the details</dd>", all.len() - VIPS);
    }
    out.push_str("</div>");
}

/// Adds the problem of an instance or its fault, and why it has not started.
fn notes(out: &mut String, one: &InstanceStatus, problems: &[Problem]) {
    if let Some(problem) = problems.iter().find(|problem| problem.instance == one.name) {
        let _ = write!(out, "<p class=\"note bad\">{}</p>", Text(&problem.reason));
    } else if let Some(reason) = &one.fault_reason {
        let _ = write!(out, "<p class=\"note\">{}</p>", Text(reason));
    }
    if let Some(reason) = &one.initialize_reason {
        let left = one.starts_in_ns.map(|left| format!(", {} left", age(left / 1_000_000)));
        let _ = write!(out, "<p class=\"note\">{}{}</p>", Text(reason), left.unwrap_or_default());
    }
}

fn checks(out: &mut String, track: &[TrackedObject]) {
    if track.is_empty() {
        return;
    }
    out.push_str("<ul class=\"checks\">");
    for object in track.iter().take(MAX_ROWS) {
        let TrackedObject { kind, name, state, weight, .. } = object;
        let class = match state.as_str() {
            "up" => "up",
            "down" if weight.is_none() => "down",
            "unknown" => "unknown",
            _ if is_noteworthy(object) => "weighs",
            "down" => "unknown",
            _ => "up",
        };
        let weight = weight.map_or_else(|| "fault while down".to_owned(), |weight| format!("{weight:+}"));
        let _ = write!(
            out,
            "<li class=\"{class}\">{} {} <b>{}</b> <small>{weight}</small></li>",
            Text(kind),
            Text(name),
            Text(state)
        );
    }
    if track.len() > MAX_ROWS {
        let _ = write!(out, "<li class=\"unknown\">{} more</li>", track.len() - MAX_ROWS);
    }
    out.push_str("</ul>");
}

fn details(out: &mut String, one: &InstanceStatus, stats: &Statistics) {
    out.push_str("<details><summary>Details</summary><dl>");
    let mut add = |label: &str, value: &dyn Display| {
        let _ = write!(out, "<div><dt>{label}</dt><dd>{}</dd></div>", Text(value));
    };
    let mut timers = format!("master-down {}", seconds(one.master_down_interval_ns));
    if let Some(left) = one.master_down_in_ns {
        let _ = write!(timers, ", fires in {}", seconds(left));
    }
    let interval = seconds(one.advertise_interval_ns);
    let learned = if one.active_advertise_interval_ns == one.advertise_interval_ns {
        String::new()
    } else {
        format!(" (learned from the master: {})", seconds(one.active_advertise_interval_ns))
    };
    add("Protocol", &format!("VRRPv{}, {}, checksum {}", one.version, one.transport, one.checksum));
    add("Interval", &format!("{interval}{learned}"));
    add("Timers", &timers);
    add("Preempt", &preempt(one));
    add("Accept", &if one.accept_mode { "yes" } else { "no" });
    if one.authentication != "none" {
        add("Authentication", &one.authentication);
    }
    if let Some(source) = one.primary_address {
        add("Source", &source);
    }
    if let Some(mac) = &one.virtual_mac {
        add("Virtual MAC", mac);
    }
    if let Some(group) = &one.group {
        add("Sync group", &format!("{group} ({})", one.group_state.map_or("initialize", State::name)));
    }
    let peers = one.peers.iter().map(|peer| {
        let PeerStatus { address, priority, checksum, last_heard_ms } = peer;
        let age = age(*last_heard_ms);
        format!("{address}, priority {priority}, checksum {checksum}, last advert {age} ago")
    });
    add_limited(&mut add, "Peer", peers);
    let all = one.virtual_addresses.len() + one.excluded_addresses.len();
    let vips = one.virtual_addresses.iter().filter(|_| all > VIPS).cloned();
    let excluded = one.excluded_addresses.iter().map(|vip| format!("{vip} (not advertised)"));
    add_limited(&mut add, "VIP", vips.chain(excluded));
    add_limited(&mut add, "While master", one.routes.iter().chain(&one.rules).cloned());
    add("Adverts", &format!("{} received, {} sent", stats.advertisement_rcvd, stats.advertisement_sent));
    add("Transitions to master", &stats.master_transitions);
    out.push_str("</dl></details>");
}

/// Adds up to [`MAX_ROWS`] values and the number of the others.
fn add_limited(
    add: &mut impl FnMut(&str, &dyn Display),
    label: &str,
    mut values: impl Iterator<Item = String>,
) {
    for value in values.by_ref().take(MAX_ROWS) {
        add(label, &value);
    }
    let hidden = values.count();
    if hidden > 0 {
        add(label, &format!("{hidden} more: vipd status NAME"));
    }
}

fn preempt(one: &InstanceStatus) -> String {
    match (one.preempt, one.preempt_delay_ns, one.preempt_in_ns) {
        (false, ..) => "no".to_owned(),
        (true, 0, _) => "yes".to_owned(),
        (true, delay, None) => format!("yes, after {}", seconds(delay)),
        (true, delay, Some(left)) => format!("yes, after {} ({} left)", seconds(delay), seconds(left)),
    }
}
