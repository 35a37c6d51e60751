//! Notifications about the links in use and their addresses, the neighbor entries of unicast peers,
//! and vipd's routes and policy rules that were removed or replaced.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::net::sockopt;
use socket2::SockRef;

use super::filter;
use super::message::Notice;
use super::receive::drain;
use super::route_state::Destination;
use super::wire::{Message, ifindex, link_name, messages, neighbor_address};

/// RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR (`include/uapi/linux/rtnetlink.h`).
const GROUPS: [u32; 3] = [1, 5, 9];
/// RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_ROUTE and RTNLGRP_IPV6_RULE.
const ROUTING: [u32; 4] = [7, 8, 11, 19];
/// RTNLGRP_NEIGH.
const NEIGHBORS: u32 = 3;
/// Size of the receive buffer in bytes, enough for several thousand notifications.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Maximum size of a notification in bytes. Link notifications are the largest: about 2 KiB, and
/// more if the device has many alternative names.
const DATAGRAM: usize = 64 << 10;

/// A socket that receives notifications about all changes to the links in use and their addresses.
/// Until [`Requests::read`](super::Requests::read) is called, all links count as in use.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
    watched: Option<Watched>,
    peers: Vec<IpAddr>,
    /// The destinations of vipd's routes; `None` if changes to routes and policy rules are not
    /// reported.
    routes: Option<Vec<Destination>>,
    traffic: MonitorTraffic,
}

/// The links in use.
#[derive(Debug)]
struct Watched {
    names: Vec<String>,
    /// Sorted by index.
    links: Vec<WatchedLink>,
}

/// A link in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchedLink {
    pub(super) index: u32,
    /// Index of the link's name in `Watched::names`; `None` while the link has another name.
    pub(super) name: Option<usize>,
}

/// Result of [`Monitor::drain`] and of [`RouteMonitor::drain`](super::RouteMonitor::drain). The
/// latter sets `appeared` if the routes may have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Whether notifications were lost (`ENOBUFS`). The caller must resync: read everything again.
    pub overrun: bool,
    /// Whether a watched name now belongs to a different interface, new or renamed. The caller must
    /// read the interface's addresses, because earlier notifications about these addresses were not
    /// received.
    pub appeared: bool,
    /// Whether the budget was used up, in which case more notifications may be pending.
    pub more: bool,
}

/// Counters of received notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MonitorTraffic {
    /// Notifications that passed the socket filter.
    pub received: u64,
    /// Notifications that were decoded because they may concern the links in use, unicast peers, or
    /// vipd's routes and rules.
    pub decoded: u64,
}

impl Monitor {
    /// Opens the socket and subscribes to notifications. Call this before the first dump, so that
    /// no change is missed.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` if the kernel lacks rtnetlink, `EMFILE` or `ENFILE` if no file descriptor
    /// is available.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        set_receive_buffer(&socket)?;
        socket.set_non_blocking(true)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        let buffer = Vec::with_capacity(DATAGRAM);
        let traffic = MonitorTraffic::default();
        Ok(Self { socket, buffer, watched: None, peers: Vec::new(), routes: None, traffic })
    }

    /// Limits notifications to these links, sorted by index, and to links with these names.
    ///
    /// # Errors
    /// `ENOMEM` if the kernel cannot install the socket filter. The previous filter remains.
    pub(super) fn watch(&mut self, names: &[&str], links: &[WatchedLink]) -> io::Result<()> {
        self.watched = Some(Watched {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            links: links.to_vec(),
        });
        self.attach_filter()
    }

    /// Queues notifications about links with these names, in addition to those about the watched
    /// links, until [`watch`](Self::watch) is called. Before the first call of `watch`, all
    /// notifications are queued.
    ///
    /// # Errors
    /// See [`watch`](Self::watch).
    pub(super) fn expect(&self, names: &[&str]) -> io::Result<()> {
        let Some(Watched { links, .. }) = self.watched.as_ref().filter(|watched| watched.names != names)
        else {
            return Ok(());
        };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.attach(&names, links)
    }

    /// Enables [`Notice::Neighbor`] for these unicast peers.
    ///
    /// # Errors
    /// `ENOMEM` if the kernel cannot install the socket filter or join the group. The next call
    /// tries again.
    pub fn watch_peers(&mut self, peers: &[IpAddr]) -> io::Result<()> {
        if self.peers == peers {
            return Ok(());
        }
        let former = std::mem::replace(&mut self.peers, peers.to_vec());
        let result = self.attach_filter().and_then(|()| {
            if peers.is_empty() {
                self.socket.drop_membership(NEIGHBORS)
            } else {
                self.socket.add_membership(NEIGHBORS)
            }
        });
        if result.is_err() {
            self.peers = former;
        }
        result
    }

    /// Enables [`Notice::RoutingEntryGone`], and [`Notice::RouteReplaced`] for routes with these
    /// destinations. Disables both if `routes` is `None`. The socket filter drops most
    /// notifications about other routes, so that changes to other routes rarely wake the reader.
    /// `RouteReplaced` may also report routes to other destinations, because the filter compares
    /// only the first 32 bits of a destination and, if there are many destinations, passes every
    /// replacement by another tool.
    /// Call [`Requests::read`](super::Requests::read) first, which sets the links for the filter.
    ///
    /// # Errors
    /// `ENOMEM` if the kernel cannot install the socket filter or join the groups. The next call
    /// tries again.
    pub fn watch_routing(&mut self, routes: Option<&[Destination]>) -> io::Result<()> {
        if self.routes.as_deref() == routes {
            return Ok(());
        }
        let former = std::mem::replace(&mut self.routes, routes.map(<[_]>::to_vec));
        let mut groups = ROUTING.into_iter();
        let result = if routes.is_some() {
            // The filter is attached first, so that no unrelated notification is queued. Joining a
            // group again has no effect.
            self.attach_filter().and_then(|()| groups.try_for_each(|group| self.socket.add_membership(group)))
        } else {
            groups
                .try_for_each(|group| self.socket.drop_membership(group))
                .and_then(|()| self.attach_filter())
        };
        if result.is_err() {
            self.routes = former;
        }
        result
    }

    /// Returns the counts of notifications since the socket was opened.
    pub fn traffic(&self) -> MonitorTraffic {
        self.traffic
    }

    /// Passes pending notifications to `notice`, reading at most `budget` datagrams.
    ///
    /// # Errors
    /// Any socket error except `ENOBUFS`, which sets [`Drained::overrun`]. After an error, the
    /// caller must resync, because the flags in [`Drained`] are lost.
    pub fn drain(&mut self, budget: usize, mut notice: impl FnMut(Notice)) -> io::Result<Drained> {
        let Self { socket, buffer, watched, peers, traffic, .. } = self;
        let mut appeared = false;
        let batch = drain(socket, buffer, budget, |datagram| {
            for message in messages(datagram) {
                traffic.received += 1;
                let relevance = relevance(watched, peers, &message);
                if relevance == Relevance::Irrelevant {
                    continue;
                }
                traffic.decoded += 1;
                if let Some(found) = Notice::decode(&message) {
                    notice(found);
                }
                appeared |= relevance == Relevance::Appeared;
            }
        })?;
        self.refilter(Drained { overrun: batch.overrun, appeared, more: batch.more })
    }

    /// Updates the filter if an interface has appeared, because the previous filter drops
    /// notifications about the interface's addresses.
    fn refilter(&self, drained: Drained) -> io::Result<Drained> {
        if drained.appeared {
            self.attach_filter()?;
        }
        Ok(drained)
    }

    fn attach_filter(&self) -> io::Result<()> {
        self.watched.as_ref().map_or(Ok(()), |Watched { names, links }| self.attach(names, links))
    }

    fn attach(&self, names: &[String], links: &[WatchedLink]) -> io::Result<()> {
        let indices: Vec<u32> = links.iter().map(|link| link.index).collect();
        let program = filter::program(names, &indices, &self.peers, self.routes.as_deref());
        let program: Vec<_> = program.into_iter().map(Into::into).collect();
        SockRef::from(self).attach_filter(&program)
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `self` owns the socket, so the descriptor stays open for the borrow.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

/// Sets the size of the receive buffer. Exceeding `net.core.rmem_max` requires CAP_NET_ADMIN in the
/// initial user namespace; without that capability, `rmem_max` is the limit.
fn set_receive_buffer(socket: &Socket) -> io::Result<()> {
    // SAFETY: the socket outlives the borrowed descriptor.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    sockopt::set_socket_recv_buffer_size_force(fd, RECEIVE_BUFFER)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(fd, RECEIVE_BUFFER))?;
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relevance {
    Irrelevant,
    Relevant,
    /// A watched name now belongs to a different interface.
    Appeared,
}

/// Returns whether a message must be decoded, and reads as few of its fields as possible to decide.
/// Also updates the indices of the watched links.
fn relevance(watched: &mut Option<Watched>, peers: &[IpAddr], message: &Message<'_>) -> Relevance {
    let kind = message.message_type();
    if matches!(kind, libc::RTM_NEWROUTE | libc::RTM_DELROUTE | libc::RTM_DELRULE) {
        // Messages about routes and rules are rare, because the socket filter passes only messages
        // that may concern vipd's own routes and rules.
        return Relevance::Relevant;
    }
    let Some(index) = ifindex(message) else { return Relevance::Irrelevant };
    if matches!(kind, libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH) {
        let is_peer = neighbor_address(message).is_some_and(|address| peers.contains(&address));
        return if is_peer { Relevance::Relevant } else { Relevance::Irrelevant };
    }
    let is_link = matches!(kind, libc::RTM_NEWLINK | libc::RTM_DELLINK);
    if is_link && message.payload().first().is_none_or(|family| i32::from(*family) != libc::AF_UNSPEC) {
        return Relevance::Irrelevant;
    }
    let Some(Watched { names, links }) = watched else { return Relevance::Relevant };
    let place = links.binary_search_by_key(&index, |link| link.index);
    match (kind, place) {
        (libc::RTM_NEWLINK, place) => {
            let name = link_name(message).and_then(|name| names.iter().position(|known| known == name));
            match (name, place) {
                (Some(_), Err(place)) => {
                    links.insert(place, WatchedLink { index, name });
                    Relevance::Appeared
                }
                // A watched link that is renamed stays watched, so that its deletion and further
                // renames are reported.
                (_, Ok(place)) => {
                    let former = std::mem::replace(&mut links[place].name, name);
                    if name.is_some() && name != former { Relevance::Appeared } else { Relevance::Relevant }
                }
                (None, Err(_)) => Relevance::Irrelevant,
            }
        }
        (libc::RTM_DELLINK, Ok(place)) => {
            links.remove(place);
            Relevance::Relevant
        }
        (_, Ok(_)) => Relevance::Relevant,
        (_, Err(_)) => Relevance::Irrelevant,
    }
}
