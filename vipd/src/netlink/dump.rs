//! Reads links, addresses and neighbors.

use std::io;
use std::net::IpAddr;

use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask};
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::message::{LinkDetails, Notice};
use super::monitor::{Monitor, WatchedLink};
use super::requests::Requests;
use super::wire::{Message, ifindex, link_name};

/// Maximum number of attempts at a dump. An attempt fails if a concurrent change interrupts it.
const ATTEMPTS: u32 = 32;
/// Maximum number of links to request one by one, which is cheaper if the host has many other
/// links. If more links are needed, all links are dumped.
const ONE_BY_ONE: usize = 64;

impl Requests {
    /// Reads all links, then all addresses.
    ///
    /// # Errors
    /// The error returned by the kernel, or [`io::ErrorKind::Interrupted`] if changes interrupted
    /// every attempt, so that entries may be missing.
    pub fn dump(&mut self, mut notice: impl FnMut(Notice)) -> io::Result<()> {
        self.dump_links(|link| notice_of(link, &mut notice))?;
        self.dump_addresses(0, |address| notice_of(address, &mut notice))
    }

    /// Reads the named links and their addresses, and makes the monitor report changes to them. The
    /// monitor is set up for the links before the links are read, and for their addresses before
    /// the addresses are read, so that no change is missed.
    ///
    /// # Errors
    /// See [`dump`](Self::dump). Also `ENOMEM` if the kernel cannot install the monitor's socket
    /// filter.
    pub fn read(
        &mut self,
        monitor: &mut Monitor,
        names: &[&str],
        mut notice: impl FnMut(Notice),
    ) -> io::Result<()> {
        // The kernel rejects requests for names that are too long (`ERANGE`), and no interface can
        // have such a name.
        let names: Vec<&str> = names.iter().copied().filter(|name| is_interface_name(name)).collect();
        monitor.expect(&names)?;
        let mut links = Vec::with_capacity(names.len());
        let mut found = |message: &Message<'_>| {
            let name = link_name(message).and_then(|name| names.iter().position(|known| *known == name));
            if let (Some(name), Some(index)) = (name, ifindex(message)) {
                links.push(WatchedLink { index, name: Some(name) });
                notice_of(message, &mut notice);
            }
        };
        let one_by_one = names.len() <= ONE_BY_ONE;
        if one_by_one {
            for name in &names {
                self.link(name, &mut found)?;
            }
        } else {
            self.dump_links(&mut found)?;
        }
        links.sort_unstable();
        links.dedup_by_key(|link| link.index);
        monitor.watch(&names, &links)?;
        let indices: Vec<u32> = links.iter().map(|link| link.index).collect();
        if !one_by_one {
            return self.dump_addresses(0, |message| {
                if ifindex(message).is_some_and(|index| indices.binary_search(&index).is_ok()) {
                    notice_of(message, &mut notice);
                }
            });
        }
        for index in &indices {
            let result = self.dump_addresses(*index, |message| {
                // A kernel without dump filters (before Linux 4.20) returns all addresses.
                if ifindex(message) == Some(*index) {
                    notice_of(message, &mut notice);
                }
            });
            match result {
                // The link has been deleted in the meantime; the monitor reports this.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Reads one link by its name, if it exists.
    pub(super) fn link(&mut self, name: &str, mut each: impl FnMut(&Message<'_>)) -> io::Result<()> {
        let sequence = self.send(get_link(LinkUnspec::new_with_name(name)), NLM_F_ACK)?;
        match self.answers(sequence, &mut each) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Returns the ID of the XDP program that is attached to an interface. Returns `None` if there
    /// is no program or no such interface, or if programs are attached in several modes: the kernel
    /// then reports the ID for each mode, but no `IFLA_XDP_PROG_ID`.
    ///
    /// # Errors
    /// The error returned by the kernel.
    pub fn xdp_program(&mut self, interface: &str) -> io::Result<Option<u32>> {
        let mut program = None;
        self.link(interface, |message| {
            program = LinkDetails::decode(message).and_then(|link| link.xdp_program);
        })?;
        Ok(program)
    }

    /// Returns whether the kernel has resolved the MAC address of a neighbor.
    ///
    /// # Errors
    /// The error returned by the kernel: `ENOENT` if there is no neighbor entry.
    pub fn is_resolved(&mut self, ifindex: u32, address: IpAddr) -> io::Result<bool> {
        let mut is_resolved = false;
        let mut wanted = NeighbourMessage::default();
        wanted.header.family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        wanted.header.ifindex = ifindex;
        wanted.attributes = vec![NeighbourAttribute::Destination(address.into())];
        let sequence = self.send(RouteNetlinkMessage::GetNeighbour(wanted), NLM_F_ACK)?;
        self.answers(sequence, |message| {
            if let Some(Notice::Neighbor { resolved, .. }) = Notice::decode(message) {
                is_resolved = resolved;
            }
        })?;
        Ok(is_resolved)
    }

    /// Reads all links. If a change interrupts the dump, the dump is repeated, and `each` is called
    /// again for the same links.
    ///
    /// # Errors
    /// See [`dump`](Self::dump).
    pub(super) fn dump_links(&mut self, mut each: impl FnMut(&Message<'_>)) -> io::Result<()> {
        self.repeat(|requests| requests.dump_one(get_link(LinkUnspec::new_with_index(0)), &mut each))
    }

    /// Reads the addresses of one link, or of all links if `index` is 0.
    pub(super) fn dump_addresses(
        &mut self,
        index: u32,
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.repeat(|requests| {
            let mut addresses = AddressMessage::default();
            addresses.header.index = index;
            requests.dump_one(RouteNetlinkMessage::GetAddress(addresses), &mut each)
        })
    }

    /// Repeats a dump while changes interrupt it, because entries may be missing. Makes at most
    /// [`ATTEMPTS`] attempts. An entry may be reported more than once, so a caller that must not
    /// handle it twice skips repeated entries.
    pub(super) fn repeat(&mut self, mut dump: impl FnMut(&mut Self) -> io::Result<()>) -> io::Result<()> {
        let mut attempts = 1;
        loop {
            match dump(self) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted && attempts < ATTEMPTS => {
                    attempts += 1;
                }
                result => return result,
            }
        }
    }

    pub(super) fn dump_one(
        &mut self,
        request: RouteNetlinkMessage,
        each: &mut impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.traffic.dumps += 1;
        let sequence = self.send(request, NLM_F_DUMP)?;
        if self.answers(sequence, each)? { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

/// Returns whether an interface can have a name of this length (`IFNAMSIZ`).
fn is_interface_name(name: &str) -> bool {
    (1..libc::IFNAMSIZ).contains(&name.len())
}

/// Builds a request for links without their statistics, which make up most of a link message.
fn get_link(wanted: LinkMessageBuilder<LinkUnspec>) -> RouteNetlinkMessage {
    let without_statistics = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    RouteNetlinkMessage::GetLink(wanted.append_extra_attribute(without_statistics).build())
}

fn notice_of(message: &Message<'_>, notice: &mut impl FnMut(Notice)) {
    if let Some(found) = Notice::decode(message) {
        notice(found);
    }
}
