//! Runs the engine and everything that may block: startup, supervision, log and control socket.
//!
//! ```text
//!  engine thread (real-time)                         control thread (tokio)
//!  ┌──────────────────────────────────────┐ Request ┌───────────────────────────────────┐
//!  │ ring buffer ─► routers ─► effects    ├────────►│ signals, control socket           │
//!  │ deadlines   ─►         ─► AF_PACKET  │ Report  │ log lines                         │
//!  │ netlink     ─►         ─► netlink    ├────────►│                                   │
//!  │                                      │   bus   │                                   │
//!  │                                      ├────────►│                                   │
//!  └──────────────────▲───────────────────┘         └─────────────┬─────────────────────┘
//!                     │ Command        worker thread              │ jobs, in order
//!                     │              ┌──────────────────────────┐ │
//!                     └──────────────┤ XDP, groups, macvlans    │◄┘
//!                                    └──────────────────────────┘
//! ```
//!
//! Requests are rare and never lost. Reports are dropped and counted if the log cannot keep up, but
//! the latest state change of each router always reaches the log through the `bus`. Commands wake
//! the engine through an eventfd.

mod administrator;
pub(crate) mod bus;
mod changes;
mod cleanup;
mod configured;
mod difference;
mod drained;
mod end;
mod engine_thread;
mod events;
mod foreign_xdp;
mod groups;
mod health;
mod keys;
mod leftovers;
mod line;
pub(crate) mod link_io;
mod link_sockets;
mod log;
mod notify;
mod order;
pub(crate) mod plan;
mod privilege;
mod public;
mod report;
mod restart;
mod routing;
mod signals;
mod sizes;
mod stored;
mod successor;
mod supervisor;
mod systemd;
mod timeline;
mod track;
mod upgrade;
pub(crate) mod worker;

use std::io;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;

use crate::config::operate::{Control, UserGroup};
use crate::config::{Config, Fence, Realtime};
use crate::control::access::{Access, Group, Rules};
use crate::control::runtime::RuntimeDir;
use crate::engine::succession::Predecessor;
use crate::engine::topology::Topology;
use crate::engine::{Engine, KernelSide, Outlets};
use crate::guardian::{self, Guardian};
use crate::netlink::Macvlans;
use crate::process::capabilities::{ThreadKind, confine};
use crate::process::{AgentLock, Signals};
use crate::web::Endpoint;
use crate::xdp::{self, Kernel, KernelLog, Loaded, MapDescriptors, Rows, Sizes, Verbosity};

use administrator::{Administrator, Agent};
use configured::Configured;
use drained::Drained;
use end::conclude;
use engine_thread::{EngineThread, Inherited, Unstarted};
use events::{EventLog, Recorder};
use link_io::LinkOpener;
use log::Log;
use notify::Notifications;
use report::Reporter;
use successor::Heir;
use supervisor::{FromEngine, Supervisor};
use track::SharedTracker;
use upgrade::Estate;

pub(crate) use successor::succeed;

pub use cleanup::{Cleaned, cleanup};
pub use leftovers::{Claims, claim_interfaces};
pub(crate) use leftovers::{hidden_programs, interface_name};
pub(crate) use report::hmac_status;
pub(crate) use sizes::sizes;
pub use stored::{Continuation, Stored, take_stored};

pub use privilege::{check as check_privileges, check_open_files};

/// Converts the configured access rules.
fn rules(control: &Control) -> Rules {
    let group = |group: &UserGroup| Group { name: group.name.clone(), gid: group.gid };
    Rules {
        read_group: control.read_group.as_ref().map(group),
        admin_group: control.admin_group.as_ref().map(group),
    }
}

/// Capacity of the channel of reports to the log.
const REPORTS: usize = 4096;

/// The configuration and the resources with which the agent starts.
struct Start {
    config: Config,
    /// The file that a reload reads.
    path: PathBuf,
    lock: Arc<AgentLock>,
    claims: Claims,
    macvlans: Macvlans,
    runtime_dir: RuntimeDir,
    sizes: Sizes,
    loaded: Loaded,
    topology: Topology,
    signals: Signals,
    /// The agent that this process succeeds.
    succession: Option<(Predecessor, Heir)>,
}

/// Returns the verbosity of the BPF program's log.
fn verbosity() -> Verbosity {
    if tracing::enabled!(target: "vipd_ebpf", tracing::Level::DEBUG) {
        Verbosity::Discards
    } else {
        Verbosity::Quiet
    }
}

/// Runs the agent until a signal stops it, a successor has taken over, or its state has been left
/// to the next process that systemd starts. `path` is the file from which `config` was read; a
/// reload reads this file again.
///
/// # Errors
/// Returns an error if stale VIPs cannot be removed, stale BPF programs cannot be detached or the
/// macvlans cannot be listed; if the runtime directory, its control socket or the BPF program
/// cannot be used; if there are too many instances; if the engine cannot be initialized; if a
/// descriptor cannot be duplicated; if a thread cannot be started or fails; if the first attempt to
/// open the only interface fails; if signals cannot be received; or if VIPs may remain after
/// shutdown.
pub fn run(
    config: Config,
    path: &Path,
    lock: AgentLock,
    claims: Claims,
    runtime_dir: &Path,
    signals: Signals,
) -> anyhow::Result<()> {
    let macvlans =
        Macvlans::open(lock.name()).context("cannot remove stale macvlans left by a previous run")?;
    let runtime_dir = RuntimeDir::open(runtime_dir)?;
    let sizes = sizes(&config)?;
    let loaded = Kernel::load(xdp::OBJECT, sizes, verbosity())?;
    let topology = topology(&config, sizes)?;
    start(Start {
        config,
        path: path.to_owned(),
        lock: Arc::new(lock),
        claims,
        macvlans,
        runtime_dir,
        sizes,
        loaded,
        topology,
        signals,
        succession: None,
    })
}

/// Starts all threads, and runs until the engine ends or, in a successor, the takeover fails.
fn start(parts: Start) -> anyhow::Result<()> {
    let Start { config, lock, runtime_dir, sizes, topology, .. } = parts;
    let (predecessor, heir) = parts.succession.unzip();
    let inherited = heir.as_ref().map(|heir| {
        let has_taken_over = Arc::clone(&heir.has_taken_over);
        Inherited { has_taken_over, is_main: heir.is_main }
    });
    let Loaded { mut kernel, feed, counters, addresses, leases, steady, signers, log: kernel_log, maps } =
        parts.loaded;
    let counters = Arc::new(counters);

    let has_fence = config.fence == Fence::On;
    if let Err(error) = kernel.set_label(lock.name()) {
        tracing::warn!(
            %error,
            "cannot label the BPF programs; after a crash, an agent in another mount namespace will not find them"
        );
    }
    // A successor opens the pins once it has taken over.
    if heir.is_none() {
        leftovers::clear_programs(lock.name(), has_fence, &mut kernel, &config)?;
    }
    let (guardian, writer) = guardian(lock.name(), has_fence, &kernel, &config, sizes).unzip();
    let opener = LinkOpener::new(kernel, parts.macvlans, parts.claims, has_fence, lock.name());
    let has_single_link = topology.links.iter().filter(|(_, link)| link.is_opened()).count() == 1;
    let roster = topology.routers.iter();
    let roster: Vec<_> = roster.map(|(id, router)| (id, router.row, Arc::clone(&router.settings))).collect();
    let (requests, requested) = mpsc::unbounded_channel();
    let (reports, reported) = mpsc::channel(REPORTS);
    let (publisher, transitions) = bus::bus(sizes.routers as usize);
    let latest = transitions.latest();
    let outlets = Outlets { requests, reports, transitions: publisher, guardian: writer };
    let kernel_side = KernelSide { feed, addresses, leases, steady, signers };
    let (engine, handle) = Engine::new(topology, kernel_side, config.realtime, has_fence, outlets)
        .context("cannot initialize the engine")?;

    let (tracker, readings) = SharedTracker::new(handle.clone());
    let running = roster.iter().map(|(id, _, settings)| (*id, Arc::clone(settings)));
    let drained = Drained::load(runtime_dir.path());
    let configured = Configured::default();
    let agent = Agent {
        sizes,
        engine: handle.clone(),
        drained,
        latest: latest.clone(),
        tracker: tracker.clone(),
        configured: configured.clone(),
    };
    let (mut administrator, orders) = Administrator::new(parts.path, config.clone(), running, agent);
    match &heir {
        Some(heir) => administrator.inherit(&heir.offer),
        None => administrator.prepare(),
    }
    let access = Access::new(rules(&config.control));
    let listener = control_socket(heir.as_ref(), &runtime_dir, &access)?;
    let estate = estate(maps, &lock, &runtime_dir, &listener).context("cannot duplicate a descriptor")?;
    let events = EventLog::new();
    let recorder = Recorder::new(events.clone(), latest.clone());
    let mut notifications = Notifications::new(roster.iter().map(|one| &one.2), &config.groups);
    notifications.set_fifo(config.notifications.fifo.as_deref());
    let source = Arc::new(Reporter {
        counters,
        engine: handle.clone(),
        latest,
        orders: orders.clone(),
        tracker: tracker.clone(),
        events,
        notifications: notifications.counts(),
        configured: configured.clone(),
        guardian: guardian.as_ref().map(Guardian::state),
    });
    let supervisor = Supervisor {
        engine: handle.clone(),
        web: Endpoint::new(Arc::clone(&source), config.metrics.clone()),
        source,
        administrator,
        orders,
        access,
        listener,
        estate: Arc::new(estate),
        events: recorder,
        tracker,
        readings,
        early: Vec::new(),
        notifications,
        log: Log::new(&roster),
        is_stopping: false,
        has_single_link: has_single_link && heir.is_none(),
    };
    // A reload must free the keys that it removes.
    drop((config, roster));
    let from_engine = FromEngine { requests: requested, reports: reported, transitions };
    let unstarted = Unstarted { engine, predecessor, kernel_log };
    let mut engine_thread = EngineThread::new(unstarted, inherited, &handle, &configured);
    let served = catch_unwind(AssertUnwindSafe(|| {
        supervisor.run(parts.signals, &runtime_dir, opener, from_engine, heir, &mut engine_thread)
    }));
    conclude(engine_thread, served, guardian)
}

/// Returns the control socket. A successor shares the control socket of a running predecessor;
/// after a restart, it opens its own.
fn control_socket(
    heir: Option<&Heir>,
    runtime_dir: &RuntimeDir,
    access: &Access,
) -> anyhow::Result<UnixListener> {
    match heir.and_then(|heir| heir.listener.as_ref()) {
        Some(listener) => listener.try_clone().context("cannot use the control socket of the predecessor"),
        None => Ok(runtime_dir.listen(access)?),
    }
}

/// Starts the thread that passes the BPF program's log lines to the log. Does nothing if
/// `kernel_log` is `None`.
fn forward(kernel_log: Option<KernelLog>) -> anyhow::Result<()> {
    let Some(kernel_log) = kernel_log else { return Ok(()) };
    kernel_log
        .forward(|| confine(ThreadKind::Log))
        .context("cannot start the thread for the log of the BPF program")
}

/// Collects the descriptors and the executable for a successor.
fn estate(
    maps: MapDescriptors,
    lock: &AgentLock,
    runtime_dir: &RuntimeDir,
    control_socket: &UnixListener,
) -> io::Result<Estate> {
    Ok(Estate {
        executable: executable(),
        maps,
        lock: lock.descriptor().try_clone_to_owned()?,
        lock_file: runtime_dir.lock_file().try_clone_to_owned()?,
        control_socket: control_socket.try_clone()?.into(),
    })
}

/// Prepares the guardian if VIPs are fenced. Logs an error and returns `None` if the guardian
/// cannot be prepared.
fn guardian(
    agent: &str,
    has_fence: bool,
    kernel: &Kernel,
    config: &Config,
    sizes: Sizes,
) -> Option<(Guardian, guardian::Writer)> {
    if !has_fence {
        return None;
    }
    let start = |leases| {
        let is_realtime = config.realtime == Realtime::Auto;
        let rows = sizes.routers as usize + 1;
        Guardian::start(guardian::Setup { leases, rows, agent: agent.to_owned(), is_realtime })
    };
    kernel
        .leases_descriptor()
        .and_then(start)
        .inspect_err(|error| {
            tracing::error!(
                %error,
                "no guardian: if this process dies, backups take over only after the Active_Down_Interval"
            );
        })
        .ok()
}

/// Returns the path of this executable. An upgrade runs the file that exists at this path at the
/// time of the upgrade.
fn executable() -> PathBuf {
    let found = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    // The kernel appends " (deleted)" if the file has been replaced since this process started.
    match found.to_str().and_then(|found| found.strip_suffix(" (deleted)")) {
        Some(path) => path.into(),
        None => found,
    }
}

/// Builds the topology from the configuration: its virtual routers and their links.
pub(crate) fn topology(config: &Config, sizes: Sizes) -> anyhow::Result<Topology> {
    let mut topology = Topology::new(Rows::new(sizes.routers));
    for instance in &config.instances {
        topology.add_router(Arc::clone(instance))?;
    }
    topology.set_groups(&config.groups);
    Ok(topology)
}
