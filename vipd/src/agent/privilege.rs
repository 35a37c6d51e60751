//! Whether this process may do what it must.

use anyhow::bail;
use rustix::thread::{CapabilitySet, capabilities};

/// What each capability is for.
const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF (the XDP program)"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN (attaching it, addresses)"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW (adverts and gratuitous ARP)"),
];

/// Names every capability that is missing, before anything is touched.
pub(super) fn check() -> anyhow::Result<()> {
    let Ok(sets) = capabilities(None) else { return Ok(()) };
    // CAP_SYS_ADMIN includes CAP_BPF.
    let may = |needed: CapabilitySet| {
        sets.effective.contains(needed)
            || needed == CapabilitySet::BPF && sets.effective.contains(CapabilitySet::SYS_ADMIN)
    };
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(needed, _)| !may(*needed)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        bail!(
            "this process lacks {}: run it as root, or grant them (AmbientCapabilities= in a systemd unit)",
            missing.join(", ")
        );
    }
    Ok(())
}
