//! Checks of the host.

use super::list;
use crate::doctor::facts::Agent;
use crate::doctor::{Facts, Finding};

/// The subject of findings about the host.
pub(super) const HOST: &str = "this host";
/// First kernel with TCX.
const TCX: (u32, u32) = (6, 6);
/// First kernel that vipd supports.
const SUPPORTED: (u32, u32) = (5, 18);

pub(in crate::doctor) fn kernel_is_recent(facts: &Facts) -> Vec<Finding> {
    let release = &facts.host.kernel;
    let Some(version) = kernel_version(release) else { return Vec::new() };
    if version < SUPPORTED {
        return vec![
            Finding::problem("kernel-too-old", HOST, "the kernel lacks BPF features that vipd needs")
                .evidence(format!("kernel {release}; vipd needs 5.18 or later"))
                .remedy("upgrade the kernel"),
        ];
    }
    if version < TCX {
        return vec![
            Finding::note("kernel-without-tcx", HOST, "vipd uses generic XDP instead of TC ingress")
                .evidence(format!("kernel {release}; TC links (TCX) need 6.6 or later"))
                .remedy("upgrade the kernel, if generic XDP slows down other traffic"),
        ];
    }
    Vec::new()
}

/// Returns the major and minor version numbers of a kernel release.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

pub(in crate::doctor) fn process_can_run_the_agent(facts: &Facts) -> Vec<Finding> {
    match (&facts.agent, &facts.host.obstacle) {
        (Agent::NotRunning(_), Some(obstacle)) => vec![
            Finding::warning(
                "cannot-run-agent",
                HOST,
                "no agent could run with the privileges and in the time namespace of this command",
            )
            .evidence(obstacle)
            .remedy("start the agent as a service, or as root"),
        ],
        _ => Vec::new(),
    }
}

pub(in crate::doctor) fn no_other_daemon_runs(facts: &Facts) -> Vec<Finding> {
    let daemons = &facts.host.daemons;
    if daemons.is_empty() {
        return Vec::new();
    }
    // A process can set its own name, even to control characters.
    let described = daemons.iter().map(|(name, pid)| format!("{} (process {pid})", name.escape_default()));
    vec![
        Finding::warning("other-daemon", HOST, "another VRRP daemon runs on this host")
            .evidence(format!("raw sockets for IP protocol 112: {}", list(described)))
            .remedy(
                "stop it (`systemctl disable --now keepalived`), or give it VRIDs and addresses that vipd does not use",
            ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_parsed() {
        for (release, expected) in [
            ("6.18.44-fc-v595", Some((6, 18))),
            ("5.9-rc1", Some((5, 9))),
            ("6.1.0+deb", Some((6, 1))),
            ("", None),
            ("linux", None),
        ] {
            assert_eq!(kernel_version(release), expected, "{release}");
        }
    }
}
