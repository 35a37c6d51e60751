//! Membership of VRRP's multicast groups.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use vipd_common::wire::{ipv4, ipv6};

use super::unicast::deafen;

/// Membership of VRRP's group on one interface, for as long as the value lives.
///
/// XDP sees only what the NIC lets in. Joining the group programs the NIC's filter, and the kernel's IGMP or MLD report
/// tells snooping switches. The socket is a raw one of protocol 112 that drops all it gets: while there is one, the
/// kernel does not answer adverts to a unicast address, which reach it from interfaces without the XDP program, with an
/// ICMP error.
#[derive(Debug)]
pub struct Membership {
    _socket: Socket,
}

impl Membership {
    /// Joins the group of the family (4 or 6) on the interface with this index.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `ENODEV` when the interface is gone, `ENOBUFS` above
    /// `net.ipv4.igmp_max_memberships`.
    pub fn join(ifindex: u32, family: u8) -> io::Result<Self> {
        let domain = if family == 6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(ipv4::PROTOCOL_VRRP))))?;
        deafen(&socket)?;
        if family == 6 {
            socket.join_multicast_v6(&Ipv6Addr::from(ipv6::VRRP_GROUP), ifindex)?;
        } else {
            let interface = InterfaceIndexOrAddress::Index(ifindex);
            socket.join_multicast_v4_n(&Ipv4Addr::from(ipv4::VRRP_GROUP), &interface)?;
        }
        Ok(Self { _socket: socket })
    }
}
