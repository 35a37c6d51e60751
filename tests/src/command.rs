//! Runs commands on a host, such as `ip` and `ping`.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::namespace::Namespace;
use crate::process::output;

/// Runs a program on a host and returns its standard output.
///
/// # Errors
/// Returns an error if the program cannot be started or fails.
pub fn run(host: &Namespace, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    let done = output(host, command).with_context(|| format!("running {program} on {}", host.name()))?;
    let error = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{program} {} on {}: {error}", arguments.join(" "), host.name());
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Pings `address` once from a host and returns whether a reply arrives within a second.
///
/// # Errors
/// Returns an error if `ping` is not installed.
pub fn ping(host: &Namespace, address: IpAddr) -> Result<bool> {
    let mut command = Command::new("ping");
    command.args(["-n", "-c", "1", "-W", "1"]).arg(address.to_string());
    Ok(output(host, command).context("running ping")?.status.success())
}

/// Returns the line for an address in a host's `ip -o address` output, if the host has the address.
///
/// # Errors
/// Returns an error if `ip` fails.
pub fn address_line(host: &Namespace, address: IpAddr) -> Result<Option<String>> {
    let all = run(host, "ip", &["-o", "address"])?;
    let wanted = format!(" {address}/");
    Ok(all.lines().find(|line| line.contains(&wanted)).map(str::to_owned))
}
