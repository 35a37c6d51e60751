//! A world: hosts, virtual routers, the LAN, and the event queue.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use vipd::vrrp::{Action, Addresses, Event, Input, State};
use vipd_common::Timestamp;
use vipd_common::records::LeaseSlot;

use crate::Defect;
use crate::host::{Host, Member, NO_LEASE, Record};
use crate::lan::{InTransit, LanConditions};
use crate::plan::{Group, Plan};
use crate::random::Random;
use crate::trace::{Trace, TraceEvent};
use crate::violation::{Invariant, Violation};

/// Maximum delay of a wake-up, in nanoseconds.
pub(crate) const WAKE_UP: u64 = 50_000;

/// An event in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// An advert arrives at a member.
    Arrival(usize, InTransit),
    /// A member's timer is checked.
    Timer(usize),
    /// A stalled host resumes.
    Resume(usize),
}

/// Counts of events in a world.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Transitions to Master, by reason.
    pub takeovers: BTreeMap<String, u64>,
    /// Number of adverts sent.
    pub adverts: u64,
    /// Number of inputs that routers handled.
    pub inputs: u64,
    /// Number of checks, at rest, that every virtual router has the right master.
    pub rests: u64,
}

impl Tally {
    /// Returns the number of transitions to Master.
    pub fn takeovers(&self) -> u64 {
        self.takeovers.values().sum()
    }
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) random: Random,
    /// True time, in nanoseconds.
    pub(crate) now: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) members: Vec<Member>,
    pub(crate) groups: Vec<Group>,
    pub(crate) delay: u64,
    pub(crate) conditions: LanConditions,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    /// Time from which two masters are a violation; `None` while they are allowed.
    pub(crate) strict: Option<u64>,
    pub(crate) violation: Option<Violation>,
    /// Virtual routers that have more than one master.
    contested: Vec<usize>,
    queue: BinaryHeap<Reverse<(u64, u64, Due)>>,
    planned: u64,
    pub(crate) defect: Defect,
}

impl World {
    pub(crate) fn new(seed: u64, defect: Defect, verbose: bool) -> Self {
        let mut random = Random::new(seed);
        let Plan { mut hosts, groups, roles, delay } = Plan::new(&mut random);
        for (place, role) in roles.iter().enumerate() {
            hosts[role.host].members.push(place);
        }
        Self {
            seed,
            random,
            now: 0,
            hosts,
            members: roles
                .into_iter()
                .map(|role| {
                    let members = groups[role.group].members.len();
                    Member::new(role, members)
                })
                .collect(),
            groups,
            delay,
            conditions: LanConditions::default(),
            trace: Trace::new(verbose),
            tally: Tally::default(),
            strict: None,
            violation: None,
            contested: Vec::new(),
            queue: BinaryHeap::new(),
            planned: 0,
            defect,
        }
    }

    pub(crate) fn plan(&mut self, at: u64, due: Due) {
        self.planned += 1;
        self.queue.push(Reverse((at, self.planned, due)));
    }

    /// Runs the world until `end`, or until an invariant is violated.
    pub(crate) fn run_until(&mut self, end: u64) {
        while self.violation.is_none() {
            match self.queue.peek() {
                Some(Reverse((at, ..))) if *at <= end => {}
                _ => break,
            }
            let Some(Reverse((at, _, due))) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            match due {
                Due::Arrival(to, advert) => self.arrive(to, advert),
                Due::Timer(member) => self.check_timer(member, at),
                Due::Resume(host) => {
                    if self.hosts[host].stalled_until == Some(at) {
                        self.resume(host);
                    }
                }
            }
            self.watch();
        }
        self.now = self.now.max(end);
        self.watch();
    }

    /// Passes the records in the ring to the routers, then reports lost records.
    pub(crate) fn drain_ring(&mut self, host: usize) {
        for Record { member, advert: mut received, before } in std::mem::take(&mut self.hosts[host].ring) {
            self.catch_up(member, before);
            self.members[member].fast_path.handled(received.arrival);
            let event = TraceEvent::Received(received.source, received.priority);
            self.trace.add(self.now, host, Some(self.members[member].group), event);
            let dropped = match self.defect {
                Defect::MasterReceivesNothing => self.members[member].is_master(),
                Defect::NoPriorityZero => received.priority == 0,
                _ => false,
            };
            if self.defect == Defect::NeverPreempts
                && received.priority > 0
                && !self.members[member].is_master()
            {
                received.priority = 255;
            }
            if !dropped {
                self.give(member, Input::Advert(received));
            }
        }
        if std::mem::take(&mut self.hosts[host].lost) {
            for index in 0..self.hosts[host].members.len() {
                self.give(self.hosts[host].members[index], Input::FeedLoss);
            }
        }
    }

    /// Passes the unchanged advert that arrived at `arrival` to a member, unless the member has
    /// already handled it.
    fn catch_up(&mut self, member: usize, arrival: Timestamp) {
        if let Some(advert) = self.members[member].fast_path.catch_up(arrival) {
            let (host, group) = (self.members[member].host, self.members[member].group);
            self.trace.add(self.now, host, Some(group), TraceEvent::Received(advert.source, advert.priority));
            self.give(member, Input::Advert(advert));
        }
    }

    /// Ends a turn by publishing the adverts that count as unchanged.
    pub(crate) fn publish_fast_paths(&mut self, host: usize) {
        for index in 0..self.hosts[host].members.len() {
            let place = self.hosts[host].members[index];
            loop {
                let Member { router, fast_path, slot, .. } = &mut self.members[place];
                let Some(former) = fast_path.publish(router.steady(), slot) else { break };
                self.give(place, Input::Advert(former));
            }
        }
    }

    fn check_timer(&mut self, member: usize, at: u64) {
        if self.members[member].armed != Some(at) {
            return;
        }
        self.members[member].armed = None;
        let place = self.members[member].host;
        let host = &self.hosts[place];
        if host.is_running() || host.left {
            if self.defect != Defect::TimersFirst {
                self.drain_ring(place);
            }
            self.serve(member);
            self.publish_fast_paths(place);
        }
    }

    /// Handles a member's timer if it is due, and arms the next one.
    pub(crate) fn serve(&mut self, member: usize) {
        if self.defect != Defect::TimersFirst {
            self.catch_up(member, self.members[member].slot.arrival);
        }
        let host = &self.hosts[self.members[member].host];
        let local = host.clock.shows(self.now);
        if self.members[member].router.next_timeout().is_some_and(|at| at <= local) {
            self.give(member, Input::Timeout);
        } else {
            self.arm(member);
        }
    }

    /// Arms a member's timer. If the deadline was moved to a later time, the queued event remains:
    /// when the event fires, the timer is checked and armed again.
    fn arm(&mut self, member: usize) {
        let Some(deadline) = self.members[member].router.next_timeout() else { return };
        let at = self.hosts[self.members[member].host].clock.when(deadline).max(self.now);
        if self.members[member].armed.is_none_or(|armed| at + WAKE_UP < armed) {
            let at = at + self.random.between(0, WAKE_UP);
            self.members[member].armed = Some(at);
            self.plan(at, Due::Timer(member));
        }
    }

    pub(crate) fn give(&mut self, member: usize, input: Input) {
        // Adverts that have arrived are handled before any other input. `serve` does this before a
        // timeout, except with the defect `TimersFirst`.
        if !matches!(input, Input::Advert(_) | Input::Timeout) {
            self.catch_up(member, self.members[member].slot.arrival);
        }
        self.tally.inputs += 1;
        let host = self.members[member].host;
        let local = self.hosts[host].clock.shows(self.now);
        let was_master = self.members[member].is_master();
        self.members[member].router.handle(local, input);
        while let Some(event) = self.members[member].router.poll_event() {
            if let Event::StateChanged { from, to, reason, .. } = event {
                let group = self.members[member].group;
                self.trace.add(self.now, host, Some(group), TraceEvent::Changed(from, to, reason));
                if to == State::Master {
                    self.groups[group].takeovers += 1;
                    self.groups[group].last_master = Some(member);
                    *self.tally.takeovers.entry(reason.to_string()).or_default() += 1;
                }
            }
        }
        let mut adverts = 0;
        while let Some(action) = self.members[member].router.poll_action() {
            adverts += u32::from(matches!(action, Action::SendAdvert { .. }));
            if input == Input::Shutdown && !is_shutdown_action(&action, was_master, adverts) {
                self.violate(member, Invariant::SilentAfterShutdown, &format!("{action:?} on shutdown"));
            }
            if !self.hosts[host].up && !matches!(action, Action::RemoveAddresses) {
                self.violate(
                    member,
                    Invariant::SilentAfterShutdown,
                    &format!("{action:?} after the shutdown or the loss of the link"),
                );
            }
            self.act(member, action);
        }
        let (has_addresses, master) = (self.members[member].has_addresses, self.members[member].is_master());
        if has_addresses != master {
            self.violate(
                member,
                Invariant::AddressesInMasterOnly,
                &format!("has VIPs: {has_addresses}, is master: {master}"),
            );
        }
        self.keep_lease(member, local);
        if was_master != master {
            self.count_masters(self.members[member].group);
        }
        self.count_answering(self.members[member].group);
        self.arm(member);
    }

    fn act(&mut self, member: usize, action: Action) {
        match action {
            Action::SendAdvert { priority } => {
                self.send(member, priority);
                let sender = &mut self.members[member];
                let local = self.hosts[sender.host].clock.shows(self.now);
                sender.router.advert_sent(local);
                if sender.is_master() {
                    let fenced = sender.lease.fenced;
                    sender.renew_lease(local);
                    match self.defect {
                        Defect::StuckFence => sender.lease.fenced = fenced,
                        Defect::LongLease => {
                            sender.lease.valid_until += 10 * sender.router.config().interval.nanos();
                        }
                        _ => {}
                    }
                }
            }
            Action::AddAddresses(Addresses::All) => {
                let member = &mut self.members[member];
                let local = self.hosts[member.host].clock.shows(self.now).as_nanos().max(1);
                member.has_addresses = true;
                if member.lease.valid_until == 0 {
                    member.lease.valid_until = local;
                }
            }
            Action::RemoveAddresses if self.defect == Defect::KeepsAddresses => {}
            Action::RemoveAddresses => {
                let member = &mut self.members[member];
                member.has_addresses = false;
                member.lease = if self.defect == Defect::StuckFence {
                    LeaseSlot { fenced: member.lease.fenced, ..NO_LEASE }
                } else {
                    NO_LEASE
                };
            }
            Action::AddAddresses(Addresses::One(_)) | Action::RemoveAddress(_) | Action::Announce { .. } => {
                if !self.members[member].has_addresses {
                    let found = "announced VIPs that are not on the interface";
                    self.violate(member, Invariant::AddressesInMasterOnly, found);
                }
            }
        }
    }

    pub(crate) fn count_masters_on(&mut self, host: usize) {
        for index in 0..self.hosts[host].members.len() {
            self.count_masters(self.members[self.hosts[host].members[index]].group);
        }
    }

    /// Returns the running masters of a virtual router.
    pub(crate) fn masters(&self, group: usize) -> impl Iterator<Item = usize> + '_ {
        let members = self.groups[group].members.iter().copied();
        members.filter(|place| {
            let member = &self.members[*place];
            member.is_master() && self.hosts[member.host].is_running()
        })
    }

    pub(crate) fn count_masters(&mut self, group: usize) {
        let several = self.masters(group).nth(1).is_some();
        if !several {
            self.groups[group].contested_since = None;
            self.contested.retain(|contested| *contested != group);
        } else if self.groups[group].contested_since.is_none() {
            self.groups[group].contested_since = Some(self.now);
            self.contested.push(group);
        }
    }

    /// Like the engine, lifts the fence of a router that is still master after handling its inputs,
    /// unless its lease has expired.
    fn keep_lease(&mut self, member: usize, local: Timestamp) {
        let stuck = self.defect == Defect::StuckFence;
        let Member { lease, router, .. } = &mut self.members[member];
        if router.state() == State::Master && lease.valid_until >= local.as_nanos() && !stuck {
            lease.fenced = 0;
        }
    }

    /// Updates the start of the period in which several hosts answer for the VIPs of a virtual
    /// router.
    pub(crate) fn count_answering(&mut self, group: usize) {
        let members = self.groups[group].members.iter();
        let several = members.filter(|place| self.members[**place].answers()).nth(1).is_some();
        let known = self.groups[group].answered_twice_since;
        self.groups[group].answered_twice_since = several.then(|| known.unwrap_or(self.now));
    }

    /// Reports a violation if two hosts have answered for a virtual router for too long.
    fn watch_answers(&mut self, strict: u64) {
        for group in 0..self.groups.len() {
            let since = self.groups[group].answered_twice_since;
            let lasted = since.map_or(0, |since| self.now.saturating_sub(since.max(strict)));
            if lasted > self.slack() {
                let member = self.groups[group].members[0];
                let found = format!("two hosts have answered for {} µs", lasted / 1_000);
                return self.violate(member, Invariant::OneAnswersAtMost, &found);
            }
        }
    }

    /// Returns the maximum time for an advert and its answer: two delays and two wake-ups.
    pub(crate) fn slack(&self) -> u64 {
        2 * (self.delay + WAKE_UP)
    }

    /// Reports a violation if a virtual router has had two masters for too long. When mastership
    /// changes, two masters may coexist for as long as an advert and its answer take.
    fn watch(&mut self) {
        let Some(strict) = self.strict else { return };
        self.watch_answers(strict);
        for index in 0..self.contested.len() {
            let group = self.contested[index];
            let Some(since) = self.groups[group].contested_since else { continue };
            let lasted = self.now.saturating_sub(since.max(strict));
            if lasted > self.slack() {
                let masters: Vec<_> = self.masters(group).map(|place| self.members[place].address).collect();
                let found = format!("{masters:?} have been masters for {} µs", lasted / 1_000);
                let master = self.masters(group).next().unwrap_or(self.groups[group].members[0]);
                self.violate(master, Invariant::OneMasterAtMost, &found);
                return;
            }
        }
    }

    /// Records a violation. The first one ends the run.
    pub(crate) fn violate(&mut self, member: usize, invariant: Invariant, found: &str) {
        if self.violation.is_none() {
            let group = self.members[member].group;
            let host = self.members[member].host;
            let found = format!("{found} (vrid {}, host {host})", group + 1);
            let events = self.trace.of(group, host);
            self.violation = Some(Violation { seed: self.seed, invariant, found, events });
        }
    }
}

/// Returns whether an action is allowed during a shutdown: one priority-0 advert from a master, and
/// removing the VIPs.
fn is_shutdown_action(action: &Action, was_master: bool, adverts: u32) -> bool {
    match action {
        Action::SendAdvert { priority } => *priority == 0 && was_master && adverts == 1,
        Action::RemoveAddresses => true,
        Action::AddAddresses(_) | Action::RemoveAddress(_) | Action::Announce { .. } => false,
    }
}
