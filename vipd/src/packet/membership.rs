//! Membership of VRRP's multicast groups.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use vipd_common::wire::{ipv4, ipv6};

use super::unicast::drop_all_input;

/// Membership of VRRP's group on one interface, for as long as the value lives.
///
/// XDP processes only frames that the NIC accepts: joining the group sets the NIC's filter, and the
/// kernel's IGMP or MLD report sets that of snooping switches. The socket is a raw one of protocol
/// 112 that drops all input: while one exists, the kernel does not answer adverts to a unicast
/// address with an ICMP error where they arrive without the XDP program.
#[derive(Debug)]
pub struct Membership {
    socket: Socket,
    ifindex: u32,
    is_ipv6: bool,
}

impl Membership {
    /// Joins the group of the family (4 or 6) on the interface with this index.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `ENODEV` without the interface or with IPv6 off on it, `ENOBUFS` above
    /// `net.ipv4.igmp_max_memberships`.
    pub fn join(ifindex: u32, family: u8) -> io::Result<Self> {
        let is_ipv6 = family == 6;
        let domain = if is_ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(ipv4::PROTOCOL_VRRP))))?;
        drop_all_input(&socket)?;
        let membership = Self { socket, ifindex, is_ipv6 };
        membership.join_group()?;
        Ok(membership)
    }

    /// Joins the group again if the kernel has lost the membership: it forgets an interface's memberships when it removes
    /// IPv6 or IPv4 from it (an MTU below 1280 or 68, `addrconf_ifdown` and `inetdev_destroy`), while the socket still
    /// counts as a member. A membership that exists stays, without a gap or a report. Returns whether it was lost.
    ///
    /// # Errors
    /// As [`join`](Self::join); there is no membership then, and the call can be repeated.
    pub fn renew(&self) -> io::Result<bool> {
        if self.is_member().unwrap_or(false) {
            return Ok(false);
        }
        // Leaves before joining, because leaving afterwards would drop the new membership. An error
        // means that there is none.
        let _ = if self.is_ipv6 {
            self.socket.leave_multicast_v6(&Ipv6Addr::from(ipv6::VRRP_GROUP), self.ifindex)
        } else {
            let interface = InterfaceIndexOrAddress::Index(self.ifindex);
            self.socket.leave_multicast_v4_n(&Ipv4Addr::from(ipv4::VRRP_GROUP), &interface)
        };
        self.join_group().map(|()| true)
    }

    fn join_group(&self) -> io::Result<()> {
        if self.is_ipv6 {
            return self.socket.join_multicast_v6(&Ipv6Addr::from(ipv6::VRRP_GROUP), self.ifindex);
        }
        let interface = InterfaceIndexOrAddress::Index(self.ifindex);
        self.socket.join_multicast_v4_n(&Ipv4Addr::from(ipv4::VRRP_GROUP), &interface)
    }

    /// Returns whether the interface is a member of the group, through this socket or any other.
    fn is_member(&self) -> io::Result<bool> {
        // The thread's file: the process's main thread may be in another network namespace.
        if self.is_ipv6 {
            let table = fs::read_to_string("/proc/thread-self/net/igmp6")?;
            Ok(lists_ipv6(&table, self.ifindex, Ipv6Addr::from(ipv6::VRRP_GROUP)))
        } else {
            let table = fs::read_to_string("/proc/thread-self/net/igmp")?;
            Ok(lists_ipv4(&table, self.ifindex, Ipv4Addr::from(ipv4::VRRP_GROUP)))
        }
    }
}

/// Reads `/proc/net/igmp6`: a line for each group, with index, name and address first.
fn lists_ipv6(table: &str, ifindex: u32, group: Ipv6Addr) -> bool {
    let group = format!("{:032x}", group.to_bits());
    table.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next().and_then(|index| index.parse().ok()) == Some(ifindex) && words.nth(1) == Some(&group)
    })
}

/// Reads `/proc/net/igmp`: a line for each interface, which starts with its index, and indented lines for its groups, in
/// the byte order of the host.
fn lists_ipv4(table: &str, ifindex: u32, group: Ipv4Addr) -> bool {
    let group = format!("{:08X}", u32::from_ne_bytes(group.octets()));
    let mut is_interface = false;
    table.lines().skip(1).any(|line| {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !line.starts_with(char::is_whitespace) {
            is_interface = first.parse() == Ok(ifindex);
            return false;
        }
        is_interface && first == group
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_read_by_interface() {
        let group = u32::from_ne_bytes([224, 0, 0, 18]);
        let table = format!(
            "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
             1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
             12\teth1      :     2      V3\n\t\t\t\t{group:08X}     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
        );
        let wanted = Ipv4Addr::new(224, 0, 0, 18);
        assert!(lists_ipv4(&table, 12, wanted));
        assert!(!lists_ipv4(&table, 1, wanted));
        assert!(!lists_ipv4(&table, 2, wanted));

        let table = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n\
                     12   eth1            ff020000000000000000000000000012     1 00000004 0\n";
        let wanted = Ipv6Addr::from(ipv6::VRRP_GROUP);
        assert!(lists_ipv6(table, 12, wanted));
        assert!(!lists_ipv6(table, 1, wanted));
        assert!(!lists_ipv6(table, 2, wanted));
    }
}
