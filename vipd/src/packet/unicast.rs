//! A raw IP socket of protocol 112 for sending adverts to unicast peers.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use vipd_common::wire::ipv4;

use super::socket::TC_PRIO_CONTROL;

/// A socket that sends VRRP messages with one source address from one interface. The kernel selects
/// the route to the peer and resolves the MAC of the next hop.
#[derive(Debug)]
pub struct UnicastSocket {
    socket: Socket,
    ifindex: u32,
}

impl UnicastSocket {
    /// Opens a socket on the interface with this index. The source address need not be assigned
    /// yet. Until it is, sending fails for IPv4, but not for IPv6.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `ENODEV` if the interface does not exist.
    pub fn open(ifindex: u32, source: IpAddr) -> io::Result<Self> {
        let socket = socket(source.is_ipv6())?;
        let index = std::num::NonZeroU32::new(ifindex).ok_or(io::ErrorKind::InvalidInput)?;
        if source.is_ipv6() {
            socket.bind_device_by_index_v6(Some(index))?;
        } else {
            socket.bind_device_by_index_v4(Some(index))?;
        }
        socket.bind(&address(ifindex, source))?;
        Ok(Self { socket, ifindex })
    }

    /// Sends one message to a peer without blocking.
    ///
    /// # Errors
    /// `ENETUNREACH` or `EHOSTUNREACH` if there is no route to the peer, `EAGAIN` if the send
    /// buffer is full.
    pub fn send_to(&self, peer: IpAddr, message: &[u8]) -> io::Result<()> {
        self.socket.send_to(message, &address(self.ifindex, peer)).map(drop)
    }
}

/// Opens a non-blocking socket that sends VRRP messages of one family and receives nothing.
pub(super) fn socket(is_ipv6: bool) -> io::Result<Socket> {
    let domain = if is_ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(ipv4::PROTOCOL_VRRP))))?;
    drop_all_input(&socket)?;
    let ttl = u32::from(ipv4::VRRP_TTL);
    if is_ipv6 {
        socket.set_freebind_v6(true)?;
        socket.set_unicast_hops_v6(ttl)?;
        socket.set_tclass_v6(u32::from(ipv4::TOS_CS6))?;
    } else {
        socket.set_freebind_v4(true)?;
        socket.set_ttl_v4(ttl)?;
        socket.set_tos_v4(u32::from(ipv4::TOS_CS6))?;
    }
    // The priority must be set after IP_TOS, because setting IP_TOS also changes the priority
    // (`rt_tos2priority`).
    socket.set_priority(TC_PRIO_CONTROL)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Converts an address to a socket address. Link-local addresses are scoped to the interface with
/// this index.
pub(super) fn address(ifindex: u32, address: IpAddr) -> SockAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, 0).into(),
        IpAddr::V6(address) => {
            let scope = if address.is_unicast_link_local() { ifindex } else { 0 };
            SocketAddrV6::new(address, 0, 0, scope).into()
        }
    }
}

/// Attaches a filter that drops all received packets before they are queued.
pub(super) fn drop_all_input(socket: &Socket) -> io::Result<()> {
    // BPF_RET | BPF_K with 0: keeps 0 bytes of the packet (`include/uapi/linux/filter.h`).
    socket.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])
}
