//! The links between the nodes and the switch: partitions and impairments. Cables are cut by
//! [`Lab::cut`].

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::action::Impairment;
use super::relay::Relay;
use crate::lab::{BRIDGE, Lab};
use crate::links;
use crate::namespace::Namespace;
use crate::random::Random;
use crate::station::Station;

/// The bridge of the nodes that a partition cuts off from the client.
const OTHER_BRIDGE: &str = "br1";

/// The links of all nodes.
#[derive(Debug)]
pub(super) struct Cables {
    switch: Namespace,
    /// The relays of impaired links, by node.
    relays: BTreeMap<u8, Relay>,
    /// Nodes on [`OTHER_BRIDGE`].
    parted: Vec<u8>,
    /// Decides which frames impaired links lose, duplicate and reorder.
    random: Random,
}

impl Cables {
    pub(super) fn new(lab: &Lab, seed: u64) -> Result<Self> {
        let switch = lab.switch().clone();
        switch.run(|| {
            // The ends of impaired links are interfaces in the switch's namespace. They must not
            // send MLD reports or Router Solicitations to the segment.
            for scope in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
                std::fs::write(&path, "1").with_context(|| format!("writing {path}"))?;
            }
            links::add_bridge(OTHER_BRIDGE)
        })?;
        Ok(Self { switch, relays: BTreeMap::new(), parted: Vec::new(), random: Random::new(seed) })
    }

    /// Moves a node to the other side of a partition, away from the client.
    pub(super) fn part(&mut self, node: u8) -> Result<()> {
        self.parted.push(node);
        self.attach(node)
    }

    /// Moves a node back to the client's side.
    pub(super) fn rejoin(&mut self, node: u8) -> Result<()> {
        self.parted.retain(|parted| *parted != node);
        self.attach(node)
    }

    /// Impairs a node's link: inserts a relay between the node's switch port and the bridge.
    pub(super) fn impair(&mut self, node: u8, impairment: Impairment) -> Result<()> {
        let (stub, trunk) = (stub(node), trunk(node));
        let port = Station::Node(node).port_name();
        self.switch
            .run({
                let (stub, trunk, port) = (stub.clone(), trunk, port.clone());
                move || {
                    links::add_pair(&stub, &trunk)?;
                    links::leave_bridge(&port)
                }
            })
            .with_context(|| format!("impairing the link of node {node}"))?;
        let random = Random::new(self.random.bits());
        let relay = Relay::start(&self.switch, (&port, &stub), impairment, random)?;
        self.relays.insert(node, relay);
        self.attach(node)
    }

    /// Ends the impairment. Frames that are still delayed are lost.
    pub(super) fn repair(&mut self, node: u8) -> Result<()> {
        if let Some(relay) = self.relays.remove(&node) {
            relay.end()?;
        }
        self.switch.run(move || links::delete(&stub(node)))?;
        self.attach(node)
    }

    /// Attaches a node's link to the bridge on the node's side of the partition.
    fn attach(&self, node: u8) -> Result<()> {
        let link =
            if self.relays.contains_key(&node) { trunk(node) } else { Station::Node(node).port_name() };
        let bridge = if self.parted.contains(&node) { OTHER_BRIDGE } else { BRIDGE };
        self.switch.run(move || links::join_bridge(&link, bridge))
    }
}

/// Returns the name of the relay's end of an impaired link.
fn stub(node: u8) -> String {
    format!("stub{node}")
}

/// Returns the name of the bridge's end of an impaired link.
fn trunk(node: u8) -> String {
    format!("trunk{node}")
}
