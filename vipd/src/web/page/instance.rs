//! The part of the page for an instance.

use std::fmt::Write as _;

use super::html::{Markup, Slot, Text, Values};
use crate::control::explain::{self, age, is_noteworthy, seconds};
use crate::control::model::{InstanceStatus, PeerStatus, State, Statistics, TrackedObject};
use crate::web::Problem;

/// The states, the most important first.
pub(super) const STATES: [State; 4] = [State::Fault, State::Master, State::Backup, State::Initialize];
/// Number of VIPs that are shown outside the details.
const VIPS: usize = 4;
/// Maximum number of VIPs, of peers, of tracked objects, and of routes and rules together that are
/// shown for an instance. The limit saves memory when clients are slow.
const MAX_ROWS: usize = 64;

/// The values of an instance that the page shows more than once.
struct Shared {
    /// Time since the last advert of the current master.
    age: Option<Slot>,
    /// Number of sent adverts.
    sent: Slot,
}

/// Returns the HTML of an instance, and the values for its slots.
pub(super) fn render(
    id: &str,
    one: &InstanceStatus,
    stats: &Statistics,
    problems: &[Problem],
) -> (String, Values) {
    let mut values = Values::default();
    let age = sender(one).map(|peer| values.add(age(peer.last_heard_ms)));
    let shared = Shared { age, sent: values.add(stats.advertisement_sent) };
    let class = one.state.name();
    let family = if one.family == "ipv6" { "IPv6" } else { "IPv4" };
    let mut out = format!(
        "<article id=\"{id}\" class=\"instance {class}\"><div class=\"who\"><h3>{}</h3><p>{} · VRID {} · {family}</p></div>\
         <div class=\"state\"><p class=\"pill {class}\">{class}</p><p>{}</p></div><dl class=\"facts\">",
        Text(&one.name),
        Text(&one.interface),
        one.vrid,
        since(one, &mut values),
    );
    let (master, of_master) = master(one);
    fact(&mut out, "Master", &Markup::new(master), &Markup::new(of_master));
    let (advert, interval) = advert(one, &shared);
    fact(&mut out, "Adverts", &advert, &interval);
    fact(&mut out, "Priority", &Markup::new(one.effective_priority), &Markup::new(priority(one)));
    vips(&mut out, one);
    let (fence, mode) = (one.fence.as_deref().unwrap_or("–"), one.xdp_mode.as_deref());
    let mode = mode.map(|mode| format!("XDP mode {mode}")).unwrap_or_default();
    fact(&mut out, "Fence", &Markup::new(fence), &Markup::new(mode));
    out.push_str("</dl>");
    notes(&mut out, one, problems, &mut values);
    checks(&mut out, &one.track);
    details(&mut out, one, stats, &shared, &mut values);
    out.push_str("</article>");
    (out, values)
}

/// Adds a labeled value with a second line below it.
fn fact(out: &mut String, label: &str, value: &Markup, below: &Markup) {
    // Writing to a string does not fail.
    let _ = write!(out, "<div><dt>{label}</dt><dd>{value}</dd>");
    if !below.is_empty() {
        let _ = write!(out, "<dd class=\"below\">{below}</dd>");
    }
    out.push_str("</div>");
}

fn since(one: &InstanceStatus, values: &mut Values) -> Markup {
    let mut since = Markup::default();
    if let Some(millis) = one.last_transition_ms {
        since = since.text("for ").slot(values.add(age(millis)));
    }
    match &one.last_transition_reason {
        None => since,
        Some(reason) if since.is_empty() => since.text(reason),
        Some(reason) => since.text(" · ").text(reason),
    }
}

fn sender(one: &InstanceStatus) -> Option<&PeerStatus> {
    one.peers.iter().find(|peer| Some(peer.address) == one.last_adv_source)
}

/// Returns the current master, and a second line: this node's address or the other router's
/// priority.
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

/// Returns the time since the last advert and the advert interval. For a master, returns the
/// interval and the number of sent adverts.
fn advert(one: &InstanceStatus, shared: &Shared) -> (Markup, Markup) {
    let interval = Markup::new(format_args!("every {}", seconds(one.active_advertise_interval_ns)));
    match (one.state, shared.age) {
        (State::Master, _) => (interval, Markup::default().slot(shared.sent).text(" sent")),
        (State::Backup, Some(age)) => (Markup::new("last ").slot(age).text(" ago"), interval),
        (State::Backup, None) => (Markup::new("none received"), interval),
        (State::Initialize | State::Fault, _) => (Markup::new("–"), Markup::default()),
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

/// Adds the instance's problem or else its fault, and the reason why the instance has not started.
fn notes(out: &mut String, one: &InstanceStatus, problems: &[Problem], values: &mut Values) {
    if let Some(problem) = problems.iter().find(|problem| problem.instance == one.name) {
        let _ = write!(out, "<p class=\"note bad\">{}</p>", Text(&problem.reason));
    } else if let Some(reason) = &one.fault_reason {
        let _ = write!(out, "<p class=\"note\">{}</p>", Text(reason));
    }
    if let Some(reason) = &one.initialize_reason {
        let mut note = Markup::new(reason);
        if let Some(left) = one.starts_in_ns {
            note = note.text(", ").slot(values.add(age(left / 1_000_000))).text(" left");
        }
        let _ = write!(out, "<p class=\"note\">{note}</p>");
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

fn details(out: &mut String, one: &InstanceStatus, stats: &Statistics, shared: &Shared, values: &mut Values) {
    let _ = write!(
        out,
        "<details><summary>Details<span class=\"unseen\"> of {}</span></summary><dl>",
        Text(&one.name)
    );
    let mut add = |label: &str, value: Markup| {
        let _ = write!(out, "<div><dt>{label}</dt><dd>{value}</dd></div>");
    };
    let mut timers = Markup::new(format_args!("master-down {}", seconds(one.master_down_interval_ns)));
    if let Some(left) = one.master_down_in_ns {
        timers = timers.text(", fires in ").slot(values.add(seconds(left)));
    }
    let mut interval = Markup::new(seconds(one.advertise_interval_ns));
    if one.active_advertise_interval_ns != one.advertise_interval_ns {
        let learned = seconds(one.active_advertise_interval_ns);
        interval = interval.text(format_args!(" (learned from the master: {learned})"));
    }
    let protocol = format_args!("VRRPv{}, {}, checksum {}", one.version, one.transport, one.checksum);
    add("Protocol", Markup::new(protocol));
    add("Interval", interval);
    add("Timers", timers);
    add("Preempt", preempt(one, values));
    add("Accept", Markup::new(if one.accept_mode { "yes" } else { "no" }));
    if one.authentication != "none" {
        add("Authentication", Markup::new(explain::authentication(one)));
    }
    if let Some(source) = one.primary_address {
        add("Source", Markup::new(source));
    }
    if let Some(mac) = &one.virtual_mac {
        add("Virtual MAC", Markup::new(mac));
    }
    if let Some(group) = &one.group {
        let of_group = one.group_state.map_or("initialize", State::name);
        add("Sync group", Markup::new(format_args!("{group} ({of_group})")));
    }
    let peers = one.peers.iter().map(|peer| {
        let PeerStatus { address, priority, checksum, last_heard_ms, key_id, clock_offset_ms } = peer;
        let is_master = Some(*address) == one.last_adv_source;
        let of_master = shared.age.filter(|_| is_master);
        let age = of_master.unwrap_or_else(|| values.add(age(*last_heard_ms)));
        let mut out = Markup::new(format_args!("{address}, priority {priority}, checksum {checksum}"));
        if let (Some(key), Some(offset)) = (key_id, clock_offset_ms) {
            let clock = values.add(explain::clock_offset(*offset));
            out = out.text(format_args!(", key {key}, clock ")).slot(clock);
        }
        out.text(", last advert ").slot(age).text(" ago")
    });
    add_limited(&mut add, "Peer", peers);
    let all = one.virtual_addresses.len() + one.excluded_addresses.len();
    let vips = one.virtual_addresses.iter().filter(|_| all > VIPS).map(Markup::new);
    let excluded = one.excluded_addresses.iter().map(|vip| Markup::new(vip).text(" (not advertised)"));
    add_limited(&mut add, "VIP", vips.chain(excluded));
    add_limited(&mut add, "While master", one.routes.iter().chain(&one.rules).map(Markup::new));
    let received = values.add(stats.advertisement_rcvd);
    add("Adverts", Markup::default().slot(received).text(" received, ").slot(shared.sent).text(" sent"));
    let transitions = values.add(stats.master_transitions);
    add("Transitions to master", Markup::default().slot(transitions));
    out.push_str("</dl></details>");
}

/// Adds up to [`MAX_ROWS`] values, and the number of values omitted.
fn add_limited(add: &mut impl FnMut(&str, Markup), label: &str, mut values: impl Iterator<Item = Markup>) {
    for value in values.by_ref().take(MAX_ROWS) {
        add(label, value);
    }
    let hidden = values.count();
    if hidden > 0 {
        add(label, Markup::new(format_args!("{hidden} more: vipd status NAME")));
    }
}

fn preempt(one: &InstanceStatus, values: &mut Values) -> Markup {
    let after = |delay| Markup::new(format_args!("yes, after {}", seconds(delay)));
    match (one.preempt, one.preempt_delay_ns, one.preempt_in_ns) {
        (false, ..) => Markup::new("no"),
        (true, 0, _) => Markup::new("yes"),
        (true, delay, None) => after(delay),
        (true, delay, Some(left)) => after(delay).text(" (").slot(values.add(seconds(left))).text(" left)"),
    }
}
