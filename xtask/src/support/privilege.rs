//! Checks the privileges of this process.

use std::fs;

use anyhow::{Context, Result, bail};

/// A capability, with its bit in `CapEff` (linux/capability.h).
type Capability = (&'static str, u32);

const NET_ADMIN: Capability = ("CAP_NET_ADMIN", 12);
const NET_RAW: Capability = ("CAP_NET_RAW", 13);
/// Capabilities that labs and agents need.
const NEEDED: [Capability; 5] =
    [NET_ADMIN, NET_RAW, ("CAP_SYS_ADMIN", 21), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
/// Capabilities for packet sockets with a large receive buffer.
const PACKET_SOCKETS: [Capability; 2] = [NET_ADMIN, NET_RAW];

/// Returns whether this process is root.
pub(crate) fn is_root() -> Result<bool> {
    Ok(field("Uid")?.split_whitespace().nth(1) == Some("0"))
}

/// Checks that this process has the privileges for `task` (such as "the lab").
///
/// # Errors
/// Returns an error if a privilege is missing. The error shows how to run `command` with the
/// necessary privileges.
pub(crate) fn require(task: &str, command: &str) -> Result<()> {
    let remedy =
        format!("run `sudo env \"PATH=$PATH\" \"HOME=$HOME\" {command}`, or start the container privileged");
    if !is_root()? {
        bail!("{task} needs root; {remedy}");
    }
    require_capabilities(task, &NEEDED, &remedy)
}

/// Checks that this process may open packet sockets, for a `task` that needs no namespaces.
///
/// # Errors
/// Returns an error if a capability is missing. The error shows how to run `command` with the
/// necessary privileges.
pub(crate) fn require_packet_sockets(task: &str, command: &str) -> Result<()> {
    let remedy = format!("run `sudo env \"PATH=$PATH\" \"HOME=$HOME\" {command} …`");
    require_capabilities(task, &PACKET_SOCKETS, &remedy)
}

fn require_capabilities(task: &str, needed: &[Capability], remedy: &str) -> Result<()> {
    let text = field("CapEff")?;
    let effective = u64::from_str_radix(&text, 16)
        .with_context(|| format!("CapEff of /proc/self/status is `{text}`, not a hexadecimal number"))?;
    let missing: Vec<_> =
        needed.iter().filter(|(_, bit)| effective & (1 << bit) == 0).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        bail!("{task} needs {}, which this process lacks; {remedy}", missing.join(", "));
    }
    Ok(())
}

/// Returns one field of /proc/self/status.
fn field(name: &str) -> Result<String> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("/proc/self/status has no field {name}"))?.trim().to_owned())
}
