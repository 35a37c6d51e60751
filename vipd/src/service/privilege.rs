//! Checks of the process before anything is touched: capabilities, clock, limit on open files.

use std::fs;

use anyhow::{Context as _, bail};
use rustix::thread::{CapabilitySet, capabilities};

use crate::config::Config;
use crate::control::server::MAX_CLIENTS;
use crate::process::raise_open_files;

/// The capabilities that are needed, and for what.
const NEEDED: [(CapabilitySet, &str); 4] = [
    (CapabilitySet::BPF, "CAP_BPF (the XDP program)"),
    // Without it the verifier applies its Spectre rules for unprivileged programs, which forbid the
    // masked offsets into the window (kernel/bpf/verifier.c, `bypass_spec_v1`).
    (CapabilitySet::PERFMON, "CAP_PERFMON (variable offsets in it)"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN (attaching it, VIPs)"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW (adverts, gratuitous ARP)"),
];

/// Checks that this process has the capabilities (capabilities(7)) and the clock that the agent
/// needs.
///
/// # Errors
/// Names each missing capability, or the offset of the time namespace.
pub fn check() -> anyhow::Result<()> {
    let Ok(sets) = capabilities(None) else { return Ok(()) };
    // CAP_SYS_ADMIN includes both of BPF's.
    let bpf = CapabilitySet::BPF | CapabilitySet::PERFMON;
    let may = |needed: CapabilitySet| {
        sets.effective.contains(needed)
            || bpf.contains(needed) && sets.effective.contains(CapabilitySet::SYS_ADMIN)
    };
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(needed, _)| !may(*needed)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        bail!(
            "this process lacks {}: run it as root, or grant them (AmbientCapabilities= in a systemd unit)",
            missing.join(", ")
        );
    }
    if let Some(offset) = time_offset() {
        bail!(
            "this process runs in a time namespace whose monotonic clock is {offset} s off: adverts are timestamped \
             with the kernel's own clock and would seem early or late; run it in the host's time namespace"
        );
    }
    Ok(())
}

/// Raises the soft limit on open files, and checks that it is enough for the configuration.
///
/// # Errors
/// When the hard limit is too low.
pub fn check_open_files(config: &Config) -> anyhow::Result<()> {
    let limit = raise_open_files().context("cannot raise the limit on open files")?;
    let needed = open_files(config);
    match limit {
        Some(limit) if limit < needed => bail!(
            "the limit on open files is {limit}; this configuration needs {needed}: raise it (LimitNOFILE= in the \
             unit, `ulimit -n` in a shell)"
        ),
        _ => Ok(()),
    }
}

/// Returns the number of file descriptors that the agent may have open at once.
fn open_files(config: &Config) -> u64 {
    // Standard streams, runtime, signals, netlink and BPF objects are 30 or so.
    const AGENT: usize = 40;
    // Packet socket and groups of both families, twice while a link is opened again, and the XDP
    // link.
    const LINK: usize = 6;
    // Unicast socket, twice.
    const ROUTER: usize = 2;
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
    let files = AGENT + MAX_CLIENTS + LINK * links.len() + ROUTER * config.instances.len();
    u64::try_from(files).unwrap_or(u64::MAX)
}

/// Seconds by which CLOCK_MONOTONIC is shifted here (time_namespaces(7)), if it is.
/// `bpf_ktime_get_ns()` is not.
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
    fn an_offset_of_the_monotonic_clock_is_seen() {
        assert_eq!(offset_in("monotonic           0         0\nboottime            5         0\n"), None);
        assert_eq!(offset_in("monotonic      172800         0\nboottime 0 0\n").as_deref(), Some("172800"));
        assert_eq!(offset_in(""), None);
    }
}
