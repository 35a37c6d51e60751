//! Notifications that tracked routes may have changed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use socket2::SockRef;

use super::monitor::Drained;
use super::receive::drain;
use super::route_filter::program;
use super::route_state::{Destination, Routes};
use super::wire::{Message, address, attribute, ifindex, messages};

/// RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE and RTNLGRP_IPV6_ROUTE
/// (`include/uapi/linux/rtnetlink.h`).
const GROUPS: [u32; 4] = [1, 5, 7, 11];
/// RTNLGRP_NEXTHOP (Linux 5.3).
const NEXTHOPS: u32 = 32;
/// RTM_NEWNEXTHOP and RTM_DELNEXTHOP.
const NEXTHOP_TYPES: [u16; 2] = [104, 105];
/// Maximum size of a notification in bytes.
const DATAGRAM: usize = 64 << 10;
/// Length of `struct ifaddrmsg` in bytes.
const IFADDRMSG_LEN: usize = 8;

/// A socket that becomes readable when tracked routes may have changed.
///
/// The kernel does not report IPv4 routes that it removes along with a link, an address or a
/// nexthop object (`fib_table_flush` in `net/ipv4/fib_trie.c`). The socket therefore also receives
/// notifications about links, addresses and nexthop objects.
#[derive(Debug)]
pub struct RouteMonitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl RouteMonitor {
    /// Opens the socket and subscribes to notifications. Call this before the routes are read, so
    /// that no change is missed.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` if no file descriptor is available, `ENOMEM` if the kernel cannot
    /// install the socket filter.
    pub fn open(destinations: &[Destination]) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        let monitor = Self { socket, buffer: Vec::with_capacity(DATAGRAM) };
        let program: Vec<_> = program(destinations).into_iter().map(Into::into).collect();
        SockRef::from(&monitor).attach_filter(&program)?;
        for group in GROUPS {
            monitor.socket.add_membership(group)?;
        }
        // Fails on kernels without nexthop objects.
        let _ = monitor.socket.add_membership(NEXTHOPS);
        Ok(monitor)
    }

    /// Reads at most `budget` datagrams. Sets [`Drained::appeared`] if `routes` may have changed,
    /// and [`Drained::overrun`] if notifications were lost. In both cases, the caller must read the
    /// routes again.
    ///
    /// # Errors
    /// Any socket error except `ENOBUFS`.
    pub fn drain(&mut self, budget: usize, routes: &Routes) -> io::Result<Drained> {
        let mut appeared = false;
        let batch = drain(&self.socket, &mut self.buffer, budget, |datagram| {
            appeared |= messages(datagram).any(|message| concerns(routes, &message));
        })?;
        Ok(Drained { overrun: batch.overrun, appeared, more: batch.more })
    }
}

/// Returns whether a notification may concern the routes.
fn concerns(routes: &Routes, message: &Message<'_>) -> bool {
    let kind = message.message_type();
    match kind {
        // The socket filter has checked the destination.
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => true,
        libc::RTM_NEWLINK | libc::RTM_DELLINK => {
            ifindex(message).is_some_and(|index| routes.links.contains(&index))
        }
        libc::RTM_DELADDR => {
            let attributes = message.payload().get(IFADDRMSG_LEN..).unwrap_or_default();
            let local = attribute(attributes, libc::IFA_LOCAL).and_then(address);
            ifindex(message).is_some_and(|index| routes.links.contains(&index))
                || local.is_some_and(|local| routes.sources.contains(&local))
        }
        _ => routes.has_nexthop_objects && NEXTHOP_TYPES.contains(&kind),
    }
}

impl AsRawFd for RouteMonitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for RouteMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `self` owns the socket, so the descriptor stays open for the borrow.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}
