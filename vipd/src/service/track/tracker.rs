//! The table of tracked objects and of the instances that track them.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::task::AbortHandle;

use super::ObjectChange;
use super::object::{ObjectId, Reading, Update, Updates};
use super::source::Source;
use super::weights::Effect;
use crate::config::Instance;
use crate::config::track::Track;
use crate::control::model::TrackedObject;
use crate::engine::Handle;
use crate::engine::command::Command;
use crate::engine::id::RouterId;
use crate::handover;
use crate::service::log::limit::{Limit, Scope};
use crate::vrrp::{Fault, Impediment, Input, priority};

/// A tracked object and its state.
pub(super) struct Object {
    pub(super) source: Source,
    /// `None` until the first reading.
    pub(super) reading: Option<Reading>,
    detail: Option<String>,
    since: Instant,
    /// Number of times that the reading has changed since the first reading.
    changes: u64,
    log_limit: Limit,
    /// Ends the check. `None` for interfaces and routes, because one task checks all interfaces and
    /// another checks all routes.
    pub(super) task: Option<AbortHandle>,
}

/// The objects that an instance tracks, and the values last sent to the engine.
pub(super) struct Tracking {
    router: RouterId,
    /// The configured priority, or the priority set by an administrator.
    pub(super) base: u8,
    pub(super) objects: Vec<(ObjectId, Option<i16>)>,
    /// Whether objects without a weight count as up until they are read for the first time, so that
    /// a reload that adds an object does not briefly put a running instance into Fault.
    assumes_up: bool,
    pub(super) engine: Known,
}

/// The values that the engine has for an instance. A value of `None` is unknown and must be sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub(super) is_fault: Option<bool>,
    pub(super) priority: Option<u8>,
}

/// All tracked objects and the instances that track them.
pub(super) struct Tracker {
    engine: Handle,
    pub(super) objects: BTreeMap<ObjectId, Object>,
    pub(super) instances: BTreeMap<String, Tracking>,
    /// Objects of instances that a reload is about to add, until the reload is complete.
    pub(super) expected: Vec<ObjectId>,
    last_id: u32,
    pub(super) updates: Updates,
    /// The task that watches all tracked interfaces.
    pub(super) interfaces: Option<AbortHandle>,
    /// The task that watches all tracked routes.
    pub(super) routes: Option<AbortHandle>,
    /// Delay before the first run of the next script, in nanoseconds.
    pub(super) delay: u64,
    /// Whether updates to the engine are held back: at startup until all objects have been read
    /// once or the time limit has passed, and while a reload is being completed.
    pub(super) is_held: bool,
}

impl Tracker {
    /// Creates a tracker without instances.
    pub(super) fn new(engine: Handle, updates: Updates) -> Self {
        Self {
            engine,
            objects: BTreeMap::new(),
            instances: BTreeMap::new(),
            expected: Vec::new(),
            last_id: 0,
            updates,
            interfaces: None,
            routes: None,
            delay: 0,
            is_held: false,
        }
    }

    fn effect(&self, tracking: &Tracking) -> Effect {
        let effect_of = |(id, weight): &(ObjectId, Option<i16>)| {
            let reading = self.objects.get(id).and_then(|object| object.reading);
            let assumed = (tracking.assumes_up && weight.is_none()).then_some(Reading::Up);
            (*weight, reading.or(assumed))
        };
        Effect::of(tracking.objects.iter().map(effect_of))
    }

    pub(super) fn preview(&self, settings: &Instance, base: u8) -> (bool, u8) {
        let known = |track: &Track| {
            self.find(&Source::of(&track.object, settings.router.family))
                .and_then(|(_, object)| object.reading)
        };
        let effect = Effect::of(settings.track.iter().map(|track| (track.weight, known(track))));
        (effect.is_fault, priority::effective(base, [effect.sum]))
    }

    /// Adds the objects of instances that a reload is about to add, unless they have already been
    /// read.
    pub(super) fn expect<'a>(&mut self, instances: impl IntoIterator<Item = &'a Instance>) {
        for settings in instances {
            for track in &settings.track {
                let source = Source::of(&track.object, settings.router.family);
                match self.find(&source) {
                    Some((_, found)) if found.reading.is_some() => {}
                    Some((id, _)) => self.expected.push(id),
                    None => {
                        let id = self.object(source);
                        self.expected.push(id);
                    }
                }
            }
        }
    }

    /// Sets the objects that an instance tracks, and updates the engine.
    pub(super) fn set(
        &mut self,
        router: RouterId,
        settings: &Instance,
        base: u8,
        engine: Known,
        assumes_up: bool,
    ) {
        let object =
            |track: &Track| (self.object(Source::of(&track.object, settings.router.family)), track.weight);
        let objects = settings.track.iter().map(object).collect();
        let tracking = Tracking { router, base, objects, assumes_up, engine };
        self.instances.insert(settings.name.clone(), tracking);
        self.update_engine(&settings.name);
    }

    pub(super) fn change(&mut self, router: RouterId, settings: &Instance, base: u8) {
        let known = self.instances.get(&settings.name).map_or(Some(false), |known| known.engine.is_fault);
        // The priority is sent again, because the reload may have overwritten a newer priority in
        // the engine.
        self.set(router, settings, base, Known { is_fault: known, priority: None }, true);
    }

    /// Returns the object with this source or, during a reload, the object that it replaces.
    fn find(&self, source: &Source) -> Option<(ObjectId, &Object)> {
        let is_same = |object: &Object| object.source == *source;
        let is_former = |object: &Object| source.is_successor(&object.source);
        let mut objects = self.objects.iter();
        let found = objects.clone().find(|(_, object)| is_same(object));
        found.or_else(|| objects.find(|(_, object)| is_former(object))).map(|(id, object)| (*id, object))
    }

    /// Returns the object with this source, and adds it if it is new. A new object that replaces an
    /// object of the same name has the old object's state until its own first reading, because new
    /// settings alone must not move mastership.
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

    /// Returns the effective priority of an instance: the value last sent to the engine or, if none
    /// is known, the computed value.
    pub(super) fn priority(&self, tracking: &Tracking) -> u8 {
        let computed = || priority::effective(tracking.base, [self.effect(tracking).sum]);
        tracking.engine.priority.unwrap_or_else(computed)
    }

    /// Sends the changes for an instance to the engine.
    pub(super) fn update_engine(&mut self, instance: &str) {
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

    /// Sends the engine the changes that were held back.
    pub(super) fn release(&mut self) {
        self.is_held = false;
        let instances: Vec<String> = self.instances.keys().cloned().collect();
        for instance in instances {
            self.update_engine(&instance);
        }
    }

    pub(super) fn apply(&mut self, update: Update) -> Vec<ObjectChange> {
        let Update { object: id, reading, detail } = update;
        // The object is no longer tracked.
        let Some(object) = self.objects.get_mut(&id) else { return Vec::new() };
        object.detail.clone_from(&detail);
        if object.reading == Some(reading) {
            return Vec::new();
        }
        let from = object.reading.replace(reading).map(text);
        object.since = Instant::now();
        object.changes += u64::from(from.is_some());
        let name = object.source.to_string();
        if object.log_limit.permits(Scope::Object(&name)) {
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

    pub(super) fn readings(&self) -> Vec<handover::Reading> {
        let read = self.objects.values().filter_map(|object| {
            let (object, reading) = (object, object.reading?);
            let (name, state) = (object.source.to_string(), text(reading));
            Some(handover::Reading { object: name, state, changes: object.changes })
        });
        read.collect()
    }

    /// Restores states from a predecessor. Files, interfaces and routes are read again before the
    /// engine starts. Scripts and processes keep the state that they had in the predecessor,
    /// because a single check result may not be enough to change it.
    pub(super) fn resume(&mut self, readings: &[handover::Reading]) {
        let readings: BTreeMap<&str, &handover::Reading> =
            readings.iter().map(|reading| (reading.object.as_str(), reading)).collect();
        for object in self.objects.values_mut() {
            let Some(known) = readings.get(object.source.to_string().as_str()) else { continue };
            object.changes = known.changes;
            if let Source::Script(_) | Source::Process(_) = object.source {
                object.reading = match known.state.as_str() {
                    "up" => Some(Reading::Up),
                    "down" => Some(Reading::Down),
                    _ => None,
                };
            }
        }
    }

    pub(super) fn report(&self, instance: &str) -> (Vec<TrackedObject>, i64) {
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
