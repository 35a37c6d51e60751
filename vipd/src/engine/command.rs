//! The messages between the engine and the service.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, oneshot};
use vipd_common::Timestamp;

use super::id::{LinkId, RouterId};
use super::link_io::LinkIo;
use super::link_spec::{LinkSpec, XdpEntry};
use super::topology::NoRoom;
use crate::config;
use crate::netlink::Address;
use crate::service::bus::Publisher;
use crate::vrrp::{Event, Peer, Snapshot, VirtualAddress};
use crate::xdp::{Mode, Row};

/// Messages from the service to the engine.
#[expect(
    clippy::large_enum_variant,
    reason = "few are sent, and a box would be freed on the engine's thread"
)]
pub(crate) enum Command {
    /// The result of a [`Request::Open`].
    Opened {
        link: LinkId,
        /// Index of the interface when it was requested.
        ifindex: u32,
        /// The opened link, or a human-readable error.
        io: Result<LinkIo, String>,
    },
    /// The XDP program no longer uses the row of a removed router.
    RowReleased(Row),
    /// Requests a snapshot of the current state.
    Snapshot(oneshot::Sender<Arc<EngineSnapshot>>),
    /// Shut down all virtual routers and end.
    Stop,
}

/// Messages from the engine to the service: work that may block. Never lost.
pub(crate) enum Request {
    /// Open a link whose interface exists, or update an open one.
    Open(LinkSpec),
    /// As `Open`, for a link whose XDP program was detached externally; handled before requests for
    /// other links.
    Reattach(LinkSpec),
    /// Rejoin the groups of an open link that the kernel may have left.
    RenewGroups(LinkSpec),
    /// Close a link whose interface no longer exists.
    Close {
        link: LinkId,
        /// The index that the interface had.
        ifindex: u32,
        /// Sockets of the link.
        io: Option<LinkIo>,
    },
    /// Drop the sockets that newer ones have replaced.
    Drop(LinkIo),
    /// Remove a router's entries from the XDP program, clear its row and answer with
    /// [`Command::RowReleased`].
    Forget {
        /// The interface that the link's entries are for, if there is one.
        ifindex: Option<u32>,
        entry: XdpEntry,
        row: Row,
    },
    /// Set a macvlan down, unless it is wanted up again. Takes about 10 ms, because the kernel
    /// waits for all readers (`synchronize_net`).
    Down { ifindex: u32, wanted_up: Arc<AtomicBool> },
}

/// Messages from the engine to the log. Dropped and counted when the log is full.
pub(crate) enum Report {
    /// An event of a virtual router.
    Router { router: RouterId, event: Event },
    /// A stale VIP of a former run was removed.
    StaleVipRemoved(Address),
    /// A VIP was removed because its router is not master.
    VipRemoved { router: RouterId, address: Address },
    /// The XDP program of a link was detached externally; the service attaches it again.
    XdpDetached { interface: String },
    /// There is no room for another virtual router.
    NoRoom(NoRoom),
    /// The kernel refused to add or to remove an address.
    AddressRefused { address: Address, is_added: bool, error: io::Error },
    /// The kernel refused to set a macvlan up.
    MacvlanRefused { router: RouterId, error: io::Error },
    /// The XDP program's map of VIPs with `accept = false` refused some: they are not added.
    NotClosed { router: RouterId, error: io::Error },
    /// The kernel refused a frame.
    SendRefused { router: RouterId, error: io::Error },
    /// Netlink notifications were lost; links and addresses are read again.
    NetlinkOverrun,
    /// A netlink request failed.
    NetlinkFailed(io::Error),
    /// The engine runs without real-time scheduling or without locked memory.
    NotRealtime { what: &'static str, error: io::Error },
}

/// The engine's ends of the log channel and of the bus.
pub(crate) struct Reports {
    log: mpsc::Sender<Report>,
    transitions: Publisher,
    /// Reports that the channel had no room for.
    pub(crate) dropped: u64,
}

impl Reports {
    pub(crate) fn new(log: mpsc::Sender<Report>, transitions: Publisher) -> Self {
        Self { log, transitions, dropped: 0 }
    }

    /// Sends an event. A state change is also published on the bus, after its report, so that a
    /// reader of the bus can rely on the report having been sent or dropped.
    pub(crate) fn event(&mut self, now: Timestamp, router: RouterId, event: Event) {
        self.send(Report::Router { router, event });
        if let Event::StateChanged { to, reason, .. } = event {
            self.transitions.publish(router, to, reason, now);
        }
    }

    /// Sends a report, or counts it as dropped. Never blocks.
    pub(crate) fn send(&mut self, report: Report) {
        self.dropped += u64::from(self.log.try_send(report).is_err());
    }
}

/// The engine and its virtual routers at one moment.
pub(crate) struct EngineSnapshot {
    pub(crate) now: Timestamp,
    pub(crate) routers: Vec<RouterSnapshot>,
    /// Wake-ups since the start.
    pub(crate) wakeups: u64,
    /// Times that netlink notifications were lost.
    pub(crate) overruns: u64,
    /// Reports that the log channel had no room for.
    pub(crate) reports_dropped: u64,
}

/// One virtual router at that moment.
pub(crate) struct RouterSnapshot {
    pub(crate) id: RouterId,
    pub(crate) settings: Arc<config::Instance>,
    pub(crate) row: Row,
    pub(crate) router: Snapshot,
    pub(crate) sent: Sent,
    /// Source of its adverts.
    pub(crate) primary: Option<IpAddr>,
    /// Where the XDP program of the router's link runs.
    pub(crate) mode: Option<Mode>,
    /// Why the router's link could not be opened.
    pub(crate) failure: Option<String>,
    /// Why the router's macvlan could not be created.
    pub(crate) macvlan_failure: Option<String>,
    /// Virtual MAC of the router, if it uses one.
    pub(crate) virtual_mac: Option<[u8; 6]>,
    /// The configured VIPs that are missing while it is master.
    pub(crate) missing: Vec<VirtualAddress>,
    /// The VIP that is the primary address of an interface, which prevents the router from
    /// starting.
    pub(crate) conflict: Option<IpAddr>,
    /// The other routers with its VRID.
    pub(crate) peers: Vec<Peer>,
}

/// Frames sent for a virtual router.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Adverts, priority 0 included.
    pub(crate) adverts: u64,
    pub(crate) priority_zero: u64,
    pub(crate) gratuitous_arps: u64,
    pub(crate) neighbor_advertisements: u64,
    /// Frames that the kernel refused.
    pub(crate) send_errors: u64,
    /// Address changes that netlink refused.
    pub(crate) address_errors: u64,
}
