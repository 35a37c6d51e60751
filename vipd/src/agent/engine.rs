//! The engine's thread: the ring buffer, the deadlines, netlink's notices; nothing that waits for anybody.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::mpsc;
use vipd_common::Timestamp;
use vipd_common::counters::Counter;
use vipd_common::records::AdvertRecord;

use super::clock;
use super::deadlines::Deadlines;
use super::instance::{Instance, received};
use super::interface::{Gone, Interface, Interfaces};
use super::message::{Command, EngineSnapshot, InstanceSnapshot, Report, Request};
use super::outbox::Outbox;
use super::wait::{Bell, Wait};
use crate::config::{Config, Realtime};
use crate::netlink::{Change, Monitor, PROTO_VIPD, Requests};
use crate::realtime;
use crate::vrrp::{Fault, Input, State};
use crate::xdp::{Counters, Feed, MAX_PENDING};

/// The engine, before its thread runs.
pub(super) struct Engine {
    wait: Wait,
    feed: Feed,
    counters: Arc<Counters>,
    monitor: Monitor,
    outbox: Outbox,
    interfaces: Interfaces,
    instances: Vec<Instance>,
    deadlines: Deadlines,
    commands: Receiver<Command>,
    requests: mpsc::UnboundedSender<Request>,
    reports: mpsc::Sender<Report>,
    realtime: Realtime,
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
    /// `interfaces` are the names of the configured interfaces, and `of` tells each instance's place among them.
    ///
    /// # Errors
    /// Without netlink or file descriptors.
    pub(super) fn new(
        config: &Config,
        interfaces: impl Iterator<Item = String>,
        of: &[usize],
        feed: Feed,
        counters: Arc<Counters>,
        outlets: Outlets,
    ) -> io::Result<(Self, Handle)> {
        let wait = Wait::new()?;
        let monitor = Monitor::open()?;
        wait.add(&feed)?;
        wait.add(&monitor)?;
        let mut interfaces = Interfaces(interfaces.map(Interface::new).collect());
        let mut instances = Vec::with_capacity(of.len());
        for (index, (instance, interface)) in config.instances.iter().zip(of).enumerate() {
            instances.push(Instance::new(instance.router.clone(), *interface));
            if let Some(interface) = interfaces.0.get_mut(*interface) {
                interface.instances.push(index);
            }
        }
        let (sender, commands) = channel();
        let handle = Handle { commands: sender, bell: wait.bell() };
        let count = instances.len();
        let mut engine = Self {
            wait,
            feed,
            counters,
            monitor,
            outbox: Outbox::new(Requests::open()?, count),
            interfaces,
            instances,
            deadlines: Deadlines::new(count),
            commands,
            requests: outlets.requests,
            reports: outlets.reports,
            realtime: config.realtime,
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
        interfaces.filter_map(|(place, interface)| Some((place, interface.ifindex?))).collect()
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
        loop {
            // One turn. The clock is read before the ring is drained: whatever had arrived by that time is heard
            // before a deadline of that time fires. A process that was held up hears what it missed first.
            let now = clock::now();
            self.drain_feed(now);
            self.drain_monitor();
            let stop = self.take_commands(now);
            self.look_at_interfaces(now);
            if stop {
                self.stop(now);
                return Ok(());
            }
            while let Some(due) = self.deadlines.pop_due(now) {
                self.handle(due, now, Input::Timeout);
            }
            self.flush();
            self.wait.wait(self.deadlines.next())?;
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
        self.deadlines.update(index, instance.router.next_timeout());
    }

    fn drain_feed(&mut self, now: Timestamp) {
        let mut drained = 0;
        while let Some(record) = self.feed.pop() {
            self.advert(now, &record);
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
    }

    fn advert(&mut self, now: Timestamp, record: &AdvertRecord) {
        let Some(index) = (record.row as usize).checked_sub(1) else { return };
        let Some(instance) = self.instances.get(index) else { return };
        let interface = self.interfaces.0.get(instance.interface);
        // A record of the interface's former life is not of this one.
        if interface.is_some_and(|interface| interface.ifindex == Some(record.ifindex)) {
            self.handle(index, now, Input::Advert(received(record)));
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

    fn drain_monitor(&mut self) {
        let (interfaces, requests, outbox) = (&mut self.interfaces, &self.requests, &mut self.outbox);
        let lost = self.monitor.drain(|notice| {
            if let Some((interface, gone)) = interfaces.notice(&notice) {
                close(requests, outbox, interface, gone);
            }
        });
        match lost {
            Ok(false) => {}
            Ok(true) => {
                self.overruns += 1;
                self.report(Report::NetlinkOverrun);
                if let Err(error) = self.dump() {
                    self.report(Report::NetlinkFailed(error));
                }
            }
            Err(error) => self.report(Report::NetlinkFailed(error)),
        }
    }

    /// Reads links and addresses anew.
    fn dump(&mut self) -> io::Result<()> {
        self.interfaces.begin_dump();
        let (interfaces, mut all_gone) = (&mut self.interfaces, Vec::new());
        let result = self.outbox.requests().dump(|notice| all_gone.extend(interfaces.notice(&notice)));
        if result.is_ok() {
            all_gone.extend(self.interfaces.end_dump(exists));
        }
        for (interface, gone) in all_gone {
            close(&self.requests, &mut self.outbox, interface, gone);
        }
        result
    }

    /// Lets the routers of every interface that has changed know.
    fn look_at_interfaces(&mut self, now: Timestamp) {
        for place in 0..self.interfaces.0.len() {
            let Some(interface) = self.interfaces.0.get_mut(place) else { return };
            if !std::mem::take(&mut interface.changed) {
                continue;
            }
            if let (Some(ifindex), false, None) = (interface.ifindex, interface.requested, &interface.port) {
                interface.requested = true;
                // The receiver lives as long as the process wants to.
                let _ = self.requests.send(Request::Open { interface: place, ifindex });
            }
            let instances = interface.instances.clone();
            for index in instances {
                self.look_at_instance(now, index);
            }
            self.sweep(place);
        }
    }

    fn look_at_instance(&mut self, now: Timestamp, index: usize) {
        let Some(instance) = self.instances.get(index) else { return };
        let Some(interface) = self.interfaces.0.get(instance.interface) else { return };
        // The owner sends from a virtual address if that is the interface's own; nobody else does.
        let owner = instance.router.config().is_owner();
        let siblings = || interface.instances.iter().filter_map(|sibling| self.instances.get(*sibling));
        let available =
            interface.availability(|address| !owner && siblings().any(|sibling| sibling.is_virtual(address)));
        let input = match available {
            Ok((mac, primary)) => {
                if let Some(instance) = self.instances.get_mut(index) {
                    instance.prepare(mac, primary);
                }
                Input::Available { primary }
            }
            Err(fault) => Input::Unavailable(fault),
        };
        // A master whose address was taken away, seen by what is there, not by who said so: notices of vipd's own
        // changes come by here, too.
        let was_master = self.is_master(index);
        self.handle(index, now, input);
        if was_master && self.is_master(index) {
            for vip in self.missing(index) {
                self.handle(index, now, Input::AddressRemoved(vip));
            }
        }
    }

    fn is_master(&self, index: usize) -> bool {
        self.instances.get(index).is_some_and(|instance| instance.router.state() == State::Master)
    }

    /// Virtual addresses of an instance that are not on its interface.
    fn missing(&self, index: usize) -> Vec<crate::vrrp::VirtualAddress> {
        let Some(instance) = self.instances.get(index) else { return Vec::new() };
        let Some(interface) = self.interfaces.0.get(instance.interface) else { return Vec::new() };
        let vips = instance.router.config().virtual_addresses.iter();
        let there = |vip: &crate::vrrp::VirtualAddress| {
            interface.has(*vip)
                || interface.find(vip.address).is_some_and(|found| instance.leaves_alone(found))
        };
        vips.filter(|vip| !there(vip)).copied().collect()
    }

    /// Takes away what an earlier run left behind on an interface: once, when it becomes ours.
    fn sweep(&mut self, place: usize) {
        let Some(interface) = self.interfaces.0.get_mut(place) else { return };
        if interface.port.is_none() || std::mem::replace(&mut interface.swept, true) {
            return;
        }
        for found in interface.addresses.clone() {
            let holder = interface
                .instances
                .iter()
                .filter_map(|index| self.instances.get(*index))
                .find(|instance| instance.is_virtual(found.address));
            let leftover = match holder {
                Some(instance) => instance.router.state() != State::Master && !instance.leaves_alone(&found),
                None => found.protocol == PROTO_VIPD,
            };
            if leftover {
                self.outbox.change(Change::Remove(found));
                let report = Report::LeftoverRemoved(found);
                self.reports_dropped += u64::from(self.reports.try_send(report).is_err());
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
                        (interface.port, interface.failure) = match port {
                            Ok(port) => (Some(port), None),
                            Err(failure) => (None, Some(failure)),
                        };
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

    /// Every router leaves: all priority-0 adverts first, then all addresses.
    fn stop(&mut self, now: Timestamp) {
        for index in 0..self.instances.len() {
            self.handle(index, now, Input::Shutdown);
        }
        self.flush();
    }

    fn flush(&mut self) {
        let (reports, dropped) = (&self.reports, &mut self.reports_dropped);
        self.outbox.flush(&mut self.instances, &self.interfaces.0, |report| {
            *dropped += u64::from(reports.try_send(report).is_err());
        });
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

/// Asks the control thread to let go of an interface, and takes vipd's addresses off it: one that was merely renamed
/// would go on answering for them.
fn close(requests: &mpsc::UnboundedSender<Request>, outbox: &mut Outbox, interface: usize, gone: Gone) {
    for address in gone.left {
        outbox.change(Change::Remove(address));
    }
    let _ = requests.send(Request::Close { interface, ifindex: gone.ifindex });
}

/// Whether the kernel still knows an interface by this index and name.
fn exists(ifindex: u32, name: &str) -> bool {
    let Ok(socket) =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
    else {
        return true;
    };
    rustix::net::netdevice::name_to_index(&socket, name) == Ok(ifindex)
}
