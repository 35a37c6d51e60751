//! What the engine knows of the configured interfaces.

use std::net::IpAddr;

use super::layout::{Planned, Role};
use super::port::Port;
use crate::netlink::{Address, Link, Notice, PROTO_VIPD};
use crate::vrrp::{Family, Fault, VirtualAddress};
use crate::xdp::Mode;

/// One configured interface, as netlink tells of it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state of one machine")]
pub(crate) struct Interface {
    /// Name; of a macvlan, once it is there.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) role: Role,
    /// Index, while there is an interface of that name.
    pub(crate) ifindex: Option<u32>,
    /// Up and with a carrier.
    pub(crate) running: bool,
    /// Ethernet address.
    pub(crate) mac: Option<[u8; 6]>,
    /// All its addresses, in the kernel's order.
    pub(crate) addresses: Vec<Address>,
    /// What it takes to speak on it.
    pub(crate) port: Option<Port>,
    /// Why there is no port.
    pub(crate) failure: Option<String>,
    /// Its instances: those whose adverts travel on it, and those that have addresses on it.
    pub(crate) instances: Vec<usize>,
    /// Whether a port was asked for; whoever answers with a failure tries again by itself.
    pub(crate) requested: bool,
    /// Whether what an earlier run left behind was looked for.
    pub(crate) swept: bool,
    /// Whether something has changed since it was looked at.
    pub(crate) changed: bool,
    /// Whether a full dump has named it.
    seen: bool,
}

impl Interface {
    pub(crate) fn new(planned: Planned) -> Self {
        Self {
            name: planned.name,
            role: planned.role,
            ifindex: None,
            running: false,
            mac: None,
            addresses: Vec::new(),
            port: None,
            failure: None,
            instances: Vec::new(),
            requested: false,
            swept: false,
            changed: true,
            seen: false,
        }
    }

    /// Whether it exists, is up and has a carrier.
    pub(crate) fn link_state(&self) -> Result<(), Fault> {
        self.ifindex.ok_or(Fault::NoInterface)?;
        if self.running { Ok(()) } else { Err(Fault::InterfaceDown) }
    }

    /// Its MAC, if adverts can be sent and received.
    pub(crate) fn io(&self) -> Result<[u8; 6], Fault> {
        self.mac.filter(|_| self.port.is_some()).ok_or(Fault::NotAttached)
    }

    /// The source of adverts: `source` where one is configured, else the first IPv4 or link-local IPv6 address. Virtual
    /// addresses that vipd added are none.
    pub(crate) fn primary(
        &self,
        family: Family,
        source: Option<IpAddr>,
        is_virtual: impl Fn(IpAddr) -> bool,
    ) -> Result<IpAddr, Fault> {
        let own =
            |found: &&Address| found.protocol != PROTO_VIPD && !is_virtual(found.address) && !found.unusable;
        let wanted = |found: &&Address| match source {
            Some(source) => found.address == source,
            None => Family::of(found.address) == family && (family == Family::V4 || found.is_link_local()),
        };
        let found = self.addresses.iter().filter(own).find(wanted);
        found.map(|found| found.address).ok_or(Fault::NoPrimaryAddress)
    }

    /// Whether it is a macvlan of vipd's own.
    pub(crate) fn is_virtual_mac(&self) -> bool {
        matches!(self.role, Role::VirtualMac { .. })
    }

    /// Whether addresses can be put on it. A macvlan is up while its instance is master, and not before.
    pub(crate) fn can_carry(&self) -> Result<(), Fault> {
        let ready = self.is_virtual_mac() || (self.running && self.port.is_some());
        if self.ifindex.is_some() && ready { Ok(()) } else { Err(Fault::AddressInterface) }
    }

    /// An address is there, or is not.
    pub(crate) fn note(&mut self, address: Address, is_there: bool) {
        let same = |found: &Address| (found.address, found.prefix) == (address.address, address.prefix);
        match self.addresses.iter().position(same) {
            Some(place) if is_there => self.addresses[place] = address,
            Some(place) => drop(self.addresses.remove(place)),
            None if is_there => self.addresses.push(address),
            None => {}
        }
    }

    /// A macvlan exists now, under this name and index.
    pub(crate) fn is_made(&mut self, name: String, ifindex: u32) {
        // As it was, if the parent was opened once more for another one.
        self.changed |= self.ifindex != Some(ifindex);
        self.name = name;
        self.ifindex = Some(ifindex);
        self.requested = false;
    }

    /// The address as it stands on the interface, whatever its prefix.
    pub(crate) fn find(&self, address: IpAddr) -> Option<&Address> {
        self.addresses.iter().find(|found| found.address == address)
    }

    /// Whether a virtual address is on the interface as configured.
    pub(crate) fn has(&self, wanted: VirtualAddress) -> bool {
        self.addresses.iter().any(|found| found.address == wanted.address && found.prefix == wanted.prefix)
    }

    /// Mode of the XDP program.
    pub(crate) fn mode(&self) -> Option<Mode> {
        self.port.as_ref().and_then(|port| port.mode)
    }

    fn link(&mut self, link: &Link) -> Option<Gone> {
        self.seen = true;
        let gone = self.ifindex.filter(|ifindex| *ifindex != link.ifindex).and_then(|_| self.gone());
        self.changed |=
            self.ifindex != Some(link.ifindex) || self.running != link.running || self.mac != link.mac;
        self.ifindex = Some(link.ifindex);
        self.running = link.running;
        self.mac = link.mac;
        gone
    }

    /// The interface is no more, or is called something else.
    fn gone(&mut self) -> Option<Gone> {
        let ifindex = self.ifindex.take()?;
        self.running = false;
        let mut left = std::mem::take(&mut self.addresses);
        left.retain(|found| found.protocol == PROTO_VIPD);
        let port = self.port.take();
        self.failure = None;
        self.requested = false;
        self.swept = false;
        self.changed = true;
        Some(Gone { ifindex, left, port })
    }
}

/// An interface that is gone had this index.
pub(crate) struct Gone {
    /// The index.
    pub(crate) ifindex: u32,
    /// vipd's addresses on it: renamed, it still has them.
    pub(crate) left: Vec<Address>,
    /// Its port, for the control thread to close: leaving the group may wait for the kernel's lock.
    pub(crate) port: Option<Port>,
}

/// All configured interfaces.
pub(crate) struct Interfaces(pub(super) Vec<Interface>);

impl Interfaces {
    /// Takes a notice in. Returns the interface that is gone by it, if any.
    pub(crate) fn notice(&mut self, notice: &Notice) -> Option<(usize, Gone)> {
        match notice {
            Notice::Link(link) => {
                // One that had this index under another name was renamed, and is gone under the old name.
                let renamed = self.position(|interface| {
                    interface.ifindex == Some(link.ifindex) && interface.name != link.name
                });
                let gone = renamed.and_then(|index| Some((index, self.0.get_mut(index)?.gone()?)));
                let Some(index) = self.position(|interface| interface.name == link.name) else { return gone };
                let replaced = self.0.get_mut(index)?.link(link).map(|gone| (index, gone));
                gone.or(replaced)
            }
            Notice::LinkGone { ifindex } => {
                let index = self.position(|interface| interface.ifindex == Some(*ifindex))?;
                Some((index, self.0.get_mut(index)?.gone()?))
            }
            Notice::Address(address) => {
                let interface = self.by_ifindex(address.ifindex)?;
                interface.note(*address, true);
                interface.changed = true;
                None
            }
            Notice::AddressGone(address) => {
                let interface = self.by_ifindex(address.ifindex)?;
                interface.note(*address, false);
                interface.changed = true;
                None
            }
        }
    }

    /// Before the links of a full dump: they are looked for.
    pub(crate) fn begin_dump(&mut self) {
        for interface in &mut self.0 {
            interface.seen = false;
            interface.changed = true;
        }
    }

    /// Between the links and the addresses of a full dump: interfaces it did not name are gone, if `exists` agrees (a
    /// message that could not be read must not take an interface away), and the addresses are read anew.
    pub(crate) fn end_links(&mut self, exists: impl Fn(u32, &str) -> bool) -> Vec<(usize, Gone)> {
        let mut all = Vec::new();
        for (index, interface) in self.0.iter_mut().enumerate() {
            let known = interface.ifindex.is_some_and(|ifindex| exists(ifindex, &interface.name));
            if !interface.seen && !known {
                all.extend(interface.gone().map(|gone| (index, gone)));
            }
            interface.addresses.clear();
        }
        all
    }

    fn position(&self, matches: impl Fn(&Interface) -> bool) -> Option<usize> {
        self.0.iter().position(matches)
    }

    fn by_ifindex(&mut self, ifindex: u32) -> Option<&mut Interface> {
        self.0.iter_mut().find(|interface| interface.ifindex == Some(ifindex))
    }
}
