//! The interface on a device's segment.

use std::io;

use anyhow::{Context, Result, bail, ensure};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};

use crate::capture::Capture;
use crate::configuration::Family;
use crate::conformance::received::UNDER_TEST;
use crate::conformance::stage::Wire;
use crate::inject::Injector;
use crate::netlink;
use crate::station::Mac;
use vipd_witness::{GROUP_IPV4, GROUP_IPV6};

/// An Ethernet interface of this machine that receives adverts.
#[derive(Debug)]
pub(super) struct Interface {
    name: String,
    index: u32,
    pub(super) mac: Mac,
    /// Keeps the VRRP group joined, so that the network card and switches that snoop memberships
    /// forward adverts.
    _membership: Socket,
}

impl Interface {
    /// Finds an interface in the calling thread's namespace and joins the VRRP group on it.
    ///
    /// # Errors
    /// Returns an error if the interfaces cannot be listed, if there is no such Ethernet interface,
    /// if it is down or has no carrier, or if the group cannot be joined.
    pub(super) fn open(name: &str, family: Family) -> Result<Self> {
        let links = links()?;
        let Some(link) = links.iter().find(|link| name_of(link) == Some(name)) else {
            let names: Vec<_> = links.iter().filter_map(name_of).collect();
            bail!(
                "no interface {name}: this machine has {}; pass the one on the device's segment",
                names.join(", ")
            );
        };
        let kind = link.header.link_layer_type;
        let mac = (kind == LinkLayerType::Ether).then(|| mac_of(link)).flatten();
        let mac = mac.with_context(|| {
            format!("{name} is of type {kind:?}; expected an Ethernet interface on the device's segment")
        })?;
        let flags = link.header.flags;
        ensure!(flags.contains(LinkFlags::Up), "{name} is down; run `ip link set {name} up`");
        ensure!(
            flags.contains(LinkFlags::LowerUp),
            "{name} has no carrier; connect it to the device's segment"
        );
        let index = link.header.index;
        let membership = join(family, index).with_context(|| {
            format!("cannot join the {family} VRRP group on {name}; check that {family} is enabled on it")
        })?;
        Ok(Self { name: name.to_owned(), index, mac, _membership: membership })
    }

    /// Starts a capture, in which every frame has [`UNDER_TEST`] as its sender, and opens the
    /// interface for sending.
    ///
    /// # Errors
    /// Returns an error if a socket or the capture's thread cannot be created.
    pub(super) fn wire(&self) -> Result<Wire> {
        let open = || Injector::of_interface(&self.name, self.index);
        Ok(Wire {
            capture: Capture::of_interface(self.index, UNDER_TEST)?,
            lower: open()?,
            higher: open()?,
            client: open()?,
        })
    }
}

fn join(family: Family, index: u32) -> io::Result<Socket> {
    match family {
        Family::V4 => {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.join_multicast_v4_n(&GROUP_IPV4, &InterfaceIndexOrAddress::Index(index))?;
            Ok(socket)
        }
        Family::V6 => {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
            socket.join_multicast_v6(&GROUP_IPV6, index)?;
            Ok(socket)
        }
    }
}

fn links() -> Result<Vec<LinkMessage>> {
    let all = netlink::dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).context("listing links")?;
    Ok(all
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        })
        .collect())
}

fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn mac_of(link: &LinkMessage) -> Option<Mac> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
        _ => None,
    })
}
