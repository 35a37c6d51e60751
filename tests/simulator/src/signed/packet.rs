//! Adverts as bytes, and the changes that an attacker makes to them.

use std::net::IpAddr;

use vipd::vrrp::RouterConfig;
use vipd_common::address::to_words;
use vipd_common::hmac::PseudoHeader;
use vipd_common::wire::{trailer, vrrp};

/// An advert. Its checksum is always 0 and is never validated, because the HMAC does not cover it
/// and an attacker can recompute it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    /// IP source address.
    pub source: IpAddr,
    /// VRRP message.
    pub message: Vec<u8>,
    /// Trailer, if the advert is signed.
    pub trailer: Option<[u8; trailer::LEN]>,
}

impl Packet {
    /// Returns an unsigned advert of a router.
    pub(super) fn new(config: &RouterConfig, source: IpAddr, priority: u8) -> Self {
        let [high, low] = config.interval.wire().to_be_bytes();
        let count = u8::try_from(config.virtual_addresses.len()).expect("at most 255 addresses");
        let mut message = vec![0x31, config.vrid, priority, count, high, low, 0, 0];
        for vip in &config.virtual_addresses {
            match vip.address {
                IpAddr::V4(address) => message.extend(address.octets()),
                IpAddr::V6(address) => message.extend(address.octets()),
            }
        }
        Self { source, message, trailer: None }
    }

    /// Returns the pseudo-header, as a receiver derives it from the packet.
    pub(super) fn pseudo_header(&self) -> PseudoHeader {
        let family = if self.source.is_ipv4() { 4 } else { 6 };
        let source = to_words(self.source);
        PseudoHeader { family, version: self.message[0] >> 4, vrid: self.vrid(), source }
    }

    /// Returns the VRID.
    pub fn vrid(&self) -> u8 {
        self.message[vrrp::VRID]
    }

    /// Returns the priority.
    pub fn priority(&self) -> u8 {
        self.message[vrrp::PRIORITY]
    }

    /// Returns the interval in centiseconds.
    pub(super) fn interval(&self) -> u16 {
        u16::from_be_bytes([self.message[vrrp::INTERVAL], self.message[vrrp::INTERVAL + 1]])
    }

    /// Returns the advert with another priority.
    #[must_use]
    pub fn with_priority(mut self, priority: u8) -> Self {
        self.message[vrrp::PRIORITY] = priority;
        self
    }

    /// Returns the advert with another VRID.
    #[must_use]
    pub fn with_vrid(mut self, vrid: u8) -> Self {
        self.message[vrrp::VRID] = vrid;
        self
    }

    /// Returns the advert with the trailer of another one.
    #[must_use]
    pub fn with_trailer_of(mut self, other: &Self) -> Self {
        self.trailer = other.trailer;
        self
    }

    /// Returns the advert without a trailer.
    #[must_use]
    pub fn unsigned(mut self) -> Self {
        self.trailer = None;
        self
    }

    /// Returns the advert with a sequence that is later by `seconds`.
    #[must_use]
    pub fn later_by(mut self, seconds: u32) -> Self {
        if let Some([_, _, _, _, rest @ ..]) = &mut self.trailer
            && let Some(field) = rest.first_chunk_mut()
        {
            *field = u32::from_be_bytes(*field).wrapping_add(seconds).to_be_bytes();
        }
        self
    }
}
