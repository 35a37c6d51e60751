//! The frames that a router under test sends, held against what a scenario expects.

use std::net::IpAddr;

use anyhow::{Result, bail, ensure};

use super::heard::UNDER_TEST;
use super::words::{RouterWords, Said};
use crate::configuration::Family;
use crate::frame::{Advert, ChecksumForm, Frame};
use crate::station::Mac;

/// Something that a router sends and a scenario can expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// An advert, and its Ethernet destination.
    Advert(Advert, Mac),
    /// Where an address is: it, the MAC, and whether the packet is well made.
    Announcement(IpAddr, Option<Mac>, Result<(), String>),
}

/// The virtual MAC (RFC 9568 section 7.3).
pub fn virtual_mac(router: &RouterWords) -> Mac {
    let block = match router.family {
        Family::V4 => 1,
        Family::V6 => 2,
    };
    Mac([0, 0, 0x5e, 0, block, router.vrid])
}

impl Sent {
    /// Whether it is of the kind that is expected, and of the address that is.
    pub fn is_a(&self, said: &Said, router: &RouterWords) -> bool {
        match self {
            Self::Advert(..) => !said.announcement,
            Self::Announcement(address, ..) => {
                let wanted =
                    said.of.and_then(|place| router.virtual_addresses().get(place.checked_sub(1)?).copied());
                said.announcement && said.of.is_none_or(|_| wanted == Some(*address))
            }
        }
    }
}

/// What a frame is to a router under test; none if it is nothing of it.
pub fn read(frame: &Frame, router: &RouterWords) -> Option<Sent> {
    if let Some(advert) = frame.advert() {
        let is_v6 = router.family == Family::V6;
        let ours = advert.vrid == router.vrid && advert.source.is_ipv6() == is_v6;
        let destination = Mac(*frame.bytes.first_chunk()?);
        return ours.then_some(Sent::Advert(advert, destination));
    }
    router.virtual_addresses().into_iter().find_map(|address| match address {
        IpAddr::V4(v4) => {
            let arp = frame.gratuitous_arp(v4)?;
            // RFC 9568 section 6.4.2: a broadcast, from the MAC it tells.
            let fine =
                frame.bytes.starts_with(&Mac::BROADCAST.0) && frame.source_mac() == Some(arp.sender_mac);
            let fine = if fine { Ok(()) } else { Err("no broadcast from the MAC it tells".to_owned()) };
            Some(Sent::Announcement(address, Some(arp.sender_mac), fine))
        }
        IpAddr::V6(v6) => {
            let said = frame.unsolicited_na(v6)?;
            // RFC 9568 section 6.4.2: Router and Override set, Solicited not; RFC 4861 section 7.1.2: Hop Limit 255.
            let fine = said.router && said.override_ && said.hop_limit == 255;
            let flags = format!("R={} O={} Hop Limit {}", said.router, said.override_, said.hop_limit);
            Some(Sent::Announcement(address, said.target_mac, if fine { Ok(()) } else { Err(flags) }))
        }
    })
}

/// Whether what was sent is as expected.
///
/// # Errors
/// What differs: found and expected.
pub fn check(sent: &Sent, said: &Said, router: &RouterWords) -> Result<()> {
    match sent {
        Sent::Advert(advert, destination) => check_advert(advert, *destination, said, router),
        Sent::Announcement(address, mac, fine) => {
            if let Err(fault) = fine {
                bail!("the announcement of {address} is not well made: {fault}");
            }
            check_mac(*mac, said, router)
        }
    }
}

fn check_mac(mac: Option<Mac>, said: &Said, router: &RouterWords) -> Result<()> {
    let wanted = match said.mac.as_deref() {
        Some("virtual") => virtual_mac(router),
        Some("own") => UNDER_TEST.mac(),
        _ => return Ok(()),
    };
    ensure!(mac == Some(wanted), "the MAC is {mac:?}, not {wanted}");
    Ok(())
}

fn check_advert(advert: &Advert, destination: Mac, said: &Said, router: &RouterWords) -> Result<()> {
    fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: Option<T>) -> Result<()> {
        match wanted {
            Some(wanted) if wanted != *found => bail!("{what} is {found:?}, not {wanted:?}"),
            _ => Ok(()),
        }
    }
    same("the priority", &advert.priority, said.priority)?;
    same("the version", &advert.version, said.version)?;
    same("the TTL", &advert.ttl, said.ttl)?;
    let interval = said.interval.map(|interval| RouterWords::on_wire(router.version.number(), interval));
    same("the interval", &advert.interval, interval.transpose()?)?;
    same("the authentication type", &advert.authentication.map(|(kind, _)| kind), said.auth.map(Some))?;
    let v6 = router.family == Family::V6;
    let own: IpAddr = if v6 { UNDER_TEST.link_local().into() } else { UNDER_TEST.ipv4().into() };
    same("the source", &advert.source, said.own_source.then_some(own))?;
    let group: IpAddr =
        if v6 { [0xff02, 0, 0, 0, 0, 0, 0, 0x12].into() } else { vipd_witness::GROUP_IPV4.into() };
    match said.destination.as_deref() {
        Some("group") => {
            same("the destination", &advert.destination, Some(group))?;
            // RFC 1112 section 6.4, RFC 2464 section 7.
            let mac = if v6 { [0x33, 0x33, 0, 0, 0, 0x12] } else { [1, 0, 0x5e, 0, 0, 0x12] };
            same("the Ethernet destination", &destination, Some(Mac(mac)))?;
        }
        Some("peer") => ensure!(advert.destination != group, "the destination is the group"),
        _ => {}
    }
    if said.list {
        same("the list", &advert.addresses, Some(router.virtual_addresses()))?;
    }
    match said.checksum.as_deref() {
        Some("right") => ensure!(advert.checksum_form.is_some(), "the checksum is wrong by every rule"),
        Some("rfc5798") => same("the checksum", &advert.checksum_form, Some(Some(ChecksumForm::Rfc5798)))?,
        Some("rfc9568") => same("the checksum", &advert.checksum_form, Some(Some(ChecksumForm::Rfc9568)))?,
        _ => {}
    }
    check_mac(Some(advert.source_mac), said, router)
}
