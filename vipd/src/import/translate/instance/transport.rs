//! Source and destination of adverts.

use std::net::IpAddr;

use super::host;
use crate::import::keywords::Block;
use crate::import::report::Position;
use crate::import::toml::{Table, Value};
use crate::import::translate::context::{Context, Parsed};
use crate::import::tree::Statement;

/// Source and destination of adverts, as configured.
#[derive(Debug, Default)]
pub(super) struct Transport {
    source: Option<(IpAddr, Position)>,
    peers: Vec<Peer>,
    /// Position of the last `unicast_peer`.
    unicast: Option<Position>,
}

#[derive(Debug)]
struct Peer {
    at: Position,
    address: IpAddr,
    min_ttl: Option<u8>,
}

impl Transport {
    /// Returns whether a statement configures the transport, and translates it if so.
    pub(super) fn read(&mut self, statement: &Statement, context: &mut Context<'_>) -> bool {
        match statement.keyword() {
            "mcast_src_ip" | "unicast_src_ip" => {
                self.source = host(statement, context).map(|address| (address, statement.at.clone()));
            }
            "unicast_peer" => {
                self.unicast = Some(statement.at.clone());
                for line in statement.children() {
                    self.peer(line, context);
                }
            }
            _ => return false,
        }
        true
    }

    /// Reads a line with a peer and its options.
    fn peer(&mut self, line: &Statement, context: &mut Context<'_>) {
        let at = &line.at;
        let Ok(address) = line.keyword().parse() else {
            context.attention(
                at,
                format!("{:?} is not the address of a peer; it is left out; correct it", line.keyword()),
            );
            return;
        };
        let mut peer = Peer { at: at.clone(), address, min_ttl: None };
        let mut words = line.arguments().iter();
        while let Some(word) = words.next() {
            if word.parse::<IpAddr>().is_ok() {
                context.attention(
                    at,
                    format!("the peer {word} is left out: keepalived reads one peer per line, too; put it on a line of its own"),
                );
                continue;
            }
            let Parsed::Value(value) = context.option(Block::Peer, word, &mut words, at) else { continue };
            match value.parse() {
                Ok(ttl) => peer.min_ttl = Some(ttl),
                Err(_) => context.attention(
                    at,
                    format!(
                        "`{word}` is {value:?}; it must be an integer up to 255; it is left out; correct it"
                    ),
                ),
            }
        }
        self.peers.push(peer);
    }

    pub(super) fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.peers.first().is_some_and(|peer| peer.address.is_ipv6())
    }

    /// Adds the keys of the transport. `is_ipv6` states whether the instance is for IPv6.
    pub(super) fn write(&self, is_ipv6: bool, table: &mut Table, context: &mut Context<'_>) {
        let source = self.source.as_ref();
        if let Some((address, at)) = source.filter(|(address, _)| address.is_ipv6() != is_ipv6) {
            let family = if is_ipv6 { "IPv6" } else { "IPv4" };
            context.attention(
                at,
                format!("the source {address} is left out, because the instance is for {family}; correct it"),
            );
        }
        let source = source.filter(|(address, _)| address.is_ipv6() == is_ipv6);
        if self.peers.is_empty() {
            if let Some(at) = &self.unicast {
                context.attention(
                    at,
                    "no peer is configured; vipd uses multicast, like keepalived; add the peers if you want unicast",
                );
            }
            multicast(source, table, context);
            return;
        }
        match source {
            Some((address, _)) => table.text("unicast_source", address.to_string()),
            None => context.attention(
                self.unicast.as_ref().unwrap_or(&self.peers[0].at),
                "no `unicast_src_ip` is configured; vipd requires it; add `unicast_source`, this node's address in the \
                 configuration of the peers",
            ),
        }
        let mut elements: Vec<Value> = Vec::new();
        let mut known = Vec::new();
        let mut has_unlimited = false;
        for Peer { at, address, min_ttl } in &self.peers {
            let problem = if source.is_some_and(|(source, _)| source == address) {
                "is this router's own address"
            } else if address.is_ipv6() != is_ipv6 {
                "is not of the family of the VIPs"
            } else if known.contains(address) {
                "is listed twice"
            } else {
                known.push(*address);
                // Without `min_ttl`, keepalived does not check the TTL.
                let ttl = min_ttl.map_or(1, |ttl| ttl.max(1));
                has_unlimited |= ttl == 1;
                elements.push(match ttl {
                    255 => Value::Text(address.to_string()),
                    ttl => Value::Inline(vec![
                        ("address", Value::Text(address.to_string())),
                        ("min_ttl", Value::Integer(ttl.into())),
                    ]),
                });
                continue;
            };
            context.attention(
                at,
                format!("the peer {address} {problem}; it is left out; check the list of peers"),
            );
        }
        if has_unlimited {
            table.comment(
                "Without min_ttl, keepalived does not check the TTL of unicast adverts. If all peers are on this segment \
                 and send a TTL of 255, remove min_ttl: 255 is vipd's default.",
            );
        }
        table.set("unicast_peers", Value::Array(elements));
    }
}

/// Adds `source`, the source of multicast adverts.
fn multicast(source: Option<&(IpAddr, Position)>, table: &mut Table, context: &mut Context<'_>) {
    let Some((address, at)) = source else { return };
    if matches!(address, IpAddr::V6(address) if !address.is_unicast_link_local()) {
        context.attention(
            at,
            format!(
                "the source {address} is left out: IPv6 adverts are sent from a link-local address (RFC 9568); \
                 remove it, or set a link-local address"
            ),
        );
        return;
    }
    table.text("source", address.to_string());
}
