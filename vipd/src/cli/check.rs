//! `vipd check`.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use anyhow::Context as _;

use super::args::ConfigArgs;
use super::output;
use super::table::{Align, Table, WAITING};
use crate::config::machine::{Interface, Machine};
use crate::config::{Config, Problem};
use crate::netlink::{Notice, PROTO_VIPD, Requests};
use crate::xdp::Pins;

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    // If the interfaces cannot be read, only the file is checked.
    let fence_obstacle = Pins::obstacle().map(|error| error.to_string());
    let machine = Machine { checks_executables: true, fence_obstacle, ..machine().unwrap_or_default() };
    let config = Config::load_on(&args.config, &machine)?;
    let file = args.config.display().to_string();
    let mut stderr = anstream::stderr().lock();
    for Problem { file: included, line, column, message } in &config.warnings {
        let file = included.as_ref().unwrap_or(&file);
        let style = WAITING;
        writeln!(stderr, "{file}:{line}:{column}: {style}warning{style:#}: {message}")
            .context("cannot write to standard error")?;
    }
    output::print(&render(&file, &config))?;
    Ok(())
}

/// Returns the interfaces of this machine and their usable addresses, without those that vipd
/// added.
fn machine() -> io::Result<Machine> {
    let mut names = BTreeMap::new();
    let mut machine = Machine::default();
    Requests::open()?.dump(|notice| match notice {
        Notice::Link(link) => {
            let facts = Interface { has_ethernet: link.mac.is_some(), addresses: Vec::new() };
            names.insert(link.ifindex, link.name.clone());
            machine.interfaces.insert(link.name, facts);
        }
        Notice::Address(found) if found.protocol != PROTO_VIPD && !found.unusable => {
            let facts = names.get(&found.ifindex).and_then(|name| machine.interfaces.get_mut(name));
            if let Some(facts) = facts {
                facts.addresses.push(found.address);
            }
        }
        _ => {}
    })?;
    Ok(machine)
}

/// Returns a one-line summary and a table of the instances.
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
