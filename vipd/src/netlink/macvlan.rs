//! Macvlans that have the virtual MAC of a virtual router (RFC 9568 section 7.3).
//!
//! The macvlan is **down** while its router is not master. A backup therefore receives no frames
//! for the virtual MAC, answers no ARP requests, and sends no IGMP or MLD reports that would update
//! the forwarding tables of switches. The macvlan is in private mode. In this mode, macvlans on the
//! same parent do not receive each other's frames, and multicast frames that a competing master
//! sends from the virtual MAC are not mistaken for looped-back frames.
//!
//! The alias of the link records the agent that created it and, for IPv4, the parent's original
//! sysctls, so that the next run can clean up after a crash.
//!
//! ```text
//! vipd /run/vipd arp_ignore=0 arp_announce=0
//! ```

use std::collections::BTreeMap;
use std::io;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkFlags, LinkMessage, MacVlanMode};
use rtnetlink::{LinkMacVlan, LinkUnspec};
use rustix::rand::{GetRandomFlags, getrandom};

use super::change::Change;
use super::message::LinkDetails;
use super::requests::{Requests, Traffic};
use super::sysctl::{self, Sysctls};

/// An existing macvlan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvlan {
    /// Interface name.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
}

/// The macvlan that a virtual router requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Index of the parent interface.
    pub parent: u32,
    /// Name of the parent interface.
    pub parent_name: &'a str,
    /// IP version of the router's addresses, 4 or 6.
    pub family: u8,
    /// Virtual router identifier.
    pub vrid: u8,
}

impl Wanted<'_> {
    fn key(&self) -> Key {
        (self.parent, self.family, self.vrid)
    }

    fn mac(&self) -> [u8; 6] {
        let block = if self.family == 6 { 2 } else { 1 };
        [0x00, 0x00, 0x5e, 0x00, block, self.vrid]
    }

    /// Returns the name of the macvlan and an alternative. The first name may already be in use for
    /// a router with the same VRID on another interface.
    fn names(&self) -> [String; 2] {
        let Self { parent, family, vrid, .. } = self;
        [format!("vrrp{family}-{vrid}"), format!("v{family}-{vrid}-{parent}")]
    }
}

/// Index of the parent, IP version and VRID.
type Key = (u32, u8, u8);

/// The macvlans of an agent. On drop, unless another process owns them, the macvlans are deleted
/// and the sysctls of their parents are restored.
pub struct Macvlans {
    requests: Requests,
    /// Prefix of the aliases of this agent's macvlans.
    owner: String,
    /// Fully configured macvlans and the names of their parents.
    created: BTreeMap<Key, (Macvlan, String)>,
    /// Original sysctls of each parent of an IPv4 macvlan.
    parents: BTreeMap<String, Sysctls>,
    /// Names of the stale macvlans that this process has deleted.
    stale: Vec<String>,
    /// Names of the stale macvlans that could not be deleted.
    undeleted: Vec<String>,
    /// Whether the macvlans belong to a predecessor or a successor, and so are not deleted on drop.
    is_borrowed: bool,
}

impl Macvlans {
    /// Opens a netlink socket, and deletes the stale macvlans of the agent `owner`: this agent or a
    /// dead agent. The name must not contain spaces.
    ///
    /// # Errors
    /// Returns an error if the netlink socket cannot be opened or the links cannot be read.
    pub fn open(owner: &str) -> io::Result<Self> {
        let mut macvlans = Self::new(owner)?;
        macvlans.delete_stale()?;
        Ok(macvlans)
    }

    /// Returns the names of the stale macvlans that [`open`](Self::open) has deleted.
    pub fn stale(&self) -> impl Iterator<Item = &str> {
        self.stale.iter().map(String::as_str)
    }

    /// Returns the names of the stale macvlans that [`open`](Self::open) could not delete.
    pub fn undeleted(&self) -> &[String] {
        &self.undeleted
    }

    /// Continues with the macvlans of a running predecessor, which owns them until
    /// [`take_over`](Self::take_over). `owner` is the agent name of both processes.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn borrow(owner: &str) -> io::Result<Self> {
        let mut macvlans = Self::inherit(owner)?;
        macvlans.is_borrowed = true;
        Ok(macvlans)
    }

    /// Leaves the macvlans to a successor.
    pub fn hand_over(&mut self) {
        self.is_borrowed = true;
    }

    /// Makes this process the owner of borrowed macvlans.
    pub fn take_over(&mut self) {
        self.is_borrowed = false;
    }

    /// Returns whether the macvlans belong to another process: a predecessor that this process has
    /// not replaced yet, or a successor.
    pub fn is_borrowed(&self) -> bool {
        self.is_borrowed
    }

    fn new(owner: &str) -> io::Result<Self> {
        let owner = format!("vipd {owner} ");
        let (created, parents) = (BTreeMap::new(), BTreeMap::new());
        let (requests, stale) = (Requests::open()?, Vec::new());
        Ok(Self { requests, owner, created, parents, stale, undeleted: Vec::new(), is_borrowed: false })
    }

    /// Returns the macvlan, creating it if it does not exist. A new macvlan is down.
    ///
    /// # Errors
    /// Returns an error if both possible names are in use, if the kernel rejects the macvlan or its
    /// alias, or if a sysctl has the wrong value and cannot be set. If the alias or the sysctls
    /// cannot be set, the new macvlan is deleted again.
    pub fn ensure(&mut self, wanted: &Wanted<'_>) -> io::Result<Macvlan> {
        self.forget_former_parent(wanted);
        if let Some((known, _)) = self.created.get(&wanted.key()).cloned() {
            if self.find(&known.name)?.is_some_and(|found| found.ifindex == known.ifindex) {
                return Ok(known);
            }
            self.created.remove(&wanted.key());
        }
        let parent = wanted.parent_name;
        // For IPv6, the parent's sysctls are not changed.
        let before = if wanted.family == 4 {
            self.parents.get(parent).cloned().unwrap_or_else(|| Sysctls::of_parent(parent))
        } else {
            Sysctls::default()
        };
        let macvlan = self.create(wanted)?;
        if let Err(error) = self.complete(&macvlan, wanted, &before) {
            // Without the sysctls, the host would answer ARP requests with two MACs, or, in IPv6,
            // have a link-local address that is derived from the virtual MAC.
            self.delete_or_log(&macvlan);
            if !self.parents.contains_key(parent) {
                before.restore(parent);
            }
            return Err(error);
        }
        if wanted.family == 4 {
            self.parents.entry(parent.to_owned()).or_insert(before);
        }
        self.created.insert(wanted.key(), (macvlan.clone(), parent.to_owned()));
        Ok(macvlan)
    }

    /// Takes over, unchanged, the macvlans that another process of the agent `owner` has created,
    /// and the original sysctls of their parents. [`remove`](Self::remove) and
    /// [`clear`](Self::clear) then work as if this process had created the macvlans.
    ///
    /// # Errors
    /// Returns an error if the netlink socket cannot be opened or the links cannot be read.
    pub fn inherit(owner: &str) -> io::Result<Self> {
        let mut macvlans = Self::new(owner)?;
        let (found, names) = macvlans.find_stale()?;
        for Stale { macvlan, parent, mac, before } in found {
            // The last two bytes of a virtual MAC are the family, 1 for IPv4 or 2 for IPv6, and the
            // VRID.
            let (Some(parent), Some([0x00, 0x00, 0x5e, 0x00, block, vrid])) = (parent, mac) else { continue };
            let family = if block == 2 { 6 } else { 4 };
            let name = names.get(&parent).cloned().unwrap_or_default();
            if family == 4 {
                macvlans.parents.entry(name.clone()).or_insert(before);
            }
            macvlans.created.insert((parent, family, vrid), (macvlan, name));
        }
        Ok(macvlans)
    }

    /// Deletes the macvlan of a virtual router, if it has one. If the parent has no other IPv4
    /// macvlan, restores the parent's sysctls.
    pub fn remove(&mut self, parent: u32, family: u8, vrid: u8) {
        let Some((macvlan, parent)) = self.created.remove(&(parent, family, vrid)) else { return };
        self.delete_or_log(&macvlan);
        let is_ipv4_of_parent =
            |(key, (_, other)): (&Key, &(Macvlan, String))| key.1 == 4 && *other == parent;
        if !self.created.iter().any(is_ipv4_of_parent)
            && let Some(before) = self.parents.remove(&parent)
        {
            before.restore(&parent);
        }
    }

    /// Leaves all macvlans to another process, unchanged.
    pub fn release(&mut self) {
        self.created.clear();
        self.parents.clear();
    }

    /// Deletes all macvlans and restores their parents' sysctls.
    pub fn clear(&mut self) {
        let created: Vec<_> =
            std::mem::take(&mut self.created).into_values().map(|(macvlan, _)| macvlan).collect();
        self.delete_all(&created);
        for (parent, before) in std::mem::take(&mut self.parents) {
            before.restore(&parent);
        }
    }

    /// Brings a macvlan up or down. Does nothing if the macvlan no longer exists.
    ///
    /// # Errors
    /// Any error returned by the kernel, unless the macvlan no longer exists.
    pub fn set_up(&mut self, ifindex: u32, up: bool) -> io::Result<()> {
        let change = if up { Change::Up { ifindex } } else { Change::Down { ifindex } };
        let mut result = Ok(());
        self.requests.apply(&[change], |_, error| {
            if error.raw_os_error() != Some(libc::ENODEV) {
                result = Err(error);
            }
        })?;
        result
    }

    /// Returns the number of messages exchanged with the kernel.
    pub fn traffic(&self) -> Traffic {
        self.requests.traffic()
    }

    /// Returns the macvlans that have an alias of this agent, and the names of all links by index.
    fn find_stale(&mut self) -> io::Result<(Vec<Stale>, BTreeMap<u32, String>)> {
        let (mut stale, mut names) = (Vec::new(), BTreeMap::new());
        let owner = &self.owner;
        self.requests.dump_links(|message| {
            let Some(link) = LinkDetails::decode(message) else { return };
            let name = link.name.unwrap_or_default();
            names.insert(link.ifindex, name.clone());
            if let Some(note) = link.alias.as_deref().and_then(|alias| alias.strip_prefix(owner)) {
                let macvlan = Macvlan { name, ifindex: link.ifindex };
                let (parent, mac, before) = (link.parent, link.mac, Sysctls::parse(note));
                stale.push(Stale { macvlan, parent, mac, before });
            }
        })?;
        Ok((stale, names))
    }

    fn delete_stale(&mut self) -> io::Result<()> {
        let (stale, names) = self.find_stale()?;
        for Stale { macvlan, parent, before, .. } in &stale {
            if let Some(parent) = parent.and_then(|parent| names.get(&parent)) {
                before.restore(parent);
            }
            tracing::warn!(interface = macvlan.name, "removing stale macvlan left by a previous run");
        }
        let stale: Vec<_> = stale.into_iter().map(|stale| stale.macvlan).collect();
        self.stale = self.delete_all(&stale);
        let is_left = |name: &String| !self.stale.contains(name);
        self.undeleted = stale.into_iter().map(|macvlan| macvlan.name).filter(is_left).collect();
        Ok(())
    }

    /// If another interface had the parent's name before, drops the records of that interface's
    /// macvlans and sysctls. If that interface was deleted, the kernel deleted its macvlans, and
    /// the new interface has its own sysctls. If it was renamed, its macvlans remain until the next
    /// start.
    fn forget_former_parent(&mut self, wanted: &Wanted<'_>) {
        let former = |key: &Key, parent: &str| parent == wanted.parent_name && key.0 != wanted.parent;
        if self.created.iter().any(|(key, (_, parent))| former(key, parent)) {
            self.created.retain(|key, (_, parent)| !former(key, parent));
            self.parents.remove(wanted.parent_name);
        }
    }

    /// Creates the link under the first available name, without its alias and sysctls.
    fn create(&mut self, wanted: &Wanted<'_>) -> io::Result<Macvlan> {
        for name in wanted.names() {
            let mut result = self.create_named(&name, wanted);
            if is_taken(&result)
                && let Some(taken) = self.find(&name)?
                && self.is_unfinished(&taken, wanted)
            {
                self.delete(taken.ifindex)?;
                result = self.create_named(&name, wanted);
            }
            if !is_taken(&result) {
                result?;
                let found = self.find(&name)?.ok_or(io::ErrorKind::NotFound)?;
                return Ok(Macvlan { name, ifindex: found.ifindex });
            }
        }
        let [first, second] = wanted.names();
        let error =
            format!("the names {first} and {second} are used by other interfaces; rename or delete one");
        Err(io::Error::new(io::ErrorKind::AlreadyExists, error))
    }

    fn create_named(&mut self, name: &str, wanted: &Wanted<'_>) -> io::Result<()> {
        let link = LinkMacVlan::new(name, wanted.parent, MacVlanMode::Private).address(wanted.mac().to_vec());
        self.requests.request(RouteNetlinkMessage::NewLink(link.build()), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Sets the alias and the sysctls. The kernel ignores an alias in the request that creates a
    /// link.
    fn complete(&mut self, macvlan: &Macvlan, wanted: &Wanted<'_>, before: &Sysctls) -> io::Result<()> {
        let alias = format!("{}{before}", self.owner);
        self.set(LinkUnspec::new_with_index(macvlan.ifindex).alias(alias).build())?;
        sysctl::prepare(&macvlan.name, wanted.family, wanted.parent_name)?;
        if wanted.family == 4 {
            sysctl::prepare_parent(wanted.parent_name)?;
        }
        Ok(())
    }

    fn set(&mut self, link: LinkMessage) -> io::Result<()> {
        self.requests.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    fn find(&mut self, name: &str) -> io::Result<Option<LinkDetails>> {
        let mut found = None;
        self.requests.link(name, |message| found = LinkDetails::decode(message))?;
        Ok(found)
    }

    /// Returns whether a link is a macvlan that a previous run of this agent did not finish
    /// creating. Such a link has the wanted MAC and parent, is down, and has either no alias or an
    /// alias of this agent. Macvlans of other programs, such as FRR's vrrpd, must not be deleted.
    fn is_unfinished(&self, found: &LinkDetails, wanted: &Wanted<'_>) -> bool {
        (found.parent, found.mac) == (Some(wanted.parent), Some(wanted.mac()))
            && !found.flags.contains(LinkFlags::Up)
            && found.alias.as_ref().is_none_or(|alias| alias.starts_with(&self.owner))
    }

    /// Deletes macvlans, and returns the names of those that were deleted. Deletes them in one
    /// request, if possible, so that the kernel waits for packets in flight (`synchronize_net`)
    /// once rather than once per macvlan.
    fn delete_all(&mut self, links: &[Macvlan]) -> Vec<String> {
        let are_deleted = links.len() > 1 && self.delete_as_group(links).is_ok();
        let deleted = links.iter().filter(|macvlan| are_deleted || self.delete_or_log(macvlan));
        deleted.map(|macvlan| macvlan.name.clone()).collect()
    }

    /// Moves the links to an otherwise empty link group and deletes the group.
    fn delete_as_group(&mut self, links: &[Macvlan]) -> io::Result<()> {
        let mut used = Vec::new();
        self.requests
            .dump_links(|message| used.extend(LinkDetails::decode(message).map(|link| link.group)))?;
        let group = loop {
            let mut bytes = [0; 4];
            getrandom(&mut bytes, GetRandomFlags::empty())?;
            // Avoids 0 (the default group) and the small numbers that administrators use (in
            // iproute2's group file).
            let group = u32::from_ne_bytes(bytes) | 1 << 30;
            if !used.contains(&group) {
                break group;
            }
        };
        for Macvlan { ifindex, .. } in links {
            ignore_missing(self.set(LinkUnspec::new_with_index(*ifindex).link_group(group).build()))?;
        }
        self.delete_link(LinkUnspec::new_with_index(0).link_group(group).build())
    }

    /// Deletes a macvlan. Returns false, and logs the error, if it cannot be deleted.
    fn delete_or_log(&mut self, Macvlan { name: interface, ifindex }: &Macvlan) -> bool {
        let result = self.delete(*ifindex);
        if let Err(error) = &result {
            tracing::error!(interface, %error, "cannot delete the macvlan; delete it with `ip link delete`");
        }
        result.is_ok()
    }

    fn delete(&mut self, ifindex: u32) -> io::Result<()> {
        self.delete_link(LinkUnspec::new_with_index(ifindex).build())
    }

    fn delete_link(&mut self, link: LinkMessage) -> io::Result<()> {
        ignore_missing(self.requests.request(RouteNetlinkMessage::DelLink(link), 0))
    }
}

/// A macvlan whose alias names this agent.
struct Stale {
    macvlan: Macvlan,
    /// Index of the parent.
    parent: Option<u32>,
    mac: Option<[u8; 6]>,
    /// Original sysctls of the parent.
    before: Sysctls,
}

impl Drop for Macvlans {
    fn drop(&mut self) {
        if !self.is_borrowed {
            self.clear();
        }
    }
}

/// Returns the name of the agent that set this alias.
pub(super) fn owner(alias: &str) -> Option<&str> {
    // An agent's name is an absolute path without spaces.
    alias.strip_prefix("vipd ")?.split(' ').next().filter(|name| name.starts_with('/'))
}

fn is_taken(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
}

/// Treats the error for a link that no longer exists as success.
fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        result => result,
    }
}
