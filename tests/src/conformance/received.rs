//! Builds the frames that the router under test receives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result};

use super::syntax::{ReceivedAdvert, ReceivedChecksum, RouterSpec};
use crate::configuration::Family;
use crate::protocol::Version;
use crate::station::{Station, VIP, VIP6, VIP6_LINK_LOCAL};
use vipd_witness::{Advert, Checksum};

/// The node that runs the router under test.
pub const UNDER_TEST: Station = Station::Node(2);

impl RouterSpec {
    /// Returns the VIPs in configuration order; with a device, in the order of its adverts. In the
    /// lab, the first IPv6 VIP is link-local.
    pub fn virtual_addresses(&self) -> Vec<IpAddr> {
        if let Some(segment) = &self.segment {
            return segment.virtual_addresses.clone();
        }
        let last_bytes = |first: u8| (0..self.addresses).map(move |index| first.wrapping_add(index));
        match self.family {
            Family::V4 => {
                last_bytes(VIP.octets()[3]).map(|byte| Ipv4Addr::new(192, 168, 122, byte).into()).collect()
            }
            Family::V6 => {
                let global = |byte: u8| {
                    let mut octets = VIP6.octets();
                    octets[15] = byte;
                    IpAddr::from(octets)
                };
                std::iter::once(VIP6_LINK_LOCAL.into()).chain(last_bytes(0x50).map(global)).collect()
            }
        }
    }

    /// Converts an interval to the units used on the wire: seconds in VRRPv2, centiseconds in
    /// VRRPv3.
    ///
    /// # Errors
    /// Returns an error if the interval exceeds 65535 units.
    pub fn on_wire(version: u8, interval: Duration) -> Result<u16> {
        let unit = if version == Version::V2.number() { 1000 } else { 10 };
        u16::try_from(interval.as_millis() / unit).context("the interval cannot be encoded")
    }
}

/// Builds the frame that a scenario specifies. Omitted fields are taken from `router`.
///
/// # Errors
/// Returns an error if the interval cannot be encoded.
pub fn frame(received: &ReceivedAdvert, router: &RouterSpec) -> Result<Vec<u8>> {
    let version = received.version.unwrap_or(router.version.number());
    let interval = RouterSpec::on_wire(version, received.interval.unwrap_or(router.interval))?;
    let is_v2 = version == Version::V2.number();
    let is_ipv4 = router.family == Family::V4;
    let mut authentication = [0; 8];
    for (to, from) in authentication.iter_mut().zip(received.password.iter().flat_map(|word| word.bytes())) {
        *to = from;
    }
    // IPv4: No Operation (RFC 791). IPv6: a PadN option that fills the remaining 6 bytes of the
    // header (RFC 8200 section 4.2).
    let options = if is_ipv4 { vec![1; 4] } else { vec![1, 4, 0, 0, 0, 0] };
    // The More Fragments bit.
    let fragment = if is_ipv4 { 0x2000 } else { 1 };
    let vrid = received.vrid.unwrap_or(router.vrid);
    let sender = router.host(received.from);
    let base = Advert {
        source_mac: sender.mac,
        ..Advert::new(router.version, vrid, received.priority, sender.address)
    };
    let mut advert = Advert {
        ttl: received.ttl,
        version,
        kind: received.kind,
        count: received.count,
        interval: if is_v2 {
            u16::from(received.auth) << 8 | interval
        } else {
            u16::from(received.reserved) << 12 | interval
        },
        checksum: match received.checksum {
            ReceivedChecksum::Right if is_ipv4 && (is_v2 || router.message_checksum()) => Checksum::Message,
            ReceivedChecksum::Right | ReceivedChecksum::PseudoHeader => Checksum::PseudoHeader,
            ReceivedChecksum::Message => Checksum::Message,
            ReceivedChecksum::Bad => Checksum::Bad,
            ReceivedChecksum::Zero => Checksum::Value(0),
        },
        addresses: addresses(received, router),
        authentication,
        fragment: if received.fragment { fragment } else { 0 },
        options: if received.options { options } else { Vec::new() },
        ip_checksum: received.header_bad.then_some(0xbad1),
        tags: received.vlan.into_iter().map(|id| (0x8100, id)).collect(),
        cut: received.cut,
        trailing: vec![0; received.trailing],
        padding: vec![0xa5; received.padding],
        signed: received.trailer.trailer(),
        trailer: vec![0xa5; received.trailer.trailing],
        ..base
    };
    if received.from == UNDER_TEST {
        // Use another MAC, or the switch would learn the router's own MAC on the wrong port.
        advert.source_mac = router.host(Station::Node(3)).mac;
    }
    if let Some(source) = received.source {
        advert.source = source.into();
    }
    if received.unicast {
        let under_test = router.host(UNDER_TEST);
        (advert.destination, advert.destination_mac) = (under_test.address, under_test.mac);
    }
    Ok(advert.frame())
}

fn addresses(received: &ReceivedAdvert, router: &RouterSpec) -> Vec<IpAddr> {
    let mut addresses = router.virtual_addresses();
    match received.list.as_deref() {
        Some("other") => {
            if let Some(last) = addresses.last_mut() {
                *last = other(*last);
            }
        }
        Some("none") if router.family == Family::V4 => addresses.clear(),
        Some("global") => addresses.retain(|address| !is_link_local(*address)),
        _ => {}
    }
    addresses
}

/// Returns an address with another last byte.
fn other(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            Ipv4Addr::new(a, b, c, !d).into()
        }
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() ^ 0xff).into(),
    }
}

/// Returns whether an address is an IPv6 link-local address.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
