//! The engine's thread: the ring buffer, the deadlines, netlink's notices; nothing that waits for anybody.

mod surroundings;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::mpsc;
use vipd_common::Timestamp;
use vipd_common::counters::Counter;
use vipd_common::records::AdvertRecord;

use super::clock;
use super::deadlines::Deadlines;
use super::instance::{Instance, received, steady_record};
use super::interface::{Interface, Interfaces};
use super::message::{Command, EngineSnapshot, InstanceSnapshot, Report, Request};
use super::outbox::Outbox;
use super::plan::Plan;
use super::wait::{Bell, Wait};
use crate::config::{Config, Realtime};
use crate::netlink::{Monitor, Requests};
use crate::realtime;
use crate::vrrp::{Fault, Input, State};
use crate::xdp::{Closed, Counters, Feed, MAX_PENDING, Steady};

/// Nanoseconds after which an address that could not be changed is tried again.
const LOOK_AGAIN_AFTER: u64 = 1_000_000_000;

/// The engine, before its thread runs.
pub(super) struct Engine {
    wait: Wait,
    feed: Feed,
    counters: Arc<Counters>,
    steady: Steady,
    /// Instances whose steady advert may be another one now.
    unsteady: Vec<usize>,
    monitor: Monitor,
    outbox: Outbox,
    interfaces: Interfaces,
    instances: Vec<Instance>,
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
pub(super) struct Handle {
    commands: Sender<Command>,
    bell: Bell,
}

impl Handle {
    /// Hands a command over. One to an engine that has ended is lost.
    pub(super) fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.bell.ring();
        }
    }
}

/// The engine's ways to the control thread.
pub(super) struct Outlets {
    /// Work; nothing of it may be lost.
    pub(super) requests: mpsc::UnboundedSender<Request>,
    /// Log lines; what does not fit is counted.
    pub(super) reports: mpsc::Sender<Report>,
}

impl Engine {
    /// Opens the engine's own sockets and learns what interfaces and addresses there are.
    ///
    /// # Errors
    /// Without netlink or file descriptors.
    pub(super) fn new(
        config: &Config,
        plan: Plan,
        feed: Feed,
        counters: Arc<Counters>,
        (closed, steady): (Closed, Steady),
        outlets: Outlets,
    ) -> io::Result<(Self, Handle)> {
        let wait = Wait::new()?;
        let monitor = Monitor::open()?;
        wait.add(&feed)?;
        wait.add(&monitor)?;
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
            monitor,
            outbox: Outbox::new(Requests::open()?, closed, count),
            interfaces,
            instances,
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
    pub(super) fn present(&self) -> Vec<(usize, u32)> {
        let interfaces = self.interfaces.0.iter().enumerate();
        let opened = interfaces.filter(|(_, interface)| !interface.is_virtual_mac());
        opened.filter_map(|(place, interface)| Some((place, interface.ifindex?))).collect()
    }

    /// Runs until [`Command::Stop`].
    ///
    /// # Errors
    /// When waiting itself fails.
    pub(super) fn run(mut self) -> io::Result<()> {
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
        loop {
            // One turn. The clock is read before the ring is drained: whatever had arrived by that time is heard
            // before a deadline of that time fires. A process that was held up hears what it missed first.
            let now = clock::now();
            let mut busy = self.drain_feed(now);
            self.look_again_if_due(now);
            // Of a hundred addresses, a hundred notices of our own making are waiting: they wait until each address was said.
            if !self.outbox.is_urgent() {
                self.drain_monitor();
            }
            let stop = self.take_commands(now);
            self.look_at_interfaces(now);
            if stop {
                self.stop(now);
                return Ok(());
            }
            while let Some(due) = self.deadlines.pop_due(now) {
                self.handle(due, now, Input::Timeout);
            }
            self.flush(now);
            if self.outbox.take_failure() {
                self.look_again = Some(now + LOOK_AGAIN_AFTER);
            }
            self.tell_what_is_steady();
            // Announcements that wait for their turn want another one at once, and so do adverts that came meanwhile: some
            // of them may have woken nobody, because the engine was awake, or they were taken for steady until now.
            busy |= self.outbox.is_busy();
            if busy || self.feed.sleep().is_err() || self.hear_one(now) {
                // Each turn asks everything that waiting would tell of.
                continue;
            }
            let instances = &self.instances;
            let next_timeout = |index: usize| instances.get(index).and_then(|one| one.router.next_timeout());
            let deadline = self.deadlines.settle(next_timeout);
            let next = [deadline, self.look_again, self.outbox.next()].into_iter().flatten().min();
            self.wait.wait(next)?;
            self.wakeups += 1;
        }
    }

    /// One input into one router, and everything it wants done into the outbox.
    fn handle(&mut self, index: usize, now: Timestamp, input: Input) {
        let Some(instance) = self.instances.get_mut(index) else { return };
        instance.router.handle(now, input);
        while let Some(action) = instance.router.poll_action() {
            self.outbox.push(index, action);
        }
        while let Some(event) = instance.router.poll_event() {
            let report = Report::Router { instance: index, event };
            self.reports_dropped += u64::from(self.reports.try_send(report).is_err());
        }
        if instance.router.steady() != instance.steady {
            self.unsteady.push(index);
        }
        self.deadlines.update(index, instance.router.next_timeout());
    }

    /// Lets the kernel side know which adverts need wake nobody.
    fn tell_what_is_steady(&mut self) {
        while let Some(index) = self.unsteady.pop() {
            let Some(instance) = self.instances.get_mut(index) else { continue };
            let steady = instance.router.steady();
            // Several turns of a router in one of ours come to one change, or to none.
            if steady != instance.steady
                && let Ok(row) = u32::try_from(index + 1)
            {
                // It fails for a row that is not there, and each instance has one.
                let told = self.steady.set(row, steady.map(steady_record)).is_ok();
                instance.steady = steady.filter(|_| told);
            }
        }
    }

    /// Hands over what has arrived. Whether there may be more.
    fn drain_feed(&mut self, now: Timestamp) -> bool {
        let mut drained = 0;
        while self.hear_one(now) {
            drained += 1;
            // Under a flood the ring never ends: what came after `now` may wait for the next turn.
            if drained >= MAX_PENDING {
                break;
            }
        }
        // A record is lost only to a full ring, and then at least so much was pending.
        if drained >= MAX_PENDING / 2 {
            self.look_for_losses(now);
        }
        drained >= MAX_PENDING
    }

    /// Hands over one advert, if there is one.
    fn hear_one(&mut self, now: Timestamp) -> bool {
        let record = self.feed.pop();
        if let Some(record) = &record {
            self.advert(now, record);
        }
        record.is_some()
    }

    fn advert(&mut self, now: Timestamp, record: &AdvertRecord) {
        let Some(index) = (record.row as usize).checked_sub(1) else { return };
        let Some(instance) = self.instances.get(index) else { return };
        let interface = self.interfaces.0.get(instance.interface);
        // A record of the interface's former life is not of this one.
        if interface.is_some_and(|interface| interface.ifindex == Some(record.ifindex))
            && let Some(advert) = received(record)
        {
            self.handle(index, now, Input::Advert(advert));
        }
    }

    fn look_for_losses(&mut self, now: Timestamp) {
        for (index, row) in (0..self.instances.len()).zip(1u32..) {
            let Ok(cells) = self.counters.row(row) else { continue };
            let lost = cells.get(Counter::RingFull);
            let Some(instance) = self.instances.get_mut(index) else { continue };
            if std::mem::replace(&mut instance.ring_full, lost) != lost {
                self.handle(index, now, Input::FeedLoss);
            }
        }
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

    fn snapshot(&self, now: Timestamp) -> EngineSnapshot {
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
