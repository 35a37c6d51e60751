//! The frames that a router under test hears.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result};

use super::words::{Heard, HeardChecksum, RouterWords};
use crate::configuration::Family;
use crate::protocol::Version;
use crate::station::{Station, VIP, VIP6, VIP6_LINK_LOCAL};
use vipd_witness::{Advert, Checksum};

/// Where the router under test is.
pub const UNDER_TEST: Station = Station::Node(2);

impl RouterWords {
    /// Its virtual addresses, in the order they are configured: in IPv6 a link-local one comes first.
    pub fn virtual_addresses(&self) -> Vec<IpAddr> {
        let last = |first: u8| (0..self.addresses).map(move |index| first.wrapping_add(index));
        match self.family {
            Family::V4 => {
                last(VIP.octets()[3]).map(|byte| Ipv4Addr::new(192, 168, 122, byte).into()).collect()
            }
            Family::V6 => {
                let global = |byte: u8| {
                    let mut octets = VIP6.octets();
                    octets[15] = byte;
                    IpAddr::from(octets)
                };
                std::iter::once(VIP6_LINK_LOCAL.into()).chain(last(0x50).map(global)).collect()
            }
        }
    }

    /// An interval in the unit of the wire.
    ///
    /// # Errors
    /// Above 65535 units.
    pub fn on_wire(version: u8, interval: Duration) -> Result<u16> {
        let unit = if version == Version::V2.number() { 1000 } else { 10 };
        u16::try_from(interval.as_millis() / unit).context("an interval that the wire can say")
    }
}

/// Returns the frame that a scenario describes; fields it leaves out are those of `router`.
///
/// # Errors
/// When the interval cannot be encoded.
pub fn frame(heard: &Heard, router: &RouterWords) -> Result<Vec<u8>> {
    let version = heard.version.unwrap_or(router.version.number());
    let interval = RouterWords::on_wire(version, heard.interval.unwrap_or(router.interval))?;
    let is_v2 = version == Version::V2.number();
    let is_ipv4 = router.family == Family::V4;
    let mut authentication = [0; 8];
    for (to, from) in authentication.iter_mut().zip(heard.password.iter().flat_map(|word| word.bytes())) {
        *to = from;
    }
    // RFC 791: No Operation. RFC 8200 section 4.2: PadN over the 6 bytes behind the header's first two.
    let options = if is_ipv4 { vec![1; 4] } else { vec![1, 4, 0, 0, 0, 0] };
    // More Fragments.
    let fragment = if is_ipv4 { 0x2000 } else { 1 };
    let vrid = heard.vrid.unwrap_or(router.vrid);
    let base = match router.family {
        Family::V4 => heard.from.advert(router.version, vrid, heard.priority),
        Family::V6 => Advert {
            source_mac: heard.from.mac(),
            ..Advert::new(router.version, vrid, heard.priority, heard.from.link_local())
        },
    };
    let mut advert = Advert {
        ttl: heard.ttl,
        version,
        kind: heard.kind,
        count: heard.count,
        interval: if is_v2 {
            u16::from(heard.auth) << 8 | interval
        } else {
            u16::from(heard.reserved) << 12 | interval
        },
        checksum: match heard.checksum {
            HeardChecksum::Right if is_v2 && is_ipv4 => Checksum::Message,
            HeardChecksum::Right => Checksum::PseudoHeader,
            HeardChecksum::Message => Checksum::Message,
            HeardChecksum::Bad => Checksum::Bad,
            HeardChecksum::Zero => Checksum::Value(0),
        },
        addresses: addresses(heard, router),
        authentication,
        fragment: if heard.fragment { fragment } else { 0 },
        options: if heard.options { options } else { Vec::new() },
        ip_checksum: heard.header_bad.then_some(0xbad1),
        tags: heard.vlan.into_iter().map(|id| (0x8100, id)).collect(),
        cut: heard.cut,
        trailing: vec![0; heard.trailing],
        padding: vec![0xa5; heard.padding],
        ..base
    };
    if heard.from == UNDER_TEST {
        // The switch must not learn the router's MAC at another port.
        advert.source_mac = Station::Node(3).mac();
    }
    if let Some(source) = heard.source {
        advert.source = source.into();
    }
    if heard.unicast {
        advert.destination = if is_ipv4 { UNDER_TEST.ipv4().into() } else { UNDER_TEST.link_local().into() };
        advert.destination_mac = UNDER_TEST.mac();
    }
    Ok(advert.frame())
}

fn addresses(heard: &Heard, router: &RouterWords) -> Vec<IpAddr> {
    match (heard.list.as_deref(), router.family) {
        (Some("other"), Family::V4) => vec![Ipv4Addr::new(192, 168, 122, 99).into()],
        (Some("other"), Family::V6) => {
            vec![VIP6_LINK_LOCAL.into(), Ipv6Addr::new(0xfd00, 0x122, 0, 0, 0, 0, 0, 0x99).into()]
        }
        (Some("none"), Family::V4) => Vec::new(),
        (Some("global"), Family::V6) => vec![VIP6.into()],
        _ => router.virtual_addresses(),
    }
}
