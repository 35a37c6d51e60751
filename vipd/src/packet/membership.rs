//! Membership of 224.0.0.18.

use std::io;
use std::net::Ipv4Addr;

use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};
use vipd_common::wire::ipv4;

/// Membership of VRRP's group on one interface, for as long as the value lives.
///
/// XDP sees only what the NIC lets in. Joining the group programs the NIC's filter, and the kernel's IGMP report
/// tells snooping switches. Nothing is received on the socket: it is bound to no protocol's port.
#[derive(Debug)]
pub struct Membership {
    _socket: Socket,
}

impl Membership {
    /// Joins on the interface with this index.
    ///
    /// # Errors
    /// `ENODEV` when the interface is gone, `ENOBUFS` above `net.ipv4.igmp_max_memberships`.
    pub fn join(ifindex: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.join_multicast_v4_n(
            &Ipv4Addr::from(ipv4::VRRP_GROUP),
            &InterfaceIndexOrAddress::Index(ifindex),
        )?;
        Ok(Self { _socket: socket })
    }
}
