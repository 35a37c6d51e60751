//! Interoperability of vipd with another implementation, in every combination that both support.
//!
//! A [`Cell`] is one combination. [`play`] runs an election, a crash, a return, a release and
//! another return in a separate lab, and checks them in a capture. [`table`] formats the results.

mod play;
pub mod table;

use std::fmt;

use crate::configuration::Family;
use crate::protocol::Version;

pub use play::{STEPS, Verdict, play};

/// The other implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// keepalived.
    Keepalived,
    /// FRR's vrrpd.
    Frr,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keepalived => "keepalived",
            Self::Frr => "FRR vrrpd",
        })
    }
}

/// One combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The other implementation.
    pub peer: Peer,
    /// Protocol version.
    pub version: Version,
    /// Address family.
    pub family: Family,
    /// Unicast adverts instead of multicast.
    pub unicast: bool,
    /// Virtual MAC on vipd and keepalived; FRR always uses it.
    pub virtual_mac: bool,
    /// Whether vipd has the higher priority.
    pub vipd_preferred: bool,
}

impl Cell {
    /// Returns all combinations, including impossible combinations.
    pub fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for peer in [Peer::Keepalived, Peer::Frr] {
            for (version, family) in [
                (Version::V2, Family::V4),
                (Version::V2, Family::V6),
                (Version::V3, Family::V4),
                (Version::V3, Family::V6),
            ] {
                for unicast in [false, true] {
                    for virtual_mac in [false, true] {
                        for vipd_preferred in [true, false] {
                            cells.push(Self { peer, version, family, unicast, virtual_mac, vipd_preferred });
                        }
                    }
                }
            }
        }
        cells
    }

    /// Returns whether keepalived sends Hop Limit 64. keepalived 2.2.7 sends its IPv6 unicast
    /// adverts with the kernel's Hop Limit of 64 instead of 255, which vipd accepts only with
    /// `min_ttl`.
    pub(crate) fn keepalived_sends_hop_limit_64(self) -> bool {
        self.peer == Peer::Keepalived && self.family == Family::V6 && self.unicast
    }

    /// Returns why the combination is impossible, if it is.
    pub fn impossible(&self) -> Option<&'static str> {
        if self.version == Version::V2 && self.family == Family::V6 {
            return Some("VRRPv2 is IPv4 only (RFC 3768)");
        }
        if self.peer == Peer::Frr && self.unicast {
            return Some("vrrpd has no unicast");
        }
        None
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, version, family, unicast, virtual_mac, vipd_preferred } = self;
        let transport = if *unicast { "unicast" } else { "multicast" };
        let mac = if *virtual_mac { "virtual MAC" } else { "interface MAC" };
        let preferred = if *vipd_preferred { "vipd preferred" } else { "peer preferred" };
        write!(f, "{peer}, VRRPv{}, {family}, {transport}, {mac}, {preferred}", version.number())
    }
}
