//! Describes the machine for the report.

use std::fs;

use anyhow::{Context, Result};

/// Returns a one-line description of CPUs, memory and kernel.
pub(crate) fn describe() -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
    let processors = read("/proc/cpuinfo")?;
    let named = |key: &str| {
        let line = processors.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let model = named("model name").unwrap_or_else(|| "CPUs".to_owned());
    let hypervisor = named("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let memory = read("/proc/meminfo")?;
    let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let kernel = read("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "{count} × {model}{}, {} GiB, Linux {}",
        if hypervisor { " (virtual)" } else { "" },
        kib.unwrap_or(0).div_ceil(1 << 20),
        kernel.trim(),
    ))
}
