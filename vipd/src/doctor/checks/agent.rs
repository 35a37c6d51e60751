//! Checks of the agent and its configuration.

use vipd_common::counters::Counter as Cell;

use super::{interval, list};
use crate::config::settings::Transport;
use crate::config::{Fence, Instance, Realtime};
use crate::control::counters::{Counter, Source};
use crate::control::model::{InstanceStatus, State, Statistics};
use crate::doctor::facts::{Agent, Running};
use crate::doctor::{Facts, Finding};
use crate::observe::check;
use crate::vrrp::Fault;

const HOST: &str = "this host";

pub(in crate::doctor) fn is_running(facts: &Facts) -> Vec<Finding> {
    let finding = match &facts.agent {
        Agent::Running(_) => return Vec::new(),
        Agent::NotRunning(error) => Finding::problem("agent-not-running", HOST, "no agent is running")
            .evidence(error)
            .remedy("start it, for example with `systemctl start vipd`; `systemctl status vipd` shows why it ended"),
        Agent::Silent(error) => {
            Finding::problem("agent-silent", HOST, "the agent does not answer").evidence(error).remedy(
                "if its process is stopped (state T in `ps`), continue it with SIGCONT; if its host is overloaded, \
                 reduce the load; otherwise restart it",
            )
        }
        Agent::NotQueried(error) => {
            Finding::warning("agent-not-queried", HOST, "the agent could not be queried, so its state is unknown")
                .evidence(error)
                .remedy("run this command as root, with the version and the runtime directory of the agent")
        }
    };
    vec![finding]
}

pub(in crate::doctor) fn is_here(facts: &Facts) -> Vec<Finding> {
    if facts.running().is_none_or(|running| running.is_here != Some(false)) {
        return Vec::new();
    }
    vec![
        Finding::problem(
            "agent-elsewhere",
            HOST,
            "the agent runs in another network namespace than this command",
        )
        .evidence("the network namespaces of both processes differ (`lsns -t net`)")
        .remedy("run this command there, for example with `nsenter -t PID -n`, or use another --runtime-dir"),
    ]
}

pub(in crate::doctor) fn configuration_is_valid(facts: &Facts) -> Vec<Finding> {
    match &facts.config {
        Err(errors) => vec![
            Finding::problem("configuration-invalid", &facts.path, "the configuration cannot be used")
                .evidence(errors.join("; "))
                .remedy("correct the file; `vipd check` shows each error at its line"),
        ],
        Ok(config) => config
            .warnings
            .iter()
            .map(|warning| {
                Finding::warning("configuration-warning", &facts.path, "the configuration is suspicious")
                    .evidence(warning.in_file(&facts.path))
                    .remedy("correct the file, then run `vipd check` and `vipd reload`")
            })
            .collect(),
    }
}

pub(in crate::doctor) fn configuration_is_applied(facts: &Facts) -> Vec<Finding> {
    let (Some(running), Ok(config)) = (facts.running(), &facts.config) else { return Vec::new() };
    let mut differences = Vec::new();
    for instance in &config.instances {
        match facts.status_of(&instance.name) {
            None => differences.push(format!("{} is not running", instance.name)),
            Some(status) => {
                let found = difference(instance, status).map(|what| format!("{}: {what}", instance.name));
                differences.extend(found);
            }
        }
    }
    for status in &running.status.instances {
        if !config.instances.iter().any(|instance| instance.name == status.name) {
            differences.push(format!("{} is not in the file", status.name));
        }
    }
    if differences.is_empty() {
        return Vec::new();
    }
    vec![
        Finding::warning(
            "configuration-not-applied",
            &facts.path,
            "the agent runs with another configuration than this file",
        )
        .evidence(differences.join("; "))
        .remedy("run `vipd check` and `vipd reload`, or name the agent's file with -c FILE"),
    ]
}

/// Returns how a running instance differs from its configuration.
fn difference(instance: &Instance, status: &InstanceStatus) -> Option<String> {
    let router = &instance.router;
    let wanted: Vec<String> = router.virtual_addresses.iter().map(ToString::to_string).collect();
    let authentication = if instance.password.is_some() { "pass" } else { "none" };
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
        ("authentication", authentication.to_owned(), status.authentication.clone()),
        ("transport", transport.to_owned(), status.transport.clone()),
    ];
    let different = pairs.into_iter().find(|(_, wanted, found)| wanted != found);
    different.map(|(what, wanted, found)| format!("{what} is {found} in the agent and {wanted} in the file"))
}

pub(in crate::doctor) fn instances_have_no_fault(facts: &Facts) -> Vec<Finding> {
    let instances = facts.running().map(|running| running.status.instances.as_slice()).unwrap_or_default();
    let faulty = instances.iter().filter(|status| status.state == State::Fault);
    let faulty = faulty.map(|status| {
        let reason = status.fault_reason.clone().unwrap_or_else(|| "unknown".to_owned());
        let is = |fault: Fault| status.fault == Some(fault.to_string());
        let remedy = if is(Fault::Drained) {
            "run `vipd undrain` after the maintenance"
        } else if is(Fault::InterfaceDown) {
            "bring the interface up, and check its cable and switch port"
        } else if is(Fault::NoPrimaryAddress) || is(Fault::PrimaryIsVirtual) {
            "give the interface an address that is not a VIP"
        } else {
            "see \"No master\" in docs/operations.md for the meaning of this fault"
        };
        let summary = "the instance is in fault and takes no part in the election";
        Finding::problem("instance-fault", &status.name, summary).evidence(reason).remedy(remedy)
    });
    let missing = instances.iter().filter(|status| !status.missing_addresses.is_empty()).map(|status| {
        Finding::problem("missing-addresses", &status.name, "the kernel refused to add some VIPs")
            .evidence(list(&status.missing_addresses))
            .remedy("the log has the reason for each address")
    });
    faulty.chain(missing).collect()
}

pub(in crate::doctor) fn guardian_runs(facts: &Facts) -> Vec<Finding> {
    match facts.running() {
        Some(Running { status, .. }) if status.guardian == Some(false) => vec![
            Finding::warning("guardian-missing", HOST, "no guardian watches the engine")
                .evidence("the agent reports that its guardian does not run")
                .remedy("the log has the reason; the agent starts a new one after a delay"),
        ],
        _ => Vec::new(),
    }
}

pub(in crate::doctor) fn fence_is_complete(facts: &Facts) -> Vec<Finding> {
    let (Some(running), Ok(config)) = (facts.running(), &facts.config) else { return Vec::new() };
    if config.fence == Fence::Off {
        return vec![
            Finding::note("fence-off", HOST, "the node of a dead or stopped master answers for its VIPs")
                .evidence("the configuration has fence = \"off\"")
                .remedy("remove this setting, unless another tool fences the node"),
        ];
    }
    let mut findings = Vec::new();
    for status in &running.status.instances {
        let remedy = match status.fence.as_deref() {
            Some("process") => {
                "mount a BPF file system at /sys/fs/bpf (`mount -t bpf bpf /sys/fs/bpf`) and restart the agent"
            }
            Some("ingress") => "make room for vipd's program at TC egress; the log names the obstacle",
            Some("off") => "the log has the reason for which vipd cannot drop packets to the VIPs",
            _ => continue,
        };
        let level = status.fence.clone().unwrap_or_default();
        let summary = "VIPs are not completely fenced after a crash";
        findings.push(
            Finding::warning("fence-incomplete", &status.name, summary)
                .evidence(format!("fence level {level}, not full"))
                .remedy(remedy),
        );
    }
    findings
}

pub(in crate::doctor) fn engine_is_real_time(facts: &Facts) -> Vec<Finding> {
    let (Some(running), Ok(config)) = (facts.running(), &facts.config) else { return Vec::new() };
    if running.is_real_time != Some(false) {
        return Vec::new();
    }
    let remedy = match config.realtime {
        Realtime::Off => "remove `realtime = \"off\"` from the configuration",
        Realtime::Auto => {
            "grant CAP_SYS_NICE, for example with AmbientCapabilities= in the unit, and restart the agent"
        }
    };
    vec![
        Finding::warning(
            "not-real-time",
            HOST,
            "the engine has ordinary scheduling, so load may delay adverts",
        )
        .evidence("the scheduling policy of the engine's thread is not SCHED_FIFO")
        .remedy(remedy),
    ]
}

/// Counters whose increase shows trouble on this host. Adverts that are invalid are examined on the
/// wire.
fn is_local_error(counter: &Counter) -> bool {
    let is_dropped_advert = counter.reason.is_some() && counter.source != Source::Kernel(Cell::RateLimited);
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
                let summary = format!("an error counter increases: {}", counter.help);
                findings.push(
                    Finding::warning("errors-increase", &after.name, summary)
                        .evidence(format!("{} went from {then} to {now}", counter.name))
                        .remedy("see docs/counters.md and the log for the cause"),
                );
            }
        }
    }
    findings
}

/// Compares the adverts that the listener and the agent have received.
pub(in crate::doctor) fn adverts_reach_the_agent(facts: &Facts) -> Vec<Finding> {
    let Some(running) = facts.running() else { return Vec::new() };
    let mut findings = Vec::new();
    for instance in facts.instances() {
        let Some(survey) = facts.survey(&instance.interface) else { continue };
        let received = |report: &crate::control::model::StatsReport| {
            let stats = report.instances.iter().find(|stats| stats.name == instance.name);
            stats.map(|stats| stats.statistics.advertisement_rcvd)
        };
        let (Some(before), Some(after)) = (received(&running.before), received(&running.after)) else {
            continue;
        };
        let valid = survey.senders().filter(|(router, sender)| {
            router.vlan.is_none()
                && (router.vrid, router.family) == (instance.router.vrid, instance.router.family.number())
                && !sender.is_local
                && check(instance, &sender.advert).is_none()
        });
        let sent: u64 = valid.map(|(_, sender)| sender.adverts).sum();
        // A few may arrive between the reports and the observation.
        if sent > 2 && after == before {
            findings.push(
                Finding::problem(
                    "adverts-not-received",
                    &instance.name,
                    "valid adverts reach the interface, but not the agent",
                )
                .evidence(format!("{sent} adverts on {}; advertisement-rcvd stayed {after}", instance.interface))
                .remedy(
                    "look for another BPF program (`bpftool net`) and for an XDP mode in `vipd status`; the log names \
                     obstacles",
                ),
            );
        }
    }
    findings
}
