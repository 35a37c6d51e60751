//! The engine's thread: the ring buffer, the deadlines, netlink's notices; nothing that waits for anybody.

mod clock;
mod deadlines;
mod effects;
pub(crate) mod instance;
pub(crate) mod layout;
mod links;
pub(crate) mod message;
pub(crate) mod poll;
pub(crate) mod port;
mod reconcile;
mod rx;
#[cfg(test)]
mod tests;
mod vigil;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::mpsc;
use vipd_common::Timestamp;

use crate::config::{Config, Realtime};
use crate::netlink::{Monitor, Requests};
use crate::realtime;
use crate::vrrp::{Fault, Input, State};
use crate::xdp::{Closed, Counters, Feed, Steady};
use deadlines::Deadlines;
use effects::Outbox;
use instance::Instance;
use layout::Plan;
use links::{Interface, Interfaces};
use message::{Command, EngineSnapshot, InstanceSnapshot, Report, Request};
use poll::{Bell, Source, Wait};
use vigil::Vigil;

/// Nanoseconds before a master is missed from which on the engine sleeps no more: what a timer and a switch of threads take,
/// 70 µs in a virtual machine.
const AWAKE_BEFORE: u64 = 100_000;
/// Nanoseconds after which an address that could not be changed is tried again.
const LOOK_AGAIN_AFTER: u64 = 1_000_000_000;

/// The engine, before its thread runs.
pub(crate) struct Engine {
    wait: Wait,
    feed: Feed,
    counters: Arc<Counters>,
    steady: Steady,
    /// Instances whose steady advert may be another one now.
    unsteady: Vec<usize>,
    /// Instances whose steady advert is missing.
    silent: Vec<usize>,
    monitor: Monitor,
    /// Netlink has something to tell.
    has_notices: bool,
    outbox: Outbox,
    interfaces: Interfaces,
    instances: Vec<Instance>,
    /// Of the instances that wait for a steady advert.
    vigil: Vigil,
    /// Of the others.
    deadlines: Deadlines,
    commands: Receiver<Command>,
    requests: mpsc::UnboundedSender<Request>,
    reports: mpsc::Sender<Report>,
    realtime: Realtime,
    /// Netlink notices were lost, and a dump has not yet made up for them.
    out_of_date: bool,
    /// When to look whether every address is where it should be, after one could not be changed.
    look_again: Option<Timestamp>,
    wakeups: u64,
    overruns: u64,
    reports_dropped: u64,
}

/// The control thread's hold on the engine.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: Sender<Command>,
    bell: Bell,
}

impl Handle {
    /// Hands a command over. One to an engine that has ended is lost.
    pub(crate) fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.bell.ring();
        }
    }
}

/// The engine's ways to the control thread.
pub(crate) struct Outlets {
    /// Work; nothing of it may be lost.
    pub(crate) requests: mpsc::UnboundedSender<Request>,
    /// Log lines; what does not fit is counted.
    pub(crate) reports: mpsc::Sender<Report>,
}

impl Engine {
    /// Opens the engine's own sockets and learns what interfaces and addresses there are.
    ///
    /// # Errors
    /// Without netlink or file descriptors.
    pub(crate) fn new(
        config: &Config,
        plan: Plan,
        feed: Feed,
        counters: Arc<Counters>,
        (closed, steady): (Closed, Steady),
        outlets: Outlets,
    ) -> io::Result<(Self, Handle)> {
        let wait = Wait::new()?;
        let monitor = Monitor::open()?;
        wait.add(&feed, Source::Adverts)?;
        wait.add(&monitor, Source::Netlink)?;
        let mut interfaces = Interfaces(plan.interfaces.into_iter().map(Interface::new).collect());
        let mut instances = Vec::with_capacity(plan.instances.len());
        for (index, (settings, placed)) in config.instances.iter().zip(plan.instances).enumerate() {
            let mut places: Vec<_> =
                [placed.interface].into_iter().chain(placed.homes.iter().copied()).collect();
            places.extend(placed.macvlan);
            places.sort_unstable();
            places.dedup();
            for place in places {
                if let Some(interface) = interfaces.0.get_mut(place) {
                    interface.instances.push(index);
                }
            }
            instances.push(Instance::new(settings.clone(), placed));
        }
        let (sender, commands) = channel();
        let handle = Handle { commands: sender, bell: wait.bell() };
        let count = instances.len();
        let mut engine = Self {
            wait,
            feed,
            counters,
            steady,
            unsteady: Vec::with_capacity(count),
            silent: Vec::with_capacity(count),
            monitor,
            // What came between the dump and the first turn.
            has_notices: true,
            outbox: Outbox::new(Requests::open()?, closed, count),
            interfaces,
            instances,
            vigil: Vigil::new(count),
            deadlines: Deadlines::new(count),
            commands,
            requests: outlets.requests,
            reports: outlets.reports,
            realtime: config.realtime,
            out_of_date: false,
            look_again: None,
            wakeups: 0,
            overruns: 0,
            reports_dropped: 0,
        };
        engine.dump()?;
        Ok((engine, handle))
    }

    /// Indices of the interfaces that exist now, by their place in the configuration.
    pub(crate) fn present(&self) -> Vec<(usize, u32)> {
        let interfaces = self.interfaces.0.iter().enumerate();
        let opened = interfaces.filter(|(_, interface)| !interface.is_virtual_mac());
        opened.filter_map(|(place, interface)| Some((place, interface.ifindex?))).collect()
    }

    /// Runs until [`Command::Stop`].
    ///
    /// # Errors
    /// When waiting itself fails.
    pub(crate) fn run(mut self) -> io::Result<()> {
        if self.realtime == Realtime::Auto {
            if let Err(error) = realtime::lock_memory() {
                self.report(Report::NotRealtime { what: "locked memory", error });
            }
            if let Err(error) = realtime::schedule_fifo() {
                self.report(Report::NotRealtime { what: "SCHED_FIFO", error });
            }
        }
        // Without, an address is announced later.
        let _ = self.outbox.requests().make_ahead();
        while self.turn()? {}
        Ok(())
    }

    /// One turn, and the wait after it. Whether another one follows.
    fn turn(&mut self) -> io::Result<bool> {
        // The clock is read before the ring is drained: whatever had arrived by that time is heard before a deadline of that
        // time fires. A process that was held up hears what it missed first.
        let now = clock::now();
        let mut busy = self.drain_feed(now);
        self.look_again_if_due(now);
        // Of a hundred addresses, a hundred notices of our own making are waiting: they wait until each address was said.
        if (self.has_notices || self.out_of_date) && !self.outbox.is_urgent() {
            self.drain_monitor();
        }
        let stop = self.take_commands(now);
        self.look_at_interfaces(now);
        if stop {
            self.stop(now);
            return Ok(false);
        }
        self.miss_masters(now);
        while let Some(due) = self.deadlines.pop_due(now) {
            self.handle(due, now, Input::Timeout);
        }
        self.flush(now);
        if self.outbox.take_failure() {
            self.look_again = Some(now + LOOK_AGAIN_AFTER);
        }
        busy |= self.tell_what_is_steady(now);
        // Announcements that wait for their turn want another one at once, and so do adverts that came meanwhile: they have
        // woken nobody, because the engine was awake.
        busy |= self.outbox.is_busy();
        if !busy {
            self.feed.sleep();
            busy = self.hear_one(now);
        }
        if busy {
            self.has_notices = self.wait.poll()?;
        } else {
            let next = self.next_deadline();
            self.has_notices = self.wait.wait(next)?;
            self.wakeups += 1;
            self.stay_awake();
        }
        Ok(true)
    }

    /// When there is something to do without being woken.
    fn next_deadline(&mut self) -> Option<Timestamp> {
        let (instances, vigil) = (&self.instances, &self.vigil);
        let next_timeout = |index: usize| {
            // Of who waits for a steady advert, the vigil knows.
            let instance = instances.get(index).filter(|_| !vigil.is_kept(index));
            instance.and_then(|instance| instance.router.next_timeout())
        };
        let deadline = self.deadlines.settle(next_timeout);
        let awake = |next: Timestamp| Timestamp::from_nanos(next.as_nanos().saturating_sub(AWAKE_BEFORE));
        let vigil = self.vigil.next().map(awake);
        [deadline, vigil, self.look_again, self.outbox.next()].into_iter().flatten().min()
    }

    /// One input into one router, and everything it wants done into the outbox.
    fn handle(&mut self, index: usize, now: Timestamp, input: Input) {
        // What it has heard comes before whatever else happens to it: a deadline above all, and a loss in the ring.
        if !matches!(input, Input::Advert(_)) {
            self.catch_up(now, index);
        }
        let Some(instance) = self.instances.get_mut(index) else { return };
        instance.router.handle(now, input);
        while let Some(action) = instance.router.poll_action() {
            self.outbox.push(index, action);
        }
        while let Some(event) = instance.router.poll_event() {
            let report = Report::Router { instance: index, event };
            self.reports_dropped += u64::from(self.reports.try_send(report).is_err());
        }
        let (steady, deadline) = (instance.router.steady(), instance.router.next_timeout());
        if steady != instance.steady {
            self.unsteady.push(index);
        } else if let (Some(steady), Some(deadline)) = (steady, deadline) {
            return self.vigil.keep(index, steady.down_interval, deadline);
        }
        self.deadlines.update(index, deadline);
    }

    /// Whether to stop.
    fn take_commands(&mut self, now: Timestamp) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Opened { interface, ifindex, port } => {
                    let Some(interface) = self.interfaces.0.get_mut(interface) else { continue };
                    // An answer about the interface's former life is not of this one.
                    if interface.ifindex == Some(ifindex) {
                        interface.changed = true;
                        // Whoever opened it tries again by itself.
                        interface.requested = true;
                        let made;
                        (interface.port, interface.failure, made) = match port {
                            Ok(mut port) => {
                                let made = std::mem::take(&mut port.macvlans);
                                (Some(port), None, made)
                            }
                            Err(failure) => (None, Some(failure), Vec::new()),
                        };
                        self.adopt(made);
                    }
                }
                Command::Snapshot(answer) => {
                    // Who asked may have gone.
                    let _ = answer.send(self.snapshot(now));
                }
                Command::Stop => return true,
            }
        }
        false
    }

    /// Macvlans were made: their addresses are read anew.
    fn adopt(&mut self, made: Vec<(usize, String, u32)>) {
        for (place, name, ifindex) in made {
            if let Some(macvlan) = self.interfaces.0.get_mut(place) {
                macvlan.is_made(name, ifindex);
                self.out_of_date = true;
            }
        }
        // What was told of them before their names were known was nobody's.
        if self.out_of_date
            && let Err(error) = self.dump()
        {
            self.report(Report::NetlinkFailed(error));
        }
    }

    /// Every router leaves: all priority-0 adverts first, then all addresses.
    fn stop(&mut self, now: Timestamp) {
        for index in 0..self.instances.len() {
            self.handle(index, now, Input::Shutdown);
        }
        self.flush(now);
    }

    fn flush(&mut self, now: Timestamp) {
        let (reports, dropped) = (&self.reports, &mut self.reports_dropped);
        self.outbox.flush(now, &mut self.instances, &mut self.interfaces.0, |report| {
            *dropped += u64::from(reports.try_send(report).is_err());
        });
        for (ifindex, wanted_up) in self.outbox.take_downs() {
            // The receiver lives as long as the process wants to.
            let _ = self.requests.send(Request::Down { ifindex, wanted_up });
        }
    }

    fn report(&mut self, report: Report) {
        self.reports_dropped += u64::from(self.reports.try_send(report).is_err());
    }

    fn snapshot(&mut self, now: Timestamp) -> EngineSnapshot {
        (0..self.instances.len()).for_each(|index| self.catch_up(now, index));
        let instances = self.instances.iter().map(|instance| {
            let interface = self.interfaces.0.get(instance.interface);
            let router = instance.router.snapshot();
            let attached = !matches!(router.state, State::Fault(Fault::NoInterface));
            InstanceSnapshot {
                router,
                sent: instance.sent,
                primary: instance.primary().filter(|_| attached),
                mode: interface.and_then(Interface::mode),
                failure: interface.and_then(|interface| interface.failure.clone()),
                virtual_mac: instance.macvlan.map(|_| instance.virtual_mac()),
                peers: instance.router.peers().to_vec(),
            }
        });
        EngineSnapshot {
            now,
            instances: instances.collect(),
            wakeups: self.wakeups,
            overruns: self.overruns,
            reports_dropped: self.reports_dropped,
        }
    }
}
