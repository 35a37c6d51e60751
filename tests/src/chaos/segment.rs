//! The virtual routers of an episode: their configuration on each node, and the deadlines that
//! result from it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::configuration::{Family, Instance};
use crate::protocol::{Version, down_interval, skew_time};
use crate::random::Random;
use crate::station::{Mac, Station};

/// Maximum number of nodes.
pub const MAX_NODES: u8 = 4;
/// Maximum number of virtual routers. The last byte of their addresses is 51 to 82, so the
/// addresses are below those of the clients.
pub const MAX_ROUTERS: usize = 32;
/// Priority of the preferred node of a router.
const HIGHEST_PRIORITY: u8 = 220;
/// Difference in priority between consecutive nodes in order of preference.
const PRIORITY_STEP: u8 = 50;
/// VRID of the first router, and last byte of its address.
const FIRST: u8 = 51;

/// Nodes, and the virtual routers that are configured on all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Number of nodes.
    pub nodes: u8,
    /// The virtual routers.
    pub routers: Vec<Router>,
    /// Advertisement interval of all routers.
    pub interval: Duration,
}

/// A virtual router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Virtual router identifier; unique on the segment.
    pub vrid: u8,
    /// The VIP that the clients query.
    pub address: IpAddr,
    /// Whether the router uses the virtual MAC.
    pub virtual_mac: bool,
    /// Advertisement interval.
    pub interval: Duration,
    /// Priority of each node, starting with node 1.
    pub priorities: Vec<u8>,
}

impl Segment {
    /// Generates a random segment. The preferred node differs from router to router, so that each
    /// node is master of some and backup of others, unless there are fewer routers than nodes.
    pub(crate) fn draw(nodes: u8, routers: usize, random: &mut Random) -> Self {
        let interval = match random.below(100) {
            0..60 => Duration::from_millis(100),
            60..85 => Duration::from_millis(10),
            _ => Duration::from_secs(1),
        };
        Self::with_interval(nodes, routers, interval, random)
    }

    /// Generates a random segment whose routers have this advertisement interval.
    pub(crate) fn with_interval(nodes: u8, routers: usize, interval: Duration, random: &mut Random) -> Self {
        let count = usize::from(nodes);
        let shift = random.below(count);
        let router = |index: usize| {
            let last = u8::try_from(index).map_or(u8::MAX, |index| FIRST.saturating_add(index));
            let address = if random.percent(30) {
                IpAddr::V6(Ipv6Addr::new(0xfd00, 0x122, 0, 0, 0, 0, 0, last.into()))
            } else {
                IpAddr::V4(Ipv4Addr::new(192, 168, 122, last))
            };
            let priority = |node: usize| {
                let rank = u8::try_from((node + shift + index) % count).unwrap_or(0);
                HIGHEST_PRIORITY - PRIORITY_STEP * rank
            };
            let priorities = (0..count).map(priority).collect();
            Router { vrid: last, address, virtual_mac: random.percent(30), interval, priorities }
        };
        Self { nodes, routers: (0..routers).map(router).collect(), interval }
    }

    /// Returns the nodes' numbers.
    pub fn nodes(&self) -> impl Iterator<Item = u8> + Clone + use<> {
        1..=self.nodes
    }

    /// Returns the instances in the configuration of a node.
    pub(crate) fn instances(&self, node: u8) -> Vec<Instance> {
        self.routers.iter().map(|router| router.instance(node)).collect()
    }

    /// Returns the longest Active_Down_Interval of all routers.
    pub fn longest_down(&self) -> Duration {
        self.routers.iter().map(Router::longest_down).max().unwrap_or_default()
    }
}

impl Router {
    /// Returns the address family of the router.
    pub fn family(&self) -> Family {
        if self.address.is_ipv6() { Family::V6 } else { Family::V4 }
    }

    /// Returns the priority of a node, or 0 if there is no such node.
    pub fn priority(&self, node: u8) -> u8 {
        let index = usize::from(node).checked_sub(1);
        index.and_then(|index| self.priorities.get(index)).copied().unwrap_or(0)
    }

    /// Returns the MAC to which packets for the router are sent if this node is its master.
    pub fn mac(&self, node: u8) -> Mac {
        match (self.virtual_mac, self.family()) {
            (false, _) => Station::Node(node).mac(),
            (true, Family::V4) => Mac([0, 0, 0x5e, 0, 1, self.vrid]),
            (true, Family::V6) => Mac([0, 0, 0x5e, 0, 2, self.vrid]),
        }
    }

    /// Returns the longest Active_Down_Interval of the router's nodes.
    pub fn longest_down(&self) -> Duration {
        down_interval(Version::V3, self.interval, self.lowest_priority())
    }

    /// Returns the longest Skew_Time of the router's nodes.
    pub fn longest_skew(&self) -> Duration {
        skew_time(Version::V3, self.interval, self.lowest_priority())
    }

    fn lowest_priority(&self) -> u8 {
        self.priorities.iter().copied().min().unwrap_or(1)
    }

    fn instance(&self, node: u8) -> Instance {
        let addresses = match self.address {
            IpAddr::V4(_) => vec![self.address],
            // The first address must be link-local (RFC 9568 section 5.2.9).
            IpAddr::V6(_) => {
                vec![Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, self.vrid.into()).into(), self.address]
            }
        };
        Instance {
            name: format!("VI_{}", self.vrid),
            vrid: self.vrid,
            priority: self.priority(node),
            interval: self.interval,
            virtual_mac: self.virtual_mac,
            addresses,
            ..Instance::default()
        }
    }
}

/// Formats the router in one line: VRID, address, kind of MAC, and the priorities of the nodes.
impl fmt::Display for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mac = if self.virtual_mac { "virtual MAC" } else { "interface MAC" };
        let priorities: Vec<_> = self.priorities.iter().map(u8::to_string).collect();
        write!(f, "VRID {}, {}, {mac}, priorities {}", self.vrid, self.address, priorities.join(", "))
    }
}

/// Formats the segment in several lines: the number of nodes and routers and the advert interval,
/// then a line for each router.
impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, interval) = (self.nodes, self.interval.as_millis());
        write!(f, "{nodes} nodes, {} virtual routers, advert interval {interval} ms", self.routers.len())?;
        self.routers.iter().try_for_each(|router| write!(f, "\n  {router}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_is_preferred_for_some_router_and_priorities_differ() {
        for nodes in 2..=MAX_NODES {
            let segment = Segment::draw(nodes, usize::from(nodes), &mut Random::new(3));
            let mut preferred: Vec<_> = segment
                .routers
                .iter()
                .map(|router| segment.nodes().max_by_key(|node| router.priority(*node)).unwrap())
                .collect();
            preferred.sort_unstable();
            assert_eq!(preferred, segment.nodes().collect::<Vec<_>>());
            for router in &segment.routers {
                let mut priorities = router.priorities.clone();
                priorities.sort_unstable();
                priorities.dedup();
                assert_eq!(priorities.len(), usize::from(nodes), "{router}");
                assert!(priorities[0] > 0);
            }
        }
    }
}
