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
use crate::engine::command::Command;
use crate::engine::id::LinkId;
use crate::engine::link_spec::LinkSpec;
use crate::engine::topology::Topology;
use crate::engine::{Engine, Handle, KernelSide, Outlets};
use crate::netlink::{Macvlans, Requests};
use crate::xdp::{self, Kernel, Loaded, Rows, Sizes, Verbosity};

use control::Control;
use link_io::LinkOpener;
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
    let sizes = sizes(&config)?;
    let Loaded { kernel, feed, counters, closed, steady, log } = Kernel::load(xdp::OBJECT, sizes, verbosity)?;
    let counters = Arc::new(counters);

    let macvlans = Macvlans::open(&owner(&runtime)).context("cannot list the macvlans of an earlier run")?;
    let mut opener = LinkOpener::new(kernel, macvlans);
    let topology = topology(&config, sizes)?;
    let names: Vec<String> = topology.links.iter().map(|(_, link)| link.name.clone()).collect();
    let roster = topology.routers.iter();
    let roster: Vec<_> = roster.map(|(id, router)| (id, router.row, Arc::clone(&router.settings))).collect();
    let (requests, requested) = mpsc::unbounded_channel();
    let (reports, lines) = mpsc::channel(REPORTS);
    let outlets = Outlets { requests, reports };
    let kernel_side = KernelSide { feed, counters: Arc::clone(&counters), closed, steady };
    let (engine, handle) = Engine::new(topology, kernel_side, config.realtime, outlets)
        .context("cannot set up the engine (netlink sockets, timerfd, eventfd)")?;
    let failed = open_present(&engine, &mut opener, &handle)?;

    let reporter = Reporter::new(counters, handle.clone());
    let mut control = Control::new(&roster, opener, failed, handle, reporter, runtime);
    let start = || {
        thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || engine.run())
            .context("cannot start the engine's thread")
    };
    // The macvlans are removed with the opener, after the engine has ended.
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

/// Room in the XDP program's maps.
pub(crate) fn sizes(config: &Config) -> anyhow::Result<Sizes> {
    let instances = config.instances.iter();
    let peers = instances.clone().map(|instance| match &instance.transport {
        Transport::Multicast => 0,
        Transport::Unicast(peers) => peers.len(),
    });
    let closed = instances.filter(|instance| !instance.accept).map(|instance| instance.placements.len());
    Ok(Sizes {
        routers: count(config.instances.len())?,
        peers: count(peers.sum())?,
        closed: count(closed.sum())?,
        senders: count(config.instances.len() * SENDERS_EACH)?.max(SENDERS_LEAST),
        burst: BURST,
    })
}

/// The virtual routers of the configuration and their links.
pub(crate) fn topology(config: &Config, sizes: Sizes) -> anyhow::Result<Topology> {
    let mut topology = Topology::new(Rows::new(sizes.routers));
    for instance in &config.instances {
        topology.add_router(Arc::new(instance.clone()))?;
    }
    Ok(topology)
}

/// Takes vipd's addresses off the interfaces of an engine that did not end in good order: nobody defends them.
fn withdraw(names: &[String]) {
    let withdrawn = Requests::open().and_then(|mut requests| requests.withdraw(names));
    if let Err(error) = withdrawn {
        tracing::error!(%error, "cannot take the virtual addresses away; remove them by hand (`ip address`)");
    }
}

/// Opens the links whose interfaces exist, and returns those that cannot be opened: their routers wait in `fault`. If there is
/// only the one link, vipd has nothing to run for.
pub(crate) fn open_present(
    engine: &Engine,
    opener: &mut LinkOpener,
    handle: &Handle,
) -> anyhow::Result<BTreeMap<LinkId, LinkSpec>> {
    let links = engine.topology().links.iter();
    let single = links.filter(|(_, link)| !link.is_virtual_mac()).count() == 1;
    let mut failed = BTreeMap::new();
    for spec in engine.present().into_iter().filter_map(|link| engine.topology().spec(link)) {
        let io = match opener.open(&spec) {
            Err(error) if single => return Err(error),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!("{error}");
                failed.insert(spec.link, spec.clone());
                Err(error)
            }
            Ok(io) => Ok(io),
        };
        handle.send(Command::Opened { link: spec.link, ifindex: spec.ifindex, io });
    }
    Ok(failed)
}
