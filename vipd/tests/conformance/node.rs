//! A router under test: vipd's core, whose actions are encoded as frames.

use std::net::IpAddr;

use vipd::packet::{AdvertFrame, Signing, announcement};
use vipd::vrrp::{
    Action, Addresses, Family, Input, Interval, Policy, Router, RouterConfig, State, Version, VirtualAddress,
};
use vipd_common::Timestamp;
use vipd_common::parse::ChecksumForm;
use vipd_common::wire::vrrp;
use vipd_tests::configuration;
use vipd_tests::conformance::received::UNDER_TEST;
use vipd_tests::conformance::sent::virtual_mac;
use vipd_tests::conformance::syntax::RouterSpec;
use vipd_tests::protocol;
use vipd_tests::station::Station;
use vipd_witness::internet_checksum;

use crate::receive::password;

/// A router under test.
pub(crate) struct Node {
    pub(crate) words: RouterSpec,
    pub(crate) router: Router,
    /// Whether the virtual addresses are on the interface.
    pub(crate) has_addresses: bool,
    checksum: ChecksumForm,
}

impl Node {
    pub(crate) fn new(words: &RouterSpec, vipd_lines: &[String], policy: Policy) -> Self {
        let family = match words.family {
            configuration::Family::V4 => Family::V4,
            configuration::Family::V6 => Family::V6,
        };
        let version = match words.version {
            protocol::Version::V2 => Version::V2,
            protocol::Version::V3 => Version::V3,
        };
        let nanos = u64::try_from(words.interval.as_nanos()).expect("an interval fits");
        let interval = Interval::from_nanos(version, nanos).expect("a valid interval");
        let prefix = if family == Family::V4 { 24 } else { 64 };
        let addresses = words.virtual_addresses().into_iter();
        let addresses = addresses.map(|address| VirtualAddress { address, prefix }).collect();
        let config = RouterConfig {
            priority: words.priority,
            preempt: words.preempt.unwrap_or(true),
            ..RouterConfig::new(words.vrid, family, interval, addresses)
        };
        let checksum = match (version, family) {
            (Version::V2, _) => ChecksumForm::V2,
            (Version::V3, Family::V6) => ChecksumForm::Ipv6,
            (Version::V3, Family::V4) if vipd_lines.iter().any(|line| line.contains("\"rfc9568\"")) => {
                ChecksumForm::Rfc9568
            }
            (Version::V3, Family::V4) => ChecksumForm::Rfc5798,
        };
        Self {
            words: words.clone(),
            router: Router::with_policy(config, policy),
            has_addresses: false,
            checksum,
        }
    }

    /// Returns the router's primary address.
    pub(crate) fn primary(&self) -> IpAddr {
        match self.words.family {
            configuration::Family::V4 => UNDER_TEST.ipv4().into(),
            configuration::Family::V6 => UNDER_TEST.link_local().into(),
        }
    }

    /// Passes an input to the router and returns the frames that it sends.
    pub(crate) fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Vec<u8>> {
        self.router.handle(now, input);
        while self.router.poll_event().is_some() {}
        let mut frames = Vec::new();
        while let Some(action) = self.router.poll_action() {
            match action {
                Action::SendAdvert { priority } => {
                    frames.extend(self.adverts(priority));
                    self.router.advert_sent(now);
                }
                Action::AddAddresses(Addresses::All) => self.has_addresses = true,
                Action::AddAddresses(Addresses::One(_)) | Action::RemoveAddress(_) => {}
                Action::RemoveAddresses => self.has_addresses = false,
                Action::Announce { .. } => {
                    // RFC 9568 section 8.1.2: a router announces its VIPs only after the addresses
                    // and the MAC are configured.
                    assert!(self.has_addresses, "announcement without the VIPs");
                    let all = self.words.virtual_addresses().into_iter();
                    frames.extend(all.map(|address| announcement(self.mac(), address).bytes().to_vec()));
                }
            }
        }
        assert_eq!(self.has_addresses, self.router.state() == State::Master, "VIPs in Master only");
        frames
    }

    fn mac(&self) -> [u8; 6] {
        if self.words.virtual_mac { virtual_mac(&self.words).0 } else { UNDER_TEST.mac().0 }
    }

    fn adverts(&self, priority: u8) -> Vec<Vec<u8>> {
        let config = self.router.config();
        let fields = vrrp::Fields {
            vrid: config.vrid,
            priority,
            interval: config.interval.wire(),
            checksum: self.checksum,
            password: password(&self.words),
        };
        let addresses = self.words.virtual_addresses();
        if !self.words.unicast {
            let (mac, source, addresses) = (self.mac(), self.primary(), addresses.into_iter());
            let frame = AdvertFrame::multicast(mac, source, &fields, addresses, Signing::Unsigned);
            return vec![frame.expect("a list that fits").bytes().to_vec()];
        }
        let peers = [Station::Node(1), Station::Node(3)];
        let message = |peer: Station| {
            let peer = peer.ipv4().into();
            let (source, addresses) = (self.primary(), addresses.clone().into_iter());
            let frame = AdvertFrame::unicast(source, peer, &fields, addresses, Signing::Unsigned);
            frame.expect("a list that fits").bytes().to_vec()
        };
        peers.map(|peer| routed(self.mac(), peer, &message(peer))).to_vec()
    }
}

/// Adds the Ethernet and IP headers that the kernel adds to a unicast message.
fn routed(mac: [u8; 6], peer: Station, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + message.len()).expect("an IPv4 packet");
    let mut header = vec![0x45, 0xc0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0, 0, 255, 112, 0, 0]);
    header.extend(UNDER_TEST.ipv4().octets());
    header.extend(peer.ipv4().octets());
    let checksum = internet_checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&checksum);
    let mut frame = peer.mac().0.to_vec();
    frame.extend(mac);
    frame.extend([8, 0]);
    frame.extend(header);
    frame.extend(message);
    frame
}
