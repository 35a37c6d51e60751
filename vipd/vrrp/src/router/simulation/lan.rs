//! The LAN, its routers, and the clock that drives them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::IpAddr;

use vipd_common::Timestamp;
use vipd_common::parse::ChecksumForm;

use super::super::tests::{MILLI, SECOND, VIPS, digest};
use super::super::{Router, Snapshot};
use super::random::Random;
use crate::{Action, Addresses, Fault, Input, Received, RouterConfig, State};

/// How late a router's process wakes up at the most.
const WAKE_UP: u64 = 50_000;

/// One router and its process.
pub(super) struct Node {
    router: Router,
    pub(super) primary: IpAddr,
    /// Its part of the LAN.
    part: u64,
    /// The interface carries adverts, and the router is started.
    up: bool,
    /// Held up until then.
    paused: Option<Timestamp>,
    /// How late its next timeout is served.
    lateness: u64,
    /// Arrived, not yet heard.
    feed: VecDeque<Received>,
    /// And more than that, which is lost.
    lost: bool,
    /// The virtual addresses are on its interface.
    held: bool,
    /// Mastership changes before the last crash.
    transitions: u64,
}

impl Node {
    pub(super) fn new(config: RouterConfig, index: u64) -> Self {
        let last = u8::try_from(index + 1).expect("a small LAN");
        Self {
            router: Router::new(config),
            primary: IpAddr::from([10, 0, 0, last]),
            part: 0,
            up: false,
            paused: None,
            lateness: 0,
            feed: VecDeque::new(),
            lost: false,
            held: false,
            transitions: 0,
        }
    }

    pub(super) fn config(&self) -> &RouterConfig {
        self.router.config()
    }

    pub(super) fn state(&self) -> State {
        self.router.state()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.router.snapshot()
    }

    /// Turns Preempt_Mode on, before the start.
    pub(super) fn preempts(&mut self) {
        self.router = Router::new(RouterConfig { preempt: true, ..self.config().clone() });
    }

    /// What decides between two masters.
    pub(super) fn rank(&self) -> (u8, IpAddr) {
        (self.config().priority, self.primary)
    }

    /// The master it follows.
    pub(super) fn followed(&self) -> Option<IpAddr> {
        self.snapshot().master
    }

    /// When its process next does something.
    fn wakes(&self) -> Option<Timestamp> {
        let timeout = self.router.next_timeout().map(|at| at + self.lateness);
        match self.paused {
            Some(until) => Some(until),
            None => timeout,
        }
    }
}

/// What the LAN does at the moment.
pub(super) struct Plan {
    /// Adverts lost, in percent.
    pub(super) loss: u64,
    /// Whether two masters at a time are a failure when it lasts for longer than [`Lan::slack`].
    pub(super) check: bool,
}

/// Arrival, order of sending, receiver, advert.
type InFlight = (Timestamp, u64, usize, Letter);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Letter {
    source: IpAddr,
    priority: u8,
    interval: u16,
}

pub(super) struct Lan {
    pub(super) nodes: Vec<Node>,
    pub(super) now: Timestamp,
    pub(super) plan: Plan,
    name: String,
    random: Random,
    /// The longest way of an advert.
    delay: u64,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    sent: u64,
    /// Since when there have been several masters.
    several: Option<Timestamp>,
}

impl Lan {
    pub(super) fn new(nodes: Vec<Node>, delay: u64, seed: u64) -> Self {
        Self {
            nodes,
            now: Timestamp::from_nanos(100 * SECOND),
            plan: Plan { loss: 0, check: false },
            name: String::new(),
            random: Random::new(seed),
            delay,
            in_flight: BinaryHeap::new(),
            sent: 0,
            several: None,
        }
    }

    /// What a failure is to be found by.
    pub(super) fn name(&mut self, name: String) {
        self.name = name;
    }

    pub(super) fn longest_interval(&self) -> u64 {
        self.nodes.iter().map(|node| node.config().interval.nanos()).max().unwrap_or(0)
    }

    /// A question and its answer: two ways and two wake-ups.
    pub(super) fn slack(&self) -> u64 {
        2 * (self.delay + WAKE_UP)
    }

    pub(super) fn start_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.start(node));
    }

    pub(super) fn start(&mut self, node: usize) {
        self.nodes[node].up = true;
        let primary = self.nodes[node].primary;
        self.local(node, Input::Available { primary });
    }

    pub(super) fn stop(&mut self, node: usize) {
        self.leave(node, Input::Shutdown);
    }

    pub(super) fn fault(&mut self, node: usize, fault: Fault) {
        self.leave(node, Input::Unavailable(fault));
    }

    fn leave(&mut self, node: usize, input: Input) {
        if self.nodes[node].paused.is_none() {
            self.give(node, input);
            self.nodes[node].up = false;
            self.nodes[node].feed.clear();
        }
    }

    /// The machine dies, and is there again with nothing in its memory when it is started.
    pub(super) fn crash(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let config = node.config().clone();
        node.transitions += node.snapshot().counters.master_transitions;
        node.router = Router::new(config);
        (node.up, node.paused, node.held, node.lost) = (false, None, false, false);
        node.feed.clear();
    }

    /// Holds a router's process up.
    pub(super) fn pause(&mut self, node: usize, nanos: u64) {
        self.nodes[node].paused.get_or_insert(self.now + nanos);
    }

    pub(super) fn resume(&mut self, node: usize) {
        self.nodes[node].paused = None;
        self.wake(node);
    }

    pub(super) fn partition(&mut self, mut part: impl FnMut(usize) -> u64) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.part = part(index);
        }
    }

    /// The ring buffer ran over while the process was held up: what came last is gone.
    pub(super) fn lose_feed(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        if !node.feed.is_empty() {
            node.feed.truncate(node.feed.len() / 2);
            node.lost = true;
        }
    }

    /// Somebody takes a virtual address off the interface.
    pub(super) fn steal_address(&mut self, node: usize) {
        self.local(node, Input::AddressRemoved(VIPS[0]));
    }

    /// Mastership changes of all routers.
    pub(super) fn transitions(&self) -> u64 {
        let changes =
            self.nodes.iter().map(|node| node.transitions + node.snapshot().counters.master_transitions);
        changes.sum()
    }

    /// The one master there is.
    pub(super) fn only_master(&self) -> usize {
        let masters: Vec<_> = (0..self.nodes.len()).filter(|index| self.is_master(*index)).collect();
        match masters[..] {
            [master] => master,
            _ => panic!("{}: masters {masters:?} of {} routers", self.name, self.nodes.len()),
        }
    }

    fn is_master(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        node.paused.is_none() && node.state() == State::Master
    }

    pub(super) fn run_for(&mut self, nanos: u64) {
        let end = self.now + nanos;
        loop {
            let wakes =
                (0..self.nodes.len()).filter_map(|node| Some((self.nodes[node].wakes()?, node))).min();
            let arrives = self.in_flight.peek().map(|Reverse((at, ..))| *at);
            match (wakes, arrives) {
                (wakes, Some(at)) if at <= end && wakes.is_none_or(|(wake, _)| at <= wake) => {
                    self.now = self.now.max(at);
                    self.deliver();
                }
                (Some((at, node)), _) if at <= end => {
                    self.now = self.now.max(at);
                    self.nodes[node].paused = None;
                    self.wake(node);
                }
                _ => break,
            }
            self.check();
        }
        self.now = end;
    }

    fn deliver(&mut self) {
        let Some(Reverse((arrival, _, node, letter))) = self.in_flight.pop() else { return };
        let Letter { source, priority, interval } = letter;
        if self.nodes[node].up {
            let addresses = digest();
            self.nodes[node].feed.push_back(Received {
                arrival,
                source,
                priority,
                interval,
                addresses,
                checksum: ChecksumForm::V2,
            });
        }
        if self.nodes[node].paused.is_none() {
            self.wake(node);
        }
    }

    /// One round of a router's process: what has arrived, then the timers.
    fn wake(&mut self, node: usize) {
        while let Some(received) = self.nodes[node].feed.pop_front() {
            self.give(node, Input::Advert(received));
        }
        if std::mem::take(&mut self.nodes[node].lost) {
            self.give(node, Input::FeedLoss);
        }
        if self.nodes[node].router.next_timeout().is_some_and(|at| at <= self.now) {
            self.give(node, Input::Timeout);
        }
        self.nodes[node].lateness = self.random.between(0, WAKE_UP);
    }

    /// An input from the machine itself; a process that is held up does not get it.
    fn local(&mut self, node: usize, input: Input) {
        if self.nodes[node].paused.is_none() {
            self.give(node, input);
        }
    }

    fn give(&mut self, index: usize, input: Input) {
        let now = self.now;
        let node = &mut self.nodes[index];
        node.router.handle(now, input);
        while node.router.poll_event().is_some() {}
        while let Some(action) = self.nodes[index].router.poll_action() {
            let held = &mut self.nodes[index].held;
            match action {
                Action::SendAdvert { priority } => self.send(index, priority),
                Action::AddAddresses(Addresses::All) => *held = true,
                Action::RemoveAddresses => *held = false,
                Action::AddAddresses(Addresses::One(_)) | Action::Announce { .. } => {
                    assert!(*held, "{}: router {index} announces what it has not", self.name);
                }
            }
        }
        let node = &self.nodes[index];
        assert_eq!(node.held, node.state() == State::Master, "{}: router {index}, {now:?}", self.name);
    }

    /// To everybody in the same part of the LAN, each on a way of its own length.
    fn send(&mut self, from: usize, priority: u8) {
        let sender = &self.nodes[from];
        let (part, source) = (sender.part, sender.primary);
        let letter = Letter { source, priority, interval: sender.config().interval.wire() };
        for to in 0..self.nodes.len() {
            if to == from || self.nodes[to].part != part || self.random.between(1, 100) <= self.plan.loss {
                continue;
            }
            let arrival = self.now + self.random.between(self.delay / 10, self.delay);
            self.sent += 1;
            self.in_flight.push(Reverse((arrival, self.sent, to, letter)));
        }
    }

    /// Two masters are the protocol's way of changing over, for as long as an advert travels.
    fn check(&mut self) {
        let masters = (0..self.nodes.len()).filter(|node| self.is_master(*node)).count();
        if masters < 2 {
            self.several = None;
            return;
        }
        let since = *self.several.get_or_insert(self.now);
        let lasted = self.now.nanos_since(since);
        assert!(
            !self.plan.check || lasted <= self.slack(),
            "{}: {masters} masters for {} ms at {:?}",
            self.name,
            lasted / MILLI,
            self.now
        );
    }
}
