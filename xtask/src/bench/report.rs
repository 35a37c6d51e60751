//! What was measured, for a terminal and as a document.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::bench::Figure;
use vipd_tests::compare::Spread;

use crate::support::debian;

/// A scenario's figures.
pub(super) struct Measured {
    /// What it was.
    pub(super) title: String,
    /// For vipd, and for keepalived unless it is vipd's alone: the figures of each run.
    pub(super) agents: Vec<Vec<Vec<Figure>>>,
}

impl Measured {
    /// Each figure over all runs of each agent.
    fn rows(&self) -> Vec<(&Figure, Vec<Spread>)> {
        let first = self.agents.first().and_then(|runs| runs.first()).into_iter().flatten().enumerate();
        first
            .map(|(index, figure)| {
                let of = |runs: &Vec<Vec<Figure>>| {
                    Spread::of(runs.iter().filter_map(|run| Some(run.get(index)?.value)))
                };
                (figure, self.agents.iter().filter_map(of).collect())
            })
            .collect()
    }
}

/// A table of medians.
pub(super) fn plain(measured: &Measured) -> String {
    let mut text = format!("{:<48}  {:>16}  {:>16}\n", measured.title, "vipd", "keepalived");
    if measured.agents.len() == 1 {
        text = format!("{:<48}  {:>16}\n", measured.title, "vipd");
    }
    for (figure, spreads) in measured.rows() {
        let _ = write!(text, "  {:<46}", figure.name);
        for spread in spreads {
            let _ = write!(text, "  {:>16}", shown(spread.median, figure.unit));
        }
        text.push('\n');
    }
    text
}

/// All tables with their spreads, the machine, and how to repeat them.
pub(super) fn markdown(all: &[Measured], runs: u32, took: Duration) -> Result<String> {
    let mut text = format!(
        "# Bench\n\n\
         Made by `cargo xtask bench --runs {runs} --markdown docs/bench/README.md` in {} minutes: vipd and keepalived {} of \
         Debian in turn, in labs of network namespaces with veth and a bridge.\n\n\
         Machine: {}.\n\n\
         A cell is the median of the runs, and the least and the greatest. Process CPU is what the kernel accounts to the \
         program and its children; that of sending holds the way of each frame through veth and bridge to the other side.\n",
        took.as_secs().div_ceil(60),
        debian::version("keepalived")?,
        machine()?,
    );
    for measured in all {
        let agents = if measured.agents.len() == 1 { "vipd |" } else { "vipd | keepalived |" };
        let rules = "--- |".repeat(measured.agents.len());
        let _ = write!(text, "\n| {} | {agents}\n| --- | {rules}\n", measured.title);
        for (figure, spreads) in measured.rows() {
            let _ = write!(text, "| {} |", figure.name);
            for Spread { min, median, max } in spreads {
                let unit = figure.unit;
                let _ = write!(text, " {} ({} to {}) |", shown(median, unit), shown(min, ""), shown(max, ""));
            }
            text.push('\n');
        }
    }
    Ok(text)
}

/// Three figures that count.
fn shown(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        small if small < 1.0 => 3,
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    // A count is whole.
    let digits = if value.fract() == 0.0 { 0 } else { digits };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

/// Processors, memory and kernel.
fn machine() -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
    let processors = read("/proc/cpuinfo")?;
    let named = |key: &str| {
        let line = processors.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let model = named("model name").unwrap_or_else(|| "processors".to_owned());
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
