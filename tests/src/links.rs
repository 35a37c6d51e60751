//! Configures links and addresses in the network namespace of the calling thread.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;
use std::path::Path;

use anyhow::{Context, Result};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::{AddressMessageBuilder, LinkBridge, LinkUnspec, LinkVeth};

use crate::netlink;
use crate::station::Mac;

/// A veth pair from a bridge in this namespace (the near end) to another namespace (the far end).
/// Only the near end is brought up: the kernel creates the far end first and cannot bring it up
/// before its peer exists.
#[derive(Debug)]
pub(crate) struct Cable<'a> {
    /// Bridge that the near end is attached to.
    pub(crate) bridge: &'a str,
    /// Name of the near end.
    pub(crate) port: &'a str,
    /// Interface index of the near end.
    pub(crate) port_index: u32,
    /// Name of the far end.
    pub(crate) interface: &'a str,
    /// MAC of the far end.
    pub(crate) mac: Mac,
    /// Network namespace of the far end.
    pub(crate) namespace: RawFd,
}

/// Adds a bridge that forwards immediately (without spanning tree), floods multicast to all ports
/// (without snooping), and does not inspect packets (br_netfilter would drop packets with invalid
/// IPv4 headers).
///
/// # Errors
/// Returns an error if the kernel rejects the request.
pub fn add_bridge(name: &str) -> Result<()> {
    for table in ["arptables", "iptables", "ip6tables"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{table}");
        // These sysctls exist only if br_netfilter is loaded.
        if Path::new(&path).exists() {
            fs::write(&path, "0").with_context(|| format!("writing {path}"))?;
        }
    }
    let bridge = LinkBridge::new(name).mcast_snooping(false).up().build();
    netlink::create(RouteNetlinkMessage::NewLink(bridge)).with_context(|| format!("adding bridge {name}"))
}

/// Creates the veth pair of a cable and attaches its near end to the bridge.
pub(crate) fn add_cable(cable: &Cable<'_>) -> Result<()> {
    let far = LinkUnspec::new_with_name(cable.interface)
        .address(cable.mac.0.to_vec())
        .setns_by_fd(cable.namespace)
        .build();
    let near = LinkVeth::new(cable.port, cable.interface)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
        .index(cable.port_index)
        .controller(index(cable.bridge)?)
        .up()
        .build();
    netlink::create(RouteNetlinkMessage::NewLink(near))
        .with_context(|| format!("adding cable {}", cable.port))
}

/// Adds a veth pair with both ends up in this namespace: for interfaces that are not part of the
/// lab's segment, or for an impaired link of the segment.
///
/// # Errors
/// Returns an error if a link with either name exists, or the kernel rejects the request.
pub fn add_pair(name: &str, peer: &str) -> Result<()> {
    let pair = LinkVeth::new(name, peer).build();
    netlink::create(RouteNetlinkMessage::NewLink(pair))
        .with_context(|| format!("adding veth pair {name} and {peer}"))?;
    set_up(name)?;
    set_up(peer)
}

/// Sets a link up.
///
/// # Errors
/// Returns an error if the link does not exist, or the kernel rejects the request.
pub fn set_up(name: &str) -> Result<()> {
    set(LinkUnspec::new_with_name(name).up().build()).with_context(|| format!("setting {name} up"))
}

/// Sets a link down. If it is a veth, its peer loses carrier.
///
/// # Errors
/// Returns an error if the link does not exist, or the kernel rejects the request.
pub fn set_down(name: &str) -> Result<()> {
    set(LinkUnspec::new_with_name(name).down().build()).with_context(|| format!("setting {name} down"))
}

/// Renames a link. Before Linux 6.2, the link must be down.
///
/// # Errors
/// Returns an error if the link does not exist, or the kernel rejects the request.
pub fn rename(name: &str, to: &str) -> Result<()> {
    set(LinkUnspec::new_with_index(index(name)?).name(to).build())
        .with_context(|| format!("renaming {name} to {to}"))
}

/// Sets a link's MTU.
///
/// # Errors
/// Returns an error if the link does not exist, or the kernel rejects the request.
pub fn set_mtu(name: &str, mtu: u32) -> Result<()> {
    set(LinkUnspec::new_with_name(name).mtu(mtu).build())
        .with_context(|| format!("setting the MTU of {name} to {mtu}"))
}

/// Detaches a port from its bridge. The port stays up.
///
/// # Errors
/// Returns an error if the link does not exist, or the kernel rejects the request.
pub fn leave_bridge(port: &str) -> Result<()> {
    set(LinkUnspec::new_with_name(port).nocontroller().build())
        .with_context(|| format!("detaching {port} from its bridge"))
}

/// Attaches a link to a bridge as a port.
///
/// # Errors
/// Returns an error if the link or the bridge does not exist, or the kernel rejects the request.
pub fn join_bridge(port: &str, bridge: &str) -> Result<()> {
    set(LinkUnspec::new_with_name(port).controller(index(bridge)?).build())
        .with_context(|| format!("attaching {port} to {bridge}"))
}

/// Enables or disables promiscuous mode on a link.
///
/// # Errors
/// Returns an error if the link does not exist, or the kernel rejects the request.
pub fn set_promiscuous(name: &str, on: bool) -> Result<()> {
    set(LinkUnspec::new_with_name(name).promiscuous(on).build())
        .with_context(|| format!("setting promiscuous mode on {name} to {on}"))
}

/// Deletes a link. Deleting a veth also deletes its peer.
///
/// # Errors
/// Returns an error if the link does not exist, or the kernel rejects the request.
pub fn delete(name: &str) -> Result<()> {
    let link = LinkUnspec::new_with_name(name).build();
    netlink::change(RouteNetlinkMessage::DelLink(link)).with_context(|| format!("deleting link {name}"))
}

/// Returns the names of all links, in kernel order.
///
/// # Errors
/// Returns an error if the dump fails.
pub fn names() -> Result<Vec<String>> {
    Ok(dump()?.into_iter().filter_map(|link| name_of(&link)).collect())
}

/// Returns the interface index of a link.
///
/// # Errors
/// Returns an error if the link does not exist.
pub fn index(name: &str) -> Result<u32> {
    dump()?
        .iter()
        .find(|link| name_of(link).as_deref() == Some(name))
        .map(|link| link.header.index)
        .with_context(|| format!("no link {name} in this namespace"))
}

/// Adds an address to a link. IPv6 addresses skip DAD and are usable immediately.
///
/// # Errors
/// Returns an error if the link does not exist or already has the address.
pub fn add_address(link: &str, address: impl Into<IpAddr>, prefix: u8) -> Result<()> {
    let address = address.into();
    netlink::create(RouteNetlinkMessage::NewAddress(address_message(link, address, prefix)?))
        .with_context(|| format!("adding {address}/{prefix} to {link}"))
}

/// Prepares a batch of requests that add IPv4 addresses to a link.
///
/// # Errors
/// Returns an error if the link does not exist, or a netlink socket cannot be opened.
pub fn address_batch(link: &str, addresses: &[Ipv4Addr], prefix: u8) -> Result<netlink::Batch> {
    let message = |address: &Ipv4Addr| {
        Ok(RouteNetlinkMessage::NewAddress(address_message(link, (*address).into(), prefix)?))
    };
    let messages = addresses.iter().map(message).collect::<Result<_>>()?;
    netlink::Batch::new(messages).context("opening a netlink socket")
}

/// Removes an address from a link.
///
/// # Errors
/// Returns an error if the link or the address does not exist.
pub fn remove_address(link: &str, address: impl Into<IpAddr>, prefix: u8) -> Result<()> {
    let address = address.into();
    netlink::change(RouteNetlinkMessage::DelAddress(address_message(link, address, prefix)?))
        .with_context(|| format!("removing {address}/{prefix} from {link}"))
}

/// Returns the IPv4 addresses of a link.
///
/// # Errors
/// Returns an error if the link does not exist or the dump fails.
pub fn addresses(link: &str) -> Result<Vec<Ipv4Addr>> {
    let index = index(link)?;
    let all = netlink::dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))
        .context("listing addresses")?;
    Ok(all
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(address) if address.header.index == index => {
                address.attributes.into_iter().find_map(|attribute| match attribute {
                    AddressAttribute::Local(IpAddr::V4(address)) => Some(address),
                    _ => None,
                })
            }
            _ => None,
        })
        .collect())
}

fn set(link: LinkMessage) -> std::io::Result<()> {
    netlink::change(RouteNetlinkMessage::SetLink(link))
}

fn dump() -> Result<Vec<LinkMessage>> {
    let all = netlink::dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).context("listing links")?;
    Ok(all
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        })
        .collect())
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn address_message(link: &str, address: IpAddr, prefix: u8) -> Result<AddressMessage> {
    let index = index(link)?;
    Ok(match address {
        IpAddr::V4(address) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix).build()
        }
        IpAddr::V6(address) => {
            let mut message =
                AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, prefix).build();
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            message
        }
    })
}
