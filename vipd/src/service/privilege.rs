//! Checks of the capabilities, the clock and the limit on open files. If a check fails at an
//! ordinary start, the agent exits after it has ended the guardian of a killed agent and removed
//! stale VIPs, routes and rules, and before it makes any other change. If a check fails in the
//! successor of a running agent, that agent continues. If a check fails in a process that systemd
//! has restarted with the state of the previous process, an ordinary start follows. If the limit on
//! open files is too low for the configuration of a reload, the reload is rejected.

use std::fs;

use anyhow::{Context as _, bail};
use rustix::thread::{CapabilitySet, capabilities};

use crate::config::Config;
use crate::control::server::MAX_CLIENTS;
use crate::process::raise_open_files;
use crate::web::MAX_CONNECTIONS;

/// The required capabilities and their purposes.
const NEEDED: [(CapabilitySet, &str); 4] = [
    (CapabilitySet::BPF, "CAP_BPF (to load the BPF program)"),
    // Without CAP_PERFMON, the verifier applies its Spectre rules for unprivileged programs, which
    // reject the BPF program's masked offsets (kernel/bpf/verifier.c, `bypass_spec_v1`).
    (CapabilitySet::PERFMON, "CAP_PERFMON (to use variable offsets in the BPF program)"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN (to attach the BPF program and change addresses)"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW (to send adverts, gratuitous ARP and neighbor advertisements)"),
];

/// Checks that this process has the capabilities that the agent needs (capabilities(7)), and that
/// its time namespace does not offset the monotonic clock.
///
/// # Errors
/// Returns an error that lists the missing capabilities or states the clock's offset.
pub fn check() -> anyhow::Result<()> {
    let Ok(sets) = capabilities(None) else { return Ok(()) };
    // CAP_SYS_ADMIN may stand in for CAP_BPF and CAP_PERFMON.
    let bpf = CapabilitySet::BPF | CapabilitySet::PERFMON;
    let may = |needed: CapabilitySet| {
        sets.effective.contains(needed)
            || bpf.contains(needed) && sets.effective.contains(CapabilitySet::SYS_ADMIN)
    };
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(needed, _)| !may(*needed)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        bail!(
            "this process lacks {}; run it as root, or grant the missing capabilities (AmbientCapabilities= in the unit)",
            missing.join(", ")
        );
    }
    if let Some(offset) = time_offset() {
        bail!(
            "the monotonic clock of this time namespace is offset by {offset} s, but the kernel timestamps adverts \
             with the host's clock; run vipd in the host's time namespace"
        );
    }
    Ok(())
}

/// Raises the soft limit on open files to the hard limit, and checks that it suffices for the
/// configuration.
///
/// # Errors
/// Returns an error if the soft limit cannot be raised or the hard limit is too low.
pub fn check_open_files(config: &Config) -> anyhow::Result<()> {
    let limit = raise_open_files().context("cannot raise the limit on open files")?;
    let needed = open_files(config);
    match limit {
        Some(limit) if limit < needed => bail!(
            "the limit on open files is {limit}, but this configuration needs {needed}; raise it (LimitNOFILE= in \
             the unit, `ulimit -n` in a shell)"
        ),
        _ => Ok(()),
    }
}

/// Returns the maximum number of file descriptors that the agent may have open at the same time,
/// without those of notification commands and the duplicates that it passes in an upgrade or a
/// restart.
fn open_files(config: &Config) -> u64 {
    // Standard streams, runtime, signals, netlink and BPF objects need about 30 descriptors. The
    // rest is a margin.
    const AGENT: usize = 40;
    // The packet socket, two group sockets, the BPF link, the claim, the fence's links at TC
    // ingress and egress, and two spare descriptors for reopening the link.
    const LINK: usize = 9;
    // An open unicast socket, and its replacement while the link is reopened.
    const ROUTER: usize = 2;
    // The listener, the runtime's epoll instances and wake-up descriptors, and a margin.
    const METRICS: usize = 6;
    // The command's output pipe and its pidfd.
    const SCRIPT: usize = 2;
    // The inotify instance, and the file itself while it is being read.
    const FILE: usize = 2;
    let mut links: Vec<&str> = config.instances.iter().map(|instance| instance.interface.as_str()).collect();
    links.extend(
        config
            .instances
            .iter()
            .flat_map(|instance| &instance.placements)
            .filter_map(|placement| placement.interface.as_deref()),
    );
    links.sort_unstable();
    links.dedup();
    // A socket for process events, and a pidfd for each process that the quorum requires. Pidfds of
    // further processes with the same name come from the margin in `AGENT`.
    let processes = config.processes.iter().map(|process| 1 + usize::from(process.quorum));
    // Notification commands are not included: without a free descriptor, they are retried later.
    let checks = SCRIPT * config.scripts.len() + FILE * config.files.len() + processes.sum::<usize>();
    let metrics = if config.metrics.listen.is_some() { METRICS + MAX_CONNECTIONS } else { 0 };
    let files = AGENT + MAX_CLIENTS + LINK * links.len() + ROUTER * config.instances.len() + checks + metrics;
    u64::try_from(files).unwrap_or(u64::MAX)
}

/// Returns the offset of CLOCK_MONOTONIC in this time namespace in seconds (time_namespaces(7)), or
/// `None` if there is no offset. `bpf_ktime_get_ns()` ignores the offset.
fn time_offset() -> Option<String> {
    offset_in(&fs::read_to_string("/proc/self/timens_offsets").ok()?)
}

fn offset_in(offsets: &str) -> Option<String> {
    let mut monotonic = offsets.lines().find_map(|line| line.strip_prefix("monotonic"))?.split_whitespace();
    let (seconds, nanos) = (monotonic.next()?, monotonic.next()?);
    ((seconds, nanos) != ("0", "0")).then(|| seconds.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_need_open_files() {
        let instance = "[[instance]]\nname = \"a\"\ninterface = \"eth0\"\nvrid = 1\nvirtual_addresses = [\"10.0.0.1\"]\n";
        let needed = |more: &str| {
            let config = Config::parse(&format!("{instance}{more}"), "vipd.toml");
            open_files(&config.unwrap_or_else(|problems| panic!("{problems}")))
        };
        let [script, file] = ["command = [\"/bin/true\"]", "path = \"/etc/weight\""];
        let process = "executable = \"/bin/true\"\nquorum = 5";
        for (kind, settings, expected) in [("script", script, 2), ("file", file, 2), ("process", process, 6)]
        {
            let check = format!("[[{kind}]]\nname = \"check\"\n{settings}\n");
            assert_eq!(needed(&check) - needed(""), expected, "{kind}");
        }
        assert_eq!(needed("[metrics]\nlisten = \"127.0.0.1:9650\"\n") - needed(""), 38);
    }

    #[test]
    fn monotonic_clock_offset_is_detected() {
        assert_eq!(offset_in("monotonic           0         0\nboottime            5         0\n"), None);
        assert_eq!(offset_in("monotonic      172800         0\nboottime 0 0\n").as_deref(), Some("172800"));
        assert_eq!(offset_in(""), None);
    }
}
