//! Simulates sync groups: two or three nodes on several segments, each of which can be cut between
//! any two nodes in either direction.
//!
//! ```text
//!   node 0 ──┬── segment 0 ──┬── node 1      a member on each segment, all in one sync group
//!            ├── segment 1 ──┤               (or, on a node without a group, independent routers)
//!            └── segment 2 ──┘
//! ```
//!
//! These invariants are checked:
//!
//! 1. After each input and its consequences, all members of a node are masters or none is.
//! 2. Once the cuts no longer change, the number of transitions is bounded: there are none after
//!    the settling time.
//! 3. Once all segments are connected and no node is drained, one node is master on all segments.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use vipd::vrrp::{
    Action, Event, Family, Fault, Impediment, Input, Interval, Received, Router, RouterConfig, State,
    Version, VirtualAddress, group,
};
use vipd_common::Timestamp;
use vipd_common::parse::{ChecksumForm, address_digest};

use crate::plan::MILLI;
use crate::random::Random;

/// Maximum delay of an advert, in nanoseconds.
const DELAY: u64 = 200_000;
/// Number of longest intervals after which nodes must be at rest.
const SETTLING: u64 = 40;

/// An event in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// An advert with this priority arrives from one node at another on a segment.
    Arrival { segment: usize, from: usize, to: usize, priority: u8 },
    /// A member's timer may be due.
    Timer { node: usize, segment: usize },
}

struct Node {
    members: Vec<Router>,
    addresses: Vec<IpAddr>,
    /// Whether the members are in a sync group.
    has_group: bool,
    is_up: bool,
}

/// The outcome of a simulation.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Number of transitions.
    pub transitions: u64,
    /// The first violation.
    pub violation: Option<String>,
    /// The events, if they were requested.
    pub events: Vec<String>,
}

struct World {
    random: Random,
    now: u64,
    nodes: Vec<Node>,
    segments: usize,
    /// Whether adverts of one node do not reach another one on a segment.
    cuts: BTreeSet<(usize, usize, usize)>,
    /// Percentage of adverts that are lost.
    loss: u64,
    left_out: LeftOut,
    queue: BinaryHeap<Reverse<(u64, u64, Due)>>,
    planned: u64,
    verbose: bool,
    outcome: Outcome,
}

/// The nodes of a world that have the sync group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// All nodes have the sync group.
    Grouped,
    /// The last node runs independent routers with priorities of their own.
    OneWithoutGroup,
}

impl Nodes {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Grouped, Self::OneWithoutGroup];
}

/// A rule of sync groups that is left out, to check that the invariants detect this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// All rules apply.
    Nothing,
    /// A member becomes master without regard to the masters that other members follow.
    Waiting,
    /// Each member yields to an equal priority with a higher address.
    Contest,
}

/// The combined results of many worlds.
#[derive(Debug, Default)]
pub struct Summary {
    /// Number of worlds.
    pub worlds: u64,
    /// Number of transitions in them.
    pub transitions: u64,
    /// The violation with the lowest seed, with the last events that led to it.
    pub violation: Option<(u64, String)>,
}

/// Runs `count` worlds of each kind in parallel, starting with seed `first`.
pub fn run_all(first: u64, count: u64, threads: usize) -> Summary {
    let next = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (seed, kind) = (first + number / 2, Nodes::ALL[usize::from(number % 2 == 1)]);
                    if number >= 2 * count {
                        break;
                    }
                    let outcome = run(seed, kind, LeftOut::Nothing, false);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.worlds += 1;
                    summary.transitions += outcome.transitions;
                    let is_lowest = summary.violation.as_ref().is_none_or(|(known, _)| seed < *known);
                    if let Some(violation) = outcome.violation.filter(|_| is_lowest) {
                        summary.violation = Some((seed, explain(seed, kind, &violation)));
                    }
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a world again, and returns its violation with the last events.
fn explain(seed: u64, kind: Nodes, violation: &str) -> String {
    let events = run(seed, kind, LeftOut::Nothing, true).events;
    let last = &events[events.len().saturating_sub(60)..];
    format!("{}\nseed {seed}, {kind:?}: {violation}", last.join("\n"))
}

/// Runs a world. Records all events if `verbose` is set.
pub fn run(seed: u64, nodes: Nodes, left_out: LeftOut, verbose: bool) -> Outcome {
    let mut world = World::new(seed, nodes, left_out, verbose);
    for _ in 0..4 {
        world.disturb();
        // The cuts remain.
        world.loss = 0;
        world.expect_rest("with cuts");
        world.heal();
        world.expect_rest("without cuts");
        world.expect_one_master(nodes);
    }
    world.outcome
}

impl World {
    fn new(seed: u64, kind: Nodes, left_out: LeftOut, verbose: bool) -> Self {
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
            let has_group = kind == Nodes::Grouped || node + 1 < count;
            let shared = if ties { 100 } else { 100 + 50 * u8::try_from(node).expect("small") };
            let members = (0..segments).map(|segment| {
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
            let members = members.collect();
            let addresses =
                (0..segments).map(|segment| address(families[segment], 0, own_order[segment][node]));
            Node { members, addresses: addresses.collect(), has_group, is_up: false }
        });
        let nodes = nodes.collect();
        let mut world = Self {
            random,
            now: 1000 * MILLI,
            nodes,
            segments,
            cuts: BTreeSet::new(),
            loss: 0,
            left_out,
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

    fn longest(&self) -> u64 {
        self.nodes[0].members.iter().map(|router| router.config().interval.nanos()).max().expect("segments")
    }

    fn log(&mut self, event: impl FnOnce() -> String) {
        if self.verbose {
            let (millis, micros) = (self.now / 1_000_000, self.now / 1_000 % 1_000);
            self.outcome.events.push(format!("{millis:>8}.{micros:03} ms {}", event()));
        }
    }

    fn violate(&mut self, found: String) {
        self.log(|| format!("VIOLATION {found}"));
        self.outcome.violation.get_or_insert(found);
    }

    fn plan(&mut self, at: u64, due: Due) {
        self.planned += 1;
        self.queue.push(Reverse((at, self.planned, due)));
    }

    /// Simulates cuts, losses, drained nodes, broken cables, crashes and changed priorities.
    fn disturb(&mut self) {
        self.loss = self.random.of(&[0, 0, 5, 30]);
        for _ in 0..self.random.between(1, 12) {
            let (node, other) = (self.random.index(self.nodes.len()), self.random.index(self.nodes.len()));
            let segment = self.random.index(self.segments);
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

    /// Connects all segments and starts all nodes.
    fn heal(&mut self) {
        self.log(|| "all faults end".to_owned());
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
        let Node { members, is_up, .. } = &mut self.nodes[node];
        *is_up = false;
        for router in members {
            *router = Router::new(router.config().clone());
        }
    }

    fn run_until(&mut self, end: u64) {
        while self.outcome.violation.is_none()
            && let Some(Reverse((at, ..))) = self.queue.peek()
            && *at <= end
        {
            let Some(Reverse((at, _, due))) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            match due {
                Due::Arrival { segment, from, to, priority } => self.arrive(segment, from, to, priority),
                Due::Timer { node, segment } => {
                    let timeout = self.nodes[node].members[segment].next_timeout();
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
        let config = self.nodes[from].members[segment].config();
        let advert = Received {
            arrival: Timestamp::from_nanos(self.now),
            source: self.nodes[from].addresses[segment],
            priority,
            interval: config.interval.wire(),
            addresses: address_digest(config.virtual_addresses.iter().map(|vip| vip.address)),
            checksum: ChecksumForm::V2,
        };
        self.input(to, segment, Input::Advert(advert));
    }

    /// Passes an input to a member, and its consequences to the other members.
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
        let masters = self.nodes[node].members.iter().filter(|router| router.state() == State::Master);
        let masters = masters.count();
        if self.nodes[node].has_group && masters != 0 && masters != self.segments {
            self.violate(format!("node {node} is master of {masters} of {} segments", self.segments));
        }
    }

    /// Passes the inputs of the sync group to the members.
    fn follow_up(&mut self, node: usize, mut changed: Vec<usize>) {
        if !self.nodes[node].has_group {
            return;
        }
        while let Some(member) = changed.pop() {
            while let Some(step) = group::next(member, self.nodes[node].members.iter().enumerate()) {
                for other in 0..self.segments {
                    if let Some(input) = step.input(other, &self.nodes[node].members[other])
                        && self.handle(node, other, input)
                    {
                        changed.push(other);
                    }
                }
            }
        }
    }

    /// Passes an input to a member. Returns whether its state has changed.
    fn handle(&mut self, node: usize, segment: usize, input: Input) -> bool {
        let now = Timestamp::from_nanos(self.now);
        let Node { members, has_group, .. } = &self.nodes[node];
        let is_left_out = match self.left_out {
            LeftOut::Nothing => false,
            LeftOut::Waiting => input == Input::Timeout,
            LeftOut::Contest => matches!(input, Input::Advert(_)),
        };
        let input = if *has_group && !is_left_out && group::is_adjustable(now, &members[segment], &input) {
            group::adjust(now, segment, input, members.iter().enumerate())
        } else {
            input
        };
        self.nodes[node].members[segment].handle(now, input);
        let mut has_changed = false;
        while let Some(event) = self.nodes[node].members[segment].poll_event() {
            if let Event::StateChanged { from, to, reason, .. } = event {
                has_changed = true;
                self.outcome.transitions += 1;
                self.log(|| format!("node {node} segment {segment}: {from} → {to} ({reason})"));
            }
        }
        while let Some(action) = self.nodes[node].members[segment].poll_action() {
            if let Action::SendAdvert { priority } = action {
                self.nodes[node].members[segment].advert_sent(now);
                self.send(segment, node, priority);
            }
        }
        if let Some(at) = self.nodes[node].members[segment].next_timeout() {
            let late = self.random.between(0, 20_000);
            self.plan(at.as_nanos().max(self.now) + late, Due::Timer { node, segment });
        }
        has_changed
    }

    fn send(&mut self, segment: usize, from: usize, priority: u8) {
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            if self.random.between(1, 100) > self.loss {
                // All adverts take equally long, so that they arrive in order.
                self.plan(self.now + DELAY, Due::Arrival { segment, from, to, priority });
            }
        }
    }

    /// Waits for the settling time, and then expects no further transition.
    fn expect_rest(&mut self, when: &str) {
        let longest = self.longest();
        let preempt_delay = self.nodes[0].members[0].config().preempt_delay;
        self.run_until(self.now + SETTLING * longest + 2 * preempt_delay);
        let before = self.outcome.transitions;
        self.run_until(self.now + SETTLING * longest);
        let more = self.outcome.transitions - before;
        if more > 0 {
            self.violate(format!("{more} transitions {when} after the settling time"));
        }
    }

    fn expect_one_master(&mut self, kind: Nodes) {
        let masters_of = |segment: usize| -> Vec<usize> {
            let nodes = self.nodes.iter().enumerate();
            let masters = nodes.filter(|(_, node)| node.members[segment].state() == State::Master);
            masters.map(|(node, _)| node).collect()
        };
        let masters: Vec<_> = (0..self.segments).map(masters_of).collect();
        let is_one = masters.iter().all(|of_segment| of_segment.len() == 1 && of_segment == &masters[0]);
        if kind == Nodes::Grouped && !is_one {
            self.violate(format!("the masters of the segments are {masters:?}"));
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
