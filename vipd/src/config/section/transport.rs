//! `unicast_peers`, `unicast_source` and `source`: destination and source of adverts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::addresses::Addresses;
use crate::config::host;

use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::settings::{Peer, Transport};
use crate::config::table::{Form, Located, Table, Value};
use crate::vrrp::config::Family;

/// Destination and source of adverts.
#[derive(Debug)]
pub(in crate::config) struct Route {
    pub(in crate::config) transport: Transport,
    /// `None` for the interface's primary address.
    pub(in crate::config) source: Option<IpAddr>,
}

/// Reads the source and the destination of adverts. `owner` states whether the router owns its
/// virtual addresses.
pub(in crate::config) fn read(
    table: &Table<'_>,
    addresses: &Addresses,
    owner: bool,
    problems: &mut Collector<'_>,
) -> Route {
    let elements = table.given(&schema::UNICAST_PEERS, problems, |value| {
        let elements = value.elements(&schema::UNICAST_PEER)?;
        match elements.len() {
            0 => Err(value.rejected("empty", "list the other routers, or remove the key for multicast")),
            // Sending to more peers could take longer than an interval.
            256.. => Err(value.rejected(format!("an array of length {}", elements.len()), "use multicast")),
            _ => Ok(elements),
        }
    });
    let source = table.given(&schema::SOURCE, problems, host::read).flatten();
    let unicast_source = table.given(&schema::UNICAST_SOURCE, problems, host::read).flatten();
    let is_unicast = !matches!(elements, Some(None));
    let (source, other) = if is_unicast { (unicast_source, source) } else { (source, unicast_source) };
    if let Some(other) = other {
        problems.add(
            other.at,
            if is_unicast {
                "source and unicast_peers are mutually exclusive; source is for multicast; use `unicast_source`"
            } else {
                "unicast_source is set without unicast_peers; add the peers, or use `source` for multicast"
            },
        );
    }
    let check = Check { addresses, owner };
    if let Some(source) = &source {
        check.source(source, is_unicast, problems);
    }
    let transport = match elements {
        None | Some(None) => Transport::Multicast,
        Some(Some(elements)) => {
            let peers = peers(&elements.value, problems);
            let lacks_source = table.get(schema::UNICAST_SOURCE.name).is_none();
            check.peers(&peers, elements.at, source.as_ref(), lacks_source, problems);
            Transport::Unicast(peers.into_iter().map(|peer| peer.value).collect())
        }
    };
    Route { transport, source: source.map(|source| source.value) }
}

fn peers(elements: &[Value<'_>], problems: &mut Collector<'_>) -> Vec<Located<Peer>> {
    let mut peers = Vec::new();
    for element in elements {
        let found = match element.form("in a unicast peer") {
            Ok(Form::Text(_)) => host::read(element).map(|address| Some(Peer { address, min_ttl: 255 })),
            Ok(Form::Table(table)) => Ok(with_ttl(&table, problems)),
            Err(rejection) => Err(rejection),
        };
        match found {
            Ok(found) => peers.extend(found.map(|value| Located { at: element.at(), value })),
            Err((at, message)) => problems.add(at, message),
        }
    }
    peers
}

fn with_ttl(table: &Table<'_>, problems: &mut Collector<'_>) -> Option<Peer> {
    table.reject_unknown(schema::Section::Peer, problems);
    let address = table.required(&schema::PEER_ADDRESS, problems, host::read);
    let min_ttl = table.optional(&schema::MIN_TTL, problems, Value::integer).flatten();
    Some(Peer { address: address?.value, min_ttl: min_ttl.unwrap_or(255) })
}

/// Checks peers and sources against the other settings of the instance.
struct Check<'a> {
    addresses: &'a Addresses,
    owner: bool,
}

impl Check<'_> {
    fn source(&self, source: &Located<IpAddr>, is_unicast: bool, problems: &mut Collector<'_>) {
        let key = if is_unicast { &schema::UNICAST_SOURCE } else { &schema::SOURCE };
        let Located { at, value: address } = source;
        if let Some(family) = self.other_family(*address) {
            problems.add(
                *at,
                format!(
                    "{key} is {address} in an {family} virtual router; use an {family} address of this node"
                ),
            );
        } else if self.is_virtual(*address) && !self.owner {
            problems.add(
                *at,
                format!(
                    "{key} is the VIP {address}, which a backup does not have; use an address that stays on this node"
                ),
            );
        } else if !is_unicast && address.is_ipv6() && !host::is_link_local(*address) {
            problems.add(
                *at,
                format!(
                    "source is {address}; IPv6 adverts are sent from a link-local address (RFC 9568 section 5.1.2.1); use the interface's fe80::/10 address, or remove `source`"
                ),
            );
        }
    }

    fn peers(
        &self,
        peers: &[Located<Peer>],
        at: usize,
        source: Option<&Located<IpAddr>>,
        lacks_source: bool,
        problems: &mut Collector<'_>,
    ) {
        let mut first = BTreeMap::new();
        for peer in peers {
            let address = peer.value.address;
            if let Some(taken) = first.get(&address) {
                let place = problems.place(*taken);
                problems.add(
                    peer.at,
                    format!("unicast peer {address} is already listed at {place}; remove one of them"),
                );
                continue;
            }
            first.insert(address, peer.at);
            if let Some(family) = self.other_family(address) {
                problems.add(
                    peer.at,
                    format!(
                        "unicast peer {address} belongs to an {family} virtual router; use its {family} address"
                    ),
                );
            } else if source.is_some_and(|source| source.value == address) {
                problems.add(
                    peer.at,
                    format!("unicast peer {address} is this router's own unicast_source; list only the other routers"),
                );
            } else if self.is_virtual(address) {
                problems.add(
                    peer.at,
                    format!(
                        "unicast peer {address} is a virtual address, which moves between the routers; use an address that stays on the peer"
                    ),
                );
            }
        }
        if let (true, Some(peer)) = (lacks_source, peers.first()) {
            // The peers have the source address in their configuration, so the source address must
            // not change. The interface's primary address can change.
            problems.absent(
                schema::UNICAST_SOURCE.name,
                at,
                format!(
                    "unicast_source is missing; it must be this router's address in the configuration of peer {}; \
                     add e.g. `unicast_source = \"{}\"`",
                    peer.value.address,
                    if peer.value.address.is_ipv6() { "2001:db8::1" } else { "192.0.2.1" }
                ),
            );
        }
    }

    /// Returns the name of the virtual router's family if the address is of the other family.
    fn other_family(&self, address: IpAddr) -> Option<&'static str> {
        self.addresses.family.filter(|family| *family != Family::of(address)).map(host::family_name)
    }

    fn is_virtual(&self, address: IpAddr) -> bool {
        self.addresses.all().any(|placed| placed.value.address.address == address)
    }
}
