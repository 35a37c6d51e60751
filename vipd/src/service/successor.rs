//! The start of a process that continues with the state of another agent.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::oneshot;

use super::{Claims, Start, check_open_files, check_privileges, keys, start, verbosity};
use crate::config::machine::Machine;
use crate::config::{Config, ConfigError, Fence, Realtime};
use crate::control::runtime::RuntimeDir;
use crate::engine::succession::{Predecessor, Resumed, Source};
use crate::engine::topology::Topology;
use crate::handover::{self, Channel, MAX_QUEUED, Message, Offer, READABLE, Token};
use crate::netlink::Macvlans;
use crate::process::{
    AgentLock, InterfaceClaim, Signals, prevent_core_dumps, raise_open_files, start_launcher,
};
use crate::xdp::{self, Inherited, Kernel, Row, Rows};

/// Maximum time to wait for the predecessor's offer and for each of its descriptors.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Error context for failures of the channel to the predecessor.
const GONE: &str = "the connection to the predecessor failed";

/// The control thread's part of a succession.
pub(super) struct Heir {
    /// The channel, from which further messages of the predecessor must be read.
    pub(super) channel: Channel,
    pub(super) offer: Offer,
    /// The predecessor's control socket; `None` if this process opens its own.
    pub(super) listener: Option<UnixListener>,
    /// Receives the states of the routers once the engine has taken over.
    pub(super) resumed: oneshot::Receiver<Vec<Resumed>>,
    pub(super) has_taken_over: Arc<AtomicBool>,
    /// Set when a termination signal arrives; the engine then does not take over from a running
    /// predecessor.
    pub(super) is_stopping: Arc<AtomicBool>,
    pub(super) lock: Arc<AgentLock>,
    /// Whether the predecessor has ended (in a restart), so that this process is already the main
    /// process of the service.
    pub(super) is_main: bool,
    /// The predecessor's memberships in the VRRP groups, until this process has joined them.
    pub(super) memberships: Vec<OwnedFd>,
}

impl Heir {
    /// Returns whether the engine has taken over. Until it has, a running predecessor is still in
    /// charge, and this process must not clean up anything.
    pub(super) fn has_taken_over(flag: &AtomicBool) -> bool {
        flag.load(Ordering::SeqCst)
    }
}

/// The resources that a predecessor passes.
pub(super) struct Inheritance {
    pub(super) offer: Offer,
    pub(super) descriptors: Descriptors,
    pub(super) token: Token,
}

/// The descriptors that a predecessor passes.
#[derive(Default)]
pub(super) struct Descriptors {
    inherited: Inherited,
    claims: Claims,
    lock: Option<OwnedFd>,
    lock_file: Option<OwnedFd>,
    control_socket: Option<OwnedFd>,
    memberships: Vec<OwnedFd>,
}

/// Takes over from the agent at the other end of the channel, and runs until a signal stops the
/// process or another process succeeds it. Returns `false` if this process could not take over. The
/// reason has then been sent to the predecessor, which keeps running.
///
/// # Errors
/// Returns an error if the agent fails after it has taken over (see [`run`](super::run)).
pub(crate) fn succeed(channel: &Channel, signals: Signals) -> anyhow::Result<bool> {
    let has_taken_over = Arc::new(AtomicBool::new(false));
    let result = prepare(channel, signals, &has_taken_over).and_then(start);
    match result {
        Err(error) if !Heir::has_taken_over(&has_taken_over) => {
            // If the engine has already reported a reason, the predecessor ignores this second
            // report.
            handover::fail(channel, &describe(&error));
            Ok(false)
        }
        result => result.map(|()| true),
    }
}

/// Formats an error for the user of `vipd upgrade`. If a configuration is invalid, the text
/// contains all its problems.
fn describe(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(ConfigError::Problems(problems)) => {
            let context = match error.chain().next() {
                Some(outer) if !outer.is::<ConfigError>() => format!("{outer}:\n"),
                _ => String::new(),
            };
            format!("{context}{problems}\n{}", problems.summary())
        }
        _ => format!("{error:#}"),
    }
}

/// Receives the offer and the descriptors from the predecessor, and prepares the start.
fn prepare(channel: &Channel, signals: Signals, has_taken_over: &Arc<AtomicBool>) -> anyhow::Result<Start> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    // A failure is ignored: the present limit may suffice.
    let _ = raise_open_files();
    channel.send(&Message::Hello { formats: READABLE.to_vec(), version }, None).context(GONE)?;
    let inheritance = receive(channel, TIMEOUT)?;
    // Checks the configuration file, which may have changed. A reload after the takeover applies
    // it.
    let machine = Machine { checks_executables: true, ..Machine::default() };
    let path = inheritance.offer.path.clone();
    let file = Config::load_protected(&path, &machine)?;
    let source = Source::Running(channel.try_clone()?);
    let start = assemble(inheritance, path, &file, source, channel.try_clone()?, has_taken_over)?;
    Ok(start(signals))
}

/// Prepares a start that continues with the resources of a predecessor. `path` is the file that a
/// reload reads, and `file` is its present content.
pub(super) fn assemble(
    inheritance: Inheritance,
    path: PathBuf,
    file: &Config,
    source: Source,
    channel: Channel,
    has_taken_over: &Arc<AtomicBool>,
) -> anyhow::Result<impl FnOnce(Signals) -> Start + use<>> {
    let Inheritance { offer, descriptors, token } = inheritance;
    let Descriptors { inherited, claims, lock, lock_file, control_socket, memberships } = descriptors;
    let (Some(lock), Some(lock_file), Some(control_socket)) = (lock, lock_file, control_socket) else {
        bail!("the predecessor did not pass its locks and its control socket");
    };
    let machine = Machine { lacks_keys: true, ..Machine::default() };
    let mut config = Config::parse_on(&offer.configuration, &offer.path.display().to_string(), &machine)
        .map_err(ConfigError::from)
        .context("this version does not accept the configuration of the running agent")?;
    config.fence = if offer.has_fence { Fence::On } else { Fence::Off };
    if let Some(is_realtime) = offer.is_realtime {
        config.realtime = if is_realtime { Realtime::Auto } else { Realtime::Off };
    }
    if config.has_secret() {
        prevent_core_dumps();
    }
    check_privileges()?;
    check_open_files(&config)?;
    start_launcher().context("cannot start the thread that runs commands")?;
    let lock = Arc::new(AgentLock::inherit(&offer.runtime_dir, lock));
    let is_main = matches!(source, Source::Left(_));
    let (runtime_dir, listener) = if is_main {
        // systemd may have removed the directory (`RuntimeDirectoryPreserve=no`). The lock on the
        // file is released first.
        drop((lock_file, control_socket));
        (RuntimeDir::open(&offer.runtime_dir)?, None)
    } else {
        (RuntimeDir::inherit(offer.runtime_dir.clone(), lock_file), Some(control_socket.into()))
    };
    let macvlans = Macvlans::borrow(lock.name()).context("cannot read the macvlans of the predecessor")?;
    let attached: BTreeSet<u32> = inherited.links.adverts.iter().map(|(info, _)| info.ifindex).collect();
    let loaded = Kernel::succeed(xdp::OBJECT, offer.sizes, verbosity(), inherited)?;
    let stored = xdp::StoredKeys::new(&loaded.maps)?;
    keys::restore(&mut config, file, &offer.rows, |row, id| stored.get(row, id))?;
    let topology = topology(&config, &offer)?;
    let (states, resumed) = oneshot::channel();
    let is_stopping = Arc::new(AtomicBool::new(false));
    let predecessor = Predecessor {
        source,
        token,
        attached,
        has_taken_over: Arc::clone(has_taken_over),
        is_stopping: Arc::clone(&is_stopping),
        taken: states,
    };
    let heir = Heir {
        channel,
        listener,
        resumed,
        has_taken_over: Arc::clone(has_taken_over),
        is_stopping,
        lock: Arc::clone(&lock),
        offer,
        is_main,
        memberships,
    };
    Ok(move |signals| Start {
        path,
        config,
        lock,
        claims,
        macvlans,
        runtime_dir,
        sizes: heir.offer.sizes,
        loaded,
        topology,
        signals,
        succession: Some((predecessor, heir)),
    })
}

/// Receives the offer, all descriptors, and the token, which comes last. `timeout` applies to each
/// message.
pub(super) fn receive(channel: &Channel, timeout: Duration) -> anyhow::Result<Inheritance> {
    let (Message::Offer, Some(offer)) = channel.receive(Some(timeout)).context(GONE)? else {
        bail!("the predecessor sent an unexpected message instead of an offer");
    };
    let offer: Offer = serde_json::from_slice(&handover::read(&offer)?).context("cannot read the offer")?;
    let mut all = Descriptors::default();
    for _ in 0..MAX_QUEUED {
        let (message, descriptor) = channel.receive(Some(timeout)).context(GONE)?;
        if let Message::Fence(info) = message {
            all.inherited.links.fences.push((info, descriptor));
            continue;
        }
        // The kernel drops descriptors that exceed the limit on open files.
        let missing = "a descriptor is missing; raise the limit on open files (LimitNOFILE=)";
        let descriptor = descriptor.context(missing)?;
        match message {
            Message::Map { name } => drop(all.inherited.maps.insert(name, descriptor)),
            Message::Link(info) => all.inherited.links.adverts.push((info, descriptor)),
            Message::Claim { ifindex } => {
                all.claims.insert(ifindex, InterfaceClaim::inherit(descriptor));
            }
            Message::Lock => all.lock = Some(descriptor),
            Message::LockFile => all.lock_file = Some(descriptor),
            Message::ControlSocket => all.control_socket = Some(descriptor),
            Message::Membership => all.memberships.push(descriptor),
            Message::Token => {
                let token = Token::from_descriptor(descriptor);
                return Ok(Inheritance { offer, descriptors: all, token });
            }
            _ => bail!("the predecessor sent an unexpected message"),
        }
    }
    bail!("the predecessor sent more than {MAX_QUEUED} messages")
}

/// Builds the topology. Each router keeps the row that it had in the predecessor.
fn topology(config: &Config, offer: &Offer) -> anyhow::Result<Topology> {
    let mut topology = Topology::new(Rows::new(offer.sizes.routers));
    let rows: &BTreeMap<String, u32> = &offer.rows;
    for instance in &config.instances {
        let row = rows.get(&instance.name).and_then(|row| Row::new(*row));
        let row = row.with_context(|| format!("the predecessor has no instance {}", instance.name))?;
        topology
            .add_inherited_router(row, Arc::clone(instance))
            .with_context(|| format!("row {row:?} of instance {} is missing or in use", instance.name))?;
    }
    topology.set_groups(&config.groups);
    Ok(topology)
}
