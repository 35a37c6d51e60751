//! Which interfaces the configuration needs, for what, and what the kernel side is to know of them.

use std::net::IpAddr;

use vipd_common::address::{self, wide};
use vipd_common::records::{PeerKey, RouterKey, RouterSlot};
use vipd_common::wire::{ipv4, ipv6, vrrp};

use crate::config::settings::Transport;
use crate::config::{Config, Instance};
use crate::vrrp::Family;

/// Everything the configuration needs.
pub(crate) struct Plan {
    /// The interfaces; instances name them by their place here.
    pub(crate) interfaces: Vec<Planned>,
    /// Where each instance is, in the order of the configuration.
    pub(crate) instances: Vec<Placed>,
}

/// An interface.
pub(crate) struct Planned {
    /// Its name; for a macvlan a name for people, until it exists.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) role: Role,
}

/// What an interface is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Adverts come and go on it.
    Speaks,
    /// It only has virtual addresses (`dev`).
    Carries,
    /// It is the macvlan with the virtual MAC of this instance, made by vipd.
    VirtualMac {
        /// Which instance.
        instance: usize,
        /// Its interface.
        parent: usize,
    },
}

/// Where an instance is.
pub(crate) struct Placed {
    /// The interface its adverts travel on.
    pub(crate) interface: usize,
    /// The interface of each of its addresses.
    pub(crate) homes: Vec<usize>,
    /// Its macvlan.
    pub(crate) macvlan: Option<usize>,
}

impl Plan {
    /// The plan of a configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let mut interfaces: Vec<Planned> = Vec::new();
        // Those with adverts first: what merely carries addresses may be one of them.
        let speaks: Vec<usize> = config
            .instances
            .iter()
            .map(|found| place(&mut interfaces, &found.interface, Role::Speaks))
            .collect();
        let each = config.instances.iter().zip(speaks).enumerate();
        let instances = each.map(|(instance, (found, interface))| {
            let macvlan = found.virtual_mac.map(|_| {
                let role = Role::VirtualMac { instance, parent: interface };
                interfaces
                    .push(Planned { name: format!("the virtual MAC's interface of {}", found.name), role });
                interfaces.len() - 1
            });
            let family = found.router.family;
            let homes = found.placements.iter().zip(found.router.all_addresses());
            let homes = homes.map(|(placement, vip)| match &placement.interface {
                Some(name) => place(&mut interfaces, name, Role::Carries),
                // The virtual MAC is one of a family (RFC 9568 section 7.3).
                None => macvlan.filter(|_| Family::of(vip.address) == family).unwrap_or(interface),
            });
            let homes = homes.collect();
            Placed { interface, homes, macvlan }
        });
        let instances = instances.collect();
        Self { interfaces, instances }
    }

    /// The instances whose adverts travel on an interface.
    pub(crate) fn routers<'a>(
        &'a self,
        config: &'a Config,
        interface: usize,
    ) -> impl Iterator<Item = (usize, &'a Instance)> {
        let each = config.instances.iter().zip(&self.instances).enumerate();
        each.filter(move |(_, (_, placed))| placed.interface == interface)
            .map(|(instance, (settings, _))| (instance, settings))
    }
}

/// The place of the interface of this name, which is new or there already.
fn place(interfaces: &mut Vec<Planned>, name: &str, role: Role) -> usize {
    let named = |found: &Planned| found.name == name && !matches!(found.role, Role::VirtualMac { .. });
    interfaces.iter().position(named).unwrap_or_else(|| {
        interfaces.push(Planned { name: name.to_owned(), role });
        interfaces.len() - 1
    })
}

/// What the kernel side is to know of a virtual router.
pub(crate) struct Watch {
    vrid: u8,
    family: Family,
    /// Its slot.
    pub(crate) slot: RouterSlot,
    /// Its unicast peers and the smallest TTL of each.
    pub(crate) peers: Vec<(PeerKey, u8)>,
}

impl Watch {
    /// Of the instance at this place in the configuration: its row is one more, because row 0 is nobody's.
    pub(crate) fn new(place: usize, instance: &Instance) -> Self {
        let row = u32::try_from(place + 1).unwrap_or_default();
        let family = instance.router.family;
        let (peers, destination) = match &instance.transport {
            Transport::Multicast => (&[][..], group(family)),
            Transport::Unicast(peers) => (peers.as_slice(), instance.source.unwrap_or(group(family))),
        };
        let slot = RouterSlot {
            row,
            version: instance.router.version().number(),
            authentication: instance.password.map_or(0, |_| vrrp::AUTH_PASS),
            empty: u8::from(instance.router.virtual_addresses.is_empty()),
            unicast: u8::from(!peers.is_empty()),
            destination: wide(destination),
            password: instance.password.map_or([0; 2], |password| {
                let (words, _) = password.0.as_chunks::<4>();
                [u32::from_ne_bytes(words[0]), u32::from_ne_bytes(words[1])]
            }),
        };
        let peers =
            peers.iter().map(|peer| (PeerKey { row, address: wide(peer.address) }, peer.min_ttl)).collect();
        Self { vrid: instance.router.vrid, family, slot, peers }
    }

    /// Its key on the interface with this index.
    pub(crate) fn key(&self, ifindex: u32) -> RouterKey {
        RouterKey::new(ifindex, self.vrid, self.family.number())
    }

    /// Its family.
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Its VRID.
    pub(crate) fn vrid(&self) -> u8 {
        self.vrid
    }
}

/// The group of VRRP's adverts.
fn group(family: Family) -> IpAddr {
    let words = match family {
        Family::V4 => address::ipv4(ipv4::VRRP_GROUP),
        Family::V6 => address::ipv6(ipv6::VRRP_GROUP),
    };
    address::narrow(family.number(), words)
}
