//! Sizes of the BPF program's maps for a configuration.

use std::sync::Arc;

use anyhow::Context as _;
use vipd_common::records::BURST;

use crate::config::settings::Transport;
use crate::config::{Config, Instance};
use crate::xdp::Sizes;

/// Number of senders whose advert rate the BPF program tracks, per router.
const SENDERS_PER_ROUTER: usize = 16;
/// Minimum size of the map of senders: a smaller LRU map evicts entries too early, because the
/// kernel moves entries in batches of 128 per CPU (`kernel/bpf/bpf_lru_list.c`).
const MIN_SENDERS: u32 = 4096;

/// Converts a number of entries to a map size.
fn count(entries: usize) -> anyhow::Result<u32> {
    u32::try_from(entries).context("too many instances")
}

/// Returns the sizes of the BPF program's maps, with room for more routers.
pub(crate) fn sizes(config: &Config) -> anyhow::Result<Sizes> {
    Ok(needed_sizes(config)?.with_head_room())
}

/// Returns the number of entries that a configuration needs in the BPF program's maps.
pub(super) fn needed_sizes(config: &Config) -> anyhow::Result<Sizes> {
    let instances = config.instances.iter();
    let peers = instances.clone().map(|instance| match &instance.transport {
        Transport::Multicast => 0,
        Transport::Unicast(peers) => peers.len(),
    });
    let addresses = instances.map(addresses);
    Ok(Sizes {
        routers: count(config.instances.len())?,
        peers: count(peers.sum())?,
        addresses: count(addresses.sum())?,
        senders: count(config.instances.len() * SENDERS_PER_ROUTER)?.max(MIN_SENDERS),
        burst: BURST,
    })
}

/// Returns the number of entries of an instance in the map of VIPs: for each VIP, one entry with
/// the instance's interface and, if the VIP is on another interface, a second entry with that
/// interface.
fn addresses(instance: &Arc<Instance>) -> usize {
    let elsewhere = instance.placements.iter().filter(|placement| placement.interface.is_some());
    instance.placements.len() + elsewhere.count()
}
