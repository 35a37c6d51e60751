//! The stations on the segment and their addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

pub use vipd_witness::Mac;
use vipd_witness::{Advert, Version};

/// A host on the segment, connected by its [`INTERFACE`]. Addresses and switch ports are the same
/// in every lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Station {
    /// A VRRP node, numbered from 1.
    Node(u8),
    /// The host that accesses the VIP.
    Client,
}

/// Name of every station's interface.
pub const INTERFACE: &str = "eth1";
/// Prefix length of the segment's IPv4 addresses.
pub const PREFIX: u8 = 24;
/// The IPv4 VIP.
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 122, 50);
/// Prefix length of the segment's IPv6 addresses.
pub const PREFIX6: u8 = 64;
/// The IPv6 VIP.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x122, 0, 0, 0, 0, 0, 0x50);
/// The link-local VIP, which adverts list first (RFC 9568 section 5.2.9).
pub const VIP6_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x50);
/// Maximum number of nodes. Their IPv4 addresses end in 11 to 49.
pub const MAX_NODES: u8 = 39;

/// Base of the switch ports' interface indices. The bridge and loopback have lower indices.
const PORT_BASE: u32 = 100;
const CLIENT_HOST: u8 = 100;

impl Station {
    /// Returns the last byte of the IPv4 address.
    fn host(self) -> u8 {
        match self {
            Self::Node(number) => 10 + number,
            Self::Client => CLIENT_HOST,
        }
    }

    /// Returns the station's IPv4 address: 192.168.122.11, .12, … for nodes, .100 for the client.
    pub fn ipv4(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 122, self.host())
    }

    /// Returns the station's IPv6 address: fd00:122::b, ::c, … for nodes, ::64 for the client.
    pub fn ipv6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x122, 0, 0, 0, 0, 0, self.host().into())
    }

    /// Returns the station's link-local address, which ends in the same byte as its other
    /// addresses.
    pub fn link_local(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, self.host().into())
    }

    /// Returns the station's MAC: 02:00:00:00:00:NN, where NN is the node's number in
    /// hexadecimal, or 64 for the client.
    pub fn mac(self) -> Mac {
        match self {
            Self::Node(number) => Mac([2, 0, 0, 0, 0, number]),
            Self::Client => Mac([2, 0, 0, 0, 0, CLIENT_HOST]),
        }
    }

    /// Returns a valid advert from this station with [`VIP`] and an interval of 1 s.
    pub fn advert(self, version: Version, vrid: u8, priority: u8) -> Advert {
        Advert {
            source_mac: self.mac(),
            addresses: vec![VIP.into()],
            ..Advert::new(version, vrid, priority, self.ipv4())
        }
    }

    /// Returns the name of the station's switch port.
    pub fn port_name(self) -> String {
        match self {
            Self::Node(number) => format!("node{number}"),
            Self::Client => "client".to_owned(),
        }
    }

    /// Returns the interface index of the station's switch port, which stays the same if the cable
    /// is unplugged and plugged in again.
    pub(crate) fn port_index(self) -> u32 {
        PORT_BASE + u32::from(self.host())
    }

    /// Returns the station behind the switch port with this interface index, if there is one.
    pub(crate) fn behind_port(index: u32) -> Option<Self> {
        let host = u8::try_from(index.checked_sub(PORT_BASE)?).ok()?;
        match host {
            CLIENT_HOST => Some(Self::Client),
            11..=49 => Some(Self::Node(host - 10)),
            _ => None,
        }
    }
}

impl fmt::Display for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(number) => write!(f, "node {number}"),
            Self::Client => f.write_str("client"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_station_is_found_by_its_port() {
        for station in (1..=MAX_NODES).map(Station::Node).chain([Station::Client]) {
            assert_eq!(Station::behind_port(station.port_index()), Some(station));
        }
        assert_eq!(Station::behind_port(1), None, "loopback");
        assert_eq!(Station::behind_port(PORT_BASE + 50), None, "the VIP has no port");
    }
}
