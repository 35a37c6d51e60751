//! Properties of links that matter only for diagnosis.

use std::io;

use rtnetlink::packet_core::ParseableParametrized as _;
use rtnetlink::packet_route::link::{InfoBridge, InfoData, LinkAttribute, LinkFlags, LinkHeader, LinkInfo};

use super::macvlan::owner;
use super::message::LinkDetails;
use super::requests::Requests;
use super::wire::{Message, link_attributes};

/// A link and its properties.
#[expect(clippy::struct_excessive_bools, reason = "independent flags, not the states of one state machine")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFacts {
    /// Interface index.
    pub ifindex: u32,
    /// Interface name.
    pub name: String,
    /// Whether the link is administratively up (IFF_UP).
    pub is_up: bool,
    /// Whether the link supports multicast (IFF_MULTICAST).
    pub has_multicast: bool,
    /// Whether the link uses ARP (not IFF_NOARP).
    pub has_arp: bool,
    /// Index of the underlying link, for example of a VLAN or macvlan interface.
    pub parent: Option<u32>,
    /// Index of the controller (`IFLA_MASTER`), for example of the bridge or bond that the link is
    /// a port of.
    pub controller: Option<u32>,
    /// Kind of a virtual link, as in `ip -d link`.
    pub kind: Option<String>,
    /// ID of the XDP program.
    pub xdp_program: Option<u32>,
    /// MAC of the link.
    pub mac: Option<[u8; 6]>,
    /// Name of the agent that created the link; `None` if the link is not an agent's macvlan.
    pub owner: Option<String>,
    /// Whether the link is a bridge that snoops on IGMP and MLD without being a querier.
    pub snoops_without_querier: bool,
}

impl Requests {
    /// Reads all links.
    ///
    /// # Errors
    /// See [`dump`](Self::dump).
    pub fn link_facts(&mut self) -> io::Result<Vec<LinkFacts>> {
        let mut links: Vec<LinkFacts> = Vec::new();
        self.dump_links(|message| {
            if let Some(found) = decode(message) {
                // A repeated dump reports links again.
                links.retain(|link| link.ifindex != found.ifindex);
                links.push(found);
            }
        })?;
        Ok(links)
    }
}

fn decode(message: &Message<'_>) -> Option<LinkFacts> {
    let link = LinkDetails::decode(message)?;
    let family = LinkHeader::parse(message.payload()).ok()?.interface_family;
    let mut facts = LinkFacts {
        ifindex: link.ifindex,
        name: link.name?,
        is_up: link.flags.contains(LinkFlags::Up),
        has_multicast: link.flags.contains(LinkFlags::Multicast),
        has_arp: !link.flags.contains(LinkFlags::Noarp),
        parent: link.parent,
        xdp_program: link.xdp_program,
        mac: link.mac,
        owner: link.alias.as_deref().and_then(owner).map(str::to_owned),
        ..LinkFacts::default()
    };
    for attribute in link_attributes(message) {
        match LinkAttribute::parse_with_param(&attribute, family) {
            Ok(LinkAttribute::Controller(index)) => facts.controller = Some(index),
            Ok(LinkAttribute::LinkInfo(infos)) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => facts.kind = Some(kind.to_string()),
                        LinkInfo::Data(InfoData::Bridge(bridge)) => {
                            let has = |wanted: InfoBridge| bridge.contains(&wanted);
                            facts.snoops_without_querier = has(InfoBridge::MulticastSnooping(true))
                                && has(InfoBridge::MulticastQuerier(false));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(facts)
}
