//! Interoperability of vipd with other implementations, in every combination that both sides
//! support.
//!
//! A [`Cell`] is one combination of settings. [`play`] runs a cell in a separate lab through an
//! election, a crash, a return, a clean shutdown and another return, and checks the captured
//! frames. [`table`] formats the results.

mod play;
pub mod table;

use std::fmt;

use crate::configuration::Family;
use crate::protocol::Version;

pub use play::{STEPS, Verdict, play};

/// The implementation that runs with vipd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// keepalived, with or without a virtual MAC.
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

/// One combination of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The implementation that runs with vipd.
    pub peer: Peer,
    /// Protocol version.
    pub version: Version,
    /// Address family.
    pub family: Family,
    /// Whether adverts are sent to unicast peers instead of the multicast group.
    pub unicast: bool,
    /// Whether vipd and keepalived use the virtual MAC; FRR always does.
    pub virtual_mac: bool,
    /// Whether vipd has the higher priority.
    pub vipd_preferred: bool,
}

impl Cell {
    /// Returns all combinations, including impossible ones.
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

    /// Returns whether keepalived sends a Hop Limit of 64 in this combination. keepalived 2.2.7
    /// sends IPv6 unicast adverts with the kernel's default of 64 instead of 255; vipd accepts them
    /// only if `min_ttl` is set.
    pub(crate) fn keepalived_sends_hop_limit_64(self) -> bool {
        self.peer == Peer::Keepalived && self.family == Family::V6 && self.unicast
    }

    /// Returns the reason why the combination is impossible, or `None` if it is possible.
    pub fn impossible(&self) -> Option<&'static str> {
        if self.version == Version::V2 && self.family == Family::V6 {
            return Some("VRRPv2 supports IPv4 only (RFC 3768)");
        }
        if self.peer == Peer::Frr && self.unicast {
            return Some("vrrpd does not support unicast");
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
