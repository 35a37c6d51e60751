//! Tracked routes, from netlink notifications.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::object::{ObjectId, Reading, Update, Updates};
use crate::netlink::{Destination, RouteMonitor, RouteState, Routes};
use crate::process::register;
use crate::service::log::limit::Repeats;

/// Maximum number of notifications handled before other tasks run.
const BUDGET: usize = 64;
/// Minimum pause before the routes are read again, so that a burst of changes causes only one
/// reading. If the last reading took longer, the pause is as long as that reading, so that reading
/// a large table uses at most half of a CPU.
const PAUSE: Duration = Duration::from_millis(20);
/// Time after a change until the routes are read a second time, because the kernel reports that a
/// link is down before it removes the link's routes (`__dev_notify_flags` in `net/core/dev.c`).
const SECOND_LOOK: Duration = Duration::from_millis(250);
/// Pause after an error, and maximum pause after a dump that was interrupted by changes.
const RETRY: Duration = Duration::from_secs(1);

/// Watches routes in the main table until the task is aborted.
pub(super) async fn watch(objects: Vec<(ObjectId, Destination)>, updates: Updates) {
    let mut sent = BTreeMap::new();
    let mut repeats = Repeats::default();
    loop {
        let Err(error) = follow(&objects, &mut sent, &updates).await;
        if repeats.is_due(&error.to_string(), std::time::Instant::now()) {
            tracing::warn!(%error, "cannot watch tracked routes; trying again");
        }
        sleep(RETRY).await;
    }
}

async fn follow(
    objects: &[(ObjectId, Destination)],
    sent: &mut BTreeMap<ObjectId, Update>,
    updates: &Updates,
) -> io::Result<std::convert::Infallible> {
    let destinations: Arc<[Destination]> = objects.iter().map(|(_, destination)| *destination).collect();
    // Opened before the routes are read, so that no change is missed.
    let mut monitor = register(RouteMonitor::open(&destinations)?)?;
    let mut next_look = None;
    loop {
        let started = Instant::now();
        let to_read = Arc::clone(&destinations);
        let routes = spawn_blocking(move || Routes::read(&to_read)).await.map_err(io::Error::other)??;
        let duration = started.elapsed();
        for ((object, _), state) in objects.iter().zip(&routes.states) {
            // An interrupted dump may lack routes, so a missing route proves nothing.
            if routes.is_interrupted && *state != RouteState::Usable {
                continue;
            }
            let update = update(*object, *state);
            if sent.get(object) != Some(&update) {
                sent.insert(*object, update.clone());
                let _ = updates.send(update).await;
            }
        }
        if routes.is_interrupted {
            next_look = Some(RETRY);
        }
        let is_changed = match next_look.take() {
            Some(delay) => match timeout(delay, changed(&mut monitor, &routes)).await {
                Ok(result) => result.map(|()| true)?,
                Err(_) => false,
            },
            None => changed(&mut monitor, &routes).await.map(|()| true)?,
        };
        if is_changed {
            sleep(PAUSE.max(duration)).await;
            next_look = Some(SECOND_LOOK.max(duration));
        }
    }
}

/// Waits until the routes may have changed. Safe to cancel, because the routes are always read
/// again once a notification has been read.
async fn changed(monitor: &mut AsyncFd<RouteMonitor>, routes: &Routes) -> io::Result<()> {
    loop {
        let mut ready = monitor.readable_mut().await?;
        let drained = ready.get_inner_mut().drain(BUDGET, routes)?;
        if !drained.more {
            ready.clear_ready();
        }
        if drained.overrun || drained.appeared {
            return Ok(());
        }
        yield_now().await;
    }
}

fn update(object: ObjectId, state: RouteState) -> Update {
    let (reading, detail) = match state {
        RouteState::Usable => (Reading::Up, None),
        RouteState::Unusable => (Reading::Down, Some("has no next hop with a carrier")),
        RouteState::Rejecting => (Reading::Down, Some("rejects packets")),
        RouteState::Missing => (Reading::Down, Some("is not in the main table")),
    };
    Update { object, reading, detail: detail.map(str::to_owned) }
}
