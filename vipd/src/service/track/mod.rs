//! Tracked objects: their checks, and their effect on the priority and faults of routers.
//!
//! ```text
//!  script ─────┐
//!  process ────┤
//!  file ───────┼─► updates ─► Tracker ─► engine: Priority, Impede(Tracking), Clear(Tracking)
//!  interface ──┤                 └─────► log, events, status
//!  route ──────┘
//! ```
//!
//! Each object is checked once, however many instances track it. The tracker computes the effective
//! priority: the configured one, or that of an administrator, plus the weights.

mod file;
mod interface;
mod object;
mod proc;
mod process;
mod route;
mod script;
mod source;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::log::limit::Limit;
use crate::config::Instance;
use crate::config::track::Track;
use crate::control::model::TrackedObject;
use crate::engine::Handle;
use crate::engine::command::Command;
use crate::engine::id::RouterId;
use crate::vrrp::{Fault, Impediment, Input, priority};
use object::{ObjectId, Reading, Update, Updates};
use source::Source;
use weights::Effect;

/// Capacity of the channel of updates. Sources wait while it is full.
const UPDATES: usize = 256;
/// Time between the first runs of two scripts, in nanoseconds.
const STAGGER: u64 = 20_000_000;

/// A tracked object and its state.
struct Object {
    source: Source,
    /// `None` until the first reading.
    reading: Option<Reading>,
    detail: Option<String>,
    since: Instant,
    /// Number of changes of the reading after the first one.
    changes: u64,
    log_limit: Limit,
    /// Ends the check. Interfaces share one, and so do routes.
    task: Option<AbortHandle>,
}

/// The objects that an instance tracks, and the values last sent to the engine.
struct Tracking {
    router: RouterId,
    /// Configured priority, or that of an administrator.
    base: u8,
    objects: Vec<(ObjectId, Option<i16>)>,
    /// Whether objects count as up until they are read for the first time. Otherwise, a reload that
    /// adds an object would put a running instance into Fault for a moment.
    assumes_up: bool,
    engine: Known,
}

/// Values last sent to the engine for an instance; `None` if another value may have been sent
/// since.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    is_fault: Option<bool>,
    priority: Option<u8>,
}

/// A change of an object, for the events of an instance that tracks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectChange {
    pub(super) instance: String,
    pub(super) object: String,
    pub(super) from: Option<String>,
    pub(super) to: String,
    pub(super) detail: Option<String>,
}

/// All tracked objects and the instances that track them.
struct Tracker {
    engine: Handle,
    objects: BTreeMap<ObjectId, Object>,
    instances: BTreeMap<String, Tracking>,
    last_id: u32,
    updates: Updates,
    /// The task that watches all tracked interfaces.
    interfaces: Option<AbortHandle>,
    /// The task that watches all tracked routes.
    routes: Option<AbortHandle>,
    /// Delay before the first run of the next script, in nanoseconds.
    delay: u64,
    /// Whether updates to the engine are held back until all objects have been read once.
    is_held: bool,
}

/// The tracker, shared by the parts of the service that run on the control thread.
#[derive(Clone)]
pub(super) struct SharedTracker(Arc<Mutex<Tracker>>);

/// The updates of all objects.
pub(super) struct Readings(mpsc::Receiver<Update>);

impl SharedTracker {
    /// Creates a tracker without instances.
    pub(super) fn new(engine: Handle) -> (Self, Readings) {
        let (updates, received) = mpsc::channel(UPDATES);
        let tracker = Tracker {
            engine,
            objects: BTreeMap::new(),
            instances: BTreeMap::new(),
            last_id: 0,
            updates,
            interfaces: None,
            routes: None,
            delay: 0,
            is_held: false,
        };
        (Self(Arc::new(Mutex::new(tracker))), Readings(received))
    }

    fn lock(&self) -> MutexGuard<'_, Tracker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a router that tracks the objects in `settings` must start in Fault, and its
    /// priority.
    pub(super) fn preview(&self, settings: &Instance, base: u8) -> (bool, u8) {
        self.lock().preview(settings, base)
    }

    /// Begins to track the objects of an instance that has not started yet. Call
    /// [`start`](Self::start) and [`settle`](Readings::settle) afterwards, and before the engine
    /// starts.
    pub(super) fn add(&self, router: RouterId, settings: &Instance) {
        let base = settings.router.priority;
        let known = Known { is_fault: Some(false), priority: Some(base) };
        let mut tracker = self.lock();
        tracker.is_held = true;
        tracker.set(router, settings, base, known, false);
    }

    /// Tracks the objects in the new settings of a running instance. Call [`start`](Self::start)
    /// afterwards.
    pub(super) fn change(&self, router: RouterId, settings: &Instance, base: u8) {
        self.lock().change(router, settings, base);
    }

    /// Begins to track the objects of an instance that a reload has added. It started with the
    /// result of [`preview`](Self::preview), which may be outdated by now.
    pub(super) fn set_added(&self, router: RouterId, settings: &Instance) {
        self.lock().set(router, settings, settings.router.priority, Known::default(), false);
    }

    /// Returns the effective priority of an instance.
    pub(super) fn priority(&self, instance: &str) -> Option<u8> {
        self.lock().instances.get(instance)?.engine.priority
    }

    /// Stops tracking the objects of an instance.
    pub(super) fn remove(&self, instance: &str) {
        self.lock().instances.remove(instance);
    }

    /// Replaces the priority to which the weights are added.
    pub(super) fn set_base(&self, instance: &str, base: u8) {
        let mut tracker = self.lock();
        if let Some(tracking) = tracker.instances.get_mut(instance) {
            tracking.base = base;
        }
        tracker.update_engine(instance);
    }

    /// Starts the checks of new objects, and ends those of objects that are no longer tracked. Must
    /// be called in the control thread's runtime.
    pub(super) fn start(&self) {
        self.lock().start();
    }

    /// Applies an update. Returns the change for each instance that tracks the object.
    fn apply(&self, update: Update) -> Vec<ObjectChange> {
        self.lock().apply(update)
    }

    /// Returns the objects of an instance for `status`, and the sum of their weights.
    pub(super) fn report(&self, instance: &str) -> (Vec<TrackedObject>, i64) {
        self.lock().report(instance)
    }
}

impl Readings {
    /// Waits until all objects have been read for the first time, but at most `limit`, and then
    /// sends the result to the engine. Without this, each start would put instances into Fault for
    /// a moment. Returns the changes so far.
    pub(super) async fn settle(&mut self, tracker: &SharedTracker, limit: Duration) -> Vec<ObjectChange> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut changes = Vec::new();
        while tracker.lock().objects.values().any(|object| object.reading.is_none())
            && let Ok(Some(update)) = tokio::time::timeout_at(deadline, self.0.recv()).await
        {
            changes.extend(tracker.apply(update));
        }
        tracker.lock().release();
        changes
    }

    /// Waits for the next update and applies it. Waits forever if nothing is tracked. Safe to
    /// cancel.
    pub(super) async fn next(&mut self, tracker: &SharedTracker) -> Vec<ObjectChange> {
        match self.0.recv().await {
            Some(update) => tracker.apply(update),
            // Impossible, because the tracker has a sender.
            None => std::future::pending().await,
        }
    }
}

impl Tracker {
    fn effect(&self, tracking: &Tracking) -> Effect {
        let effect_of = |(id, weight): &(ObjectId, Option<i16>)| {
            let reading = self.objects.get(id).and_then(|object| object.reading);
            let assumed = (tracking.assumes_up && weight.is_none()).then_some(Reading::Up);
            (*weight, reading.or(assumed))
        };
        Effect::of(tracking.objects.iter().map(effect_of))
    }

    fn preview(&self, settings: &Instance, base: u8) -> (bool, u8) {
        let known = |track: &Track| {
            self.find(&Source::of(&track.object, settings.router.family))
                .and_then(|(_, object)| object.reading)
        };
        let effect = Effect::of(settings.track.iter().map(|track| (track.weight, known(track))));
        (effect.is_fault, priority::effective(base, [effect.sum]))
    }

    /// Tracks the configured objects of an instance.
    fn set(&mut self, router: RouterId, settings: &Instance, base: u8, engine: Known, assumes_up: bool) {
        let object =
            |track: &Track| (self.object(Source::of(&track.object, settings.router.family)), track.weight);
        let objects = settings.track.iter().map(object).collect();
        let tracking = Tracking { router, base, objects, assumes_up, engine };
        self.instances.insert(settings.name.clone(), tracking);
        self.update_engine(&settings.name);
    }

    fn change(&mut self, router: RouterId, settings: &Instance, base: u8) {
        let known = self.instances.get(&settings.name).map_or(Some(false), |known| known.engine.is_fault);
        // The reload has replaced the priority in the engine, possibly after a newer one had been
        // sent.
        self.set(router, settings, base, Known { is_fault: known, priority: None }, true);
    }

    /// Returns the object with this source, or the one that a reload replaces with it.
    fn find(&self, source: &Source) -> Option<(ObjectId, &Object)> {
        let is_same = |object: &Object| object.source == *source;
        let is_former = |object: &Object| source.is_successor(&object.source);
        let mut objects = self.objects.iter();
        let found = objects.clone().find(|(_, object)| is_same(object));
        found.or_else(|| objects.find(|(_, object)| is_former(object))).map(|(id, object)| (*id, object))
    }

    /// Returns the object with this source, which is added if it is new. If it replaces another
    /// with the same name, it keeps that one's state until it is read, because new settings alone
    /// must not move mastership.
    fn object(&mut self, source: Source) -> ObjectId {
        let mut new = Object {
            source,
            reading: None,
            detail: None,
            since: Instant::now(),
            changes: 0,
            log_limit: Limit::new(),
            task: None,
        };
        if let Some((id, found)) = self.find(&new.source) {
            if found.source == new.source {
                return id;
            }
            (new.reading, new.since, new.changes) = (found.reading, found.since, found.changes);
            new.detail.clone_from(&found.detail);
        }
        self.last_id += 1;
        let id = ObjectId(self.last_id);
        self.objects.insert(id, new);
        id
    }

    /// Sends the changes for an instance to the engine.
    fn update_engine(&mut self, instance: &str) {
        let Some(tracking) = self.instances.get(instance).filter(|_| !self.is_held) else { return };
        let (router, effect) = (tracking.router, self.effect(tracking));
        let priority = priority::effective(tracking.base, [effect.sum]);
        let Known { is_fault, priority: sent } = tracking.engine;
        let is_fault_new = is_fault != Some(effect.is_fault);
        let mut inputs = Vec::new();
        if is_fault_new && effect.is_fault {
            inputs.push(Input::Impede(Fault::Tracking));
        }
        if sent != Some(priority) {
            inputs.push(Input::Priority(priority));
        }
        if is_fault_new && !effect.is_fault {
            inputs.push(Input::Clear(Impediment::Tracking));
        }
        for input in inputs {
            self.engine.send(Command::Input { router, input });
        }
        if let Some(tracking) = self.instances.get_mut(instance) {
            tracking.engine = Known { is_fault: Some(effect.is_fault), priority: Some(priority) };
        }
    }

    /// Sends the states of all objects to the engine.
    fn release(&mut self) {
        self.is_held = false;
        let instances: Vec<String> = self.instances.keys().cloned().collect();
        for instance in instances {
            self.update_engine(&instance);
        }
    }

    fn start(&mut self) {
        let used: BTreeSet<ObjectId> =
            self.instances.values().flat_map(|tracking| tracking.objects.iter().map(|(id, _)| *id)).collect();
        self.objects.retain(|id, object| {
            let is_used = used.contains(id);
            if let (false, Some(task)) = (is_used, &object.task) {
                task.abort();
            }
            is_used
        });
        let (mut has_new_interface, mut has_new_route) = (false, false);
        // The states of interfaces and routes are never copied from other objects.
        let is_checked = |object: &Object| match object.source {
            Source::Interface(_) | Source::Route(..) => object.reading.is_some(),
            Source::Script(_) | Source::Process(_) | Source::File(_) => object.task.is_some(),
        };
        for (id, object) in self.objects.iter_mut().filter(|(_, object)| !is_checked(object)) {
            let updates = self.updates.clone();
            let former = object.reading;
            let task = match &object.source {
                Source::Interface(_) => {
                    has_new_interface = true;
                    continue;
                }
                Source::Route(..) => {
                    has_new_route = true;
                    continue;
                }
                Source::Script(script) => {
                    let delay = Duration::from_nanos(self.delay % script.interval);
                    self.delay += STAGGER;
                    tokio::spawn(script::watch(*id, Arc::clone(script), former, delay, updates))
                }
                Source::Process(process) => {
                    tokio::spawn(process::watch(*id, Arc::clone(process), former, updates))
                }
                Source::File(file) => tokio::spawn(file::watch(*id, Arc::clone(file), updates)),
            };
            object.task = Some(task.abort_handle());
        }
        let interfaces = self.objects.iter().filter_map(|(id, object)| match &object.source {
            Source::Interface(name) => Some((*id, name.clone())),
            _ => None,
        });
        let interfaces: Vec<_> = interfaces.collect();
        if has_new_interface || interfaces.is_empty() {
            if let Some(task) = self.interfaces.take() {
                task.abort();
            }
            if !interfaces.is_empty() {
                let task = tokio::spawn(interface::watch(interfaces, self.updates.clone()));
                self.interfaces = Some(task.abort_handle());
            }
        }
        let routes = self.objects.iter().filter_map(|(id, object)| match &object.source {
            Source::Route(_, destination) => Some((*id, *destination)),
            _ => None,
        });
        let routes: Vec<_> = routes.collect();
        if has_new_route || routes.is_empty() {
            if let Some(task) = self.routes.take() {
                task.abort();
            }
            if !routes.is_empty() {
                let task = tokio::spawn(route::watch(routes, self.updates.clone()));
                self.routes = Some(task.abort_handle());
            }
        }
    }

    fn apply(&mut self, update: Update) -> Vec<ObjectChange> {
        let Update { object: id, reading, detail } = update;
        // The object has been removed.
        let Some(object) = self.objects.get_mut(&id) else { return Vec::new() };
        object.detail.clone_from(&detail);
        if object.reading == Some(reading) {
            return Vec::new();
        }
        let from = object.reading.replace(reading).map(text);
        object.since = Instant::now();
        object.changes += u64::from(from.is_some());
        let name = object.source.to_string();
        if object.log_limit.permits(&name) {
            let state = text(reading);
            tracing::info!(object = name, state, detail, "tracked object changed");
        }
        let tracks = |tracking: &Tracking| tracking.objects.iter().any(|(object, _)| *object == id);
        let affected: Vec<String> = self
            .instances
            .iter()
            .filter(|(_, tracking)| tracks(tracking))
            .map(|(name, _)| name.clone())
            .collect();
        let change = |instance: String| {
            self.update_engine(&instance);
            let (object, from, detail) = (name.clone(), from.clone(), detail.clone());
            ObjectChange { instance, object, from, to: text(reading), detail }
        };
        affected.into_iter().map(change).collect()
    }

    fn report(&self, instance: &str) -> (Vec<TrackedObject>, i64) {
        let Some(tracking) = self.instances.get(instance) else { return (Vec::new(), 0) };
        let objects = tracking.objects.iter().filter_map(|(id, weight)| {
            let object = self.objects.get(id)?;
            Some(TrackedObject {
                kind: object.source.kind().to_owned(),
                name: object.source.name().to_owned(),
                state: object.reading.map_or_else(|| "unknown".to_owned(), text),
                weight: *weight,
                detail: object.detail.clone(),
                since_ms: u64::try_from(object.since.elapsed().as_millis()).unwrap_or(u64::MAX),
                changes: object.changes,
            })
        });
        (objects.collect(), self.effect(tracking).sum)
    }
}

/// Returns `up`, `down` or the number in a file.
fn text(reading: Reading) -> String {
    match reading {
        Reading::Up => "up".to_owned(),
        Reading::Down => "down".to_owned(),
        Reading::Value(number) => number.to_string(),
    }
}
