//! Starts and ends the tasks that check objects.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::object::ObjectId;
use super::source::Source;
use super::tracker::{Object, Tracker};
use super::{file, interface, process, route, script};

/// Time between the first runs of successive scripts, in nanoseconds.
const STAGGER: u64 = 20_000_000;

impl Tracker {
    /// Starts checking new objects, and stops checking objects that are no longer tracked. The
    /// shared task of the interfaces or of the routes may still watch objects that are no longer
    /// tracked; their updates are ignored.
    pub(super) fn start(&mut self) {
        let tracked = self.instances.values().flat_map(|tracking| tracking.objects.iter().map(|(id, _)| *id));
        let used: BTreeSet<ObjectId> = tracked.chain(self.expected.iter().copied()).collect();
        self.objects.retain(|id, object| {
            let is_used = used.contains(id);
            if let (false, Some(task)) = (is_used, &object.task) {
                task.abort();
            }
            is_used
        });
        let (mut has_new_interface, mut has_new_route) = (false, false);
        // An interface or route with a reading is already watched by a running task. Objects of
        // other kinds may have taken over a reading from the object that they replace or from a
        // predecessor.
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
}
