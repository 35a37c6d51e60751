//! Description of a link for the service to open, including the entries of its virtual routers in
//! the BPF program's maps.

use std::net::IpAddr;

use vipd_common::address::{self, to_words};
use vipd_common::parse::Trailer;
use vipd_common::records::{PeerKey, RouterKey, RouterSlot};
use vipd_common::wire::{ipv4, ipv6, vrrp};

use super::id::{LinkId, RouterId};
use crate::config::Instance;
use crate::config::settings::{Transport, XdpMode};
use crate::vrrp::Family;
use crate::vrrp::hmac::{self, Key};
use crate::xdp::{Framing, Preference, Row};

/// A link to open, or to update if it is already open.
#[derive(Clone, Debug)]
pub(crate) struct LinkSpec {
    pub(crate) link: LinkId,
    /// Index of the interface at the time of the request.
    pub(crate) ifindex: u32,
    pub(crate) name: String,
    /// The configured XDP mode.
    pub(crate) xdp: Preference,
    /// The header with which the link's frames start.
    pub(crate) framing: Framing,
    /// Virtual routers that use the link for adverts; empty for an address-only link.
    pub(crate) routers: Vec<RouterSpec>,
}

/// Converts the configured XDP mode.
pub(crate) fn preference(mode: XdpMode) -> Preference {
    match mode {
        XdpMode::Auto => Preference::Auto,
        XdpMode::Native => Preference::Native,
        XdpMode::Generic => Preference::Generic,
    }
}

/// The requirements of a virtual router on its link.
#[derive(Clone, Debug)]
pub(crate) struct RouterSpec {
    pub(crate) router: RouterId,
    /// Name of the instance.
    pub(crate) name: String,
    pub(crate) entry: XdpEntry,
    /// Source of adverts to unicast peers, or `None` for multicast.
    pub(crate) unicast_source: Option<IpAddr>,
    /// Macvlan of the router, if it uses a virtual MAC.
    pub(crate) macvlan: Option<LinkId>,
}

impl RouterSpec {
    pub(crate) fn is_unicast(&self) -> bool {
        self.unicast_source.is_some()
    }
}

/// A virtual router's entries in the BPF program's maps `ROUTERS`, `PEERS` and `HMAC_KEYS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XdpEntry {
    pub(crate) vrid: u8,
    pub(crate) family: Family,
    pub(crate) slot: RouterSlot,
    /// Unicast peers of the router, each with the minimum TTL or Hop Limit of its adverts.
    pub(crate) peers: Vec<(PeerKey, u8)>,
    /// Keys with which adverts that fence VIPs are verified.
    pub(crate) keys: Vec<Key>,
}

impl XdpEntry {
    pub(crate) fn new(row: Row, instance: &Instance) -> Self {
        let row = row.number();
        let family = instance.router.family;
        let (peers, destination) = match &instance.transport {
            Transport::Multicast => (&[][..], vrrp_group(family)),
            Transport::Unicast(peers) => (peers.as_slice(), instance.source.unwrap_or(vrrp_group(family))),
        };
        let slot = RouterSlot {
            row,
            version: instance.router.version().number(),
            authentication: instance.password.map_or(0, |_| vrrp::AUTH_PASS),
            empty: u8::from(instance.router.virtual_addresses.is_empty()),
            unicast: u8::from(!peers.is_empty()),
            trailer: instance.hmac.as_ref().map_or(Trailer::Absent, hmac::Config::trailer) as u8,
            reserved: [0; 3],
            destination: to_words(destination),
            password: instance.password.map_or([0; 2], |password| password.words()),
        };
        let peers = peers
            .iter()
            .map(|peer| (PeerKey { row, address: to_words(peer.address) }, peer.min_ttl))
            .collect();
        let keys = instance.hmac.as_ref().map_or(Vec::new(), |config| config.keys.clone());
        Self { vrid: instance.router.vrid, family, slot, peers, keys }
    }

    /// Returns the router's key in `ROUTERS` on the interface with this index.
    pub(crate) fn key(&self, ifindex: u32) -> RouterKey {
        RouterKey::new(ifindex, self.vrid, self.family.number())
    }
}

/// Returns the VRRP multicast group: 224.0.0.18 or ff02::12 (RFC 9568 section 5.1).
fn vrrp_group(family: Family) -> IpAddr {
    let words = match family {
        Family::V4 => address::ipv4(ipv4::VRRP_GROUP),
        Family::V6 => address::ipv6(ipv6::VRRP_GROUP),
    };
    address::from_words(family.number(), words)
}
