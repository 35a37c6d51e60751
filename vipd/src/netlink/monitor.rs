//! Notifications of the links in use, their addresses, and unicast peers' neighbor entries.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use socket2::SockRef;

use super::filter;
use super::message::Notice;
use super::wire::{Message, ifindex, link_name, messages, neighbor_address};

/// RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR (`include/uapi/linux/rtnetlink.h`).
const GROUPS: [u32; 3] = [1, 5, 9];
/// RTNLGRP_NEIGH.
const NEIGHBORS: u32 = 3;
/// Receive buffer to ask for, bytes: several thousand notifications. The kernel caps it at
/// `net.core.rmem_max`.
const RECEIVE_BUFFER: i32 = 4 << 20;
/// Room for a notification, bytes: that of a link is the largest, some 2 KiB, and more with many
/// virtual functions.
const DATAGRAM: usize = 64 << 10;

/// A socket that receives every change of the links in use and their addresses.
///
/// Until [`watch`](Self::watch) is called, these are all links.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
    watched: Option<Watched>,
    peers: Vec<IpAddr>,
    traffic: MonitorTraffic,
}

/// The links in use.
#[derive(Debug)]
struct Watched {
    names: Vec<String>,
    /// Sorted.
    indices: Vec<u32>,
}

/// What came of a call of [`Monitor::drain`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Notifications were lost (`ENOBUFS`): read everything again.
    pub overrun: bool,
    /// A watched name has a new interface. Its addresses are to be read: notifications from before
    /// are lost.
    pub appeared: bool,
    /// The budget was used up, and more may be pending.
    pub more: bool,
}

/// What the monitor has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MonitorTraffic {
    /// Notifications that the socket filter has passed.
    pub received: u64,
    /// Notifications that were decoded: those of the links in use.
    pub decoded: u64,
}

impl Monitor {
    /// Subscribes. Do so before the first dump, so that no change is missed in between.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` without rtnetlink, `EMFILE` or `ENFILE` without file descriptors.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
        socket.set_non_blocking(true)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        let buffer = Vec::with_capacity(DATAGRAM);
        Ok(Self { socket, buffer, watched: None, peers: Vec::new(), traffic: MonitorTraffic::default() })
    }

    /// Limits notifications to the links with these names, or with these indices (sorted).
    ///
    /// # Errors
    /// `ENOMEM` when the kernel cannot install the socket filter; the former one stays.
    pub fn watch(&mut self, names: &[&str], indices: &[u32]) -> io::Result<()> {
        self.watched = Some(Watched {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            indices: indices.to_vec(),
        });
        self.attach_filter()
    }

    /// Has [`Notice::Neighbor`] reported for these unicast peers.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub fn watch_peers(&mut self, peers: &[IpAddr]) -> io::Result<()> {
        if self.peers == peers {
            return Ok(());
        }
        self.peers = peers.to_vec();
        self.attach_filter()?;
        if self.peers.is_empty() {
            self.socket.drop_membership(NEIGHBORS)
        } else {
            self.socket.add_membership(NEIGHBORS)
        }
    }

    /// What was received since the socket was opened.
    pub fn traffic(&self) -> MonitorTraffic {
        self.traffic
    }

    /// Reports pending notifications, up to `budget` of them.
    ///
    /// # Errors
    /// The socket's, but not `ENOBUFS`: that is [`Drained::overrun`].
    pub fn drain(&mut self, budget: usize, mut notice: impl FnMut(Notice)) -> io::Result<Drained> {
        let mut drained = Drained::default();
        for _ in 0..budget {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {
                    for message in messages(&self.buffer) {
                        self.traffic.received += 1;
                        let relevance = relevance(&mut self.watched, &self.peers, &message);
                        if relevance == Relevance::Irrelevant {
                            continue;
                        }
                        self.traffic.decoded += 1;
                        if let Some(found) = Notice::decode(&message) {
                            notice(found);
                        }
                        drained.appeared |= relevance == Relevance::Appeared;
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return self.refilter(drained),
                    Some(libc::ENOBUFS) => drained.overrun = true,
                    Some(libc::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
        drained.more = true;
        self.refilter(drained)
    }

    /// After a new interface: the filter drops its addresses' notifications so far.
    fn refilter(&self, drained: Drained) -> io::Result<Drained> {
        if drained.appeared {
            self.attach_filter()?;
        }
        Ok(drained)
    }

    fn attach_filter(&self) -> io::Result<()> {
        let Some(Watched { names, indices }) = &self.watched else { return Ok(()) };
        let program = filter::program(names, indices, &self.peers);
        let program: Vec<_> = program.into_iter().map(Into::into).collect();
        SockRef::from(self).attach_filter(&program)
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket lives as long as `self`, and so does its descriptor.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

/// How a notification concerns the links in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relevance {
    Irrelevant,
    Relevant,
    /// A new interface with a watched name.
    Appeared,
}

/// Reads just enough of a message to know whether to decode it, and keeps the indices up to date.
fn relevance(watched: &mut Option<Watched>, peers: &[IpAddr], message: &Message<'_>) -> Relevance {
    let Some(index) = ifindex(message) else { return Relevance::Irrelevant };
    let kind = message.message_type();
    if matches!(kind, libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH) {
        let is_peer = neighbor_address(message).is_some_and(|address| peers.contains(&address));
        return if is_peer { Relevance::Relevant } else { Relevance::Irrelevant };
    }
    let is_link = matches!(kind, libc::RTM_NEWLINK | libc::RTM_DELLINK);
    if is_link && message.payload().first().is_none_or(|family| i32::from(*family) != libc::AF_UNSPEC) {
        return Relevance::Irrelevant;
    }
    let Some(Watched { names, indices }) = watched else { return Relevance::Relevant };
    let place = indices.binary_search(&index);
    match (kind, place) {
        (libc::RTM_NEWLINK, place) => {
            let is_named = link_name(message).is_some_and(|name| names.iter().any(|known| known == name));
            match (is_named, place) {
                (true, Err(place)) => {
                    indices.insert(place, index);
                    Relevance::Appeared
                }
                // Renamed away, it stays watched, to be reported when it is renamed back or
                // deleted.
                (_, Ok(_)) => Relevance::Relevant,
                (false, Err(_)) => Relevance::Irrelevant,
            }
        }
        (libc::RTM_DELLINK, Ok(place)) => {
            indices.remove(place);
            Relevance::Relevant
        }
        (_, Ok(_)) => Relevance::Relevant,
        (_, Err(_)) => Relevance::Irrelevant,
    }
}
