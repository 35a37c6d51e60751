//! Handles commands from the service, and builds snapshots for it.

use std::net::IpAddr;
use std::sync::Arc;

use vipd_common::Timestamp;

use super::Engine;
use super::authentication::Authentication;
use super::command::{Command, EngineSnapshot, Request, RouterSnapshot};
use super::id::LinkId;
use super::instance::Instance;
use super::link::Link;
use super::link_io::{LinkIo, MacvlanFailure, MacvlanIo};
use super::ownership::Primary;
use crate::vrrp::{Fault, Input, State};

impl Engine {
    /// Handles pending commands. Returns whether [`Command::Stop`] was among them.
    pub(super) fn take_commands(&mut self, now: Timestamp) -> bool {
        while let Some(command) = self.deferred.pop_front().or_else(|| self.commands.try_recv().ok()) {
            match command {
                Command::HandOver(handover) => self.handover = Some(handover),
                Command::Opened { link, ifindex, io } => self.opened(now, link, ifindex, io),
                Command::RowReleased(row) => self.topology.release(row),
                Command::Input { router, input } => self.dispatch(now, router, input),
                Command::Reload { changes, reply } => self.reload(now, changes, reply),
                Command::Ping(answer) => {
                    // Fails if the service is stopping.
                    let _ = answer.send(());
                }
                Command::Snapshot(answer) => {
                    // Fails if the client has disconnected.
                    let _ = answer.send(self.snapshot(now));
                }
                Command::Stop => return true,
            }
        }
        false
    }

    pub(super) fn opened(&mut self, now: Timestamp, id: LinkId, ifindex: u32, io: Result<LinkIo, String>) {
        // Ignores the result if the link has been removed since the request, or if its interface
        // has been removed or replaced.
        let Some(link) = self.topology.links.get_mut(id).filter(|link| link.ifindex == Some(ifindex)) else {
            if let Ok(io) = io {
                self.request(Request::Drop(io));
            }
            return;
        };
        link.changed = true;
        // Also set if the link could not be opened, because the service retries without a request.
        link.requested = true;
        match io {
            Ok(mut io) => {
                let created = std::mem::take(&mut io.macvlans);
                let failed = std::mem::take(&mut io.failed_macvlans);
                let probe = io.probe.take();
                io.attachment = probe.map(|probe| self.prober.watch(move || probe.position()));
                link.failure = None;
                // Dropped by the service, because closing the sockets blocks.
                if let Some(replaced) = link.io.replace(io) {
                    self.request(Request::Drop(replaced));
                }
                for MacvlanFailure { link, reason } in failed {
                    if let Some(macvlan) = self.topology.links.get_mut(link) {
                        macvlan.failure = Some(reason);
                    }
                }
                self.adopt(now, created);
            }
            Err(failure) => link.failure = Some(failure),
        }
    }

    /// Records the macvlans that were created, and reads the addresses of new macvlans. Earlier
    /// notifications about a new macvlan were ignored, because its name was not known.
    fn adopt(&mut self, now: Timestamp, created: Vec<MacvlanIo>) {
        for MacvlanIo { link, name, ifindex } in created {
            self.resync_needed |= self.topology.links.macvlan_created(link, name, ifindex);
        }
        self.resync_if_needed(now);
    }

    /// Shuts down all virtual routers: first sends all priority-0 adverts, then removes routes,
    /// rules and VIPs. An owner's addresses stay unless they have vipd's mark.
    pub(super) fn shut_down(&mut self, now: Timestamp) {
        for slot in 0..self.topology.routers.slots() {
            if let Some(id) = self.topology.routers.id_at(slot) {
                self.dispatch(now, id, Input::Shutdown);
            }
        }
        self.flush_all(now);
    }

    /// Returns a snapshot of all routers, which is built at most once per turn.
    pub(super) fn snapshot(&mut self, now: Timestamp) -> Arc<EngineSnapshot> {
        if let Some(snapshot) = &self.snapshot {
            return Arc::clone(snapshot);
        }
        for slot in 0..self.topology.routers.slots() {
            if let Some(id) = self.topology.routers.id_at(slot) {
                self.dispatch_unchanged(now, id);
            }
        }
        let routers = self.topology.routers.iter().map(|(id, instance)| {
            let link = self.topology.links.get(instance.link);
            let router = instance.router.snapshot();
            RouterSnapshot {
                id,
                settings: Arc::clone(&instance.settings),
                row: instance.row,
                router,
                group: self.topology.group_name(id).cloned(),
                sent: instance.sent,
                primary: link.and_then(|link| source(instance, link)),
                mode: link.and_then(Link::mode),
                fence: instance.fence(&self.topology.links),
                failure: link
                    .and_then(|link| link.failure(instance.router.config().family, instance.is_unicast())),
                macvlan_failure: instance
                    .macvlan
                    .and_then(|macvlan| self.topology.links.get(macvlan)?.failure.clone()),
                virtual_mac: instance.macvlan.map(|_| instance.virtual_mac()),
                missing: instance.missing(&self.topology.links).collect(),
                missing_routes: self.effects.routing.missing(id).collect(),
                conflict: match router.state {
                    State::Fault(Fault::PrimaryIsVirtual) => instance.conflict(&self.topology.links),
                    _ => None,
                },
                senders: instance
                    .authentication
                    .as_ref()
                    .map(Authentication::senders)
                    .unwrap_or_default()
                    .to_vec(),
                peers: instance.router.peers().to_vec(),
            }
        });
        let snapshot = Arc::new(EngineSnapshot {
            now,
            routers: routers.collect(),
            delays: self.measure.delays,
            wakeups: self.wakeups,
            overruns: self.overruns,
            reports_dropped: self.reports.dropped,
        });
        self.snapshot = Some(Arc::clone(&snapshot));
        snapshot
    }
}

/// Returns the source address of a router's adverts; `None` before the first advert can be sent,
/// and after the link has lost this address.
fn source(instance: &Instance, link: &Link) -> Option<IpAddr> {
    let primary = link.primary(instance.router.config().family, instance.settings.source);
    instance.primary().filter(|source| primary == Primary::Own(*source))
}
