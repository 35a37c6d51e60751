//! Lookups in a host's neighbor table.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::namespace::Namespace;
use crate::netlink;
use crate::station::Mac;

/// An entry of a neighbor table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// IPv4 address of the neighbor.
    pub address: Ipv4Addr,
    /// MAC of the neighbor; `None` if it is unresolved or resolution failed.
    pub mac: Option<Mac>,
    /// State of the kernel's neighbor unreachability detection (NUD).
    pub state: NeighbourState,
}

impl fmt::Display for Neighbor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = format!("{:?}", self.state).to_uppercase();
        match self.mac {
            Some(mac) => write!(f, "{} lladdr {mac} {state}", self.address),
            None => write!(f, "{} {state}", self.address),
        }
    }
}

/// Returns the entry for `address` in the namespace's neighbor table, if there is one.
///
/// # Errors
/// Returns an error if the dump fails.
pub fn neighbor(namespace: &Namespace, address: Ipv4Addr) -> Result<Option<Neighbor>> {
    let table = namespace
        .run(|| {
            let mut all = NeighbourMessage::default();
            all.header.family = AddressFamily::Inet;
            netlink::dump(RouteNetlinkMessage::GetNeighbour(all))
        })
        .with_context(|| format!("listing the neighbor table of {}", namespace.name()))?;
    Ok(table.into_iter().find_map(|message| match message {
        RouteNetlinkMessage::NewNeighbour(entry) => read(&entry, address),
        _ => None,
    }))
}

fn read(entry: &NeighbourMessage, address: Ipv4Addr) -> Option<Neighbor> {
    let mut mac = None;
    let mut matches = false;
    for attribute in &entry.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => matches = *found == address,
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            _ => {}
        }
    }
    matches.then_some(Neighbor { address, mac, state: entry.header.state })
}
