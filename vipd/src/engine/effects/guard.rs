//! Prepares the routers' records. After the engine has died, the guardian uses the records to send
//! priority-0 adverts and to remove VIPs, routes, rules and macvlans.

use std::net::IpAddr;

use super::Effects;
use crate::engine::authentication::Authentication;
use crate::engine::command::{Report, Reports};
use crate::engine::id::RouterId;
use crate::engine::instance::{Adverts, Instance};
use crate::engine::links::Links;
use crate::engine::unicast_peer::UnicastPeer;
use crate::guardian::{Packet, Record, Signing};
use crate::netlink::RoutingEntry;
use crate::packet::AdvertFrame;
use crate::vrrp::hmac;
use crate::xdp::FenceLevel;

impl Effects {
    /// Publishes the record of a router after its adverts, VIPs, routes or interfaces may have
    /// changed. Clears the record if the router has never been ready or its interface does not
    /// exist.
    pub(crate) fn guard(
        &mut self,
        router: RouterId,
        instance: &Instance,
        links: &Links,
        reports: &mut Reports,
    ) {
        let Some(guardian) = &mut self.guardian else { return };
        let Some(record) = record(instance, links) else { return guardian.clear(instance.row) };
        if guardian.publish(instance.row, &record).is_err() {
            reports.send(Report::NotGuarded { router });
        }
        guardian.set_sequence(instance.row, instance.sent_sequence().unwrap_or(0));
    }
}

/// Returns the record of a router, or `None` if the router has never been ready or its interface
/// does not exist.
fn record(instance: &Instance, links: &Links) -> Option<Record> {
    let ifindex = links.get(instance.link)?.ifindex?;
    let config = instance.router.config();
    let source = instance.primary()?;
    let packet = |frame: &AdvertFrame, route: Option<(IpAddr, IpAddr)>| {
        let mut frame = frame.clone();
        frame.set_priority(0);
        Packet { route, bytes: frame.without_trailer().0.to_vec() }
    };
    let (message, packets) = match instance.adverts()? {
        Adverts::Multicast(frame) => (frame.without_trailer().1, vec![packet(frame, None)]),
        Adverts::Unicast(peers) => {
            let packet = |peer: &UnicastPeer| packet(&peer.advert, Some((source, peer.address)));
            (0, peers.iter().map(packet).collect())
        }
    };
    let key = instance.authentication.as_ref().and_then(Authentication::signing_key);
    let window = instance.settings.hmac.as_ref().and_then(hmac::Config::time_window);
    let signing = key.map(|key| Signing {
        key: key.clone(),
        version: config.version().number(),
        message,
        window,
        source,
    });
    let entries = instance.routing.iter().filter_map(|wanted| wanted.resolve(links));
    Some(Record {
        ifindex,
        vrid: config.vrid,
        family: config.family.number(),
        has_macvlan: instance.macvlan.is_some(),
        is_fence_permanent: instance.fence(links).is_some_and(FenceLevel::is_permanent),
        interval: u32::try_from(config.interval.nanos() / 1_000_000).unwrap_or(u32::MAX),
        addresses: instance.covered.clone(),
        signing,
        packets,
        requests: entries.map(|entry: RoutingEntry| entry.removal_request()).collect(),
    })
}
