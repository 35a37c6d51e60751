//! Removes the explanations of tracked objects from HTTP responses: they may contain script output
//! and file contents, and the HTTP server has no authentication.

use crate::control::event::EventRecord;
use crate::control::model::{InstanceStatus, TrackedObject};
use crate::engine::command::RouterSnapshot;
use crate::vrrp::{Fault, State};

/// Returns an event without the explanation of a tracked object.
pub(super) fn event(record: EventRecord) -> EventRecord {
    let reason = record.reason.filter(|_| record.object.is_none());
    EventRecord { reason, ..record }
}

/// Returns the status of a router without the explanations of its tracked objects.
pub(super) fn status(router: &RouterSnapshot, status: InstanceStatus) -> InstanceStatus {
    let fault_reason = match router.router.state {
        State::Fault(fault) => Some(describe(fault, &status)),
        State::Initialize | State::Backup | State::Master => None,
    };
    let track = status.track.into_iter().map(|object| TrackedObject { detail: None, ..object });
    InstanceStatus { fault_reason, track: track.collect(), ..status }
}

/// Describes a fault without the explanations of tracked objects.
pub(super) fn describe(fault: Fault, status: &InstanceStatus) -> String {
    let is_down = |one: &&TrackedObject| one.weight.is_none() && one.state != "up";
    let down = status.track.iter().filter(is_down);
    let down: Vec<_> = down.map(|one| format!("{} {} is {}", one.kind, one.name, one.state)).collect();
    match &status.fault_reason {
        _ if fault == Fault::Tracking && !down.is_empty() => down.join("; "),
        Some(reason) if fault != Fault::Tracking => reason.clone(),
        _ => "a tracked object failed".to_owned(),
    }
}
