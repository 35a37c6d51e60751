//! Tracked interfaces, from netlink notifications.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use super::object::{ObjectId, Reading, Update, Updates};
use crate::netlink::{Monitor, Notice, Requests};
use crate::process::register;
use crate::service::log::limit::Repeats;

/// Maximum number of notifications handled before other tasks run.
const BUDGET: usize = 64;
/// Pause after an error before the interfaces are read again.
const RETRY: Duration = Duration::from_secs(1);

/// Watches the interfaces with these names until the task is aborted.
pub(super) async fn watch(objects: Vec<(ObjectId, String)>, updates: Updates) {
    let mut links = Links::default();
    let mut sent = BTreeMap::new();
    let mut repeats = Repeats::default();
    loop {
        // `follow` returns when notifications were lost. The next call reads all interfaces again.
        if let Err(error) = follow(&objects, &mut links, &mut sent, &updates).await {
            if repeats.is_due(&error.to_string(), std::time::Instant::now()) {
                tracing::warn!(%error, "cannot watch tracked interfaces; trying again");
            }
            sleep(RETRY).await;
        }
    }
}

/// The tracked interfaces by index. The value is the interface's name, and whether it is up and has
/// a carrier.
#[derive(Debug, Default)]
struct Links(BTreeMap<u32, (String, bool)>);

impl Links {
    fn apply(&mut self, notice: Notice) {
        match notice {
            Notice::Link(link) => drop(self.0.insert(link.ifindex, (link.name, link.running))),
            Notice::LinkGone { ifindex } => drop(self.0.remove(&ifindex)),
            Notice::Address(_)
            | Notice::AddressGone(_)
            | Notice::Neighbor { .. }
            | Notice::RoutingEntry(_)
            | Notice::RoutingEntryGone(_)
            | Notice::RouteReplaced(_) => {}
        }
    }

    fn update(&self, object: ObjectId, name: &str) -> Update {
        let found = self.0.values().find(|(other, _)| other == name);
        let (reading, detail) = match found {
            Some((_, true)) => (Reading::Up, None),
            Some((_, false)) => (Reading::Down, Some("is down or has no carrier")),
            None => (Reading::Down, Some("does not exist")),
        };
        Update { object, reading, detail: detail.map(str::to_owned) }
    }
}

/// Reads the interfaces, then follows their notifications until notifications are lost.
async fn follow(
    objects: &[(ObjectId, String)],
    links: &mut Links,
    sent: &mut BTreeMap<ObjectId, Update>,
    updates: &Updates,
) -> io::Result<()> {
    // Opened before the interfaces are read, so that no change is missed.
    let mut monitor = register(Monitor::open()?)?;
    links.0.clear();
    let names: Vec<&str> = objects.iter().map(|(_, name)| name.as_str()).collect();
    // Also installs a socket filter, so that changes to other interfaces cause no wake-up.
    Requests::open()?.read(monitor.get_mut(), &names, |notice| links.apply(notice))?;
    loop {
        for (object, name) in objects {
            let update = links.update(*object, name);
            if sent.get(object) != Some(&update) {
                sent.insert(*object, update.clone());
                let _ = updates.send(update).await;
            }
        }
        let mut ready = monitor.readable_mut().await?;
        let drained = ready.get_inner_mut().drain(BUDGET, |notice| links.apply(notice))?;
        if drained.overrun {
            return Ok(());
        }
        if !drained.more {
            ready.clear_ready();
        }
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Link;

    #[test]
    fn interface_is_up_only_if_a_running_link_has_its_name() {
        let mut links = Links::default();
        let state = |links: &Links| {
            let update = links.update(ObjectId(1), "eth2");
            (update.reading, update.detail)
        };
        let link = |ifindex, name: &str, running| {
            let name = name.to_owned();
            Notice::Link(Link { ifindex, name, running, mac: None, is_point_to_point: false })
        };
        let missing = (Reading::Down, Some("does not exist".to_owned()));
        assert_eq!(state(&links), missing);
        links.apply(link(5, "eth2", false));
        assert_eq!(state(&links), (Reading::Down, Some("is down or has no carrier".to_owned())));
        links.apply(link(5, "eth2", true));
        assert_eq!(state(&links), (Reading::Up, None));
        links.apply(link(5, "renamed", true));
        assert_eq!(state(&links), missing);
        links.apply(link(6, "eth2", true));
        links.apply(Notice::LinkGone { ifindex: 5 });
        assert_eq!(state(&links), (Reading::Up, None));
        links.apply(Notice::LinkGone { ifindex: 6 });
        assert_eq!(state(&links), missing);
    }
}
