//! The frames that a router under test hears.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result};

use super::craft6::Advert6;
use super::words::{Heard, HeardChecksum, RouterWords};
use crate::configuration::Family;
use crate::craft::{Advert, Checksum};
use crate::protocol::Version;
use crate::station::{Station, VIP, VIP6, VIP6_LINK_LOCAL};

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

/// The frame that a scenario asks for; what it does not say is as `router` has it.
///
/// # Errors
/// When the interval cannot be said.
pub fn frame(heard: &Heard, router: &RouterWords) -> Result<Vec<u8>> {
    let version = heard.version.unwrap_or(router.version.number());
    let interval = RouterWords::on_wire(version, heard.interval.unwrap_or(router.interval))?;
    match router.family {
        Family::V4 => Ok(frame4(heard, router, version, interval)),
        Family::V6 => Ok(frame6(heard, router, version, interval)),
    }
}

fn frame4(heard: &Heard, router: &RouterWords, version: u8, interval: u16) -> Vec<u8> {
    let is_v2 = version == Version::V2.number();
    let mut authentication = [0; 8];
    for (to, from) in authentication.iter_mut().zip(heard.password.iter().flat_map(|word| word.bytes())) {
        *to = from;
    }
    let list = match heard.list.as_deref() {
        Some("other") => vec![Ipv4Addr::new(192, 168, 122, 99)],
        Some("none") => Vec::new(),
        _ => router
            .virtual_addresses()
            .into_iter()
            .filter_map(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .collect(),
    };
    let base = Advert::new(router.version, heard.vrid.unwrap_or(router.vrid), heard.priority, heard.from);
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
            HeardChecksum::Right if is_v2 => Checksum::Message,
            HeardChecksum::Right => Checksum::PseudoHeader,
            HeardChecksum::Message => Checksum::Message,
            HeardChecksum::Bad => Checksum::Bad,
            HeardChecksum::Zero => Checksum::Value(0),
        },
        addresses: list,
        authentication,
        fragment: if heard.fragment { 0x2000 } else { 0 },
        options: if heard.options { vec![1; 4] } else { Vec::new() },
        ip_checksum: heard.header_bad.then_some(0xbad1),
        vlans: heard.vlan.into_iter().collect(),
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
        advert.source = source;
    }
    if heard.unicast {
        advert.destination = UNDER_TEST.ipv4();
        advert.destination_mac = UNDER_TEST.mac();
    }
    advert.frame()
}

fn frame6(heard: &Heard, router: &RouterWords, version: u8, interval: u16) -> Vec<u8> {
    let configured = router.virtual_addresses().into_iter().filter_map(|address| match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    let addresses: Vec<Ipv6Addr> = match heard.list.as_deref() {
        Some("other") => vec![VIP6_LINK_LOCAL, Ipv6Addr::new(0xfd00, 0x122, 0, 0, 0, 0, 0, 0x99)],
        Some("global") => vec![VIP6],
        _ => configured.collect(),
    };
    Advert6 {
        from: heard.from,
        hop_limit: heard.ttl,
        version,
        kind: heard.kind,
        vrid: heard.vrid.unwrap_or(router.vrid),
        priority: heard.priority,
        count: heard.count,
        interval: u16::from(heard.reserved) << 12 | interval,
        addresses,
        message_only: heard.checksum == HeardChecksum::Message,
        checksum: match heard.checksum {
            HeardChecksum::Bad => Some(0x1234),
            HeardChecksum::Zero => Some(0),
            HeardChecksum::Right | HeardChecksum::Message => None,
        },
        cut: heard.cut,
        trailing: heard.trailing,
        options: heard.options,
    }
    .frame()
}
