//! Predicts, from a configuration, how the BPF program decides about an advert.

use std::fmt;
use std::sync::Arc;

use vipd_common::counters::Counter;
use vipd_common::parse::{Expected, NotOurs, Trailer, validate};
use vipd_common::wire::{ipv4, vrrp};

use super::dissect::{Advert, Packet, dissect};
use crate::config::Instance;
use crate::config::settings::Transport;
use crate::control::counters::drop_reasons;
use crate::vrrp::hmac;

/// The decision about a packet of IP protocol 112.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid, for this instance.
    Accepted(String),
    /// Invalid for this instance: dropped and counted.
    Dropped(String, Counter),
    /// For no instance: passed to the network stack.
    Passed(NotOurs),
    /// Tagged with this VLAN identifier: passed to the VLAN's interface. The identifier is 0 for
    /// priority tags that the BPF program does not skip.
    OtherVlan(u16),
}

/// Returns the decision that [`vipd capture`](crate::observe) reports for a frame; `None` if the
/// frame is not a VRRP packet. `has_ethernet` is whether the interface's frames have an Ethernet
/// header.
pub fn verdict(
    instances: &[Arc<Instance>],
    interface: &str,
    frame: &[u8],
    has_ethernet: bool,
) -> Option<Verdict> {
    judge(instances, interface, &dissect(frame, has_ethernet)?)
}

/// Predicts how the BPF program of an agent with these instances decides about a packet received on
/// an interface, within the limits of [`check`]. For an instance with unicast peers but without a
/// configured source, counts each unicast destination as an address of this host. Returns `None`
/// for an address claim.
pub(crate) fn judge(instances: &[Arc<Instance>], interface: &str, packet: &Packet) -> Option<Verdict> {
    let advert = match packet {
        Packet::Advert(advert) => advert,
        Packet::NotLocated(Some(vlan), _) => return Some(Verdict::OtherVlan(*vlan)),
        Packet::NotLocated(None, reason) => return Some(Verdict::Passed(*reason)),
        Packet::Claim(_) => return None,
    };
    if let Some(vlan) = advert.vlan {
        return Some(Verdict::OtherVlan(vlan));
    }
    let instance = instances.iter().find(|instance| is_for(instance, interface, advert));
    Some(match instance {
        None => Verdict::Passed(advert.located.unclaimed()),
        Some(instance) if !is_destination(instance, advert) => Verdict::Passed(NotOurs::Destination),
        Some(instance) => match check(instance, advert) {
            None => Verdict::Accepted(instance.name.clone()),
            Some(counter) => Verdict::Dropped(instance.name.clone(), counter),
        },
    })
}

/// Returns whether an advert on an interface has the VRID and family of an instance.
fn is_for(instance: &Instance, interface: &str, advert: &Advert) -> bool {
    let router = &instance.router;
    instance.interface == interface
        && (router.vrid, router.family.number()) == (advert.vrid(), advert.family())
}

fn is_destination(instance: &Instance, advert: &Advert) -> bool {
    let destination = advert.destination;
    match &instance.transport {
        Transport::Multicast => advert.is_multicast(),
        Transport::Unicast(_) => {
            !destination.is_multicast() && instance.source.is_none_or(|source| source == destination)
        }
    }
}

/// Returns why the BPF program drops an advert for an instance as invalid, or `None` if the advert
/// is valid. Takes into account neither the rate limit nor, for a signed advert, the key, the HMAC,
/// the clock or replays.
pub(crate) fn check(instance: &Instance, advert: &Advert) -> Option<Counter> {
    let ttl = match &instance.transport {
        Transport::Multicast => ipv4::VRRP_TTL,
        Transport::Unicast(peers) => match peers.iter().find(|peer| peer.address == advert.source) {
            Some(peer) => peer.min_ttl,
            None => return Some(Counter::PeerErrors),
        },
    };
    let expected = Expected {
        version: instance.router.version().number(),
        authentication: instance.password.map_or(0, |_| vrrp::AUTH_PASS),
        password: instance.password.map_or([0; 2], |password| password.words()),
        ttl,
        empty: instance.router.virtual_addresses.is_empty(),
        trailer: instance.hmac.as_ref().map_or(Trailer::Absent, hmac::Config::trailer),
    };
    validate(&&*advert.packet, &advert.located, &expected).err()
}

/// Returns the reason for dropping an advert, as worded in the log.
pub(crate) fn reason_of(counter: Counter) -> &'static str {
    drop_reasons().find_map(|(cell, reason)| (cell == counter).then_some(reason)).unwrap_or("invalid advert")
}

/// Formats the comment of a frame in a capture file.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(instance) => write!(f, "accepted for {instance}"),
            Self::Dropped(instance, counter) => {
                write!(f, "invalid for {instance}: {}", reason_of(*counter))
            }
            Self::Passed(NotOurs::Vrid) => f.write_str("not for this agent: VRID not configured here"),
            Self::Passed(NotOurs::Destination) => {
                f.write_str("not for this agent: no instance uses this destination address")
            }
            Self::Passed(NotOurs::Fragment) => f.write_str("not for this agent: IP fragment"),
            Self::Passed(NotOurs::Unparsable) => f.write_str("not for this agent: no VRID can be read"),
            Self::OtherVlan(0) => f.write_str("not for this agent: priority tags that are not skipped"),
            Self::OtherVlan(vlan) => write!(f, "not for this interface: tagged with VLAN {vlan}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use vipd_witness::{Advert as Sent, Version};

    use super::*;
    use crate::config::Config;
    use crate::observe::dissect;

    fn instances(more: &str) -> Vec<Arc<Instance>> {
        let text = format!(
            "[[instance]]\nname = \"a\"\ninterface = \"eth0\"\nvrid = 51\nvirtual_addresses = [\"192.0.2.50/24\"]\n{more}"
        );
        Config::parse(&text, "vipd.toml").unwrap_or_else(|problems| panic!("{problems}")).instances
    }

    fn sent() -> Sent {
        let addresses = vec![Ipv4Addr::new(192, 0, 2, 50).into()];
        Sent { addresses, ..Sent::new(Version::V3, 51, 200, Ipv4Addr::new(192, 0, 2, 1)) }
    }

    fn verdict(more: &str, sent: &Sent) -> String {
        let packet = dissect(&sent.frame(), true).expect("an advert");
        judge(&instances(more), "eth0", &packet).expect("a verdict").to_string()
    }

    #[test]
    fn verdicts_state_the_instance_and_the_reason() {
        let unicast = "unicast_peers = [\"192.0.2.9\"]\nunicast_source = \"192.0.2.2\"\n";
        let to_node = Sent { destination: [192, 0, 2, 2].into(), ..sent() };
        for (more, sent, expected) in [
            ("", sent(), "accepted for a"),
            ("version = 2\n", sent(), "invalid for a: VRRP version mismatch"),
            ("", Sent { ttl: 64, ..sent() }, "invalid for a: TTL or Hop Limit too small"),
            (
                "",
                Sent { destination: [224, 0, 0, 19].into(), ..sent() },
                "not for this agent: no instance uses",
            ),
            ("", Sent { vrid: 52, ..sent() }, "not for this agent: VRID not configured here"),
            ("", Sent { tags: vec![(0x8100, 9)], ..sent() }, "not for this interface: tagged with VLAN 9"),
            (unicast, sent(), "not for this agent: no instance uses this destination"),
            (unicast, to_node.clone(), "invalid for a: sender is not a configured unicast peer"),
            (unicast, Sent { source: [192, 0, 2, 9].into(), ..to_node }, "accepted for a"),
        ] {
            let found = verdict(more, &sent);
            assert!(found.starts_with(expected), "{found:?}, expected {expected:?}");
        }
    }
}
