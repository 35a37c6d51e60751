//! The agent: the only place that knows the core and the adapters together.
//!
//! ```text
//!  engine thread (waits for the kernel alone)        control thread (tokio)
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

mod control;
pub(crate) mod link_io;
mod log;
mod privilege;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use vipd_common::records::BURST;

use crate::config::Config;
use crate::config::settings::Transport;
use crate::control::runtime::RuntimeDir;
use crate::engine::layout::{Plan, Role, Watch};
use crate::engine::message::Command;
use crate::engine::{Engine, Handle, Outlets};
use crate::netlink::{Macvlans, Requests};
use crate::xdp::{self, Kernel, Loaded, Sizes, Verbosity};

use control::Control;
use link_io::{Ports, Site, Watched};
use report::Reporter;

pub use privilege::check as check_privileges;

/// Senders of a virtual router whose rate the kernel side remembers, and of all of them at the least: with fewer, its list of
/// the least recently used forgets some too soon (`kernel/bpf/bpf_lru_list.c` takes 128 at a time for each processor).
const SENDERS_EACH: usize = 16;
const SENDERS_LEAST: u32 = 4096;

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
    let plan = Plan::new(&config);
    let found = sites(&config, &plan);
    let peers = found.iter().flat_map(|site| &site.routers).map(|router| router.watch.peers.len());
    let silent = config.instances.iter().filter(|instance| !instance.accept);
    let sizes = Sizes {
        routers: count(config.instances.len())?,
        peers: count(peers.sum())?,
        closed: count(silent.map(|instance| instance.placements.len()).sum())?,
        senders: count(config.instances.len() * SENDERS_EACH)?.max(SENDERS_LEAST),
        burst: BURST,
    };
    let Loaded { kernel, feed, counters, closed, steady, log } = Kernel::load(xdp::OBJECT, sizes, verbosity)?;
    let counters = Arc::new(counters);

    let macvlans = Macvlans::open(&owner(&runtime))
        .context("cannot ask netlink for the virtual MACs of an earlier run")?;
    let mut ports = Ports::new(kernel, macvlans, found);
    let (requests, requested) = mpsc::unbounded_channel();
    let (reports, lines) = mpsc::channel(REPORTS);
    let names: Vec<String> = ports.sites().iter().map(|site| site.name.clone()).collect();
    let outlets = Outlets { requests, reports };
    let (engine, handle) = Engine::new(&config, plan, feed, Arc::clone(&counters), (closed, steady), outlets)
        .context("cannot set up the engine: netlink or file descriptors are not to be had")?;
    let failed = open_present(&engine, &mut ports, &handle)?;

    let reporter = Reporter::new(config.instances.clone(), counters, handle.clone());
    let mut control = Control::new(config.instances, ports, failed, handle, reporter, runtime);
    let start = || {
        thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || engine.run())
            .context("cannot start the engine's thread")
    };
    // The macvlans go with the ports, after the engine has ended.
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

/// A word that tells this agent's macvlans from those of another one: its runtime directory, of which it has a lock.
fn owner(runtime: &RuntimeDir) -> String {
    // An alias has 255 bytes, and more than this word in it.
    const LONGEST: usize = 160;
    let path = runtime.path().display().to_string();
    let word: Vec<char> =
        path.chars().map(|c| if c.is_whitespace() || !c.is_ascii() { '_' } else { c }).collect();
    word[word.len().saturating_sub(LONGEST)..].iter().collect()
}

/// A size of a map.
fn count(entries: usize) -> anyhow::Result<u32> {
    u32::try_from(entries).context("too many instances")
}

/// The interfaces that ports are opened on: all but the macvlans, which vipd makes itself.
pub(crate) fn sites(config: &Config, plan: &Plan) -> Vec<Site> {
    let mut sites = Vec::new();
    for (place, planned) in plan.interfaces.iter().enumerate() {
        if matches!(planned.role, Role::VirtualMac { .. }) {
            continue;
        }
        let routers = plan.routers(config, place).map(|(instance, settings)| Watched {
            instance,
            name: settings.name.clone(),
            watch: Watch::new(instance, settings),
            unicast: match settings.transport {
                Transport::Multicast => None,
                Transport::Unicast(_) => settings.source,
            },
            macvlan: plan.instances.get(instance).and_then(|placed| placed.macvlan),
        });
        sites.push(Site { place, name: planned.name.clone(), routers: routers.collect() });
    }
    sites
}

/// Takes vipd's addresses off the interfaces of an engine that did not end in good order: nobody defends them.
fn withdraw(names: &[String]) {
    let withdrawn = Requests::open().and_then(|mut requests| requests.withdraw(names));
    if let Err(error) = withdrawn {
        tracing::error!(%error, "cannot take the virtual addresses away; remove them by hand (`ip address`)");
    }
}

/// Opens the interfaces that are there, and returns those that cannot be opened, which wait in `fault`. If there is only
/// the one, there is nothing to run for.
pub(crate) fn open_present(
    engine: &Engine,
    ports: &mut Ports,
    handle: &Handle,
) -> anyhow::Result<BTreeMap<usize, u32>> {
    let single = ports.sites().len() == 1;
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
