//! What the two threads tell each other.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::oneshot;
use vipd_common::Timestamp;

use super::port::Port;
use crate::netlink::Address;
use crate::vrrp::{Event, Peer, Snapshot};
use crate::xdp::Mode;

/// From the control thread to the engine.
pub(crate) enum Command {
    /// What came of a [`Request::Open`].
    Opened {
        /// Which interface of the configuration.
        interface: usize,
        /// Its index when it was asked for.
        ifindex: u32,
        /// The port, or why there is none, as a sentence.
        port: Result<Port, String>,
    },
    /// Asks what everything is like now.
    Snapshot(oneshot::Sender<EngineSnapshot>),
    /// Leave all virtual routers and end.
    Stop,
}

/// From the engine to the control thread: work that may take long, or wait.
pub(crate) enum Request {
    /// Attach to an interface that has appeared.
    Open {
        /// Which interface of the configuration.
        interface: usize,
        /// Its index.
        ifindex: u32,
    },
    /// Set a macvlan down, unless it is wanted up again: the kernel waits for all its readers (`synchronize_net`), some
    /// 10 ms.
    Down {
        /// Its index.
        ifindex: u32,
        /// Whether it is wanted up.
        wanted_up: Arc<AtomicBool>,
    },
    /// Forget an interface that is gone.
    Close {
        /// Which interface of the configuration.
        interface: usize,
        /// The index it had.
        ifindex: u32,
        /// What it took to speak on it.
        port: Option<Port>,
    },
}

/// From the engine to the log; dropped and counted when the log cannot follow.
pub(crate) enum Report {
    /// Something happened to a virtual router.
    Router {
        /// Which instance.
        instance: usize,
        /// What.
        event: Event,
    },
    /// An address that an earlier run had left behind was taken away.
    LeftoverRemoved(Address),
    /// Netlink refused to change an address.
    AddressRefused {
        /// Which.
        address: Address,
        /// Why.
        error: io::Error,
    },
    /// The kernel refused a frame.
    SendRefused {
        /// Which instance.
        instance: usize,
        /// Why.
        error: io::Error,
    },
    /// Netlink notifications were lost, and everything was read anew.
    NetlinkOverrun,
    /// Reading netlink failed.
    NetlinkFailed(io::Error),
    /// The engine runs without real-time scheduling, or without locked memory.
    NotRealtime {
        /// What was asked for.
        what: &'static str,
        /// Why it was refused.
        error: io::Error,
    },
}

/// What the engine and its virtual routers are like at a moment.
pub(crate) struct EngineSnapshot {
    /// The moment.
    pub(crate) now: Timestamp,
    /// One entry an instance.
    pub(crate) instances: Vec<InstanceSnapshot>,
    /// Wake-ups since the start.
    pub(crate) wakeups: u64,
    /// Lost netlink notifications that were noticed.
    pub(crate) overruns: u64,
    /// Reports that the log could not take.
    pub(crate) reports_dropped: u64,
}

/// What an instance is like.
pub(crate) struct InstanceSnapshot {
    /// The virtual router.
    pub(crate) router: Snapshot,
    /// What was sent for it.
    pub(crate) sent: Sent,
    /// Source of its adverts.
    pub(crate) primary: Option<IpAddr>,
    /// Where its interface's XDP program runs.
    pub(crate) mode: Option<Mode>,
    /// Why its interface has no port.
    pub(crate) failure: Option<String>,
    /// Its own MAC, if it has one.
    pub(crate) virtual_mac: Option<[u8; 6]>,
    /// Who else speaks for this virtual router.
    pub(crate) peers: Vec<Peer>,
}

/// What was sent for an instance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Adverts, those of priority 0 among them.
    pub(crate) adverts: u64,
    /// Adverts of priority 0.
    pub(crate) releases: u64,
    /// Gratuitous ARP packets.
    pub(crate) arps: u64,
    /// Unsolicited Neighbor Advertisements.
    pub(crate) neighbor_advertisements: u64,
    /// Frames that the kernel refused.
    pub(crate) send_errors: u64,
    /// Address changes that netlink refused.
    pub(crate) address_errors: u64,
}
