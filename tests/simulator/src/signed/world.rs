//! The nodes, their virtual routers, and the segment.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd::vrrp::hmac::{AntiReplay, Authenticator, Config, Key, MULTICAST_SENDERS, Mode, Refusal};
use vipd::vrrp::{
    Action, Event, Family, Fault, Impediment, Input, Interval, Reason, Received, Router, RouterConfig, State,
    Version, VirtualAddress,
};
use vipd_common::Timestamp;
use vipd_common::parse::{ChecksumForm, address_digest};

use super::{Packet, SECOND, WallClock};

/// The advertisement interval, in nanoseconds.
pub const INTERVAL: u64 = SECOND;
/// The key of all routers.
pub const KEY: [u8; 32] = [0x5a; 32];
/// VRID and family of the virtual routers, in the order of their numbers.
pub const VIRTUAL_ROUTERS: [(u8, Family); 3] = [(1, Family::V4), (2, Family::V4), (1, Family::V6)];
/// Delay of an advert, in nanoseconds.
const DELAY: u64 = 200_000;
/// `CLOCK_MONOTONIC` of all nodes at the start, in nanoseconds.
const BOOTED: u64 = 60 * SECOND;

/// A transition of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Time since the start, in nanoseconds.
    pub at: u64,
    /// Number of the node.
    pub node: usize,
    /// Number of the virtual router.
    pub router: usize,
    /// State after the transition.
    pub to: State,
    /// Reason, from the router's event.
    pub reason: Reason,
}

/// An event in the queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A packet arrives at a node.
    Arrival(usize, Packet),
    /// A timer of a node's virtual router may be due.
    Timer(usize, usize),
}

/// A node's instance of a virtual router.
struct Member {
    router: Router,
    authenticator: Authenticator,
    address: IpAddr,
}

struct Node {
    clock: WallClock,
    is_up: bool,
    members: Vec<Member>,
    refusals: HashMap<Refusal, u64>,
}

/// Nodes on a segment. Node 0 has priority 200, each further node 50 less.
pub struct World {
    now: u64,
    nodes: Vec<Node>,
    /// Number of transitions that [`World::transitions`] has returned.
    returned: usize,
    transitions: Vec<Transition>,
    captured: Vec<(u64, Packet)>,
    queue: BinaryHeap<Reverse<(u64, u64, Due)>>,
    planned: u64,
}

impl World {
    /// Creates nodes, none of which has been started. `window` is in seconds.
    pub fn new(nodes: usize, mode: Mode, anti_replay: AntiReplay, window: u32) -> Self {
        let key = Key::new(1, &KEY);
        let config = Config { keys: vec![key], active: 1, mode, anti_replay, window };
        let node = |number: usize| {
            let members = VIRTUAL_ROUTERS.map(|(vrid, family)| Member {
                router: Router::new(router_config(vrid, family, number)),
                authenticator: Authenticator::new(config.clone(), MULTICAST_SENDERS),
                address: address(family, 0, small(number + 1)),
            });
            let (clock, refusals) = (WallClock::default(), HashMap::new());
            Node { clock, is_up: false, members: members.into(), refusals }
        };
        Self {
            now: 0,
            nodes: (0..nodes).map(node).collect(),
            returned: 0,
            transitions: Vec::new(),
            captured: Vec::new(),
            queue: BinaryHeap::new(),
            planned: 0,
        }
    }

    /// Starts the agent of a node. After a crash or a stop, it has no stored sequences.
    pub fn start(&mut self, node: usize) {
        self.nodes[node].is_up = true;
        for member in 0..VIRTUAL_ROUTERS.len() {
            let primary = self.nodes[node].members[member].address;
            self.handle(node, member, Input::PrimaryAddress(primary));
        }
    }

    /// Ends a node's agent without priority-0 adverts.
    pub fn crash(&mut self, node: usize) {
        self.nodes[node].is_up = false;
        for Member { router, authenticator, .. } in &mut self.nodes[node].members {
            *router = Router::new(router.config().clone());
            *authenticator = Authenticator::new(authenticator.config().clone(), MULTICAST_SENDERS);
        }
    }

    /// Ends a node's agent, whose masters first send priority-0 adverts.
    pub fn stop(&mut self, node: usize) {
        for member in 0..VIRTUAL_ROUTERS.len() {
            self.handle(node, member, Input::Shutdown);
        }
        self.crash(node);
    }

    /// Replaces the agent of a node with a successor.
    pub fn upgrade(&mut self, node: usize) {
        for Member { authenticator, .. } in &mut self.nodes[node].members {
            let saved = authenticator.save();
            *authenticator = Authenticator::new(authenticator.config().clone(), MULTICAST_SENDERS);
            authenticator.resume(&saved);
        }
    }

    /// Cuts or connects the link of a node.
    pub fn connect(&mut self, node: usize, is_connected: bool) {
        let impeded = Input::Impede(Fault::InterfaceDown);
        let input = if is_connected { Input::Clear(Impediment::Link) } else { impeded };
        for member in 0..VIRTUAL_ROUTERS.len() {
            self.handle(node, member, input);
        }
    }

    /// Passes an input to all virtual routers of a running node.
    pub fn input(&mut self, node: usize, input: Input) {
        for member in 0..VIRTUAL_ROUTERS.len() {
            self.handle(node, member, input);
        }
    }

    /// Sets the clock of a node to true time plus `seconds`.
    pub fn set_clock(&mut self, node: usize, seconds: i64) {
        self.nodes[node].clock.set(self.now, seconds * SECOND.cast_signed());
    }

    /// Changes the drift of a node's clock, in nanoseconds per second.
    pub fn set_drift(&mut self, node: usize, drift: i64) {
        self.nodes[node].clock.set_drift(self.now, drift);
    }

    /// Returns the clock of a node minus true time, in nanoseconds.
    pub fn offset(&self, node: usize) -> i64 {
        self.nodes[node].clock.offset(self.now)
    }

    /// Returns the time since the start, in nanoseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Returns the running nodes that are masters of the virtual router with number 0.
    pub fn masters(&self) -> Vec<usize> {
        let is_master = |node: &usize| self.nodes[*node].members[0].router.state() == State::Master;
        (0..self.nodes.len()).filter(is_master).collect()
    }

    /// Returns the transitions since the last call.
    pub fn transitions(&mut self) -> Vec<Transition> {
        let more = self.transitions[self.returned..].to_vec();
        self.returned = self.transitions.len();
        more
    }

    /// Returns the refusals of a node since the last call.
    pub fn refusals(&mut self, node: usize) -> HashMap<Refusal, u64> {
        std::mem::take(&mut self.nodes[node].refusals)
    }

    /// Returns all adverts that the nodes have sent so far, each with the time. Packets of the
    /// attacker are not included.
    pub fn captured(&self) -> &[(u64, Packet)] {
        &self.captured
    }

    /// Runs the world for `nanos` nanoseconds.
    pub fn run(&mut self, nanos: u64) {
        let end = self.now + nanos;
        while let Some(Reverse((at, ..))) = self.queue.peek()
            && *at <= end
        {
            let Some(Reverse((at, _, due))) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            match due {
                Due::Arrival(node, packet) => self.arrive(node, &packet),
                Due::Timer(node, member) => {
                    let timeout = self.nodes[node].members[member].router.next_timeout();
                    if timeout.is_some_and(|at| at <= self.local()) {
                        self.handle(node, member, Input::Timeout);
                    }
                }
            }
        }
        self.now = end;
    }

    /// Sends the packet of an attacker to all nodes.
    pub fn inject(&mut self, packet: &Packet) {
        for node in 0..self.nodes.len() {
            self.plan(self.now + DELAY, Due::Arrival(node, packet.clone()));
        }
    }

    fn plan(&mut self, at: u64, due: Due) {
        self.planned += 1;
        self.queue.push(Reverse((at, self.planned, due)));
    }

    /// Returns the `CLOCK_MONOTONIC` of all nodes.
    fn local(&self) -> Timestamp {
        Timestamp::from_nanos(BOOTED + self.now)
    }

    /// Verifies a packet, like the engine, and passes it to its virtual router.
    fn arrive(&mut self, node: usize, packet: &Packet) {
        let (now, arrival) = (self.now, self.local());
        let Node { clock, is_up, members, refusals } = &mut self.nodes[node];
        let is_receiver = |member: &Member| {
            let config = member.router.config();
            config.vrid == packet.vrid() && member.address.is_ipv4() == packet.source.is_ipv4()
        };
        let Some(member) = members.iter().position(is_receiver) else { return };
        if !*is_up || matches!(members[member].router.state(), State::Initialize | State::Fault(_)) {
            return;
        }
        let Member { router, authenticator, .. } = &mut members[member];
        let (header, source) = (packet.pseudo_header(), packet.source);
        let (wall, trailer) = (clock.reading(now), packet.trailer.as_ref());
        if let Err(refusal) = authenticator.verify(wall, arrival, source, &header, &packet.message, trailer) {
            *refusals.entry(refusal).or_default() += 1;
            return;
        }
        let vips = router.config().virtual_addresses.iter();
        let advert = Received {
            arrival,
            source,
            priority: packet.priority(),
            interval: packet.interval(),
            addresses: address_digest(vips.map(|vip| vip.address)),
            checksum: ChecksumForm::Rfc5798,
        };
        self.handle(node, member, Input::Advert(advert));
    }

    fn handle(&mut self, node: usize, member: usize, input: Input) {
        if !self.nodes[node].is_up {
            return;
        }
        let (at, local) = (self.now, self.local());
        let router = &mut self.nodes[node].members[member].router;
        router.handle(local, input);
        while let Some(event) = router.poll_event() {
            if let Event::StateChanged { to, reason, .. } = event {
                self.transitions.push(Transition { at, node, router: member, to, reason });
            }
        }
        let actions: Vec<_> = std::iter::from_fn(|| router.poll_action()).collect();
        for action in actions {
            if let Action::SendAdvert { priority } = action {
                self.nodes[node].members[member].router.advert_sent(local);
                self.send(node, member, priority);
            }
        }
        if let Some(at) = self.nodes[node].members[member].router.next_timeout() {
            let at = at.as_nanos().saturating_sub(BOOTED).max(self.now);
            self.plan(at, Due::Timer(node, member));
        }
    }

    fn send(&mut self, node: usize, member: usize, priority: u8) {
        let Node { clock, members, .. } = &mut self.nodes[node];
        let Member { router, authenticator, address } = &mut members[member];
        let mut packet = Packet::new(router.config(), *address, priority);
        packet.trailer =
            authenticator.sign(clock.reading(self.now), &packet.pseudo_header(), &packet.message);
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            self.plan(self.now + DELAY, Due::Arrival(to, packet.clone()));
        }
        self.captured.push((self.now, packet));
    }
}

fn router_config(vrid: u8, family: Family, node: usize) -> RouterConfig {
    let interval = Interval::from_nanos(Version::V3, INTERVAL).expect("a valid interval");
    let vips = vec![VirtualAddress { address: address(family, 1, vrid), prefix: 32 }];
    RouterConfig { priority: 200 - 50 * small(node), ..RouterConfig::new(vrid, family, interval, vips) }
}

fn address(family: Family, kind: u8, last: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, kind, 0, last).into(),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, kind.into(), last.into()).into(),
    }
}

fn small(number: usize) -> u8 {
    u8::try_from(number).expect("at most 4 nodes")
}
