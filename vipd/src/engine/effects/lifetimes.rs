//! Lifetimes of VIPs. When the lifetime of a VIP ends, the kernel removes the VIP, unless a process
//! has extended the lifetime.

use std::net::IpAddr;

use super::Effects;
use super::addresses::placed;
use crate::engine::id::RouterId;
use crate::engine::link::Link;
use crate::engine::topology::Topology;
use crate::netlink::{Address, Change};

impl Effects {
    /// Queues changes that set the lifetime of a router's present VIPs to a number of seconds;
    /// `None` for no limit. VIPs that belong to the interface are not changed. With
    /// `accept = false`, the BPF program already drops packets to present VIPs.
    pub(in crate::engine) fn set_lifetimes(
        &mut self,
        router: RouterId,
        lifetime: Option<u32>,
        topology: &Topology,
    ) {
        let Topology { links, routers, .. } = topology;
        let Some(instance) = routers.get(router) else { return };
        for position in 0..instance.addresses.len() {
            let Some((address, mut attributes, on)) = placed((router, position), instance, links) else {
                continue;
            };
            let Some(link) = links.get(on) else { continue };
            if link.addresses.get(address.address, address.prefix).is_none() {
                continue;
            }
            attributes.lifetime = lifetime;
            attributes.no_prefix_route |= lifetime.is_some() && shares_prefix(&address, link);
            self.change(Change::Add(address, attributes));
        }
    }
}

/// Returns whether another tool's IPv6 address on the link has the same prefix as the VIP. The
/// kernel would then also limit the lifetime of the prefix route that the two addresses share.
fn shares_prefix(vip: &Address, link: &Link) -> bool {
    let bits = |address: &Address| match address.address {
        IpAddr::V6(address) => {
            Some(address.to_bits().checked_shr(128 - u32::from(vip.prefix.min(128))).unwrap_or(0))
        }
        IpAddr::V4(_) => None,
    };
    let prefix = bits(vip);
    prefix.is_some()
        && link.addresses.iter().any(|other| {
            other.prefix == vip.prefix && bits(other) == prefix && !link.addresses.is_ours(other)
        })
}
