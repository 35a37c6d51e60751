//! Compares the frames sent by the router under test with the expected frames.

use std::net::IpAddr;

use anyhow::{Result, bail, ensure};

use super::received::UNDER_TEST;
use super::signed;
use super::syntax::{ExpectedFrame, RouterSpec};
use crate::configuration::Family;
use crate::frame::{Advert, ChecksumForm, Frame};
use crate::station::Mac;

/// A frame from the router under test, of a kind that a scenario can expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// An advert and its destination MAC.
    Advert(Advert, Mac),
    /// A gratuitous ARP or unsolicited NA: the address, its MAC, and an error if the packet is
    /// malformed.
    Announcement(IpAddr, Option<Mac>, Result<(), String>),
}

/// Returns the virtual router MAC (RFC 9568 section 7.3).
pub fn virtual_mac(router: &RouterSpec) -> Mac {
    let block = match router.family {
        Family::V4 => 1,
        Family::V6 => 2,
    };
    Mac([0, 0, 0x5e, 0, block, router.vrid])
}

impl Sent {
    /// Returns whether the frame is of the expected kind and, for an announcement, announces the
    /// expected address.
    pub fn matches(&self, expected: &ExpectedFrame, router: &RouterSpec) -> bool {
        match self {
            Self::Advert(..) => !expected.announcement,
            Self::Announcement(address, ..) => {
                let wanted = expected
                    .of
                    .and_then(|number| router.virtual_addresses().get(number.checked_sub(1)?).copied());
                expected.announcement && expected.of.is_none_or(|_| wanted == Some(*address))
            }
        }
    }
}

/// Decodes a frame sent by the router under test. Returns `None` if the frame is neither an advert
/// nor an announcement of that router.
pub fn read(frame: &Frame, router: &RouterSpec) -> Option<Sent> {
    if let Some(advert) = frame.advert() {
        let is_v6 = router.family == Family::V6;
        let ours = advert.vrid == router.vrid && advert.source.is_ipv6() == is_v6;
        let destination = Mac(*frame.bytes.first_chunk()?);
        return ours.then_some(Sent::Advert(advert, destination));
    }
    router.virtual_addresses().into_iter().find_map(|address| match address {
        IpAddr::V4(v4) => {
            let arp = frame.gratuitous_arp(v4)?;
            // RFC 9568 section 6.4.2: broadcast, with the announced MAC as source.
            let valid =
                frame.bytes.starts_with(&Mac::BROADCAST.0) && frame.source_mac() == Some(arp.sender_mac);
            let valid = if valid { Ok(()) } else { Err("not a broadcast from the announced MAC".to_owned()) };
            Some(Sent::Announcement(address, Some(arp.sender_mac), valid))
        }
        IpAddr::V6(v6) => {
            let expected = frame.unsolicited_na(v6)?;
            // RFC 9568 section 6.4.2: Router and Override set, Solicited clear. RFC 4861 section
            // 7.1.2: Hop Limit 255.
            let valid = expected.router && expected.override_ && expected.hop_limit == 255;
            let flags =
                format!("R={} O={} Hop Limit {}", expected.router, expected.override_, expected.hop_limit);
            Some(Sent::Announcement(address, expected.target_mac, if valid { Ok(()) } else { Err(flags) }))
        }
    })
}

/// Checks a sent frame against the expected frame.
///
/// # Errors
/// Returns an error for the first field that differs, with its actual and expected values.
pub fn check(sent: &Sent, expected: &ExpectedFrame, router: &RouterSpec) -> Result<()> {
    match sent {
        Sent::Advert(advert, destination) => check_advert(advert, *destination, expected, router),
        Sent::Announcement(address, mac, valid) => {
            if let Err(fault) = valid {
                bail!("malformed announcement of {address}: {fault}");
            }
            check_mac(*mac, expected, router)
        }
    }
}

fn check_mac(mac: Option<Mac>, expected: &ExpectedFrame, router: &RouterSpec) -> Result<()> {
    let wanted = match expected.mac.as_deref() {
        Some("virtual") => virtual_mac(router),
        Some("own") => router.host(UNDER_TEST).mac,
        _ => return Ok(()),
    };
    ensure!(mac == Some(wanted), "the MAC is {mac:?}, not {wanted}");
    Ok(())
}

fn check_advert(
    advert: &Advert,
    destination: Mac,
    expected: &ExpectedFrame,
    router: &RouterSpec,
) -> Result<()> {
    fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: Option<T>) -> Result<()> {
        match wanted {
            Some(wanted) if wanted != *found => bail!("{what} is {found:?}, not {wanted:?}"),
            _ => Ok(()),
        }
    }
    same("the priority", &advert.priority, expected.priority)?;
    same("the version", &advert.version, expected.version)?;
    same("the TTL", &advert.ttl, expected.ttl)?;
    let interval = expected.interval.map(|interval| RouterSpec::on_wire(router.version.number(), interval));
    same("the interval", &advert.interval, interval.transpose()?)?;
    same("the authentication type", &advert.authentication.map(|(kind, _)| kind), expected.auth.map(Some))?;
    let v6 = router.family == Family::V6;
    let own = router.host(UNDER_TEST).address;
    same("the source", &advert.source, expected.own_source.then_some(own))?;
    let group: IpAddr =
        if v6 { [0xff02, 0, 0, 0, 0, 0, 0, 0x12].into() } else { vipd_witness::GROUP_IPV4.into() };
    match expected.destination.as_deref() {
        Some("group") => {
            same("the destination", &advert.destination, Some(group))?;
            // RFC 1112 section 6.4, RFC 2464 section 7.
            let mac = if v6 { [0x33, 0x33, 0, 0, 0, 0x12] } else { [1, 0, 0x5e, 0, 0, 0x12] };
            same("the Ethernet destination", &destination, Some(Mac(mac)))?;
        }
        Some("peer") => ensure!(advert.destination != group, "the destination is the multicast group"),
        _ => {}
    }
    expected.signed.map_or(Ok(0), |id| signed::check(advert, id))?;
    if expected.list {
        same("the address list", &advert.addresses, Some(router.virtual_addresses()))?;
    }
    match expected.checksum.as_deref() {
        Some("right") => ensure!(advert.checksum_form.is_some(), "the checksum matches no valid form"),
        Some("rfc5798") => same("the checksum", &advert.checksum_form, Some(Some(ChecksumForm::Rfc5798)))?,
        Some("rfc9568") => same("the checksum", &advert.checksum_form, Some(Some(ChecksumForm::Rfc9568)))?,
        _ => {}
    }
    check_mac(Some(advert.source_mac), expected, router)
}
