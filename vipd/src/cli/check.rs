//! `vipd check`.

use super::args::ConfigArgs;
use super::output;
use super::table::{Align, Table};
use crate::config::Config;

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    output::print(&render(&args.config.display().to_string(), &config))?;
    Ok(())
}

/// What the configuration says, in one line and a table.
pub(super) fn render(file: &str, config: &Config) -> String {
    let count = config.instances.len();
    let plural = if count == 1 { "" } else { "s" };
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
        let addresses: Vec<String> = router.virtual_addresses.iter().map(ToString::to_string).collect();
        table.row(vec![
            (&instance.name).into(),
            (&instance.interface).into(),
            router.vrid.into(),
            router.version().into(),
            router.priority.into(),
            router.interval.into(),
            if router.preempt { "yes" } else { "no" }.into(),
            addresses.join(",").into(),
        ]);
    }
    format!("{file}: ok, {count} instance{plural}\n{}", table.render())
}
