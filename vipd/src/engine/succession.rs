//! Passes the engine's state to a successor process, and takes over from a predecessor.
//!
//! The predecessor hands over at the end of a turn, once nothing is pending: all adverts, address
//! changes and removals of routes have been carried out. From then on, the predecessor neither
//! sends nor handles adverts. In an upgrade, the successor has already opened its sockets and read
//! the links and addresses. In a restart, it does so only after the predecessor has ended. The
//! successor then resumes the routers, and continues to read the ring where the predecessor
//! stopped.

mod hand_over;
mod restart;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use vipd_common::Timestamp;

use super::Engine;
use super::clock;
use super::command::{Command, Request, Sent};
use super::effects::PacedBurst;
use super::id::RouterId;
use super::link::LinkRole;
use super::measure::Delays;
use crate::handover::{self, Channel, Message, Token};
use crate::vrrp::hmac;
use crate::vrrp::saved::{SavedFastPath, SavedRouter};
use crate::vrrp::{Addresses, FastPath, Policy, Reason, Router, State, VirtualAddress};

/// The engine's state, encoded as JSON for a successor.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedEngine {
    /// The virtual routers, by instance name.
    routers: BTreeMap<String, SavedInstance>,
    /// Addresses that vipd added: interface, address and prefix length.
    added: Vec<(String, IpAddr, u8)>,
    announcements: Vec<SavedBurst>,
    wakeups: u64,
    overruns: u64,
    reports_dropped: u64,
    /// Missing in the state of a predecessor without metrics.
    #[serde(default)]
    delays: Delays,
    /// Missing in the state of a predecessor that cannot be restarted.
    #[serde(default)]
    suspended_at: u64,
}

/// The part of a [`SavedEngine`] that shows its age.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Suspension {
    /// Time at which the routers were suspended.
    suspended_at: u64,
}

impl Suspension {
    /// Returns the time since the routers were suspended.
    pub(crate) fn age(self) -> Duration {
        Duration::from_nanos(clock::now().as_nanos().saturating_sub(self.suspended_at))
    }
}

/// The state of a virtual router.
#[derive(Debug, Serialize, Deserialize)]
struct SavedInstance {
    router: SavedRouter,
    fast_path: SavedFastPath,
    sent: Sent,
    /// Sequences of signed adverts; `None` if adverts are neither signed nor verified.
    #[serde(default)]
    sequences: Option<hmac::Saved>,
    /// Whether the router has left Master but its VIPs have not been removed yet.
    is_leaving: bool,
}

/// A paced burst of announcements.
#[derive(Debug, Serialize, Deserialize)]
struct SavedBurst {
    instance: String,
    /// Address and prefix length; all addresses if `None`.
    address: Option<(IpAddr, u8)>,
    round: u8,
    rounds: u8,
    position: usize,
    interval: u64,
    due: u64,
}

/// The process to which the state is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// A successor that waits for the state.
    Running,
    /// A process that is started after this one has ended, and reads the state from the channel.
    Later,
}

/// A request to pass the state to a successor.
pub(crate) struct HandOver {
    pub(crate) channel: Channel,
    pub(crate) token: Token,
    /// Time at which to give up if the engine has not become idle.
    pub(crate) until: Timestamp,
    pub(crate) recipient: Recipient,
    /// Sends the outcome to the service. On success, the engine does nothing more.
    pub(crate) reply: oneshot::Sender<Result<(), String>>,
}

/// Where a successor receives the state of its predecessor.
pub(crate) enum Source {
    /// The predecessor runs, and waits until this process is ready.
    Running(Channel),
    /// The predecessor has ended, and has left memory with the state.
    Left(OwnedFd),
}

/// A predecessor whose routers this process takes over.
pub(crate) struct Predecessor {
    pub(crate) source: Source,
    pub(crate) token: Token,
    /// Indices of the interfaces to which the predecessor's BPF program is attached.
    pub(crate) attached: BTreeSet<u32>,
    /// Shared with the service: while it is false, a running predecessor is still in charge, and
    /// this process must not clean up anything.
    pub(crate) has_taken_over: Arc<AtomicBool>,
    /// Set by a termination signal. This process then does not take over from a running
    /// predecessor.
    pub(crate) is_stopping: Arc<AtomicBool>,
    /// Sends the states of the routers to the service once this process has taken over.
    pub(crate) taken: oneshot::Sender<Vec<Resumed>>,
}

/// The state that a router had in the predecessor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resumed {
    pub(crate) router: RouterId,
    pub(crate) state: State,
    /// `None` if the router has always been in Initialize.
    pub(crate) reason: Option<Reason>,
}

impl Engine {
    /// Takes over from a predecessor. If the takeover fails, reports the reason to a running
    /// predecessor, which continues.
    ///
    /// # Errors
    /// Returns an error with the same reason.
    pub(super) fn succeed(&mut self, predecessor: Predecessor) -> io::Result<()> {
        let Predecessor { source, token, attached, has_taken_over, is_stopping, taken } = predecessor;
        match self.try_succeed(&source, &token, &attached, &is_stopping) {
            Ok(resumed) => {
                has_taken_over.store(true, Ordering::SeqCst);
                // Fails if the service is stopping.
                let _ = taken.send(resumed);
                Ok(())
            }
            Err(error) => {
                let reason = format!("{error:#}");
                if let Source::Running(channel) = source {
                    handover::fail(&channel, &reason);
                }
                Err(io::Error::other(reason))
            }
        }
    }

    fn try_succeed(
        &mut self,
        source: &Source,
        token: &Token,
        attached: &BTreeSet<u32>,
        is_stopping: &AtomicBool,
    ) -> anyhow::Result<Vec<Resumed>> {
        let present = |ifindex| self.topology.links.iter().any(|(_, link)| link.ifindex == Some(ifindex));
        if let (Source::Left(_), Some(ifindex)) = (source, attached.iter().find(|found| !present(**found))) {
            bail!("interface {ifindex} of the predecessor no longer exists or was renamed");
        }
        self.open_inherited(attached)?;
        self.settle_netlink();
        let memory = match source {
            Source::Running(channel) => &await_state(channel)?,
            Source::Left(memory) => memory,
        };
        let state: SavedEngine = serde_json::from_slice(&handover::read(memory)?)
            .context("cannot decode the state of the predecessor")?;
        self.settle_netlink();
        self.feed.skip_consumed()?;
        let resumed = self.resume(clock::now(), state)?;
        // If the predecessor has ended, the signal leads to a clean shutdown once the routers are
        // resumed.
        if matches!(source, Source::Running(_)) && is_stopping.load(Ordering::SeqCst) {
            bail!("a signal stopped the successor");
        }
        if !token.take() {
            bail!("the predecessor no longer waits for this process");
        }
        match source {
            // Fails if the predecessor has just been killed. This is harmless, because a killed
            // predecessor does not continue.
            Source::Running(channel) => drop(channel.send(&Message::Taken, None)),
            Source::Left(_) => self.limit_lifetimes(false),
        }
        self.request(Request::TakeOver);
        Ok(resumed)
    }

    /// Waits until the service has opened the links that the predecessor uses.
    ///
    /// # Errors
    /// Returns an error if a VRRP link cannot be opened or a multicast group cannot be joined:
    /// routers that work in the predecessor would be in Fault. Also returns an error if the agent
    /// is stopping.
    fn open_inherited(&mut self, attached: &BTreeSet<u32>) -> anyhow::Result<()> {
        let is_used = |role, ifindex: Option<u32>| match role {
            LinkRole::Vrrp => ifindex.is_some_and(|ifindex| attached.contains(&ifindex)),
            LinkRole::AddressOnly => true,
            LinkRole::RouteOnly | LinkRole::VirtualMac { .. } => false,
        };
        let used = self.topology.links.iter().filter(|(_, link)| is_used(link.role, link.ifindex));
        let used: Vec<_> = used.map(|(id, _)| id).collect();
        for id in &used {
            self.open(*id);
        }
        let is_opening = |engine: &Self| {
            let mut links = used.iter().filter_map(|id| engine.topology.links.get(*id));
            links.any(|link| link.requested && link.io.is_none() && link.failure.is_none())
        };
        while is_opening(self) {
            match self.commands.recv() {
                Ok(Command::Opened { link, ifindex, io }) => self.opened(clock::now(), link, ifindex, io),
                Ok(Command::Stop) => bail!("the agent is stopping"),
                Ok(command) => self.deferred.push_back(command),
                Err(_) => bail!("the service has ended"),
            }
        }
        for link in used.iter().filter_map(|id| self.topology.links.get(*id)) {
            let unjoined = link.io.iter().flat_map(|io| &io.unjoined).map(|(_, reason)| reason);
            if let (LinkRole::Vrrp, Some(reason)) = (link.role, link.failure.iter().chain(unjoined).next()) {
                bail!("cannot open {}: {reason}", link.name);
            }
        }
        Ok(())
    }

    /// Handles all netlink notifications that have arrived.
    fn settle_netlink(&mut self) {
        while self.drain_netlink(clock::now()) {}
    }

    /// Resumes the routers in the state that they had in the predecessor.
    ///
    /// # Errors
    /// Returns an error if this process and the predecessor have different instances, or if a state
    /// is invalid.
    pub(super) fn resume(&mut self, now: Timestamp, state: SavedEngine) -> anyhow::Result<Vec<Resumed>> {
        let SavedEngine {
            mut routers,
            added,
            announcements,
            wakeups,
            overruns,
            reports_dropped,
            delays,
            suspended_at: _,
        } = state;
        for (interface, address, prefix) in added {
            let links = &mut self.topology.links;
            let id = links.iter().find(|(_, link)| link.name == interface).map(|(id, _)| id);
            if let Some(link) = id.and_then(|id| links.get_mut(id)) {
                link.addresses.added_by_predecessor(address, prefix);
            }
        }
        self.dirty.clear();
        let mut resumed = Vec::new();
        for slot in 0..self.topology.routers.slots() {
            let Some(id) = self.topology.routers.id_at(slot) else { continue };
            let Some(instance) = self.topology.routers.get_mut(id) else { continue };
            let name = instance.settings.name.clone();
            let saved = routers.remove(&name);
            let saved = saved.with_context(|| format!("the predecessor has no instance {name}"))?;
            let config = instance.settings.router.clone();
            instance.router = Router::resume(config, Policy::default(), &saved.router)
                .with_context(|| format!("cannot resume instance {name}"))?;
            instance.fast_path = FastPath::resume(&saved.fast_path)
                .with_context(|| format!("cannot resume instance {name}"))?;
            (instance.sent, instance.dirty) = (saved.sent, false);
            let row = instance.row;
            if saved.is_leaving {
                self.effects.keep_leaving(id, row);
            }
            if instance.fast_path.published().is_some() {
                self.schedule.published(id, row, &instance.router);
            }
            let snapshot = instance.router.snapshot();
            if let Some(reason) = snapshot.reason {
                self.reports.resume(id, snapshot.state, reason, snapshot.since);
            }
            resumed.push(Resumed { router: id, state: snapshot.state, reason: snapshot.reason });
            if let Some(sequences) = &saved.sequences {
                self.resume_sequences(id, sequences);
            }
            self.resume_master(now, id);
            self.settle(now, id);
        }
        if let Some(name) = routers.into_keys().next() {
            bail!("instance {name} of the predecessor is not configured");
        }
        self.resume_announcements(announcements);
        (self.wakeups, self.overruns) = (self.wakeups + wakeups, self.overruns + overruns);
        self.reports.dropped += reports_dropped;
        self.measure.delays.add(&delays);
        Ok(resumed)
    }

    /// If a router is master, takes over its routes and rules, and keeps its macvlan up. Otherwise,
    /// brings the macvlan down, because the predecessor may not have done so yet.
    fn resume_master(&mut self, now: Timestamp, id: RouterId) {
        let Some(instance) = self.topology.routers.get(id) else { return };
        let is_master = instance.is_master();
        instance.wanted_up.store(is_master, Ordering::SeqCst);
        if is_master {
            self.effects.routing.resume(now, id, &instance.routing, &self.topology.links);
            return;
        }
        let macvlan = instance.macvlan.and_then(|id| self.topology.links.get(id));
        if let Some(ifindex) = macvlan.filter(|link| link.running).and_then(|link| link.ifindex) {
            let wanted_up = instance.wanted_up.clone();
            self.request(Request::Down { ifindex, wanted_up });
        }
    }

    fn resume_announcements(&mut self, announcements: Vec<SavedBurst>) {
        let ids = self.topology.routers.iter().map(|(id, instance)| (instance.settings.name.as_str(), id));
        let ids: BTreeMap<&str, RouterId> = ids.collect();
        for burst in announcements {
            let SavedBurst { instance, address, round, rounds, position, interval, due } = burst;
            let Some(router) = ids.get(instance.as_str()).copied() else { continue };
            let addresses = address.map_or(Addresses::All, |(address, prefix)| {
                Addresses::One(VirtualAddress { address, prefix })
            });
            let due = Timestamp::from_nanos(due);
            let burst = PacedBurst { router, addresses, round, rounds, position, interval, due };
            self.effects.announcer().continue_burst(burst);
        }
    }
}

/// Reports to the predecessor that this process is ready, and waits for the state.
fn await_state(channel: &Channel) -> anyhow::Result<OwnedFd> {
    channel.send(&Message::Ready, None).context("the predecessor has ended")?;
    match channel.receive(None).context("the predecessor has ended")? {
        (Message::State, Some(memory)) => Ok(memory),
        _ => bail!("the predecessor sent an unexpected message"),
    }
}
