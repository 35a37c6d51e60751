//! The nodes, the segments and the adverts in transit.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd::vrrp::group::{self, Step};
use vipd::vrrp::{
    Action, Event, Family, Fault, Impediment, Input, Interval, Received, Router, RouterConfig, State,
    Version, VirtualAddress,
};
use vipd_common::Timestamp;
use vipd_common::parse::{ChecksumForm, address_digest};

use super::{LeftOut, Nodes, Outcome};
use crate::plan::MILLI;
use crate::random::Random;

/// Delay of an advert, in nanoseconds.
pub(super) const DELAY: u64 = 200_000;
/// Maximum lateness of a timer, in nanoseconds.
pub(super) const LATE: u64 = 20_000;

/// An event in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// An advert with this priority arrives from one node at another on a segment.
    Arrival { segment: usize, from: usize, to: usize, priority: u8 },
    /// A member's timer may be due.
    Timer { node: usize, segment: usize },
}

pub(super) struct Node {
    /// A router on each segment.
    pub(super) routers: Vec<Router>,
    pub(super) addresses: Vec<IpAddr>,
    /// The sync group of each router.
    pub(super) groups: Vec<Option<u8>>,
    /// For each router, the last advert that it received from the highest-ranking master.
    pub(super) received: Vec<Option<LastAdvert>>,
    pub(super) is_up: bool,
}

impl Node {
    /// Returns this node's members of a sync group, each with its segment.
    pub(super) fn members(&self, group: u8) -> impl Iterator<Item = (usize, &Router)> + Clone {
        let routers = self.routers.iter().enumerate();
        routers.filter(move |(segment, _)| self.groups[*segment] == Some(group))
    }

    pub(super) fn is_master(&self, segment: usize) -> bool {
        self.routers[segment].state() == State::Master
    }

    /// Records an advert that a router has received.
    fn record(&mut self, segment: usize, advert: &Received) {
        let Received { arrival, source, priority, .. } = *advert;
        let at = arrival.as_nanos();
        let interval = self.routers[segment].config().interval.nanos();
        let replaces = |last: LastAdvert| {
            last.source == source
                || (last.priority, last.source) < (priority, source)
                || at - last.at > 2 * interval
        };
        let last = &mut self.received[segment];
        if last.is_none_or(replaces) {
            *last = (priority > 0).then_some(LastAdvert { at, priority, source });
        }
    }
}

/// The last advert of a master.
#[derive(Clone, Copy)]
pub(super) struct LastAdvert {
    pub(super) at: u64,
    pub(super) priority: u8,
    pub(super) source: IpAddr,
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) now: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) segments: usize,
    kind: Nodes,
    /// Cuts, each as a segment, a sender and a receiver: the segment delivers no adverts from this
    /// sender to this receiver.
    cuts: BTreeSet<(usize, usize, usize)>,
    /// Percentage of adverts that are lost.
    pub(super) loss: u64,
    pub(super) left_out: LeftOut,
    /// For each segment, the time since which it has had several masters, all of different
    /// priorities. `None` while [`World::check_masters`] is disabled.
    pub(super) shared_since: Option<Vec<Option<u64>>>,
    queue: BinaryHeap<Reverse<(u64, u64, Due)>>,
    planned: u64,
    verbose: bool,
    pub(super) outcome: Outcome,
}

impl World {
    pub(super) fn new(seed: u64, kind: Nodes, left_out: LeftOut, verbose: bool) -> Self {
        let mut random = Random::new(seed);
        let (count, segments) = (random.index(2) + 2, random.index(3) + 2);
        let intervals: Vec<_> = if random.one_in(3) {
            (0..segments).map(|_| random.of(&[10, 30, 100, 1000]) * MILLI).collect()
        } else {
            vec![random.of(&[10, 100, 1000]) * MILLI; segments]
        };
        let preempt = !random.one_in(3);
        let preempt_delay = if random.one_in(4) { intervals[0] * random.between(1, 5) } else { 0 };
        let down_after_adverts = random.of(&[2, 3, 3, 3, 5]);
        let families: Vec<_> =
            (0..segments).map(|_| random.of(&[Family::V4, Family::V4, Family::V6])).collect();
        // Half of the worlds have nodes with equal priorities.
        let ties = random.one_in(2);
        let own_order: Vec<Vec<u8>> = (0..segments).map(|_| shuffled(count, &mut random)).collect();
        let nodes = (0..count).map(|node| {
            let has_group = kind != Nodes::OneWithoutGroup || node + 1 < count;
            let shared = if ties { 100 } else { 100 + 50 * u8::try_from(node).expect("small") };
            let routers = (0..segments).map(|segment| {
                let priority =
                    if has_group && !random.one_in(4) { shared } else { random.of(&[50, 100, 125, 254]) };
                let byte = u8::try_from(segment + 1).expect("small");
                let address = address(families[segment], 1, byte);
                let interval = Interval::from_nanos(Version::V3, intervals[segment]).expect("valid");
                Router::new(RouterConfig {
                    priority,
                    preempt,
                    preempt_delay,
                    down_after_adverts,
                    ..RouterConfig::new(
                        byte,
                        families[segment],
                        interval,
                        vec![VirtualAddress { address, prefix: 32 }],
                    )
                })
            });
            let routers = routers.collect();
            let addresses =
                (0..segments).map(|segment| address(families[segment], 0, own_order[segment][node]));
            let groups = vec![has_group.then_some(0); segments];
            let (addresses, received) = (addresses.collect(), vec![None; segments]);
            Node { routers, addresses, groups, received, is_up: false }
        });
        let nodes = nodes.collect();
        let mut world = Self {
            random,
            now: 1000 * MILLI,
            nodes,
            segments,
            kind,
            cuts: BTreeSet::new(),
            loss: 0,
            left_out,
            shared_since: None,
            queue: BinaryHeap::new(),
            planned: 0,
            verbose,
            outcome: Outcome::default(),
        };
        for node in 0..count {
            world.start(node);
            for segment in 0..segments {
                world.follow_up(node, vec![segment]);
            }
        }
        world
    }

    pub(super) fn longest(&self) -> u64 {
        self.nodes[0].routers.iter().map(|router| router.config().interval.nanos()).max().expect("segments")
    }

    pub(super) fn log(&mut self, event: impl FnOnce() -> String) {
        if self.verbose {
            let (millis, micros) = (self.now / 1_000_000, self.now / 1_000 % 1_000);
            self.outcome.events.push(format!("{millis:>8}.{micros:03} ms {}", event()));
        }
    }

    pub(super) fn violate(&mut self, found: String) {
        self.log(|| format!("VIOLATION {found}"));
        self.outcome.violation.get_or_insert(found);
    }

    fn plan(&mut self, at: u64, due: Due) {
        self.planned += 1;
        self.queue.push(Reverse((at, self.planned, due)));
    }

    /// Simulates cuts, losses, drained routers, broken cables, crashes, failover requests, changed
    /// priorities and changed groups.
    pub(super) fn disturb(&mut self) {
        self.loss = self.random.of(&[0, 0, 5, 30]);
        for _ in 0..self.random.between(1, 12) {
            let (node, other) = (self.random.index(self.nodes.len()), self.random.index(self.nodes.len()));
            let segment = self.random.index(self.segments);
            if self.kind == Nodes::Regrouped && self.random.one_in(3) {
                let groups = self.random_groups();
                self.regroup(node, groups);
            }
            match self.random.between(0, 11) {
                0..=2 if node != other => {
                    self.log(|| format!("segment {segment} is cut from {node} to {other}"));
                    self.cuts.insert((segment, node, other));
                    if self.random.one_in(2) {
                        self.cuts.insert((segment, other, node));
                    }
                }
                3 => {
                    self.log(|| "all cuts end".to_owned());
                    self.cuts.clear();
                }
                4 => self.input(node, segment, Input::Impede(Fault::Drained)),
                5 => self.input(node, segment, Input::Clear(Impediment::Drained)),
                6 => self.input(node, segment, Input::Impede(Fault::InterfaceDown)),
                7 | 8 => self.input(node, segment, Input::Clear(Impediment::Link)),
                9 => {
                    let priority = self.random.of(&[50, 100, 100, 150, 200]);
                    self.input(node, segment, Input::Priority(priority));
                }
                10 => self.input(node, segment, Input::Failover),
                _ if self.nodes[node].is_up => self.crash(node),
                _ => self.start(node),
            }
            let pause = self.random.between(0, 6 * self.longest());
            self.run_until(self.now + pause);
        }
    }

    /// Connects all segments, starts all nodes and clears all faults.
    pub(super) fn heal(&mut self) {
        self.log(|| "all cuts and faults end".to_owned());
        self.cuts.clear();
        for node in 0..self.nodes.len() {
            self.start(node);
            for segment in 0..self.segments {
                self.input(node, segment, Input::Clear(Impediment::Link));
                self.input(node, segment, Input::Clear(Impediment::Drained));
            }
        }
    }

    fn start(&mut self, node: usize) {
        if !std::mem::replace(&mut self.nodes[node].is_up, true) {
            self.log(|| format!("node {node} starts"));
            for segment in 0..self.segments {
                let primary = self.nodes[node].addresses[segment];
                self.input(node, segment, Input::PrimaryAddress(primary));
            }
        }
    }

    fn crash(&mut self, node: usize) {
        self.log(|| format!("node {node} crashes"));
        let Node { routers, received, is_up, .. } = &mut self.nodes[node];
        *is_up = false;
        received.fill(None);
        for router in routers {
            *router = Router::new(router.config().clone());
        }
    }

    pub(super) fn run_until(&mut self, end: u64) {
        while self.outcome.violation.is_none()
            && let Some(Reverse((at, ..))) = self.queue.peek()
            && *at <= end
        {
            let Some(Reverse((at, _, due))) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            match due {
                Due::Arrival { segment, from, to, priority } => self.arrive(segment, from, to, priority),
                Due::Timer { node, segment } => {
                    let timeout = self.nodes[node].routers[segment].next_timeout();
                    if self.nodes[node].is_up && timeout.is_some_and(|at| at.as_nanos() <= self.now) {
                        self.input(node, segment, Input::Timeout);
                    }
                }
            }
        }
        self.now = self.now.max(end);
    }

    fn arrive(&mut self, segment: usize, from: usize, to: usize, priority: u8) {
        if !self.nodes[to].is_up || self.cuts.contains(&(segment, from, to)) {
            return;
        }
        let config = self.nodes[from].routers[segment].config();
        let advert = Received {
            arrival: Timestamp::from_nanos(self.now),
            source: self.nodes[from].addresses[segment],
            priority,
            interval: config.interval.wire(),
            addresses: address_digest(config.virtual_addresses.iter().map(|vip| vip.address)),
            checksum: ChecksumForm::V2,
        };
        if let State::Backup | State::Master = self.nodes[to].routers[segment].state() {
            self.nodes[to].record(segment, &advert);
        }
        self.input(to, segment, Input::Advert(advert));
    }

    /// Passes an input to a router, and the resulting inputs to the other members of its group.
    fn input(&mut self, node: usize, segment: usize, input: Input) {
        if !self.nodes[node].is_up {
            return;
        }
        let is_priority = matches!(input, Input::Priority(_));
        let mut changed = Vec::new();
        if self.handle(node, segment, input) || is_priority {
            changed.push(segment);
        }
        self.follow_up(node, changed);
        self.check_groups(node);
        self.check_masters();
    }

    /// Passes the inputs that result from changes of these routers to the other members of their
    /// groups.
    pub(super) fn follow_up(&mut self, node: usize, mut changed: Vec<usize>) {
        while let Some(segment) = changed.pop() {
            let Some(group) = self.nodes[node].groups[segment] else { continue };
            while let Some(step) = group::next(segment, self.nodes[node].members(group)) {
                changed.extend(self.take_step(node, group, step));
            }
        }
    }

    /// Passes each input of a step to the group member it is for. Returns the members whose state
    /// has changed.
    pub(super) fn take_step(&mut self, node: usize, group: u8, step: Step<usize>) -> Vec<usize> {
        let mut changed = Vec::new();
        for segment in 0..self.segments {
            if self.nodes[node].groups[segment] == Some(group)
                && let Some(input) = step.input(segment, &self.nodes[node].routers[segment])
                && self.handle(node, segment, input)
            {
                changed.push(segment);
            }
        }
        changed
    }

    /// Passes an input to a router. Returns whether its state has changed.
    pub(super) fn handle(&mut self, node: usize, segment: usize, input: Input) -> bool {
        let now = Timestamp::from_nanos(self.now);
        let router = &self.nodes[node].routers[segment];
        let is_left_out = match self.left_out {
            LeftOut::Nothing | LeftOut::Joining => false,
            LeftOut::Waiting => input == Input::Timeout,
            LeftOut::Contest => matches!(input, Input::Advert(_)),
        };
        let input = match self.nodes[node].groups[segment] {
            Some(group) if !is_left_out && group::is_adjustable(now, router, &input) => {
                group::adjust(now, segment, input, self.nodes[node].members(group))
            }
            _ => input,
        };
        let router = &mut self.nodes[node].routers[segment];
        router.handle(now, input);
        let events: Vec<_> = std::iter::from_fn(|| router.poll_event()).collect();
        let actions: Vec<_> = std::iter::from_fn(|| router.poll_action()).collect();
        let mut has_changed = false;
        for event in events {
            if let Event::StateChanged { from, to, reason, .. } = event {
                has_changed = true;
                self.outcome.transitions += 1;
                self.log(|| format!("node {node} segment {segment}: {from} → {to} ({reason})"));
                if let State::Initialize | State::Fault(_) = to {
                    self.nodes[node].received[segment] = None;
                }
            }
        }
        for action in actions {
            if let Action::SendAdvert { priority } = action {
                self.nodes[node].routers[segment].advert_sent(now);
                self.send(segment, node, priority);
            }
        }
        if let Some(at) = self.nodes[node].routers[segment].next_timeout() {
            let late = self.random.between(0, LATE);
            self.plan(at.as_nanos().max(self.now) + late, Due::Timer { node, segment });
        }
        has_changed
    }

    fn send(&mut self, segment: usize, from: usize, priority: u8) {
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            if self.random.between(1, 100) > self.loss {
                // All adverts have the same delay, so that they arrive in order.
                self.plan(self.now + DELAY, Due::Arrival { segment, from, to, priority });
            }
        }
    }
}

/// Returns the numbers 1 to `count` in random order.
fn shuffled(count: usize, random: &mut Random) -> Vec<u8> {
    let mut numbers: Vec<_> = (1..=count).map(|number| u8::try_from(number).expect("small")).collect();
    for index in 1..count {
        numbers.swap(index, random.index(index + 1));
    }
    numbers
}

fn address(family: Family, kind: u8, last: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, kind, 0, last).into(),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, kind.into(), last.into()).into(),
    }
}
