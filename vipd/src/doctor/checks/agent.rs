//! Checks of the agent and its configuration.

use vipd_common::counters::Counter as Cell;

use super::host::HOST;
use super::{hmac, interval, list, list_with, virtual_router};
use crate::config::settings::Transport;
use crate::config::{Fence, Instance, Realtime};
use crate::control::counters::{Counter, Source};
use crate::control::explain;
use crate::control::model::{InstanceStats, InstanceStatus, State, Statistics, StatsReport};
use crate::doctor::facts::{Agent, Running};
use crate::doctor::process::{Engine, Process};
use crate::doctor::{Facts, Finding};
use crate::observe::check;
use crate::service::hmac_status;
use crate::vrrp::Fault;

pub(in crate::doctor) fn is_running(facts: &Facts) -> Vec<Finding> {
    let finding = match &facts.agent {
        Agent::Running(_) => return Vec::new(),
        Agent::NotRunning(error) => Finding::problem("agent-not-running", HOST, "no agent is running")
            .evidence(error)
            .remedy("start one, for example with `systemctl start vipd`; `systemctl status vipd` shows why the service does not run"),
        Agent::Silent(error, process) => silent(error, process.as_ref()),
        Agent::NotQueried(error) => {
            Finding::warning("agent-not-queried", HOST, "the agent could not be queried, so its state is unknown")
                .evidence(error)
                .remedy("run this command as root, from the same version of vipd and with the same --runtime-dir as the agent")
        }
    };
    vec![finding]
}

fn silent(error: &str, process: Option<&Process>) -> Finding {
    let finding = Finding::problem("agent-silent", HOST, "the agent does not answer");
    match process {
        Some(Process { pid, state: Some('T' | 't'), .. }) => finding
            .evidence(format!("{error}; process {pid} is stopped (state T)"))
            .remedy(format!("find out why the process was stopped, then run `kill -CONT {pid}`")),
        Some(Process { pid, state: Some(state), .. }) => finding
            .evidence(format!("{error}; process {pid} is in state {state}"))
            .remedy("if this host is overloaded (`uptime`), reduce the load; otherwise run `systemctl restart vipd`"),
        _ => finding
            .evidence(error)
            .remedy("run `systemctl status vipd`; if the agent is not stopped, run `systemctl restart vipd`"),
    }
}

pub(in crate::doctor) fn is_here(facts: &Facts) -> Vec<Finding> {
    let process = facts.running().and_then(|running| running.process.as_ref());
    let Some(Process { pid, namespaces: Some((theirs, own)), .. }) =
        process.filter(|process| process.is_here() == Some(false))
    else {
        return Vec::new();
    };
    vec![
        Finding::problem(
            "agent-elsewhere",
            HOST,
            "the agent and this command are in different network namespaces",
        )
        .evidence(format!("process {pid} is in {theirs}, this command in {own}"))
        .remedy(format!("run `nsenter -t {pid} -n vipd doctor`, or use another --runtime-dir")),
    ]
}

pub(in crate::doctor) fn configuration_is_valid(facts: &Facts) -> Vec<Finding> {
    match &facts.config {
        Err(errors) => vec![
            Finding::problem("configuration-invalid", &facts.path, "the configuration cannot be used")
                .evidence(list_with(errors, "; "))
                .remedy(format!(
                    "correct the file; `vipd check -c {}` shows the line of each error",
                    facts.path
                )),
        ],
        Ok(config) => config
            .warnings
            .iter()
            .map(|warning| {
                Finding::warning(
                    "configuration-warning",
                    &facts.path,
                    "the configuration is valid, but has a warning",
                )
                .evidence(warning.in_file(&facts.path))
                .remedy(format!(
                    "remove the cause; after a change to the file, run `vipd check -c {}` and `vipd reload`",
                    facts.path
                ))
            })
            .collect(),
    }
}

pub(in crate::doctor) fn configuration_is_applied(facts: &Facts) -> Vec<Finding> {
    let (Some(running), Ok(config)) = (facts.running(), &facts.config) else { return Vec::new() };
    let mut differences = Vec::new();
    for instance in &config.instances {
        match facts.status_of(&instance.name) {
            None => differences.push(format!("{} is only in the file", instance.name)),
            Some(status) => {
                let found = difference(instance, status).map(|what| format!("{}: {what}", instance.name));
                differences.extend(found);
            }
        }
    }
    for status in &running.status.instances {
        if !config.instances.iter().any(|instance| instance.name == status.name) {
            differences.push(format!("{} is only in the agent", status.name));
        }
    }
    if differences.is_empty() {
        return Vec::new();
    }
    vec![
        Finding::warning(
            "configuration-not-applied",
            &facts.path,
            "the configuration of the agent differs from this file",
        )
        .evidence(list_with(differences, "; "))
        .remedy(format!(
            "run `vipd check -c {}` and `vipd reload`, or name the agent's file with -c FILE",
            facts.path
        )),
    ]
}

/// Returns the first difference between a running instance and its configuration. Compares only
/// some of the settings that the status contains. The status contains the IDs of keys, but no key.
fn difference(instance: &Instance, status: &InstanceStatus) -> Option<String> {
    let router = &instance.router;
    let wanted: Vec<String> = router.virtual_addresses.iter().map(ToString::to_string).collect();
    let authentication = match (&instance.hmac, instance.password) {
        (Some(hmac), _) => explain::hmac(&hmac_status(hmac)),
        (None, Some(_)) => "pass".to_owned(),
        (None, None) => "none".to_owned(),
    };
    let transport = match instance.transport {
        Transport::Multicast => "multicast",
        Transport::Unicast(_) => "unicast",
    };
    let version = router.version().number();
    let pairs = [
        ("interface", instance.interface.clone(), status.interface.clone()),
        ("VRID", router.vrid.to_string(), status.vrid.to_string()),
        ("version", version.to_string(), status.version.to_string()),
        ("interval", interval(router.interval.nanos()), interval(status.advertise_interval_ns)),
        ("addresses", wanted.join(","), status.virtual_addresses.join(",")),
        ("authentication", authentication, explain::authentication(status)),
        ("transport", transport.to_owned(), status.transport.clone()),
    ];
    let different = pairs.into_iter().find(|(_, wanted, found)| wanted != found);
    different.map(|(what, wanted, found)| format!("{what} {found} in the agent, {wanted} in the file"))
}

pub(in crate::doctor) fn instances_have_no_fault(facts: &Facts) -> Vec<Finding> {
    let instances = facts.running().map(|running| running.status.instances.as_slice()).unwrap_or_default();
    let faulty = instances.iter().filter(|status| status.state == State::Fault);
    let faulty = faulty.map(|status| {
        let reason = status.fault_reason.clone().unwrap_or_else(|| "unknown".to_owned());
        let is = |fault: Fault| status.fault == Some(fault.to_string());
        let interface = &status.interface;
        let remedy = if is(Fault::Drained) {
            format!("run `vipd undrain {}` after the maintenance", status.name)
        } else if is(Fault::InterfaceDown) {
            format!("run `ip link set {interface} up`, and check its cable and switch port")
        } else if is(Fault::NoPrimaryAddress) || is(Fault::PrimaryIsVirtual) {
            format!(
                "give {interface} a primary address that is not a VIP (`ip address show dev {interface}`): the `source` \
                 or `unicast_source` of the instance if it is configured, otherwise in IPv6 a link-local address"
            )
        } else if is(Fault::NotAttached) || is(Fault::NotReceiving) {
            format!("run `journalctl -u vipd -g {interface}` to find the reason, and `bpftool net show dev {interface}` to find other programs")
        } else if is(Fault::Tracking) {
            format!("run `vipd status {}`, which lists the tracked objects that are down", status.name)
        } else {
            "see \"No master\" in docs/operations.md for the meaning of this fault".to_owned()
        };
        let summary = "the instance is in fault and takes no part in the election";
        Finding::problem("instance-fault", &status.name, summary).evidence(reason).remedy(remedy)
    });
    let missing = instances.iter().filter(|status| !status.missing_addresses.is_empty()).map(|status| {
        Finding::problem("missing-addresses", &status.name, "some VIPs could not be added")
            .evidence(format!("missing: {}", list(&status.missing_addresses)))
            .remedy(
                "run `journalctl -u vipd -g 'cannot add VIP|macvlan up|not added'`, which shows the reason; vipd retries \
                 within 60 s",
            )
    });
    faulty.chain(missing).collect()
}

pub(in crate::doctor) fn guardian_runs(facts: &Facts) -> Vec<Finding> {
    match facts.running() {
        Some(Running { status, .. }) if status.guardian == Some(false) => vec![
            Finding::warning("guardian-missing", HOST, "no guardian watches the engine")
                .evidence("`vipd status --json` has \"vipd:guardian\":false")
                .remedy(
                    "run `journalctl -u vipd -g guardian`, which shows the reason; the agent starts a new guardian \
                     within 60 s",
                ),
        ],
        // A changed `fence` takes effect at the next start, so the VIPs must be fenced now, too.
        Some(Running { status, .. })
            if status.guardian.is_none()
                && facts.config.as_ref().is_ok_and(|config| config.fence == Fence::On)
                && status.instances.iter().any(|one| one.fence.as_deref().is_some_and(|fence| fence != "off")) =>
        {
            vec![
                Finding::warning("guardian-missing", HOST, "no guardian watches the engine")
                    .evidence("`vipd status --json` has no \"vipd:guardian\", although VIPs are fenced")
                    .remedy("run `journalctl -u vipd -g guardian`, which shows the reason, and restart the agent"),
            ]
        }
        _ => Vec::new(),
    }
}

pub(in crate::doctor) fn fence_is_complete(facts: &Facts) -> Vec<Finding> {
    let (Some(running), Ok(config)) = (facts.running(), &facts.config) else { return Vec::new() };
    if config.fence == Fence::Off {
        return vec![
            Finding::note(
                "fence-off",
                HOST,
                "without a fence, the node of a dead or stopped master still answers for its VIPs",
            )
            .evidence("the configuration has fence = \"off\"")
            .remedy("remove this setting and restart the agent, unless another tool fences the node"),
        ];
    }
    let mut findings = Vec::new();
    for status in &running.status.instances {
        let remedy = match status.fence.as_deref() {
            Some("process") => {
                "mount a BPF file system at /sys/fs/bpf (`mount -t bpf bpf /sys/fs/bpf`) and restart the agent; if one is \
                 mounted, `journalctl -u vipd -g fenced` shows the reason"
            }
            Some("ingress") => {
                "make room for vipd's program at TC egress; `journalctl -u vipd -g fence` names the obstacle"
            }
            Some("off") => "run `journalctl -u vipd -g fence`, which shows the reason",
            _ => continue,
        };
        let level = status.fence.clone().unwrap_or_default();
        let summary = "VIPs would not be completely fenced after a crash";
        findings.push(
            Finding::warning("fence-incomplete", &status.name, summary)
                .evidence(format!(
                    "fence level {level} on {}, or on the `dev` of a VIP; expected: full",
                    status.interface
                ))
                .remedy(remedy),
        );
    }
    findings
}

pub(in crate::doctor) fn engine_is_real_time(facts: &Facts) -> Vec<Finding> {
    let (Some(running), Ok(config)) = (facts.running(), &facts.config) else { return Vec::new() };
    let Some(process) = &running.process else { return Vec::new() };
    let remedy = |capability: &str, limit: &str| match config.realtime {
        Realtime::Off => {
            "remove `realtime = \"off\"` from the configuration, and restart the agent".to_owned()
        }
        Realtime::Auto => format!(
            "grant {capability} (AmbientCapabilities= in the unit) or raise {limit}, and run `systemctl restart vipd`"
        ),
    };
    let mut findings = Vec::new();
    if let Some(Engine { thread, policy }) = process.engine.filter(|engine| engine.policy != Engine::FIFO) {
        findings.push(
            Finding::warning(
                "not-real-time",
                HOST,
                "the engine has ordinary scheduling, so load may delay adverts",
            )
            .evidence(format!("thread {thread} has policy {policy}, not SCHED_FIFO (`chrt -p {thread}`)"))
            .remedy(remedy("CAP_SYS_NICE", "LimitRTPRIO= to 40")),
        );
    }
    if process.locked == Some(0) && config.realtime == Realtime::Auto {
        findings.push(
            Finding::warning(
                "memory-not-locked",
                HOST,
                "the agent's memory can be swapped out, which may delay adverts",
            )
            .evidence(format!("VmLck is 0 kB in /proc/{}/status", process.pid))
            .remedy(remedy("CAP_IPC_LOCK", "LimitMEMLOCK= to infinity")),
        );
    }
    findings
}

/// Returns whether an increase of the counter shows trouble on this host, or an attack. Most
/// counters of invalid adverts are excluded: other checks examine the adverts themselves.
fn is_local_error(counter: &Counter) -> bool {
    let is_visible_only_here =
        matches!(counter.source, Source::Kernel(Cell::RateLimited | Cell::HmacReplayed));
    let is_dropped_advert = counter.reason.is_some() && !is_visible_only_here;
    let is_on_wire = matches!(
        counter.name,
        "interval-errors" | "address-list-errors" | "vipd:owner-conflicts" | "vipd:own-adverts-rcvd"
    );
    counter.is_error() && !is_dropped_advert && !is_on_wire
}

pub(in crate::doctor) fn errors_do_not_increase(facts: &Facts) -> Vec<Finding> {
    let Some(running) = facts.running() else { return Vec::new() };
    let none = Statistics::default();
    let mut findings = Vec::new();
    for after in &running.after.instances {
        let before = running.before.instances.iter().find(|before| before.name == after.name);
        let before = before.map_or(&none, |before| &before.statistics);
        for ((counter, now), (_, then)) in after.statistics.entries().zip(before.entries()) {
            if is_local_error(counter) && now > then {
                let summary = format!("an error counter increased: {}", counter.help);
                findings.push(
                    Finding::warning("errors-increase", &after.name, summary)
                        .evidence(format!("{} went from {then} to {now}", counter.name))
                        .remedy(format!(
                            "see {} in docs/counters.md, and `journalctl -u vipd`",
                            counter.name
                        )),
                );
            }
        }
    }
    findings
}

/// Returns the counters of an instance. `None` if the agent does not run it, or runs it with an
/// interface, VRID or IP version other than that in the file, and therefore sends and receives
/// other adverts.
fn counters<'a>(report: &'a StatsReport, instance: &Instance) -> Option<&'a Statistics> {
    let family = instance.router.family.to_string();
    let wanted = (&instance.name, &instance.interface, instance.router.vrid, &family);
    let is_same =
        |stats: &&InstanceStats| (&stats.name, &stats.interface, stats.vrid, &stats.family) == wanted;
    report.instances.iter().find(is_same).map(|stats| &stats.statistics)
}

/// Finds instances for which doctor has observed valid adverts, but the agent has received none.
pub(in crate::doctor) fn adverts_reach_the_agent(facts: &Facts) -> Vec<Finding> {
    let Some(running) = facts.running() else { return Vec::new() };
    let mut findings = Vec::new();
    for instance in facts.instances() {
        let Some(survey) = facts.survey(&instance.interface) else { continue };
        // The validity of an advert depends on the settings.
        if facts.status_of(&instance.name).is_none_or(|status| difference(instance, status).is_some()) {
            continue;
        }
        let received = |report| counters(report, instance).map(|statistics| statistics.advertisement_rcvd);
        let (Some(before), Some(after)) = (received(&running.before), received(&running.after)) else {
            continue;
        };
        let valid = survey.senders().filter(|(router, sender)| {
            router.vlan.is_none()
                && (router.vrid, router.family) == (instance.router.vrid, instance.router.family.number())
                && !sender.is_local
                && check(instance, &sender.advert).is_none()
                && hmac::is_accepted(instance, survey, sender)
        });
        let sent: u64 = valid.map(|(_, sender)| sender.adverts).sum();
        // The reports and the observation may differ by a few adverts.
        if sent > 2 && after == before {
            findings.push(
                Finding::problem(
                    "adverts-not-received",
                    &instance.name,
                    "valid adverts reach the interface, but not the agent",
                )
                .evidence(format!("{sent} adverts on {}; advertisement-rcvd stayed {after}", instance.interface))
                .remedy(
                    "look for a program that takes adverts before vipd's (`bpftool net show`); `vipd status` shows \
                     the XDP mode, and `journalctl -u vipd -g BPF` shows obstacles",
                ),
            );
        }
    }
    findings
}

/// Finds instances for which the agent has sent adverts, but the interface has transmitted none.
pub(in crate::doctor) fn adverts_leave_the_interface(facts: &Facts) -> Vec<Finding> {
    let Some(running) = facts.running() else { return Vec::new() };
    let mut findings = Vec::new();
    for instance in facts.instances().iter().filter(|one| one.transport == Transport::Multicast) {
        let Some(survey) = facts.survey(&instance.interface) else { continue };
        let counted = |report| {
            counters(report, instance)
                .map(|statistics| (statistics.advertisement_sent, statistics.send_errors))
        };
        let (Some(before), Some(after)) = (counted(&running.before), counted(&running.after)) else {
            continue;
        };
        let (sent, refused) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
        let has_left = survey.senders_of(virtual_router(instance)).any(|sender| sender.is_local)
            // Adverts of this host may be among the packets that were not recorded.
            || survey.unrecorded > 0;
        // The reports and the observation may differ by a few adverts.
        if sent.saturating_add(refused) > 2 && !has_left {
            let interface = &instance.interface;
            findings.push(
                Finding::problem(
                    "adverts-not-sent",
                    &instance.name,
                    "the agent sends adverts, but none leaves the interface",
                )
                .evidence(format!(
                    "advertisement-sent rose by {sent} and vipd:send-errors by {refused}, but {interface} transmitted \
                     none"
                ))
                .remedy(format!(
                    "remove the filter that drops the adverts: `tc filter show dev {interface} egress`, `bpftool net show dev \
                     {interface}`, `nft list ruleset` (a chain with `hook egress`)"
                )),
            );
        }
    }
    findings
}
