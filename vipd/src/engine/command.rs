//! The messages between the engine and the service.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use vipd_common::Timestamp;

use super::authentication::Refused;
use super::effects::Missing;
use super::id::{LinkId, RouterId};
use super::link_io::{Holdings, LinkIo};
use super::link_spec::{LinkSpec, XdpEntry};
use super::measure::Delays;
use super::succession::{HandOver, Recipient};
use super::topology::NoRoom;
use crate::config;
use crate::netlink::{Address, RoutingEntry};
use crate::service::bus::Publisher;
use crate::vrrp::hmac::Sender;
use crate::vrrp::{Event, Fault, Input, Peer, Reason, Snapshot, State, VirtualAddress};
use crate::xdp::{FenceLevel, Mode, Position, Row};

/// Messages from the service to the engine. Never lost.
pub(crate) enum Command {
    /// A link was opened, or could not be opened.
    Opened {
        link: LinkId,
        /// Index of the interface at the time of the request.
        ifindex: u32,
        /// The link I/O, or a human-readable error.
        io: Result<LinkIo, String>,
    },
    /// The BPF program no longer uses the row of a removed router.
    RowReleased(Row),
    /// Passes an input to a router. Ignored if the router has been removed.
    Input { router: RouterId, input: Input },
    /// Removes, changes and adds virtual routers, and replies with the added routers.
    Reload { changes: Changes, reply: oneshot::Sender<Vec<Added>> },
    /// Requests a reply, which shows that the engine is not hung.
    Ping(oneshot::Sender<()>),
    /// Requests a snapshot of the current state.
    Snapshot(oneshot::Sender<Arc<EngineSnapshot>>),
    /// Requests that the engine pass its state to a successor at the end of a turn.
    HandOver(HandOver),
    /// Shuts down all virtual routers and ends the engine.
    Stop,
}

/// The difference between two configurations.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Routers to remove. Masters send a priority-0 advert and remove their addresses.
    pub(crate) removed: Vec<RouterId>,
    /// Routers that keep running with new settings.
    pub(crate) changed: Vec<Change>,
    /// Routers to add, after the removals and changes.
    pub(crate) added: Vec<Addition>,
    /// All sync groups, including unchanged groups. The groups take effect after the routers have
    /// been added.
    pub(crate) groups: Vec<Arc<config::operate::Group>>,
}

/// New settings of a virtual router, which take effect without a transition.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) router: RouterId,
    pub(crate) settings: Arc<config::Instance>,
    /// Effective priority.
    pub(crate) priority: u8,
}

/// A virtual router to add while others run.
#[derive(Clone, Debug)]
pub(crate) struct Addition {
    pub(crate) settings: Arc<config::Instance>,
    /// Initial faults, which keep the router from starting.
    pub(crate) faults: Vec<Fault>,
    /// Effective priority.
    pub(crate) priority: u8,
}

/// A virtual router that was added while others were running.
#[derive(Clone, Debug)]
pub(crate) struct Added {
    pub(crate) router: RouterId,
    pub(crate) row: Row,
    pub(crate) settings: Arc<config::Instance>,
}

/// Work that may block, for the service's worker thread. Requested by the engine, or by the service
/// during an upgrade or a restart. Never lost.
pub(crate) enum Request {
    /// Opens a link whose interface exists, or updates a link that is already open.
    Open(LinkSpec),
    /// Like `Open`, but for a link whose BPF program must be attached again. Handled before
    /// requests for other links.
    Reattach(LinkSpec),
    /// Restores an open link's multicast memberships, which the kernel may have dropped.
    RenewGroups(LinkSpec),
    /// Closes a link that no router uses any longer, or whose interface was deleted or renamed.
    Close {
        link: LinkId,
        /// The last index of the interface.
        ifindex: u32,
        /// The link's I/O resources; `None` if the link is not open.
        io: Option<LinkIo>,
    },
    /// Closes sockets that are no longer needed.
    Drop(LinkIo),
    /// Removes a router's entries from the BPF program's maps, deletes its macvlan, and clears its
    /// row. The service responds with [`Command::RowReleased`].
    Forget {
        /// Index of the router's VRRP interface, if it exists.
        ifindex: Option<u32>,
        entry: XdpEntry,
        row: Row,
    },
    /// Requests the descriptors that a successor needs. Until [`EndSharing`](Self::EndSharing), the
    /// worker neither opens nor closes links, so that the successor's descriptors remain complete.
    Share(Recipient, oneshot::Sender<io::Result<Holdings>>),
    /// An upgrade or a restart has failed; links may change again.
    EndSharing,
    /// Leaves all links to a successor, and ends the worker.
    HandOver,
    /// Takes over the macvlans, claims and pins of a predecessor that no longer uses them, and
    /// replaces the predecessor's BPF programs on all links.
    TakeOver,
    /// Brings a macvlan down, unless `wanted_up` has become true in the meantime. Takes about 10
    /// ms, because the kernel waits for an RCU grace period (`synchronize_net`).
    Down { ifindex: u32, wanted_up: Arc<AtomicBool> },
}

/// Messages from the engine to the log. Dropped and counted if the channel is full.
pub(crate) enum Report {
    /// An event of a virtual router.
    Router { router: RouterId, event: Event },
    /// A stale VIP of a previous run or of a removed router was removed.
    StaleVipRemoved(Address),
    /// A VIP that another tool had added was removed, because its router is not master, or is
    /// master and has the VIP on a macvlan instead.
    VipRemoved { router: RouterId, address: Address, is_master: bool },
    /// The BPF program of a link was detached externally or now runs after another program. The
    /// program is attached again: at once if the previous attachment `lasted`, otherwise after a
    /// pause.
    ProgramLost { interface: String, position: Position, lasted: bool },
    /// There is no room for another virtual router.
    NoRoom(NoRoom),
    /// The kernel refused to add or remove an address.
    AddressRefused { address: Address, is_added: bool, error: io::Error },
    /// The kernel refused to add a route or rule.
    RoutingRefused {
        settings: Arc<config::Instance>,
        /// Position among the routes and rules of the instance.
        position: usize,
        errno: i32,
        /// The kernel's explanation.
        explanation: Option<Box<str>>,
    },
    /// A route or rule was missing and has been added again.
    RoutingRestored { settings: Arc<config::Instance>, position: usize },
    /// The kernel refused to remove a route or rule.
    RoutingNotRemoved { entry: RoutingEntry, errno: i32 },
    /// The kernel refused to bring a macvlan up.
    MacvlanRefused { router: RouterId, error: io::Error },
    /// Not all VIPs of a router could be inserted into the BPF program's map. With
    /// `accept = false`, VIPs that are missing from the map are not added to an interface either.
    NotCovered { router: RouterId, error: io::Error },
    /// There is no room for the router's record in the guardian's memory.
    NotGuarded { router: RouterId },
    /// The kernel refused to send a frame.
    SendRefused { router: RouterId, error: io::Error },
    /// A received advert could not be verified.
    AdvertRefused { router: RouterId, refused: Refused },
    /// Netlink notifications were lost, and a resync follows.
    NetlinkOverrun,
    /// Netlink notifications, links, addresses or routes could not be read, or changes could not be
    /// made.
    NetlinkFailed(io::Error),
    /// The engine runs without `what`: real-time scheduling or locked memory.
    NotRealtime { what: &'static str, error: io::Error },
}

/// The engine's ends of the log channel and of the bus.
pub(crate) struct Reports {
    log: mpsc::Sender<Report>,
    transitions: Publisher,
    /// Number of reports dropped because the channel was full.
    pub(crate) dropped: u64,
}

impl Reports {
    pub(crate) fn new(log: mpsc::Sender<Report>, transitions: Publisher) -> Self {
        Self { log, transitions, dropped: 0 }
    }

    /// Sends an event to the log, and then, for a state change, publishes the change on the bus. A
    /// reader of the bus therefore receives the change only after the event has been sent to the
    /// log or dropped.
    pub(crate) fn event(&mut self, now: Timestamp, router: RouterId, event: Event) {
        self.send(Report::Router { router, event });
        if let Event::StateChanged { to, reason, .. } = event {
            self.transitions.publish(router, to, reason, now);
        }
    }

    /// Publishes, as a router's first state change, the state that the router had in the
    /// predecessor. The change is not reported to the log, because the predecessor has reported it.
    pub(crate) fn resume(&mut self, router: RouterId, state: State, reason: Reason, since: Timestamp) {
        self.transitions.publish(router, state, reason, since);
    }

    /// Sends a report, or counts the report as dropped if the channel is full or closed. Never
    /// blocks.
    pub(crate) fn send(&mut self, report: Report) {
        self.dropped += u64::from(self.log.try_send(report).is_err());
    }
}

/// The state of the engine and its virtual routers at a point in time. The delays and counters
/// include values from predecessors.
pub(crate) struct EngineSnapshot {
    pub(crate) now: Timestamp,
    pub(crate) routers: Vec<RouterSnapshot>,
    pub(crate) delays: Delays,
    /// Number of times the engine woke up.
    pub(crate) wakeups: u64,
    /// Number of times that netlink notifications were lost.
    pub(crate) overruns: u64,
    /// Number of reports dropped because the log channel was full.
    pub(crate) reports_dropped: u64,
}

/// The state of a virtual router in an [`EngineSnapshot`].
pub(crate) struct RouterSnapshot {
    pub(crate) id: RouterId,
    pub(crate) settings: Arc<config::Instance>,
    pub(crate) row: Row,
    pub(crate) router: Snapshot,
    /// Name of the router's sync group.
    pub(crate) group: Option<Arc<str>>,
    pub(crate) sent: Sent,
    /// Source of the router's adverts.
    pub(crate) primary: Option<IpAddr>,
    /// Mode of the BPF program on the router's link.
    pub(crate) mode: Option<Mode>,
    /// Lowest fence level of the router's interfaces; `None` if no interface of the router is open.
    pub(crate) fence: Option<FenceLevel>,
    /// Why adverts cannot be sent or received on the router's link, or why an open link could not
    /// be opened again; `None` if there is no failure, or if the failure needs no description.
    pub(crate) failure: Option<String>,
    /// Why the router's macvlan could not be created; `None` if the macvlan was created or is not
    /// needed.
    pub(crate) macvlan_failure: Option<String>,
    /// Virtual MAC of the router, if it uses one.
    pub(crate) virtual_mac: Option<[u8; 6]>,
    /// VIPs that are missing although the router is master.
    pub(crate) missing: Vec<VirtualAddress>,
    /// Routes and rules that are missing although the router is master.
    pub(crate) missing_routes: Vec<Missing>,
    /// The VIP whose removal would make an interface lose either its primary address or one of its
    /// own addresses that is secondary to the VIP; `None` unless the router is in Fault for this
    /// reason.
    pub(crate) conflict: Option<IpAddr>,
    /// Senders whose signed adverts have been verified, and former addresses of this router.
    pub(crate) senders: Vec<Sender>,
    /// Other routers that have sent valid adverts for the same virtual router.
    pub(crate) peers: Vec<Peer>,
}

/// Counters of a virtual router: frames sent, adverts verified and refused, failed changes to
/// addresses, routes and rules, and restored routes and rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Adverts, priority 0 included. An advert to several unicast peers counts once.
    pub(crate) adverts: u64,
    pub(crate) priority_zero: u64,
    pub(crate) gratuitous_arps: u64,
    pub(crate) neighbor_advertisements: u64,
    /// Frames that the kernel refused to send. An advert to several unicast peers counts at most
    /// once.
    pub(crate) send_errors: u64,
    /// Addresses that the kernel refused to add or remove, macvlans that it refused to bring up,
    /// and failures to insert VIPs into the BPF program's map.
    pub(crate) address_errors: u64,
    /// Missing routes and rules that were added again.
    pub(crate) routes_restored: u64,
    /// Failed attempts to add a route or rule.
    pub(crate) route_errors: u64,
    /// Signed adverts received and verified, priority 0 included.
    #[serde(default)]
    pub(crate) verified: u64,
    #[serde(default)]
    pub(crate) verified_priority_zero: u64,
    #[serde(default)]
    pub(crate) verified_rfc5798: u64,
    #[serde(default)]
    pub(crate) verified_rfc9568: u64,
    /// Refused adverts, by [reason](crate::vrrp::hmac::Refusal), without those that the BPF program
    /// has dropped.
    #[serde(default)]
    pub(crate) hmac_missing: u64,
    #[serde(default)]
    pub(crate) hmac_malformed: u64,
    #[serde(default)]
    pub(crate) hmac_unknown_key: u64,
    #[serde(default)]
    pub(crate) hmac_failures: u64,
    #[serde(default)]
    pub(crate) hmac_stale: u64,
    #[serde(default)]
    pub(crate) hmac_replayed: u64,
}
