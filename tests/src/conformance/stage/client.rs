//! Address resolution and echo requests from the client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Stage, Wire, mismatch};
use crate::conformance::received::UNDER_TEST;
use crate::conformance::segment::Host;
use crate::conformance::sent::virtual_mac;
use crate::frame::{Arp, Frame};
use crate::station::{Mac, Station};
use crate::time::WallTime;
use vipd_witness::internet_checksum;

/// Maximum number of requests, if a reply is expected.
const REQUESTS: u32 = 20;
/// Time to wait for a reply after each request.
const WAIT: Duration = Duration::from_millis(50);
/// Number of probes to find a host that uses an address: more than PROBE_NUM of RFC 5227 (3),
/// because the probes are sent at shorter intervals.
const PROBES: u32 = 10;
/// Number of requests, if no reply is expected.
const UNANSWERED_REQUESTS: u32 = 4;

impl Stage<'_> {
    /// Checks that the router's last VIP resolves to the correct MAC or, if `wanted` is false, does
    /// not resolve.
    pub(super) fn address(&self, wanted: bool) -> Result<()> {
        let router = &self.routers[0];
        // Not the first VIP: in IPv6, it is link-local, and the client's kernel may also resolve
        // it.
        let address = router.virtual_addresses().last().copied().unwrap_or(router.host(UNDER_TEST).address);
        let expected_mac = if router.virtual_mac { virtual_mac(router) } else { router.host(UNDER_TEST).mac };
        let requests = if wanted { REQUESTS } else { UNANSWERED_REQUESTS };
        let answers = self.wire.resolve(router.host(Station::Client), address, requests)?;
        if !wanted && !answers.is_empty() {
            mismatch!("{address} resolves to {answers:?}, but should not resolve");
        }
        if answers.iter().any(|mac| *mac != expected_mac) {
            mismatch!("{address} resolves to {answers:?}, not to {expected_mac}");
        }
        if wanted && answers.is_empty() {
            mismatch!("{address} does not resolve");
        }
        Ok(())
    }

    /// Checks that the router's first VIP answers an echo request sent to the router's MAC or, if
    /// `wanted` is false, does not answer.
    pub(super) fn echo(&self, wanted: bool) -> Result<()> {
        let router = &self.routers[0];
        let address = router.virtual_addresses().first().copied().unwrap_or(router.host(UNDER_TEST).address);
        let IpAddr::V4(v4) = address else { bail!("`echo` steps support only IPv4") };
        let mac = if router.virtual_mac { virtual_mac(router) } else { router.host(UNDER_TEST).mac };
        let client = router.host(Station::Client);
        let began = WallTime::now();
        for _ in 0..if wanted { REQUESTS } else { UNANSWERED_REQUESTS } {
            self.wire.client.send(&echo(client, v4.octets(), mac)?)?;
            thread::sleep(WAIT);
            // In a lab, the client's kernel answers ARP requests for the client's address.
            if router.segment.is_some() {
                self.wire.answer_resolution(client, began)?;
            }
            let answered = self
                .wire
                .capture
                .has(began, |frame| frame.echo().is_some_and(|echo| echo.reply && echo.source == v4));
            if answered {
                if !wanted {
                    mismatch!("{address} answered an echo request");
                }
                return Ok(());
            }
        }
        if wanted {
            mismatch!("{address} did not answer an echo request");
        }
        Ok(())
    }
}

impl Wire {
    /// Sends up to `requests` requests to resolve an address, until one is answered. Returns the
    /// MACs in the answers; empty if there are none.
    pub(in crate::conformance) fn resolve(
        &self,
        client: Host,
        address: IpAddr,
        requests: u32,
    ) -> Result<Vec<Mac>> {
        let began = WallTime::now();
        for _ in 0..requests {
            self.client.send(&resolution_request(client, address)?)?;
            thread::sleep(WAIT);
            let answers = self.capture.filter_map(began, |frame| answer(frame, client.address, address));
            if !answers.is_empty() {
                return Ok(answers);
            }
        }
        Ok(Vec::new())
    }

    /// Returns the MAC of another host that uses `host`'s address. The probes have no source
    /// address (RFC 5227 section 2.1.1, RFC 4862 section 5.4.2), so they change no neighbor caches.
    pub(in crate::conformance) fn user(&self, host: Host) -> Result<Option<Mac>> {
        let unspecified = match host.address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let answers = self.resolve(Host { address: unspecified, ..host }, host.address, PROBES)?;
        Ok(answers.first().copied())
    }

    /// Answers the ARP requests for the client's address that were captured since `began`.
    fn answer_resolution(&self, client: Host, began: WallTime) -> Result<()> {
        let IpAddr::V4(address) = client.address else { return Ok(()) };
        let asked = |arp: &Arp| arp.operation == 1 && arp.target == address && arp.sender != address;
        let requests = self.capture.filter_map(began, |frame| frame.arp().filter(asked));
        for request in requests {
            self.client.send(&arp(client.mac, address, 2, request.sender_mac, request.sender))?;
        }
        Ok(())
    }
}

/// Returns the MAC in an answer to a [`resolution_request`] of `client`. The answer to a
/// solicitation from the unspecified address has the Solicited flag clear (RFC 4861 section 7.2.4).
fn answer(frame: &Frame, client: IpAddr, address: IpAddr) -> Option<Mac> {
    match address {
        IpAddr::V4(address) => frame
            .arp()
            .filter(|arp| arp.operation == 2 && arp.sender == address && arp.target != address)
            .map(|arp| arp.sender_mac),
        IpAddr::V6(address) => frame
            .neighbor_advertisement()
            .filter(|na| na.target == address && na.solicited != client.is_unspecified())
            .map(|na| na.target_mac.unwrap_or(na.source_mac)),
    }
}

/// Builds an ARP request (RFC 826) or a Neighbor Solicitation (RFC 4861 section 4.3), which has no
/// Source Link-Layer Address if the client's address is unspecified.
fn resolution_request(client: Host, address: IpAddr) -> Result<Vec<u8>> {
    match (client.address, address) {
        (IpAddr::V4(source), IpAddr::V4(address)) => Ok(arp(client.mac, source, 1, Mac([0; 6]), address)),
        (IpAddr::V6(source), IpAddr::V6(address)) => {
            let (target, source) = (address.octets(), source.octets());
            let [.., x, y, z] = target;
            let mut group = [0; 16];
            group[..2].copy_from_slice(&[0xff, 2]);
            group[11..].copy_from_slice(&[1, 0xff, x, y, z]);
            let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
            message.extend(target);
            if !client.address.is_unspecified() {
                message.extend([1, 1]);
                message.extend(client.mac.0);
            }
            let length = if client.address.is_unspecified() { 24 } else { 32 };
            let mut covered = [source, group].concat();
            covered.extend([0, 0, 0, length, 0, 0, 0, 58]);
            covered.extend(&message);
            let checksum = internet_checksum(&covered).to_be_bytes();
            message[2..4].copy_from_slice(&checksum);
            let mut frame = ethernet(Mac([0x33, 0x33, 0xff, x, y, z]), client.mac, 0x86dd);
            frame.extend([0x60, 0, 0, 0, 0, length, 58, 255]);
            frame.extend(source);
            frame.extend(group);
            frame.extend(message);
            Ok(frame)
        }
        (source, address) => bail!("{source} cannot resolve {address}, which is of another family"),
    }
}

/// Builds an ARP packet: a request (1), which is broadcast, or a reply (2), sent to `target_mac`.
fn arp(sender_mac: Mac, sender: Ipv4Addr, operation: u16, target_mac: Mac, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(if operation == 1 { Mac::BROADCAST } else { target_mac }, sender_mac, 0x0806);
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(sender_mac.0);
    frame.extend(sender.octets());
    frame.extend(target_mac.0);
    frame.extend(target.octets());
    frame
}

/// Builds an ICMP echo request (RFC 792).
fn echo(client: Host, to: [u8; 4], mac: Mac) -> Result<Vec<u8>> {
    let IpAddr::V4(source) = client.address else { bail!("`echo` steps support only IPv4") };
    let mut frame = ethernet(mac, client.mac, 0x0800);
    let mut header = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
    header.extend(source.octets());
    header.extend(to);
    let checksum = internet_checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&checksum);
    let mut message = vec![8, 0, 0, 0, 0x76, 0x70, 0, 1];
    let checksum = internet_checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&checksum);
    frame.extend(header);
    frame.extend(message);
    Ok(frame)
}

fn ethernet(to: Mac, from: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = to.0.to_vec();
    frame.extend(from.0);
    frame.extend(ethertype.to_be_bytes());
    frame
}
