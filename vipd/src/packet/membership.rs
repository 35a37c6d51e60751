//! Membership in the VRRP multicast groups.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use vipd_common::wire::{ipv4, ipv6};

use super::unicast::drop_all_input;

/// Membership in a VRRP multicast group on one interface. Dropping the value leaves the group,
/// unless a duplicate of its descriptor is open.
///
/// The BPF program receives only frames that the NIC accepts. Joining the group configures the
/// NIC's filter, and the kernel's IGMP or MLD reports configure snooping switches.
///
/// The socket is a raw socket of protocol 112 that drops all input. While the socket exists, the
/// kernel does not reply with ICMP errors to unicast adverts of its family, even on interfaces
/// without the BPF program. If no virtual router of that family uses multicast,
/// [`UnicastSocket`](super::UnicastSocket) prevents these errors for adverts to the source of a
/// unicast router.
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
    /// `EPERM` without CAP_NET_RAW, `ENODEV` if the interface does not exist or, for IPv4, has no
    /// IPv4 because its MTU is below 68, `EINVAL` if it has no IPv6, for example because its MTU is
    /// below 1280, `ENOBUFS` if `net.ipv4.igmp_max_memberships` is exceeded.
    pub fn join(ifindex: u32, family: u8) -> io::Result<Self> {
        let is_ipv6 = family == 6;
        let domain = if is_ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(ipv4::PROTOCOL_VRRP))))?;
        drop_all_input(&socket)?;
        let membership = Self { socket, ifindex, is_ipv6 };
        membership.join_group()?;
        Ok(membership)
    }

    /// Rejoins the group if the kernel has dropped the membership, that is, if `members` does not
    /// list the interface. Returns whether the kernel had dropped it.
    ///
    /// When the kernel disables IPv6 or IPv4 on an interface, for example because the interface's
    /// MTU falls below 1280 (IPv6) or 68 (IPv4), the kernel drops the interface's memberships but
    /// still counts the socket as a member (`addrconf_ifdown`, `inetdev_destroy`). A membership
    /// that the kernel has kept is not interrupted, and the kernel sends no IGMP or MLD report for
    /// it.
    ///
    /// # Errors
    /// See [`join`](Self::join). There is then no membership, and the call can be repeated.
    pub fn renew(&self, members: &Members) -> io::Result<bool> {
        if members.may_contain(self.is_ipv6, self.ifindex) {
            return Ok(false);
        }
        // The socket still counts as a member, so it must leave before it can join again. If the
        // kernel has no record of the membership, leaving fails, which is harmless.
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
}

impl AsFd for Membership {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The interfaces on which any socket in the network namespace has joined the VRRP groups. Each
/// family's memberships are read from `/proc` once, on first use.
#[derive(Debug, Default)]
pub struct Members {
    v4: OnceCell<Option<BTreeSet<u32>>>,
    v6: OnceCell<Option<BTreeSet<u32>>>,
}

impl Members {
    /// Returns whether any socket has joined the family's VRRP group on the interface, or true if
    /// /proc cannot be read.
    pub fn may_contain(&self, is_ipv6: bool, ifindex: u32) -> bool {
        // Reads `/proc/thread-self/net`, because `/proc/net` shows the network namespace of the
        // main thread, which this thread may have left.
        let members = if is_ipv6 {
            self.v6.get_or_init(|| {
                let table = fs::read_to_string("/proc/thread-self/net/igmp6").ok()?;
                Some(members_ipv6(&table, Ipv6Addr::from(ipv6::VRRP_GROUP)))
            })
        } else {
            self.v4.get_or_init(|| {
                let table = fs::read_to_string("/proc/thread-self/net/igmp").ok()?;
                Some(members_ipv4(&table, Ipv4Addr::from(ipv4::VRRP_GROUP)))
            })
        };
        members.as_ref().is_none_or(|members| members.contains(&ifindex))
    }
}

/// Parses `/proc/net/igmp6` and returns the indices of the interfaces on which a group has been
/// joined. Each line is one group and starts with the interface index, the interface name and the
/// group address.
fn members_ipv6(table: &str, group: Ipv6Addr) -> BTreeSet<u32> {
    let group = format!("{:032x}", group.to_bits());
    let members = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let ifindex = words.next()?.parse().ok()?;
        (words.nth(1)? == group).then_some(ifindex)
    });
    members.collect()
}

/// Parses `/proc/net/igmp` and returns the indices of the interfaces on which a group has been
/// joined. Each interface has a line that starts with its index, followed by an indented line per
/// group. A group's line starts with the group address: its four bytes in network byte order,
/// printed as an integer in host byte order.
fn members_ipv4(table: &str, group: Ipv4Addr) -> BTreeSet<u32> {
    let group = format!("{:08X}", u32::from_ne_bytes(group.octets()));
    let mut interface: Option<u32> = None;
    let mut members = BTreeSet::new();
    for line in table.lines().skip(1) {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !line.starts_with(char::is_whitespace) {
            interface = first.parse().ok();
        } else if first == group {
            members.extend(interface);
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_found_by_interface_and_group() {
        let group = u32::from_ne_bytes([224, 0, 0, 18]);
        let table = format!(
            "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
             1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
             12\teth1      :     2      V3\n\t\t\t\t{group:08X}     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
        );
        let wanted = Ipv4Addr::new(224, 0, 0, 18);
        assert_eq!(members_ipv4(&table, wanted), BTreeSet::from([12]));

        let table = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n\
                     12   eth1            ff020000000000000000000000000012     1 00000004 0\n";
        let wanted = Ipv6Addr::from(ipv6::VRRP_GROUP);
        assert_eq!(members_ipv6(table, wanted), BTreeSet::from([12]));
    }
}
