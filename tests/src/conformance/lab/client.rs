//! Address resolution and echo requests from the client.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::{Stage, mismatch};
use crate::conformance::Program;
use crate::conformance::received::UNDER_TEST;
use crate::conformance::sent::virtual_mac;
use crate::station::{Mac, Station};
use crate::time::WallTime;
use vipd_witness::internet_checksum;

/// Maximum number of requests, if a reply is expected.
const REQUESTS: u32 = 20;
/// Time to wait for a reply after each request.
const WAIT: Duration = Duration::from_millis(50);
/// Number of requests, if no reply is expected.
const UNANSWERED_REQUESTS: u32 = 4;

impl Stage {
    /// Checks that the router's last VIP resolves to the correct MAC or, if `wanted` is false, does
    /// not resolve.
    pub(super) fn address(&self, wanted: bool) -> Result<()> {
        let router = &self.routers[0];
        // In IPv6, the first VIP is link-local, and the client's kernel may also resolve it.
        let address = *router.virtual_addresses().last().unwrap_or(&IpAddr::from(UNDER_TEST.ipv4()));
        let is_virtual = router.virtual_mac || self.program == Program::Frr;
        let expected_mac = if is_virtual { virtual_mac(router) } else { UNDER_TEST.mac() };
        let began = WallTime::now();
        for _ in 0..if wanted { REQUESTS } else { UNANSWERED_REQUESTS } {
            self.client.send(&resolution_request(address))?;
            thread::sleep(WAIT);
            let answers = self.capture.filter_map(began, |frame| match address {
                IpAddr::V4(v4) => frame
                    .arp()
                    .filter(|arp| arp.operation == 2 && arp.sender == v4 && arp.target != v4)
                    .map(|arp| Some(arp.sender_mac)),
                IpAddr::V6(v6) => frame
                    .neighbor_advertisement()
                    .filter(|na| na.target == v6 && na.solicited)
                    .map(|na| na.target_mac.or(Some(na.source_mac))),
            });
            if !answers.is_empty() {
                if !wanted {
                    mismatch!("{address} resolves to {answers:?}, but should not resolve");
                }
                if answers.iter().any(|mac| *mac != Some(expected_mac)) {
                    mismatch!("{address} resolves to {answers:?}, not to {expected_mac}");
                }
                return Ok(());
            }
        }
        if wanted {
            mismatch!("{address} does not resolve");
        }
        Ok(())
    }

    /// Checks that the router's first VIP answers an echo request sent to the router's MAC or, if
    /// `wanted` is false, does not answer.
    pub(super) fn echo(&self, wanted: bool) -> Result<()> {
        let router = &self.routers[0];
        let address = router.virtual_addresses().first().copied().unwrap_or(UNDER_TEST.ipv4().into());
        let IpAddr::V4(v4) = address else { anyhow::bail!("`echo` steps support only IPv4") };
        let is_virtual = router.virtual_mac || self.program == Program::Frr;
        let mac = if is_virtual { virtual_mac(router) } else { UNDER_TEST.mac() };
        let began = WallTime::now();
        for _ in 0..if wanted { REQUESTS } else { UNANSWERED_REQUESTS } {
            self.client.send(&echo(v4.octets(), mac))?;
            thread::sleep(WAIT);
            let answered = self
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

/// Builds an ARP request (RFC 826) or a Neighbor Solicitation (RFC 4861 section 4.3).
fn resolution_request(address: IpAddr) -> Vec<u8> {
    let client = Station::Client;
    match address {
        IpAddr::V4(address) => {
            let mut frame = ethernet(Mac::BROADCAST, 0x0806);
            frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
            frame.extend(client.mac().0);
            frame.extend(client.ipv4().octets());
            frame.extend([0; 6]);
            frame.extend(address.octets());
            frame
        }
        IpAddr::V6(address) => {
            let target = address.octets();
            let [.., x, y, z] = target;
            let mut group = [0; 16];
            group[..2].copy_from_slice(&[0xff, 2]);
            group[11..].copy_from_slice(&[1, 0xff, x, y, z]);
            let source = client.ipv6().octets();
            let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
            message.extend(target);
            message.extend([1, 1]);
            message.extend(client.mac().0);
            let mut covered = [source, group].concat();
            covered.extend([0, 0, 0, 32, 0, 0, 0, 58]);
            covered.extend(&message);
            let checksum = internet_checksum(&covered).to_be_bytes();
            message[2..4].copy_from_slice(&checksum);
            let mut frame = ethernet(Mac([0x33, 0x33, 0xff, x, y, z]), 0x86dd);
            frame.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
            frame.extend(source);
            frame.extend(group);
            frame.extend(message);
            frame
        }
    }
}

/// Builds an ICMP echo request (RFC 792).
fn echo(to: [u8; 4], mac: Mac) -> Vec<u8> {
    let mut frame = ethernet(mac, 0x0800);
    let mut header = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
    header.extend(Station::Client.ipv4().octets());
    header.extend(to);
    let checksum = internet_checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&checksum);
    let mut message = vec![8, 0, 0, 0, 0x76, 0x70, 0, 1];
    let checksum = internet_checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&checksum);
    frame.extend(header);
    frame.extend(message);
    frame
}

fn ethernet(to: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = to.0.to_vec();
    frame.extend(Station::Client.mac().0);
    frame.extend(ethertype.to_be_bytes());
    frame
}
