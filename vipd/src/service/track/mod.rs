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
//! All instances that track an object share one check of it. The tracker computes the effective
//! priority: the priority that was configured or set by an administrator, plus the weights.

mod checks;
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
mod tracker;
mod weights;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::Instance;
use crate::control::model::TrackedObject;
use crate::engine::Handle;
use crate::engine::id::RouterId;
use crate::handover;
use object::Update;
use tracker::{Known, Tracker};

/// Capacity of the channel for updates. While it is full, checks wait.
const UPDATES: usize = 256;

/// A change of a tracked object, to be recorded as an event of an instance that tracks the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectChange {
    pub(super) instance: String,
    pub(super) object: String,
    pub(super) from: Option<String>,
    pub(super) to: String,
    pub(super) detail: Option<String>,
}

/// The tracker, shared by the control thread and the thread that serves metrics.
#[derive(Clone)]
pub(super) struct SharedTracker(Arc<Mutex<Tracker>>);

/// The receiving end of the channel for updates of all objects.
pub(super) struct Readings(mpsc::Receiver<Update>);

impl SharedTracker {
    /// Creates a tracker without instances.
    pub(super) fn new(engine: Handle) -> (Self, Readings) {
        let (updates, received) = mpsc::channel(UPDATES);
        (Self(Arc::new(Mutex::new(Tracker::new(engine, updates)))), Readings(received))
    }

    fn lock(&self) -> MutexGuard<'_, Tracker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a router that tracks the objects in `settings` must start in Fault, and the
    /// effective priority with which it must start.
    pub(super) fn preview(&self, settings: &Instance, base: u8) -> (bool, u8) {
        self.lock().preview(settings, base)
    }

    /// Begins to check the objects of instances that a reload is about to add. Returns whether any
    /// of these objects has not been read yet. Must be called in the control thread's runtime.
    ///
    /// Without this call, an added instance with a new object would start in Fault or with the
    /// wrong priority, and its sync group would be in Fault until the object had been read.
    pub(super) fn expect<'a>(&self, instances: impl IntoIterator<Item = &'a Instance>) -> bool {
        let mut tracker = self.lock();
        tracker.expect(instances);
        if tracker.expected.is_empty() {
            return false;
        }
        tracker.start();
        drop(tracker);
        self.is_reading()
    }

    /// Returns whether expected objects have not been read yet.
    pub(super) fn is_reading(&self) -> bool {
        let tracker = self.lock();
        let mut objects = tracker.expected.iter().filter_map(|id| tracker.objects.get(id));
        objects.any(|object| object.reading.is_none())
    }

    /// Begins to track the objects of an instance that has not started yet. [`start`](Self::start)
    /// and [`settle`](Readings::settle) must follow before the engine starts.
    pub(super) fn add(&self, router: RouterId, settings: &Instance) {
        let base = settings.router.priority;
        let known = Known { is_fault: Some(false), priority: Some(base) };
        let mut tracker = self.lock();
        tracker.is_held = true;
        tracker.set(router, settings, base, known, false);
    }

    /// Begins to track the objects of a predecessor's instance, like [`add`](Self::add). Always
    /// sends the resulting priority and fault to the engine, because the router resumes with the
    /// predecessor's values.
    pub(super) fn inherit(&self, router: RouterId, settings: &Instance, base: u8) {
        let mut tracker = self.lock();
        tracker.is_held = true;
        tracker.set(router, settings, base, Known::default(), false);
    }

    /// Returns the states of all objects that have a reading, for a successor.
    pub(super) fn readings(&self) -> Vec<handover::Reading> {
        self.lock().readings()
    }

    /// Sets the states that scripts and processes had in a predecessor, and the numbers of changes
    /// of all objects.
    pub(super) fn resume(&self, readings: &[handover::Reading]) {
        self.lock().resume(readings);
    }

    /// Holds back changes for the engine until [`release`](Self::release). Used, for example, until
    /// the notifications for the resulting state changes are configured.
    pub(super) fn hold(&self) {
        self.lock().is_held = true;
    }

    /// Sends the engine the changes that were held back.
    pub(super) fn release(&self) {
        self.lock().release();
    }

    /// Begins to track the objects in the new settings of a running instance.
    /// [`start`](Self::start) must follow.
    pub(super) fn change(&self, router: RouterId, settings: &Instance, base: u8) {
        self.lock().change(router, settings, base);
    }

    /// Begins to track the objects of an instance that a reload has added. The instance started
    /// with the result of [`preview`](Self::preview), which may now be outdated.
    pub(super) fn set_added(&self, router: RouterId, settings: &Instance, base: u8) {
        self.lock().set(router, settings, base, Known::default(), false);
    }

    /// Returns the lowest effective priority of these instances; `None` if none of them runs.
    pub(super) fn lowest_priority<'a>(&self, instances: impl IntoIterator<Item = &'a String>) -> Option<u8> {
        let tracker = self.lock();
        let found = instances.into_iter().filter_map(|name| tracker.instances.get(name));
        found.map(|tracking| tracker.priority(tracking)).min()
    }

    /// Stops tracking the objects of an instance.
    pub(super) fn remove(&self, instance: &str) {
        self.lock().instances.remove(instance);
    }

    /// Sets the base priority, to which the weights are added.
    pub(super) fn set_base(&self, instance: &str, base: u8) {
        let mut tracker = self.lock();
        if let Some(tracking) = tracker.instances.get_mut(instance) {
            tracking.base = base;
        }
        tracker.update_engine(instance);
    }

    /// Starts checking new objects, and stops checking objects that are no longer tracked (see
    /// [`Tracker::start`] for interfaces and routes). Must be called in the control thread's
    /// runtime.
    pub(super) fn start(&self) {
        let mut tracker = self.lock();
        tracker.expected.clear();
        tracker.start();
    }

    /// Applies an update. Returns the change for each instance that tracks the object.
    fn apply(&self, update: Update) -> Vec<ObjectChange> {
        self.lock().apply(update)
    }

    /// Returns the objects of an instance for `status`, and the sum of their contributions to the
    /// priority.
    pub(super) fn report(&self, instance: &str) -> (Vec<TrackedObject>, i64) {
        self.lock().report(instance)
    }
}

impl Readings {
    /// Waits until all objects have been read once, but at most for `limit`, and then sends the
    /// results to the engine. Without this wait, instances would briefly enter Fault at each start.
    /// Returns the changes so far.
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
            // Cannot happen, because the tracker holds a sender.
            None => std::future::pending().await,
        }
    }
}
