//! Changes to the running agent: reload, drain, failover, priority, upgrade, restart.
//!
//! Changes are made one at a time. A reload waits until the file has been read, which may block. It
//! then waits for the first readings of objects that only added instances track, and finally for
//! the engine's answer. While a reload waits, the control thread handles other events. Changes
//! other than reloads, upgrades and restarts are made even while the file or an object is being
//! read, so an unresponsive file server cannot block `vipd drain`.

mod instances;
mod reload;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::bus::Latest;
use super::configured::Configured;
use super::drained::Drained;
use super::order::{Author, Done, Order, Orders, finish};
use super::plan::Plan;
use super::track::SharedTracker;
use crate::config::machine::Machine;
use crate::config::operate::Group;
use crate::config::{Config, ConfigError, Fence, Instance, Realtime};
use crate::control::protocol::Request;
use crate::engine::Handle;
use crate::engine::command::{Added, Command};
use crate::engine::id::RouterId;
use crate::handover::Offer;
use crate::vrrp::{Fault, Input};
use crate::xdp::Sizes;

pub(super) use reload::{Reloaded, Step};

/// A router that the engine is running, with its settings.
#[derive(Debug)]
struct Running {
    id: RouterId,
    settings: Arc<Instance>,
    /// Priority set by an administrator.
    priority: Option<u8>,
}

impl Running {
    /// Returns the priority set by an administrator, unless new settings change the configured
    /// priority.
    fn kept_priority(&self, settings: &Instance) -> Option<u8> {
        self.priority.filter(|_| settings.router.priority == self.settings.router.priority)
    }
}

/// The parts of the agent that an administrator's changes affect.
pub(super) struct Agent {
    /// Sizes of the BPF program's maps, which are fixed.
    pub(super) sizes: Sizes,
    pub(super) engine: Handle,
    pub(super) drained: Drained,
    /// Reads the present states of the instances.
    pub(super) latest: Latest,
    pub(super) tracker: SharedTracker,
    pub(super) configured: Configured,
}

/// Makes the changes that administrators request, and holds the configuration in use.
pub(super) struct Administrator {
    path: PathBuf,
    config: Config,
    running: BTreeMap<String, Running>,
    /// Sizes of the BPF program's maps, which are fixed.
    sizes: Sizes,
    engine: Handle,
    drained: Drained,
    /// Reads the present states of the instances.
    latest: Latest,
    tracker: SharedTracker,
    configured: Configured,
    orders: mpsc::Receiver<Order>,
    /// Reloads, upgrades and restarts to begin once no change is in progress.
    waiting: VecDeque<Order>,
    phase: Phase,
}

/// The reload, upgrade or restart in progress, if any.
#[derive(Debug)]
enum Phase {
    Idle,
    /// The file is being read.
    Reading(JoinHandle<Result<Config, ConfigError>>, Author),
    /// The tracked objects of added instances are being read for the first time.
    Settling {
        until: Instant,
        author: Author,
        next: Box<(Config, Plan)>,
    },
    /// An upgrade or a restart is in progress.
    Upgrading,
    /// The engine is applying the changes of a reload.
    Applying {
        answer: oneshot::Receiver<Vec<Added>>,
        author: Author,
        next: Box<(Config, Plan, Done)>,
    },
}

impl Administrator {
    /// Creates an administrator and the channel for requesting changes. `roster` contains the
    /// routers of `config`. A reload reads `path`.
    pub(super) fn new(
        path: PathBuf,
        config: Config,
        roster: impl Iterator<Item = (RouterId, Arc<Instance>)>,
        agent: Agent,
    ) -> (Self, Orders) {
        let Agent { sizes, engine, drained, latest, tracker, configured } = agent;
        configured.add(&config.instances);
        let (sender, orders) = mpsc::channel(ORDERS);
        let running =
            roster.map(|(id, settings)| (settings.name.clone(), Running { id, settings, priority: None }));
        let administrator = Self {
            path,
            config,
            running: running.collect(),
            sizes,
            engine,
            drained,
            latest,
            tracker,
            configured,
            orders,
            waiting: VecDeque::new(),
            phase: Phase::Idle,
        };
        (administrator, sender)
    }

    /// Restores the drained state of a previous run, and begins to track objects. Must be called
    /// before the engine starts.
    pub(super) fn prepare(&mut self) {
        for running in self.running.values() {
            self.tracker.add(running.id, &running.settings);
        }
        if let Some(warning) = self.forget_drained() {
            tracing::warn!("{warning}");
        }
        for name in self.drained.names() {
            if let Some(running) = self.running.get(name) {
                tracing::info!(instance = name, "still drained; `vipd undrain` puts it back into service");
                self.engine.send(input(running.id, Input::Impede(Fault::Drained)));
            }
        }
    }

    /// Logs a warning for each command that cannot be run. Does not wait for the check, because an
    /// unresponsive file system must not delay the start.
    pub(super) fn check_commands(&self) {
        let (executables, main) = (self.config.executables.clone(), self.path.display().to_string());
        spawn_blocking(move || {
            for problem in executables.check() {
                tracing::warn!("{}", problem.in_file(&main));
            }
        });
    }

    /// Carries out requested changes until the next step of a reload, upgrade or restart. Safe to
    /// cancel.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            match &mut self.phase {
                Phase::Idle => {
                    let order = match self.waiting.pop_front() {
                        Some(order) => Some(order),
                        None => self.orders.recv().await,
                    };
                    match order {
                        Some(order) => {
                            if let Some(step) = self.begin(order) {
                                return step;
                            }
                        }
                        None => std::future::pending().await,
                    }
                }
                Phase::Reading(reading, _) => {
                    let read = tokio::select! {
                        read = reading => read,
                        Some(order) = self.orders.recv(), if self.waiting.len() < ORDERS => {
                            self.interpose(order);
                            continue;
                        }
                    };
                    let Phase::Reading(_, author) = std::mem::replace(&mut self.phase, Phase::Idle) else {
                        continue;
                    };
                    match read {
                        Ok(read) => {
                            if let Some(step) = self.apply(read, author) {
                                return step;
                            }
                        }
                        Err(error) => {
                            finish(author, Err(format!("cannot read the configuration: {error}").into()));
                            return Step::ReloadRejected;
                        }
                    }
                }
                Phase::Settling { until, .. } => {
                    if self.tracker.is_reading() && Instant::now() < *until {
                        tokio::select! {
                            () = sleep(SETTLING) => {}
                            Some(order) = self.orders.recv(), if self.waiting.len() < ORDERS => {
                                self.interpose(order);
                            }
                        }
                        continue;
                    }
                    let Phase::Settling { author, next, .. } =
                        std::mem::replace(&mut self.phase, Phase::Idle)
                    else {
                        continue;
                    };
                    let (config, plan) = *next;
                    if let Some(step) = self.send(config, plan, author) {
                        return step;
                    }
                }
                Phase::Upgrading => match self.orders.recv().await {
                    Some(order) => {
                        let refusal = "the agent is being replaced by another process; try again".to_owned();
                        finish(order.by, Err(refusal.into()));
                    }
                    None => std::future::pending().await,
                },
                Phase::Applying { answer, .. } => {
                    let answer = answer.await;
                    let Phase::Applying { author, next, .. } =
                        std::mem::replace(&mut self.phase, Phase::Idle)
                    else {
                        continue;
                    };
                    if let Ok(added) = answer {
                        return Step::Reloaded(self.applied(*next, added, author));
                    }
                    finish(author, Err("the agent is stopping".to_owned().into()));
                    return Step::ReloadRejected;
                }
            }
        }
    }

    fn begin(&mut self, order: Order) -> Option<Step> {
        if let Request::Reload = order.request {
            let path = self.path.clone();
            // Checks executables, as `vipd check` does, to refuse a reload whose scripts or
            // notification commands cannot run. Failed scripts could put instances into Fault.
            let machine = Machine { checks_executables: true, ..Machine::default() };
            let read = move || Config::load_protected(path, &machine);
            self.phase = Phase::Reading(spawn_blocking(read), order.by);
            return Some(Step::ReloadBegun);
        }
        if let Request::Upgrade { executable } = order.request {
            if executable.is_some() && !order.by.is_root() {
                let refusal = "only root may choose the executable; it would run with the agent's privileges";
                finish(order.by, Err(refusal.to_owned().into()));
                return None;
            }
            self.phase = Phase::Upgrading;
            return Some(Step::Upgrade { executable, author: order.by });
        }
        if let Request::Restart { process } = order.request {
            let refusal = if !order.by.is_root() {
                Some("only root may restart the agent".to_owned())
            } else if process != std::process::id() {
                Some(format!(
                    "process {process} is being restarted, but this agent is process {}; the unit of an agent \
                     with another runtime directory needs `Environment=VIPD_RUNTIME_DIR=DIR`",
                    std::process::id()
                ))
            } else {
                None
            };
            if let Some(refusal) = refusal {
                finish(order.by, Err(refusal.into()));
                return None;
            }
            self.phase = Phase::Upgrading;
            return Some(Step::Restart { author: order.by });
        }
        self.carry_out(order);
        None
    }

    /// Carries out a change while a reload is in progress. Reloads, upgrades and restarts are
    /// queued until the current reload is complete.
    fn interpose(&mut self, order: Order) {
        match order.request {
            Request::Reload | Request::Upgrade { .. } | Request::Restart { .. } => {
                self.waiting.push_back(order);
            }
            _ => self.carry_out(order),
        }
    }

    /// Carries out a change that completes without waiting.
    fn carry_out(&mut self, order: Order) {
        let Order { request, by } = order;
        let outcome = match request {
            Request::Drain { instances } => self.drain(&instances, true),
            Request::Undrain { instances } => self.drain(&instances, false),
            Request::Failover { instances } => self.fail_over(&instances),
            Request::Priority { instance, priority } => self.set_priority(&instance, priority),
            Request::Status
            | Request::Stats
            | Request::Events { .. }
            | Request::Reload
            | Request::Upgrade { .. }
            | Request::Restart { .. } => Err("not a change".to_owned().into()),
        };
        finish(by, outcome);
    }

    /// Returns the configured sync groups.
    pub(super) fn groups(&self) -> &[Arc<Group>] {
        &self.config.groups
    }

    /// Accepts changes again while an upgrade or a restart is postponed, until it
    /// [continues](Self::resume).
    pub(super) fn postpone(&mut self) {
        self.phase = Phase::Idle;
    }

    /// Continues a postponed upgrade or restart once the change in progress is complete.
    pub(super) fn resume(&mut self, request: Request, by: Author) {
        self.waiting.push_front(Order { request, by });
    }

    /// Ends a failed upgrade or restart, and accepts changes again.
    pub(super) fn upgrade_failed(&mut self, author: Author, reason: String) {
        self.phase = Phase::Idle;
        finish(author, Err(reason.into()));
    }

    /// Returns the offer for a successor. `rows` contains the row of each instance in the BPF
    /// program's maps, by instance name.
    pub(super) fn offer(&self, runtime_dir: &Path, rows: BTreeMap<String, u32>) -> Offer {
        let priorities = self.running.iter().filter_map(|(name, one)| Some((name.clone(), one.priority?)));
        Offer {
            path: self.path.clone(),
            configuration: self.config.text.as_str().to_owned(),
            has_fence: self.config.fence == Fence::On,
            is_realtime: Some(self.config.realtime == Realtime::Auto),
            runtime_dir: runtime_dir.to_owned(),
            sizes: self.sizes,
            rows,
            priorities: priorities.collect(),
            readings: self.tracker.readings(),
        }
    }

    /// Begins to track objects, and queues a reload. Takes the states of scripts and processes, and
    /// the priorities set by the administrator, from a predecessor's offer. Must be called before
    /// the engine starts, instead of [`prepare`](Self::prepare).
    pub(super) fn inherit(&mut self, offer: &Offer) {
        for (name, running) in &mut self.running {
            running.priority = offer.priorities.get(name).copied();
            let base = running.priority.unwrap_or(running.settings.router.priority);
            self.tracker.inherit(running.id, &running.settings, base);
        }
        self.tracker.resume(&offer.readings);
        // The file may have changed since the predecessor read it.
        self.waiting.push_back(Order { request: Request::Reload, by: Author::Succession });
    }

    /// Removes unconfigured instances from the list of drained instances. Returns a warning if the
    /// list cannot be stored.
    fn forget_drained(&mut self) -> Option<String> {
        let names: BTreeSet<&str> = self.running.keys().map(String::as_str).collect();
        self.drained.retain(|name| names.contains(name)).err().as_ref().map(not_stored)
    }
}

/// Interval at which a waiting reload checks whether the tracked objects have been read.
const SETTLING: Duration = Duration::from_millis(2);

/// Capacity of the channel of requested changes.
const ORDERS: usize = 64;

fn not_stored(error: &io::Error) -> String {
    format!("cannot store the list of drained instances for the next start: {error}")
}

fn input(router: RouterId, input: Input) -> Command {
    Command::Input { router, input }
}
