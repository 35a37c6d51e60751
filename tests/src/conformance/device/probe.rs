//! Compares the adverts of a device with the declaration.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::declaration::Declaration;
use super::elapsed;
use super::interface::Interface;
use super::profile::Profile;
use crate::configuration::Family;
use crate::conformance::segment::{Host, Segment};
use crate::conformance::sent::virtual_mac;
use crate::conformance::stage::Wire;
use crate::conformance::syntax::RouterSpec;
use crate::frame::{Advert, ChecksumForm};
use crate::protocol::Version;
use crate::time::WallTime;

/// Time to wait for the device's first advert, in addition to five intervals: a backup needs less
/// than four to become master.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between checks of the capture.
const POLL: Duration = Duration::from_millis(5);
/// Number of requests to resolve the device's own address.
const REQUESTS: u32 = 20;

/// Waits for the device's adverts, compares them with the declaration, and determines its
/// addresses.
///
/// # Errors
/// Returns an error if frames cannot be sent or captured or the capture loses some, if no adverts
/// with this VRID arrive, if the adverts differ from the declaration or come from several routers,
/// or if the declaration does not list an unused source address below the device's address and
/// another one above it.
pub(super) fn find(declaration: Declaration, interface: &Interface) -> Result<Profile> {
    let wire = interface.wire()?;
    let (advert, other_vrids) = listen(&declaration, &wire)?;
    let address = declaration.primary.unwrap_or(advert.source);
    let host = |address| Host { mac: interface.mac, address };
    let lower = declaration.sources.iter().find(|source| **source < address).copied().map(host);
    let higher = declaration.sources.iter().find(|source| **source > address).copied().map(host);
    let (Some(lower), Some(higher)) = (lower, higher) else {
        bail!(
            "found --source {}; expected one address below the device's {address} and one above it, because \
             the address decides between routers of equal priority",
            list(&declaration.sources)
        );
    };
    for source in [lower, higher] {
        ensure!(
            source.address != advert.source,
            "--source {} is the address of the device; expected an unused address of the segment",
            source.address
        );
        if let Some(mac) = wire.user(source)? {
            bail!(
                "--source {} is in use by {mac}; expected an unused address of the segment",
                source.address
            );
        }
    }
    let router = RouterSpec { vrid: declaration.vrid, family: declaration.family(), ..RouterSpec::default() };
    let uses_virtual_mac = advert.source_mac == virtual_mac(&router);
    let own_mac = if uses_virtual_mac {
        wire.resolve(lower, address, REQUESTS)?.into_iter().find(|mac| *mac != virtual_mac(&router))
    } else {
        Some(advert.source_mac)
    };
    let segment = Segment {
        lower,
        higher,
        device: Host { mac: own_mac.unwrap_or(advert.source_mac), address },
        virtual_addresses: declaration.addresses.clone(),
        message_checksum: advert.checksum_form == Some(ChecksumForm::Rfc9568),
    };
    wire.capture.stop()?;
    Ok(Profile {
        declaration,
        segment,
        virtual_mac: uses_virtual_mac,
        has_own_mac: own_mac.is_some(),
        other_vrids,
    })
}

/// Checks that the device still sends the declared adverts.
///
/// # Errors
/// Returns an error if frames cannot be captured or the capture loses some, if no adverts with this
/// VRID arrive, or if the adverts differ from the declaration or come from several routers.
pub(super) fn check(declaration: &Declaration, interface: &Interface) -> Result<()> {
    let wire = interface.wire()?;
    listen(declaration, &wire).context("after this scenario")?;
    wire.capture.stop().map(drop)
}

/// Collects adverts of routers with intervals up to twice the device's. Returns the last advert of
/// the device, and the other VRIDs on the segment.
fn listen(declaration: &Declaration, wire: &Wire) -> Result<(Advert, BTreeSet<u8>)> {
    let start = WallTime::now();
    let limit = 5 * declaration.interval + TIMEOUT;
    let ours = |advert: &Advert| advert.vrid == declaration.vrid && advert.priority > 0;
    let adverts = || {
        let v6 = declaration.family() == Family::V6;
        wire.capture.filter_map(start, |frame| frame.advert().filter(|advert| advert.source.is_ipv6() == v6))
    };
    while !adverts().iter().any(ours) && elapsed(start) < limit {
        thread::sleep(POLL);
    }
    // Other routers, with this VRID or another one, also send an advert within this time.
    thread::sleep(2 * declaration.interval);
    let adverts = adverts();
    let others: BTreeSet<_> =
        adverts.iter().map(|advert| advert.vrid).filter(|vrid| *vrid != declaration.vrid).collect();
    let Some(last) = adverts.iter().rev().find(|advert| ours(advert)) else {
        bail!("{}", silence(declaration, elapsed(start), &others));
    };
    let sources: BTreeSet<_> =
        adverts.iter().filter(|advert| ours(advert)).map(|advert| advert.source).collect();
    ensure!(
        sources.len() == 1,
        "found adverts for VRID {} from {} routers: {}; expected only those of the device: shut down the others",
        declaration.vrid,
        sources.len(),
        list(&sources.into_iter().collect::<Vec<_>>())
    );
    let differences = differences(declaration, last);
    if !differences.is_empty() {
        let mut text =
            format!("the adverts for VRID {} from {} differ from the options:", last.vrid, last.source);
        for difference in differences {
            let _ = write!(text, "\n  {difference}");
        }
        bail!("{text}");
    }
    Ok((last.clone(), others))
}

fn silence(declaration: &Declaration, waited: Duration, others: &BTreeSet<u8>) -> String {
    let Declaration { vrid, interface, .. } = declaration;
    let others: Vec<_> = others.iter().map(u8::to_string).collect();
    let found = if others.is_empty() {
        "none for other VRIDs".to_owned()
    } else {
        format!("adverts for VRID {}", others.join(", "))
    };
    format!(
        "no {} adverts for VRID {vrid} arrived on {interface} within {:.1} s; found {found}; expected the device to be \
         master: check --vrid, that {interface} is on the device's segment and VLAN, that the device is \
         running and sends multicast, and that no firewall drops protocol 112",
        declaration.family(),
        waited.as_secs_f64()
    )
}

/// Returns a line for each field that differs: the value found, the value expected, and the option
/// or setting to change.
fn differences(declaration: &Declaration, found: &Advert) -> Vec<String> {
    let mut lines = Vec::new();
    let version = declaration.version.number();
    if found.version != version {
        // The unit of the interval depends on the version, so the remaining fields are not
        // compared.
        lines.push(format!(
            "version: found {}, expected {version}; pass --vrrp-version {}",
            found.version, found.version
        ));
        return lines;
    }
    if found.priority != declaration.priority {
        let (found, expected) = (found.priority, declaration.priority);
        lines.push(format!("priority: found {found}, expected {expected}; pass --priority {found}"));
    }
    let unit = if declaration.version == Version::V2 { 1000 } else { 10 };
    let interval = Duration::from_millis(u64::from(found.interval) * unit);
    if interval != declaration.interval {
        let expected = declaration.interval;
        // The option takes whole numbers only.
        let pass = match interval.as_millis() {
            ms if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
            ms => format!("{ms}ms"),
        };
        lines.push(format!("interval: found {interval:?}, expected {expected:?}; pass --interval {pass}"));
    }
    if found.addresses != declaration.addresses {
        let options: Vec<_> = found.addresses.iter().map(|address| format!("--address {address}")).collect();
        lines.push(format!(
            "addresses: found {}, expected {}; pass {}",
            list(&found.addresses),
            list(&declaration.addresses),
            options.join(" ")
        ));
    }
    if let Some((kind, _)) = found.authentication.filter(|(kind, _)| *kind != 0) {
        lines.push(format!(
            "authentication type: found {kind}, expected 0; disable authentication on the device"
        ));
    }
    if let Some(primary) = declaration.primary.filter(|primary| *primary != found.source) {
        let found = found.source;
        lines.push(format!(
            "source address: found {found}, expected {primary}; pass --primary {found} if this is the device, \
             otherwise shut down the other router"
        ));
    }
    lines
}

fn list(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::device::adapt::tests::declaration;
    use crate::station::Mac;

    fn advert() -> Advert {
        Advert {
            source_mac: Mac([2, 0, 0, 0, 0, 2]),
            source: "192.0.2.12".parse().unwrap(),
            destination: "224.0.0.18".parse().unwrap(),
            ttl: 255,
            version: 3,
            vrid: 51,
            priority: 100,
            interval: 100,
            addresses: declaration().addresses,
            checksum_form: Some(ChecksumForm::Rfc5798),
            authentication: None,
            message: Vec::new(),
            trailer: Vec::new(),
        }
    }

    #[test]
    fn each_difference_has_both_values_and_the_option_to_pass() {
        assert!(differences(&declaration(), &advert()).is_empty());
        let other: IpAddr = "192.0.2.60".parse().unwrap();
        let all = Advert {
            priority: 150,
            interval: 25,
            addresses: vec![other],
            source: other,
            authentication: Some((1, [0; 8])),
            ..advert()
        };
        let declared = Declaration { primary: Some("192.0.2.12".parse().unwrap()), ..declaration() };
        assert_eq!(
            differences(&declared, &all),
            [
                "priority: found 150, expected 100; pass --priority 150",
                "interval: found 250ms, expected 1s; pass --interval 250ms",
                "addresses: found 192.0.2.60, expected 192.0.2.50, 192.0.2.51; pass --address 192.0.2.60",
                "authentication type: found 1, expected 0; disable authentication on the device",
                "source address: found 192.0.2.60, expected 192.0.2.12; pass --primary 192.0.2.60 if this is the \
                 device, otherwise shut down the other router",
            ]
        );
        let slow = differences(&declaration(), &Advert { interval: 300, ..advert() });
        assert_eq!(slow, ["interval: found 3s, expected 1s; pass --interval 3s"]);
        let version = differences(&declaration(), &Advert { version: 2, interval: 1, ..advert() });
        assert_eq!(version, ["version: found 2, expected 3; pass --vrrp-version 2"]);
    }
}
