//! Changes to the running agent: reload, drain, failover, priority.
//!
//! Changes are made one at a time. A reload waits twice: for the file, because reading it may
//! block, and for the engine's answer. Meanwhile, the control thread handles other events. Changes
//! other than reloads are made even while a file is being read, so a file server that does not
//! respond cannot block `vipd drain`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use super::bus::Latest;
use super::configured::Configured;
use super::drained::Drained;
use super::line::Line;
use super::order::{Author, Done, Order, Orders, Outcome, Refusal, finish};
use super::plan::{self, Plan};
use super::track::SharedTracker;
use crate::config::operate::{Control, Group, Notifications};
use crate::config::{Config, ConfigError, Instance};
use crate::control::protocol::Request;
use crate::engine::Handle;
use crate::engine::command::{Added, Addition, Change, Changes, Command};
use crate::engine::id::RouterId;
use crate::vrrp::config::PRIORITY_OWNER;
use crate::vrrp::{Fault, Impediment, Input, State};
use crate::xdp::Sizes;

/// A running router.
#[derive(Debug)]
struct Running {
    id: RouterId,
    settings: Arc<Instance>,
    /// Priority set by an administrator.
    priority: Option<u8>,
}

impl Running {
    /// Returns the priority set by an administrator, unless new settings change the configured one.
    fn kept_priority(&self, settings: &Instance) -> Option<u8> {
        self.priority.filter(|_| settings.router.priority == self.settings.router.priority)
    }
}

/// The routers that a reload has removed, changed and added.
#[derive(Debug, Default)]
pub(super) struct Reloaded {
    pub(super) removed: Vec<RouterId>,
    pub(super) changed: Vec<(RouterId, Arc<Instance>)>,
    pub(super) added: Vec<Added>,
    /// Access to the control socket.
    pub(super) control: Control,
    /// All sync groups.
    pub(super) groups: Vec<Arc<Group>>,
    /// Settings for all notifications.
    pub(super) notifications: Notifications,
}

/// A step of a reload, reported to the service manager.
#[derive(Debug)]
pub(super) enum Step {
    /// The file is being read.
    ReloadBegun,
    /// Nothing has changed, because the file has errors or the agent is stopping.
    ReloadRejected,
    /// The changes have been made.
    Reloaded(Reloaded),
}

/// The parts of the agent that changes affect.
pub(super) struct Agent {
    /// Sizes of the BPF program's maps, which are fixed.
    pub(super) sizes: Sizes,
    pub(super) engine: Handle,
    pub(super) drained: Drained,
    /// The present states of the instances.
    pub(super) latest: Latest,
    pub(super) tracker: SharedTracker,
    pub(super) configured: Configured,
}

/// The configuration in use, and the changes to it.
pub(super) struct Administrator {
    path: PathBuf,
    config: Config,
    running: BTreeMap<String, Running>,
    /// Sizes of the BPF program's maps, which are fixed.
    sizes: Sizes,
    engine: Handle,
    drained: Drained,
    /// The present states of the instances.
    latest: Latest,
    tracker: SharedTracker,
    configured: Configured,
    orders: mpsc::Receiver<Order>,
    /// Reloads that were requested while another one was reading the file.
    waiting: VecDeque<Order>,
    phase: Phase,
}

/// The reload in progress.
#[derive(Debug)]
enum Phase {
    Idle,
    /// The file is being read.
    Reading(JoinHandle<Result<Config, ConfigError>>, Author),
    /// The engine is applying the difference.
    Applying {
        answer: oneshot::Receiver<Vec<Added>>,
        author: Author,
        next: Box<(Config, Plan, Done)>,
    },
}

impl Administrator {
    /// `roster` has the routers of `config`, which was read from `path`.
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

    /// Carries out requested changes until the next step of a reload. Safe to cancel.
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
                            match order.request {
                                Request::Reload => self.waiting.push_back(order),
                                _ => self.carry_out(order),
                            }
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
            self.phase = Phase::Reading(spawn_blocking(move || Config::load(path)), order.by);
            return Some(Step::ReloadBegun);
        }
        self.carry_out(order);
        None
    }

    /// Carries out a change that does not wait.
    fn carry_out(&mut self, order: Order) {
        let Order { request, by } = order;
        let outcome = match request {
            Request::Drain { instances } => self.drain(&instances, true),
            Request::Undrain { instances } => self.drain(&instances, false),
            Request::Failover { instances } => self.fail_over(&instances),
            Request::Priority { instance, priority } => self.set_priority(&instance, priority),
            Request::Status | Request::Stats | Request::Events { .. } | Request::Reload => {
                Err("not a change".to_owned().into())
            }
        };
        finish(by, outcome);
    }

    /// Compares the new configuration with the present one and passes the difference to the engine.
    /// Returns `None` if the engine has work to do.
    fn apply(&mut self, read: Result<Config, ConfigError>, author: Author) -> Option<Step> {
        let planned = read.map_err(|error| error.to_string()).and_then(|config| {
            super::check_open_files(&config).map_err(|error| error.to_string())?;
            let needed = super::needed_sizes(&config).map_err(|error| error.to_string())?;
            plan::check_room(self.sizes, needed)?;
            let plan = Plan::new(&self.config, &config);
            Ok((config, plan))
        });
        let (config, plan) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                finish(author, Err(error.into()));
                return Some(Step::ReloadRejected);
            }
        };
        let main = self.path.display().to_string();
        let warnings = config.warnings.iter().map(|warning| warning.in_file(&main)).collect();
        let done = Done { changes: plan.lines.clone(), warnings };
        let id = |instance: &Arc<Instance>| self.running.get(&instance.name).map(|running| running.id);
        let added = plan.added.iter().map(|settings| {
            let is_drained = self.drained.contains(&settings.name).then_some(Fault::Drained);
            let (is_fault, priority) = self.tracker.preview(settings, settings.router.priority);
            let faults = is_drained.into_iter().chain(is_fault.then_some(Fault::Tracking));
            Addition { settings: Arc::clone(settings), faults: faults.collect(), priority }
        });
        let reconfigured = plan.changed.iter().filter_map(|settings| {
            let running = self.running.get(&settings.name)?;
            let base = running.kept_priority(settings).unwrap_or(settings.router.priority);
            let (_, priority) = self.tracker.preview(settings, base);
            Some(Change { router: running.id, settings: Arc::clone(settings), priority })
        });
        let changes = Changes {
            removed: plan.removed.iter().filter_map(id).collect(),
            changed: reconfigured.collect(),
            added: added.collect(),
            groups: config.groups.clone(),
        };
        let is_same = changes.removed.is_empty() && changes.changed.is_empty() && changes.added.is_empty();
        if is_same && config.groups == self.config.groups {
            let control = config.control.clone();
            self.config = config;
            finish(author, Ok(done));
            let groups = self.config.groups.clone();
            let notifications = self.config.notifications.clone();
            return Some(Step::Reloaded(Reloaded { control, groups, notifications, ..Reloaded::default() }));
        }
        self.configured.add(&config.instances);
        let (reply, answer) = oneshot::channel();
        self.engine.send(Command::Reload { changes, reply });
        self.phase = Phase::Applying { answer, author, next: Box::new((config, plan, done)) };
        None
    }

    fn applied(
        &mut self,
        (config, plan, mut done): (Config, Plan, Done),
        added: Vec<Added>,
        author: Author,
    ) -> Reloaded {
        let removed: Vec<_> =
            plan.removed.iter().filter_map(|gone| self.running.remove(&gone.name)).collect();
        let mut changed = Vec::new();
        for settings in plan.changed {
            let Some(running) = self.running.get_mut(&settings.name) else { continue };
            running.priority = running.kept_priority(&settings);
            running.settings = Arc::clone(&settings);
            let base = running.priority.unwrap_or(settings.router.priority);
            self.tracker.change(running.id, &settings, base);
            changed.push((running.id, settings));
        }
        for gone in &removed {
            self.tracker.remove(&gone.settings.name);
        }
        for Added { router, settings, .. } in &added {
            self.tracker.set_added(*router, settings);
            let running = Running { id: *router, settings: Arc::clone(settings), priority: None };
            self.running.insert(settings.name.clone(), running);
        }
        done.warnings.extend(self.forget_drained());
        self.tracker.start();
        self.configured.replace(&config.instances);
        let control = config.control.clone();
        self.config = config;
        finish(author, Ok(done));
        let groups = self.config.groups.clone();
        let notifications = self.config.notifications.clone();
        let removed = removed.into_iter().map(|gone| gone.id).collect();
        Reloaded { removed, changed, added, control, groups, notifications }
    }

    /// Drains or undrains instances: all of them if `names` is empty.
    fn drain(&mut self, names: &[String], is_drained: bool) -> Outcome {
        let names = self.resolve(names)?;
        let mut changes = Vec::new();
        let stored = self.drained.set(&names, is_drained);
        for name in &names {
            let Some(running) = self.running.get(name) else { continue };
            let change =
                if is_drained { Input::Impede(Fault::Drained) } else { Input::Clear(Impediment::Drained) };
            self.engine.send(input(running.id, change));
            changes.push(Line::instance(name, if is_drained { "drained" } else { "no longer drained" }));
        }
        Ok(Done { changes, warnings: stored.err().iter().map(not_stored).collect() })
    }

    /// Forgets drained instances that are not configured. Returns a warning if this cannot be
    /// stored.
    fn forget_drained(&mut self) -> Option<String> {
        let names: BTreeSet<&str> = self.running.keys().map(String::as_str).collect();
        self.drained.retain(|name| names.contains(name)).err().as_ref().map(not_stored)
    }

    /// Hands mastership of instances over, if all of them are masters.
    fn fail_over(&self, names: &[String]) -> Outcome {
        if names.is_empty() {
            return Err("name at least one instance".to_owned().into());
        }
        let mut routers = Vec::new();
        for name in self.resolve(names)? {
            let Some(running) = self.running.get(&name) else { return Err(unknown(&name).into()) };
            if running.settings.router.priority == PRIORITY_OWNER {
                let message = format!(
                    "{name} is the address owner, which would become master again at once; use `vipd drain {name}`"
                );
                return Err(Refusal::of(&name, message));
            }
            let state = self.latest.get(running.id).map_or(State::Initialize, |latest| latest.state);
            if state != State::Master {
                let message =
                    format!("{name} is in state {state}, not master; run the command on the master");
                return Err(Refusal::of(&name, message));
            }
            routers.push((running.id, name));
        }
        let mut changes = Vec::new();
        for (router, name) in routers {
            self.engine.send(input(router, Input::Failover));
            changes.push(Line::instance(&name, "mastership handed over"));
        }
        Ok(Done { changes, ..Done::default() })
    }

    fn set_priority(&mut self, name: &str, priority: Option<u8>) -> Outcome {
        let name = self.resolve(&[name.to_owned()])?.remove(0);
        let Some(running) = self.running.get_mut(&name) else { return Err(unknown(&name).into()) };
        let configured = running.settings.router.priority;
        if configured == PRIORITY_OWNER {
            let message = format!("{name} is the address owner, whose priority is always 255");
            return Err(Refusal::of(&name, message));
        }
        if priority.is_some_and(|priority| !(1..PRIORITY_OWNER).contains(&priority)) {
            return Err(Refusal::of(&name, "a priority must be 1 to 254".to_owned()));
        }
        let before = running.priority.unwrap_or(configured);
        running.priority = priority;
        let now = priority.unwrap_or(configured);
        self.tracker.set_base(&name, now);
        let change = match priority {
            Some(_) => format!("priority {before} → {now}, until `vipd priority {name} reset`"),
            None => format!("priority {before} → {now}, as configured"),
        };
        Ok(Done { changes: vec![Line::instance(&name, change)], ..Done::default() })
    }

    /// Checks that all instances exist. Returns all instances if `names` is empty.
    fn resolve(&self, names: &[String]) -> Result<Vec<String>, String> {
        if let Some(name) = names.iter().find(|name| !self.running.contains_key(*name)) {
            return Err(unknown(name));
        }
        let mut unique: Vec<String> = Vec::new();
        for name in names {
            if !unique.contains(name) {
                unique.push(name.clone());
            }
        }
        Ok(if names.is_empty() { self.running.keys().cloned().collect() } else { unique })
    }
}

/// Capacity of the channel of requested changes.
const ORDERS: usize = 64;

fn not_stored(error: &io::Error) -> String {
    format!("cannot store the list of drained instances for the next start: {error}")
}

fn unknown(name: &str) -> String {
    format!("no instance is named {name:?}; `vipd status` lists the instances")
}

fn input(router: RouterId, input: Input) -> Command {
    Command::Input { router, input }
}

#[cfg(test)]
mod tests;
