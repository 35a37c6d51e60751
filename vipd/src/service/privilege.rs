//! Whether this process may do what it must, and whether its clock is the kernel's.

use std::fs;

use anyhow::bail;
use rustix::thread::{CapabilitySet, capabilities};

/// What each capability is for.
const NEEDED: [(CapabilitySet, &str); 4] = [
    (CapabilitySet::BPF, "CAP_BPF (the XDP program)"),
    // Without it the verifier holds the program to its Spectre rules for the unprivileged, which forbid the masked
    // offsets into the window (kernel/bpf/verifier.c, `bypass_spec_v1`).
    (CapabilitySet::PERFMON, "CAP_PERFMON (its variable offsets)"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN (attaching it, addresses)"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW (adverts and gratuitous ARP)"),
];

/// Looks for what the agent needs of the process it runs in, before anything is touched.
///
/// # Errors
/// Names every capability that is missing (capabilities(7)), or the time namespace that shifts the clock.
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
            "this process runs in a time namespace whose monotonic clock is {offset} s off: adverts are stamped by \
             the kernel's own clock and would seem early or late; run it in the host's time namespace"
        );
    }
    Ok(())
}

/// Seconds by which CLOCK_MONOTONIC is shifted here (time_namespaces(7)), if it is. `bpf_ktime_get_ns()` is not.
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
