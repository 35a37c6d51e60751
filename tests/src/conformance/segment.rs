//! The addresses that a scenario uses: those of the lab, or those of a device's segment.

use std::net::IpAddr;

use super::received::UNDER_TEST;
use super::syntax::RouterSpec;
use crate::configuration::Family;
use crate::station::{Mac, Station};

/// The addresses of a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// MAC of the station's interface. The router under test may send from the virtual router MAC
    /// instead.
    pub mac: Mac,
    /// The primary IPv4 address, or the IPv6 address: a link-local address, except that the client
    /// of a lab has a global address.
    pub address: IpAddr,
}

/// A device's segment. All addresses are of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The impersonated router whose address is lower than the device's. Also acts as the client.
    pub lower: Host,
    /// The impersonated router whose address is higher than the device's.
    pub higher: Host,
    /// The device, with its own MAC or, if that is unknown, the virtual router MAC.
    pub device: Host,
    /// The VIPs, in the order of the device's adverts.
    pub virtual_addresses: Vec<IpAddr>,
    /// Whether the checksum of the device's VRRPv3 adverts over IPv4 covers only the message
    /// (RFC 9568). Adverts sent to the device then have this form as well.
    pub message_checksum: bool,
}

impl RouterSpec {
    /// Returns the addresses of a station on the router's segment.
    pub fn host(&self, station: Station) -> Host {
        match (&self.segment, station) {
            (None, _) => {
                let address = match (self.family, station) {
                    (Family::V4, _) => station.ipv4().into(),
                    (Family::V6, Station::Client) => station.ipv6().into(),
                    (Family::V6, Station::Node(_)) => station.link_local().into(),
                };
                Host { mac: station.mac(), address }
            }
            (Some(segment), UNDER_TEST) => segment.device,
            (Some(segment), Station::Node(1) | Station::Client) => segment.lower,
            (Some(segment), Station::Node(_)) => segment.higher,
        }
    }

    /// Returns whether the checksum of VRRPv3 adverts over IPv4 covers only the message by default.
    pub(super) fn message_checksum(&self) -> bool {
        self.segment.as_ref().is_some_and(|segment| segment.message_checksum)
    }
}
