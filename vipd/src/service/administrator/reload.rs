//! Reload: compares two configurations and applies the differences.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Administrator, Phase, Running};
use crate::config::operate::{Control, Group, Metrics, Notifications};
use crate::config::{Config, ConfigError, Instance};
use crate::engine::command::{Added, Addition, Change, Changes, Command};
use crate::engine::id::RouterId;
use crate::service::check_open_files;
use crate::service::order::{Author, Done, finish};
use crate::service::plan::{self, Plan};
use crate::service::sizes::needed_sizes;
use crate::service::supervisor::FIRST_READINGS;
use crate::vrrp::Fault;

/// The routers that a reload has removed, changed and added, and the settings now in use.
#[derive(Debug, Default)]
pub(in crate::service) struct Reloaded {
    pub(in crate::service) removed: Vec<RouterId>,
    pub(in crate::service) changed: Vec<(RouterId, Arc<Instance>)>,
    pub(in crate::service) added: Vec<Added>,
    /// Access to the control socket.
    pub(in crate::service) control: Control,
    /// Metrics over HTTP.
    pub(in crate::service) metrics: Metrics,
    /// All instances of the configuration in use.
    pub(in crate::service) instances: Vec<Arc<Instance>>,
    /// All sync groups of the configuration in use.
    pub(in crate::service) groups: Vec<Arc<Group>>,
    /// Settings for all notifications.
    pub(in crate::service) notifications: Notifications,
}

/// A step of a reload that is reported to the service manager, or the start of an upgrade or a
/// restart.
#[derive(Debug)]
pub(in crate::service) enum Step {
    /// The file is being read.
    ReloadBegun,
    /// The configuration could not be read or was rejected, so nothing has changed; or the agent is
    /// stopping.
    ReloadRejected,
    /// The changes have been made.
    Reloaded(Box<Reloaded>),
    /// A new process that runs `executable` is to succeed the agent. `None` selects the agent's own
    /// executable.
    Upgrade { executable: Option<PathBuf>, author: Author },
    /// The state is to be left to the next process that systemd starts.
    Restart { author: Author },
}

impl Administrator {
    /// Compares the new configuration with the current one. Passes the difference to the engine, or
    /// first waits until the objects that added instances track have been read. Returns `None` if
    /// the reload continues.
    pub(super) fn apply(&mut self, read: Result<Config, ConfigError>, author: Author) -> Option<Step> {
        let planned = read.map_err(|error| rejected(&error)).and_then(|mut config| {
            check_open_files(&config).map_err(|error| error.to_string())?;
            let needed = needed_sizes(&config).map_err(|error| error.to_string())?;
            plan::check_room(self.sizes, needed)?;
            let plan = Plan::new(&self.config, &config);
            // The engine cannot start or stop fencing while routers run, and requests real-time
            // scheduling only when it starts.
            (config.fence, config.realtime) = (self.config.fence, self.config.realtime);
            Ok((config, plan))
        });
        let (config, plan) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                finish(author, Err(error.into()));
                return Some(Step::ReloadRejected);
            }
        };
        if self.tracker.expect(plan.added.iter().map(|one| &**one)) {
            let until = Instant::now() + FIRST_READINGS;
            self.phase = Phase::Settling { until, author, next: Box::new((config, plan)) };
            return None;
        }
        self.send(config, plan, author)
    }

    /// Passes the difference to the engine. Returns `None` if the reload waits for the engine.
    pub(super) fn send(&mut self, config: Config, plan: Plan, author: Author) -> Option<Step> {
        let main = self.path.display().to_string();
        let warnings = config.warnings.iter().map(|warning| warning.in_file(&main)).collect();
        let done = Done { changes: plan.lines.clone(), warnings };
        let id = |instance: &Arc<Instance>| self.running.get(&instance.name).map(|running| running.id);
        // A restarted instance also keeps the priority set by an administrator.
        let base = |settings: &Instance| {
            let running = self.running.get(&settings.name);
            running.and_then(|running| running.kept_priority(settings)).unwrap_or(settings.router.priority)
        };
        let added = plan.added.iter().map(|settings| {
            let is_drained = self.drained.contains(&settings.name).then_some(Fault::Drained);
            let (is_fault, priority) = self.tracker.preview(settings, base(settings));
            let faults = is_drained.into_iter().chain(is_fault.then_some(Fault::Tracking));
            Addition { settings: Arc::clone(settings), faults: faults.collect(), priority }
        });
        let reconfigured = plan.changed.iter().filter_map(|settings| {
            let (_, priority) = self.tracker.preview(settings, base(settings));
            Some(Change { router: id(settings)?, settings: Arc::clone(settings), priority })
        });
        let changes = Changes {
            removed: plan.removed.iter().filter_map(id).collect(),
            changed: reconfigured.collect(),
            added: added.collect(),
            groups: config.groups.clone(),
        };
        let is_same = changes.removed.is_empty() && changes.changed.is_empty() && changes.added.is_empty();
        if is_same && config.groups == self.config.groups {
            self.configured.replace(&config.instances);
            self.config = config;
            finish(author, Ok(done));
            return Some(Step::Reloaded(self.reloaded(Vec::new(), Vec::new(), Vec::new())));
        }
        self.configured.add(&config.instances);
        let (reply, answer) = oneshot::channel();
        self.engine.send(Command::Reload { changes, reply });
        self.phase = Phase::Applying { answer, author, next: Box::new((config, plan, done)) };
        None
    }

    /// Completes a reload that the engine has applied. The caller must release the tracker once the
    /// rest of the service uses the new settings, so that state changes caused by newly tracked
    /// objects trigger the new notifications.
    pub(super) fn applied(
        &mut self,
        (config, plan, mut done): (Config, Plan, Done),
        added: Vec<Added>,
        author: Author,
    ) -> Box<Reloaded> {
        self.tracker.hold();
        let removed: BTreeMap<_, _> =
            plan.removed.iter().filter_map(|gone| self.running.remove_entry(&gone.name)).collect();
        let mut changed = Vec::new();
        for settings in plan.changed {
            let Some(running) = self.running.get_mut(&settings.name) else { continue };
            running.priority = running.kept_priority(&settings);
            running.settings = Arc::clone(&settings);
            let base = running.priority.unwrap_or(settings.router.priority);
            self.tracker.change(running.id, &settings, base);
            changed.push((running.id, settings));
        }
        for name in removed.keys() {
            self.tracker.remove(name);
        }
        for Added { router, settings, .. } in &added {
            let former = removed.get(&settings.name);
            let priority = former.and_then(|former| former.kept_priority(settings));
            self.tracker.set_added(*router, settings, priority.unwrap_or(settings.router.priority));
            let running = Running { id: *router, settings: Arc::clone(settings), priority };
            self.running.insert(settings.name.clone(), running);
        }
        done.warnings.extend(self.forget_drained());
        self.tracker.start();
        self.configured.replace(&config.instances);
        self.config = config;
        finish(author, Ok(done));
        self.reloaded(removed.into_values().map(|gone| gone.id).collect(), changed, added)
    }

    /// Returns the difference together with the settings that are now in use.
    fn reloaded(
        &self,
        removed: Vec<RouterId>,
        changed: Vec<(RouterId, Arc<Instance>)>,
        added: Vec<Added>,
    ) -> Box<Reloaded> {
        let Config { control, metrics, instances, groups, notifications, .. } = self.config.clone();
        Box::new(Reloaded { removed, changed, added, control, metrics, instances, groups, notifications })
    }
}

/// Formats all problems of a rejected configuration.
fn rejected(error: &ConfigError) -> String {
    match error {
        ConfigError::Problems(problems) => format!("{problems}\n{}; nothing has changed", problems.summary()),
        ConfigError::Read { .. } => format!("nothing has changed: {error}"),
    }
}
