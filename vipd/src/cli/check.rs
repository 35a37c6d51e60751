//! `vipd check`.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::args::ConfigArgs;
use super::problems::{Renderer, Severity};
use super::status::list;
use super::table::{Align, HINT, NONE, Table, Yield};
use super::wrap::wrap;
use super::{output, terminal};
use crate::config::machine::{Interface, Machine};
use crate::config::{Config, ConfigError};
use crate::netlink::{Notice, PROTO_VIPD, Requests};
use crate::xdp::Pins;

/// Columns to hide or move below their rows on a narrow terminal, in this order.
const NARROW: [(&str, Yield); 3] =
    [("ADDRESSES", Yield::Below("")), ("VERSION", Yield::Hide), ("PREEMPT", Yield::Hide)];

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let config = load(&args.config)?;
    let file = args.config.display().to_string();
    let renderer = Renderer::new(terminal::width(&io::stderr()));
    let warnings = config.warnings.iter().map(|warning| renderer.problem(warning, &file, Severity::Warning));
    let warnings: String = warnings.collect();
    anstream::stderr().lock().write_all(warnings.as_bytes()).context("cannot write to standard error")?;
    output::print(&render(&file, &config, terminal::width(&io::stdout())))?;
    Ok(())
}

/// Reads a configuration file and checks it against this machine.
///
/// # Errors
/// See [`Config::load_on`].
pub(super) fn load(path: &Path) -> Result<Config, ConfigError> {
    let fence_obstacle = Pins::obstacle().map(|error| error.to_string());
    // If the interfaces cannot be read, the file is not compared with them.
    let machine = Machine {
        checks_executables: true,
        fence_obstacle,
        credentials: credentials(),
        ..machine().unwrap_or_default()
    };
    Config::load_protected(path, &machine)
}

/// Returns the directory of the credentials of the running service, for a command in a shell;
/// `None` if `CREDENTIALS_DIRECTORY` names another one, or if there is none.
pub(super) fn credentials() -> Option<PathBuf> {
    let directory = PathBuf::from("/run/credentials/vipd.service");
    (env::var_os("CREDENTIALS_DIRECTORY").is_none() && directory.is_dir()).then_some(directory)
}

/// Returns the interfaces of this machine and their usable addresses, except addresses that vipd
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

/// Returns a one-line summary and a table of the instances, for a terminal of this width or for a
/// pipe.
pub(super) fn render(file: &str, config: &Config, width: Option<usize>) -> String {
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
            if addresses.is_empty() { NONE.to_owned() } else { addresses.join(",") }.into(),
        ]);
    }
    let hidden = width.map(|width| table.fit(width, &NARROW)).unwrap_or_default();
    let mut text = format!("{file}: ok, {summary}\n{}", table.render());
    if let Some(width) = width.filter(|_| !hidden.is_empty()) {
        let hint = format!("{} hidden on this terminal", list(&hidden));
        // Writing to a String does not fail.
        let _ = writeln!(text, "{HINT}{}{HINT:#}", wrap(&hint, width, 0));
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
