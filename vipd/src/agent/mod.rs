//! The agent: the only place that knows the core and the adapters together.
//!
//! ```text
//!  engine thread (never waits for anybody)          control thread (tokio)
//!  ┌──────────────────────────────────────┐ Request ┌───────────────────────────────────┐
//!  │ ring buffer ─► routers ─► outbox     ├────────►│ ports: XDP attach, group, sockets │
//!  │ deadlines   ─►         ─► AF_PACKET  │ Report  │ log lines                         │
//!  │ netlink     ─►         ─► netlink    ├────────►│ control socket, signals           │
//!  │                                      │◄────────┤                                   │
//!  └──────────────────────────────────────┘ Command └───────────────────────────────────┘
//! ```
//!
//! Requests are few and never lost. Reports are dropped and counted when the log cannot follow. Commands wake the
//! engine by an eventfd.

mod clock;
mod control;
mod deadlines;
mod engine;
mod instance;
mod interface;
mod log;
mod message;
mod outbox;
mod port;
mod privilege;
mod report;
mod wait;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use vipd_common::address;
use vipd_common::records::RouterSlot;
use vipd_common::wire::{ipv4, ipv6};

use crate::config::Config;
use crate::control::runtime::RuntimeDir;
use crate::netlink::Requests;
use crate::vrrp::Family;
use crate::xdp::{self, Kernel, Loaded, Verbosity};

use control::Control;
use engine::{Engine, Outlets};
use message::Command;
use port::{Ports, Watched};
use report::Reporter;

pub use privilege::check as check_privileges;

/// Log lines that may wait for the log.
const REPORTS: usize = 4096;

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When it may not do what it must (capabilities, BPF), when its XDP program fits no configured interface, or when its
/// engine fails.
pub fn run(config: Config, runtime: RuntimeDir) -> anyhow::Result<()> {
    let verbosity = if tracing::enabled!(target: "vipd_ebpf", tracing::Level::DEBUG) {
        Verbosity::Discards
    } else {
        Verbosity::Quiet
    };
    let rows = u32::try_from(config.instances.len()).context("too many instances")?;
    let Loaded { kernel, feed, counters, log } = Kernel::load(xdp::OBJECT, rows, verbosity)?;
    let counters = Arc::new(counters);

    let (watched, of) = group(&config);
    let mut ports = Ports::new(kernel, watched);
    let (requests, requested) = mpsc::unbounded_channel();
    let (reports, lines) = mpsc::channel(REPORTS);
    let names: Vec<String> = ports.names().map(str::to_owned).collect();
    let outlets = Outlets { requests, reports };
    let (engine, handle) = Engine::new(&config, &names, &of, feed, Arc::clone(&counters), outlets)
        .context("cannot set up the engine: netlink or file descriptors are not to be had")?;
    let failed = open_present(&engine, &mut ports, &handle)?;

    let reporter = Reporter::new(config.instances.clone(), counters, handle.clone());
    let control = Control::new(config.instances, ports, failed, handle, reporter, runtime);
    let start = || {
        thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || engine.run())
            .context("cannot start the engine's thread")
    };
    match control.run(requested, lines, log, start)?.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            withdraw(&names);
            Err(error).context("the engine failed")
        }
        Err(_) => {
            withdraw(&names);
            bail!("the engine panicked; this is a bug in vipd")
        }
    }
}

/// Takes vipd's addresses off the interfaces of an engine that did not end in good order: nobody defends them.
fn withdraw(names: &[String]) {
    let withdrawn = Requests::open().and_then(|mut requests| requests.withdraw(names));
    if let Err(error) = withdrawn {
        tracing::error!(%error, "cannot take the virtual addresses away; remove them by hand (`ip address`)");
    }
}

/// The interfaces of the configuration with their virtual routers, and each instance's place among them.
fn group(config: &Config) -> (Vec<Watched>, Vec<usize>) {
    let mut watched: Vec<Watched> = Vec::new();
    let mut of = Vec::with_capacity(config.instances.len());
    for (instance, row) in config.instances.iter().zip(1..) {
        let place = watched.iter().position(|found| found.name == instance.interface).unwrap_or_else(|| {
            watched.push(Watched { name: instance.interface.clone(), routers: Vec::new() });
            watched.len() - 1
        });
        let family = instance.router.family;
        let slot = RouterSlot {
            row,
            version: instance.router.version().number(),
            authentication: 0,
            empty: 0,
            unicast: 0,
            destination: match family {
                Family::V4 => address::ipv4(ipv4::VRRP_GROUP),
                Family::V6 => address::ipv6(ipv6::VRRP_GROUP),
            },
            password: [0; 2],
        };
        watched[place].routers.push((instance.router.vrid, family, slot));
        of.push(place);
    }
    (watched, of)
}

/// Opens the interfaces that are there, and returns those that cannot be opened, which wait in `fault`. If there is only
/// the one, there is nothing to run for.
fn open_present(
    engine: &Engine,
    ports: &mut Ports,
    handle: &engine::Handle,
) -> anyhow::Result<BTreeMap<usize, u32>> {
    let single = ports.names().count() == 1;
    let mut failed = BTreeMap::new();
    for (interface, ifindex) in engine.present() {
        let port = match ports.open(interface, ifindex) {
            Err(error) if single => return Err(error),
            Err(error) => {
                let sentence = format!("{error:#}");
                tracing::error!("{sentence}");
                failed.insert(interface, ifindex);
                Err(sentence)
            }
            Ok(port) => Ok(port),
        };
        handle.send(Command::Opened { interface, ifindex, port });
    }
    Ok(failed)
}
