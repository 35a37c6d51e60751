//! The engine: the real-time thread that runs the virtual routers. Except during a handover, the
//! engine waits only for the kernel, never for the log, a disk or a client. It takes the rtnl lock,
//! which a driver may hold for seconds, only to read links, addresses and neighbor entries, to
//! change addresses, to remove routes and rules, and to bring macvlans up. Probing XDP attachments
//! and adding routes and rules also take that lock, and therefore run on separate threads
//! (`prober`, `effects/routes/thread`). The engine adds routes and rules itself only while their
//! thread does not run: after the thread has failed or could not be started, until the next resync
//! starts it.
//!
//! ```text
//!  BPF program ── ring ──────► rx ────────┐
//!              ── arrivals ──► schedule ──┤             ┌─► effects/adverts      ─► link I/O
//!  netlink ──────────────────► reconcile ─┼─► dispatch ─┼─► effects/addresses    ─► netlink
//!  service ── commands ──────► control ───┘   (core)    ├─► effects/announce     ─► link I/O
//!                                                       └─► log, bus, snapshots
//! ```
//!
//! [`Engine::turn`] runs these modules from left to right, then waits. The modules operate on
//! `topology`, which contains the routers (`instance`) and the links (`link`, `links`,
//! `address_table`), identified by the types in `id`.
//!
//! Seven files form the path from an advert to a takeover:
//!
//! 1. `vipd-ebpf/src/main.rs`: classifies the frame. Writes a record to the ring, or only stores
//!    the arrival time if the advert is unchanged.
//! 2. `rx.rs`: reads the record, and finds the routers whose master-down timer has fired.
//! 3. `dispatch.rs`: passes the input to the router, and collects the router's actions.
//! 4. `vipd/vrrp/src/state/backup.rs`: decides whether the router becomes master.
//! 5. `effects/mod.rs`: carries out the actions at the end of the turn.
//! 6. `effects/addresses.rs`: adds the addresses.
//! 7. `effects/announce.rs`: announces each address that was added.

mod address_table;
pub(crate) mod attachment;
pub(crate) mod authentication;
pub(crate) mod clock;
mod clock_watch;
pub(crate) mod command;
mod control;
mod dispatch;
mod effects;
pub(crate) mod groups;
pub(crate) mod id;
pub(crate) mod instance;
mod link;
pub(crate) mod link_io;
pub(crate) mod link_spec;
mod links;
pub(crate) mod measure;
mod ownership;
mod poll;
mod prober;
mod readiness;
mod reattachment;
mod reconcile;
mod reconfigure;
mod reload;
mod retry;
pub(crate) mod routing;
mod rx;
mod schedule;
pub(crate) mod succession;
#[cfg(test)]
mod tests;
pub(crate) mod topology;
mod unicast_peer;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::mpsc;
use vipd_common::Timestamp;

use crate::config::Realtime;
use crate::guardian;
use crate::netlink::{Monitor, Requests};
use crate::process::capabilities::{ThreadKind, confine};
use crate::realtime;
use crate::service::bus::Publisher;
use crate::vrrp::Input;
use crate::xdp::{Addresses, Feed, Leases, MAX_PENDING, Signers, Steady};
use clock_watch::ClockWatch;
use command::{Command, EngineSnapshot, Report, Reports, Request};
use effects::{Budget, Effects};
use id::RouterId;
use measure::Measure;
use poll::{Poll, Source, Waker};
use prober::Prober;
use reload::Reload;
use schedule::Schedule;
use succession::{HandOver, Predecessor};
use topology::Topology;

/// Maximum number of records read from the ring per turn: the ring's capacity. During a flood, the
/// ring never becomes empty, but records that arrived after the turn began can wait for the next
/// turn.
const RING_BUDGET: usize = MAX_PENDING;
/// Limits per turn on address changes, on further announcements, and on changes to routes and
/// rules, so that adverts are sent on time. An address change with its first announcement takes
/// about 20 µs; a further announcement or a route change takes about 10 µs.
const BUDGET: Budget = Budget { changes: 128, announcements: 64, routing: 32 };
/// Delay before the resync that follows a failed change, dump or read of notifications, in
/// nanoseconds.
const RECONCILE_AFTER: u64 = 1_000_000_000;

/// The engine. [`Engine::run`] runs it on the calling thread.
pub(crate) struct Engine {
    poll: Poll,
    feed: Feed,
    steady: Steady,
    signers: Signers,
    clock_watch: ClockWatch,
    monitor: Monitor,
    /// Whether netlink notifications are pending.
    has_notices: bool,
    commands: Receiver<Command>,
    /// Commands that arrived during the takeover from a predecessor, to be handled afterwards.
    deferred: VecDeque<Command>,
    requests: mpsc::UnboundedSender<Request>,
    reports: Reports,
    topology: Topology,
    /// Inputs waiting to be handled by their routers.
    worklist: VecDeque<(RouterId, Input)>,
    /// Members of sync groups that have changed in a way that may affect the other members.
    changed: Vec<RouterId>,
    /// Routers whose fast path may have to be published again. A router is listed at most once, or
    /// twice during publication.
    dirty: Vec<RouterId>,
    schedule: Schedule,
    effects: Effects,
    prober: Prober,
    /// Backups whose election waits for a probe, with the time at which the wait began.
    waiting: Vec<(RouterId, Timestamp)>,
    /// Time of the next check of attachments: an advert may then be overdue on a link, a link
    /// without backups is due for its periodic probe, or a lost BPF program is due to be attached
    /// again.
    check_attachments_at: Option<Timestamp>,
    /// Time at which the earliest grace period ends. If, at that time, a master's BPF program is
    /// still detached or still runs after another program, the master becomes impeded.
    grace_ends: Option<Timestamp>,
    /// Reloads in progress, the oldest first.
    reloads: VecDeque<Reload>,
    realtime: Realtime,
    /// Whether links and addresses must be read again, for example because netlink notifications
    /// were lost.
    resync_needed: bool,
    /// Time at which to read links and addresses again after a failed change, dump or read of
    /// notifications.
    reconcile_at: Option<Timestamp>,
    /// The pending request to pass the engine's state to a successor.
    handover: Option<HandOver>,
    /// Whether the engine has handed over: a successor runs the routers or, in a restart, will
    /// resume them.
    is_handed_over: bool,
    /// The snapshot of this turn, if one was requested.
    snapshot: Option<Arc<EngineSnapshot>>,
    measure: Measure,
    wakeups: u64,
    overruns: u64,
}

/// The service's handle to the engine.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: Sender<Command>,
    waker: Waker,
}

impl Handle {
    /// Sends a command. Does nothing if the engine has ended.
    pub(crate) fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }
}

#[cfg(test)]
impl Handle {
    /// Returns a handle without an engine, and the receiver of its commands.
    pub(crate) fn without_engine() -> io::Result<(Self, Receiver<Command>)> {
        let (sender, commands) = channel();
        Ok((Self { commands: sender, waker: Poll::new()?.waker() }, commands))
    }
}

/// The engine's outputs: channels to the service, and the records for the guardian.
pub(crate) struct Outlets {
    /// Work for the service; never lost.
    pub(crate) requests: mpsc::UnboundedSender<Request>,
    /// Reports for the log; dropped and counted if the channel is full.
    pub(crate) reports: mpsc::Sender<Report>,
    /// The latest state change of each router; never lost, but replaced by the next change.
    pub(crate) transitions: Publisher,
    /// Publishes the routers' records to the guardian, if there is one.
    pub(crate) guardian: Option<guardian::Writer>,
}

/// The VIPs that may remain on interfaces after the engine has ended.
#[derive(Debug, Default)]
pub(crate) struct Remaining {
    /// Names of the interfaces in use.
    pub(crate) interfaces: Vec<String>,
    /// The VIPs of all routers that have been master.
    pub(crate) vips: Vec<IpAddr>,
}

/// The parts of the loaded BPF program that the engine uses.
pub(crate) struct KernelSide {
    pub(crate) feed: Feed,
    pub(crate) addresses: Addresses,
    pub(crate) leases: Leases,
    pub(crate) steady: Steady,
    pub(crate) signers: Signers,
}

impl Engine {
    /// Opens the engine's descriptors, starts the prober thread, and reads the links and addresses.
    ///
    /// # Errors
    /// Returns an error if a descriptor cannot be opened, a thread cannot be started, notifications
    /// cannot be subscribed to, or links and addresses cannot be read.
    pub(crate) fn new(
        topology: Topology,
        kernel: KernelSide,
        realtime: Realtime,
        has_fence: bool,
        outlets: Outlets,
    ) -> io::Result<(Self, Handle)> {
        let KernelSide { feed, addresses, leases, steady, signers } = kernel;
        let poll = Poll::new()?;
        let clock_watch = ClockWatch::start()?;
        let monitor = Monitor::open()?;
        poll.add(&feed, Source::Adverts)?;
        poll.add(&monitor, Source::Netlink)?;
        poll.add(&clock_watch, Source::WallClock)?;
        let (sender, commands) = channel();
        let handle = Handle { commands: sender, waker: poll.waker() };
        let prober = Prober::start(poll.waker(), realtime)?;
        let mut engine = Self {
            poll,
            feed,
            steady,
            signers,
            clock_watch,
            monitor,
            // Notifications may arrive before the first turn.
            has_notices: true,
            commands,
            deferred: VecDeque::new(),
            requests: outlets.requests,
            reports: Reports::new(outlets.reports, outlets.transitions),
            worklist: VecDeque::with_capacity(4),
            changed: Vec::new(),
            dirty: Vec::new(),
            schedule: Schedule::default(),
            effects: Effects::new(Requests::open()?, addresses, leases, has_fence, outlets.guardian),
            prober,
            waiting: Vec::new(),
            check_attachments_at: None,
            grace_ends: None,
            reloads: VecDeque::new(),
            topology,
            realtime,
            resync_needed: false,
            reconcile_at: None,
            handover: None,
            is_handed_over: false,
            snapshot: None,
            measure: Measure::default(),
            wakeups: 0,
            overruns: 0,
        };
        for slot in 0..engine.topology.routers.slots() {
            if let Some(id) = engine.topology.routers.id_at(slot) {
                engine.reserve(id);
            }
        }
        engine.publish_wall_clock();
        engine.start_groups(clock::now());
        engine.resync()?;
        Ok((engine, handle))
    }

    /// Reserves memory for a router, so that the engine does not allocate in its steady state, and
    /// publishes the router's window for signed adverts.
    fn reserve(&mut self, router: RouterId) {
        let slots = self.topology.routers.slots();
        self.dirty.reserve((2 * slots).saturating_sub(self.dirty.len()));
        self.changed.reserve((2 * slots).saturating_sub(self.changed.len()));
        self.waiting.reserve(slots.saturating_sub(self.waiting.len()));
        self.schedule.reserve(router);
        self.measure.reserve(slots);
        self.publish_window(router);
    }

    /// Returns the links to open: all links whose interface exists, except macvlans and route-only
    /// links.
    #[cfg(test)]
    pub(crate) fn present(&self) -> Vec<id::LinkId> {
        let links = self.topology.links.iter();
        let opened = links.filter(|(_, link)| link.is_opened() && link.ifindex.is_some());
        opened.map(|(id, _)| id).collect()
    }

    #[cfg(test)]
    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Takes over from the predecessor, if there is one, and then runs until [`Command::Stop`], or
    /// until the engine has handed over. Returns the VIPs that may still be present; none after a
    /// handover.
    ///
    /// # Errors
    /// Returns an error if the guardian's mutex cannot be acquired, if waiting for events fails, or
    /// if taking over from the predecessor fails. In the last case, a running predecessor
    /// continues.
    pub(crate) fn run(mut self, predecessor: Option<Predecessor>) -> io::Result<Remaining> {
        if self.realtime == Realtime::Auto {
            if let Err(error) = realtime::lock_memory() {
                self.reports.send(Report::NotRealtime { what: "locked memory", error });
            }
            if let Err(error) = realtime::schedule_fifo() {
                self.reports.send(Report::NotRealtime { what: "SCHED_FIFO", error });
            }
        }
        confine(ThreadKind::Engine);
        // Without the worker thread, addresses are announced slightly later, but nothing fails.
        let _ = self.effects.netlink().start_worker();
        if let Some(predecessor) = predecessor {
            self.succeed(predecessor)?;
        }
        // The mutex is acquired only now: until the takeover, the predecessor's guardian watches
        // the predecessor's engine.
        if let Some(guardian) = &self.effects.guardian {
            guardian.hold()?;
        }
        while self.turn()? {}
        if self.is_handed_over {
            return Ok(Remaining::default());
        }
        if let Some(guardian) = &self.effects.guardian {
            guardian.release();
        }
        let routers = self.topology.routers.iter().map(|(_, instance)| instance);
        let masters = routers.filter(|instance| instance.router.snapshot().counters.master_transitions > 0);
        let vips = masters.flat_map(|instance| (0..).map_while(|position| instance.vip(position)));
        Ok(Remaining {
            interfaces: self.topology.links.iter().map(|(_, link)| link.name.clone()).collect(),
            vips: vips.map(|(vip, _)| vip.address).collect(),
        })
    }

    /// Runs one turn and then waits for the next. Returns false after [`Command::Stop`] or a
    /// handover.
    fn turn(&mut self) -> io::Result<bool> {
        // The clock is read before the ring is drained, so that adverts that arrived by `now` are
        // handled before deadlines that passed by `now`. After a stall, pending adverts are
        // therefore handled before timeouts.
        let now = clock::now();
        self.snapshot = None;
        let mut busy = self.drain_ring(now);
        self.reconcile_if_due(now);
        // First announcements have priority over netlink notifications: the notifications about the
        // new addresses would delay the announcements.
        if (self.has_notices || self.resync_needed) && !self.effects.is_urgent() {
            busy |= self.drain_netlink(now);
        }
        let stop = self.take_commands(now);
        self.check_attachments(now);
        self.reconcile(now);
        if stop {
            self.shut_down(now);
            return Ok(false);
        }
        self.expire(now);
        self.flush(now);
        if self.announce_added(now) {
            self.flush(now);
        }
        self.measure_takeovers();
        busy |= self.publish_fast_paths(now);
        busy |= self.continue_reload(now);
        busy |= self.effects.is_busy() || self.resync_needed;
        busy |= self.continue_handover();
        if self.is_handed_over {
            return Ok(false);
        }
        if !busy {
            // The BPF program wakes the reader only if the reader is marked as asleep. A record may
            // have arrived just before the mark was set, so the ring is read once more.
            self.feed.sleep();
            busy = self.receive(now);
        }
        if busy {
            let ready = self.poll.poll()?;
            self.follow_wall_clock(ready);
            self.has_notices = ready.netlink;
        } else {
            self.has_notices = self.wait()?;
        }
        Ok(true)
    }

    /// Waits until there is work for a turn. Returns whether netlink notifications are pending.
    ///
    /// While the masters that the backups follow are running, the engine usually wakes up for a
    /// master-down deadline that adverts have moved in the meantime. The engine then only computes
    /// the next deadline, checks whether the BPF programs are still attached, and waits again.
    fn wait(&mut self) -> io::Result<bool> {
        let mut next = self.next_deadline();
        loop {
            let ready = self.poll.wait(next)?;
            self.wakeups += 1;
            self.follow_wall_clock(ready);
            let now = self.spin();
            let has_changes = self.check_attachments(now);
            next = self.next_deadline();
            let is_due = next.is_some_and(|next| next <= now);
            if ready.netlink || ready.other || has_changes || is_due {
                return Ok(ready.netlink);
            }
        }
    }

    /// Carries out the actions that routers have returned, within the budget of a turn.
    fn flush(&mut self, now: Timestamp) {
        self.effects.flush(now, BUDGET, &mut self.topology, &mut self.reports);
        for (ifindex, wanted_up) in self.effects.take_downs() {
            self.request(Request::Down { ifindex, wanted_up });
        }
        if self.effects.take_failure() {
            self.reconcile_at.get_or_insert(now + RECONCILE_AFTER);
        }
    }

    /// Carries out actions until no changes to addresses and no removals of routes or rules are
    /// pending.
    fn flush_all(&mut self, now: Timestamp) {
        self.flush(now);
        while self.effects.has_changes() || self.effects.routing.has_removals() {
            self.effects.await_routing(now, &mut self.topology, &mut self.reports);
            self.flush(now);
        }
    }

    /// Returns the earliest deadline of any kind.
    fn next_deadline(&mut self) -> Option<Timestamp> {
        let routers = &self.topology.routers;
        let schedule = self.schedule.next(|id| routers.get(id)?.router.next_timeout());
        let handover = self.handover.as_ref().map(|handover| handover.until);
        let others = [self.reconcile_at, self.effects.next(), self.check_attachments_at, self.grace_ends];
        others.into_iter().chain([schedule, handover]).flatten().min()
    }

    fn request(&self, request: Request) {
        // Fails only while the process is exiting.
        let _ = self.requests.send(request);
    }
}
