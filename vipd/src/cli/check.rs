//! `vipd check`.

use std::io::{self, Write as _};

use anyhow::Context as _;

use super::args::ConfigArgs;
use super::output;
use super::table::{Align, Table};
use crate::config::{Config, Problem};

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    let file = args.config.display().to_string();
    let mut stderr = io::stderr().lock();
    for Problem { line, column, message } in &config.warnings {
        writeln!(stderr, "{file}:{line}:{column}: warning: {message}")
            .context("cannot write to standard error")?;
    }
    output::print(&render(&file, &config))?;
    Ok(())
}

/// What the configuration says, in one line and a table.
pub(super) fn render(file: &str, config: &Config) -> String {
    let mut summary = counted(config.instances.len(), "instance");
    if !config.warnings.is_empty() {
        summary = format!("{summary}, {}", counted(config.warnings.len(), "warning"));
    }
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("INTERFACE", Align::Left),
        ("VRID", Align::Right),
        ("VERSION", Align::Right),
        ("PRIO", Align::Right),
        ("INTERVAL", Align::Right),
        ("PREEMPT", Align::Left),
        ("ADDRESSES", Align::Left),
    ]);
    for instance in &config.instances {
        let router = &instance.router;
        let addresses: Vec<String> = router.all_addresses().map(|address| address.to_string()).collect();
        table.row(vec![
            (&instance.name).into(),
            (&instance.interface).into(),
            router.vrid.into(),
            router.version().into(),
            router.priority.into(),
            router.interval.into(),
            if router.preempt { "yes" } else { "no" }.into(),
            if addresses.is_empty() { "-".to_owned() } else { addresses.join(",") }.into(),
        ]);
    }
    format!("{file}: ok, {summary}\n{}", table.render())
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
