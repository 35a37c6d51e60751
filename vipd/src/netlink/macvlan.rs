//! Macvlans with a virtual router's own MAC (RFC 9568 section 7.3).
//!
//! Such a link is **down** while its router is not master: no frames are received for the MAC, no
//! ARP request is answered, and no IGMP or MLD report from a backup updates the forwarding tables
//! of switches. It is in private mode: macvlans on one parent do not receive each other's frames,
//! and frames from its own MAC (adverts of the other routers) are not treated as looped back.
//!
//! The link's alias contains what the next start needs after a crash: the agent that created it,
//! and its parent's original sysctls.
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

/// A macvlan that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvlan {
    /// Interface name.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
}

/// The required macvlan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Index of its parent.
    pub parent: u32,
    /// Name of its parent.
    pub parent_name: &'a str,
    /// IP version of its addresses, 4 or 6.
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

    /// Returns the name of the macvlan, and a second name for use if the first is taken: two
    /// interfaces may have a router with the same VRID.
    fn names(&self) -> [String; 2] {
        let Self { parent, family, vrid, .. } = self;
        [format!("vrrp{family}-{vrid}"), format!("v{family}-{vrid}-{parent}")]
    }
}

/// The parent's index, the IP version and the VRID.
type Key = (u32, u8, u8);

/// The macvlans of one agent. Dropping it deletes them and restores their parents' sysctls.
pub struct Macvlans {
    requests: Requests,
    /// Prefix of the aliases of this agent's links.
    owner: String,
    /// Complete macvlans, with the names of their parents.
    created: BTreeMap<Key, (Macvlan, String)>,
    /// Sysctls of each parent before its first macvlan.
    parents: BTreeMap<String, Sysctls>,
}

impl Macvlans {
    /// Deletes the stale macvlans of an earlier run of the same agent. `owner` is a word without
    /// spaces.
    ///
    /// # Errors
    /// When a netlink socket cannot be opened, or the kernel refuses the dump or a deletion.
    pub fn open(owner: &str) -> io::Result<Self> {
        let requests = Requests::open()?;
        let owner = format!("vipd {owner} ");
        let mut macvlans = Self { requests, owner, created: BTreeMap::new(), parents: BTreeMap::new() };
        macvlans.delete_stale()?;
        Ok(macvlans)
    }

    /// Returns the macvlan, which is created if it does not exist. A new one is down.
    ///
    /// # Errors
    /// When the kernel refuses it, or when a sysctl has the wrong value and cannot be set; the
    /// macvlan is then deleted again.
    pub fn ensure(&mut self, wanted: &Wanted<'_>) -> io::Result<Macvlan> {
        self.forget_former_parent(wanted);
        if let Some((known, _)) = self.created.get(&wanted.key()).cloned() {
            if self.find(&known.name)?.is_some_and(|found| found.ifindex == known.ifindex) {
                return Ok(known);
            }
            self.created.remove(&wanted.key());
        }
        let parent = wanted.parent_name;
        let before = self.parents.get(parent).cloned().unwrap_or_else(|| Sysctls::of_parent(parent));
        let macvlan = self.create(wanted)?;
        if let Err(error) = self.complete(&macvlan, wanted, &before) {
            // Without its sysctls, the host would answer with two MACs.
            self.delete_or_log(&macvlan);
            if !self.parents.contains_key(parent) {
                before.restore(parent);
            }
            return Err(error);
        }
        self.parents.entry(parent.to_owned()).or_insert(before);
        self.created.insert(wanted.key(), (macvlan.clone(), parent.to_owned()));
        Ok(macvlan)
    }

    /// Deletes the macvlan of a virtual router, if it has one. With the last macvlan of a parent,
    /// the parent's sysctls are restored.
    pub fn remove(&mut self, parent: u32, family: u8, vrid: u8) {
        let Some((macvlan, parent)) = self.created.remove(&(parent, family, vrid)) else { return };
        self.delete_or_log(&macvlan);
        if !self.created.values().any(|(_, other)| *other == parent)
            && let Some(before) = self.parents.remove(&parent)
        {
            before.restore(&parent);
        }
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

    /// Sets a macvlan up or down. A deleted one is not an error.
    ///
    /// # Errors
    /// The kernel's.
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

    /// Returns the traffic exchanged with the kernel.
    pub fn traffic(&self) -> Traffic {
        self.requests.traffic()
    }

    fn delete_stale(&mut self) -> io::Result<()> {
        let (mut stale, mut names) = (Vec::new(), BTreeMap::new());
        let owner = &self.owner;
        self.requests.dump_links(|message| {
            let Some(link) = LinkDetails::decode(message) else { return };
            let name = link.name.unwrap_or_default();
            names.insert(link.ifindex, name.clone());
            if let Some(note) = link.alias.as_deref().and_then(|alias| alias.strip_prefix(owner)) {
                stale.push((Macvlan { name, ifindex: link.ifindex }, link.parent, Sysctls::parse(note)));
            }
        })?;
        for (macvlan, parent, before) in &stale {
            if let Some(parent) = parent.and_then(|parent| names.get(&parent)) {
                before.restore(parent);
            }
            tracing::warn!(interface = macvlan.name, "removing a stale virtual MAC left by a previous run");
        }
        let stale: Vec<_> = stale.into_iter().map(|(macvlan, ..)| macvlan).collect();
        self.delete_all(&stale);
        Ok(())
    }

    /// Forgets the macvlans of a former parent. They were deleted with the parent, and a new
    /// interface of the same name has its own sysctls.
    fn forget_former_parent(&mut self, wanted: &Wanted<'_>) {
        let former = |key: &Key, parent: &str| parent == wanted.parent_name && key.0 != wanted.parent;
        if self.created.iter().any(|(key, (_, parent))| former(key, parent)) {
            self.created.retain(|key, (_, parent)| !former(key, parent));
            self.parents.remove(wanted.parent_name);
        }
    }

    /// Creates the link alone, under the first name that is free.
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
        let error = format!("other interfaces have the names {first} and {second}; rename or delete one");
        Err(io::Error::new(io::ErrorKind::AlreadyExists, error))
    }

    fn create_named(&mut self, name: &str, wanted: &Wanted<'_>) -> io::Result<()> {
        let link = LinkMacVlan::new(name, wanted.parent, MacVlanMode::Private).address(wanted.mac().to_vec());
        self.requests.request(RouteNetlinkMessage::NewLink(link.build()), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Writes the alias, which the kernel does not accept in the request that creates a link, and
    /// sets the sysctls.
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

    /// Returns whether a link is a macvlan that this agent was creating when it died: its MAC and
    /// parent, down, and no other alias than its own. Macvlans of other agents, for example FRR's
    /// vrrpd, must not be deleted.
    fn is_unfinished(&self, found: &LinkDetails, wanted: &Wanted<'_>) -> bool {
        (found.parent, found.mac) == (Some(wanted.parent), Some(wanted.mac()))
            && !found.flags.contains(LinkFlags::Up)
            && found.alias.as_ref().is_none_or(|alias| alias.starts_with(&self.owner))
    }

    /// Deletes links with one request, so that the kernel waits only once until no packet uses them
    /// (`synchronize_net`) rather than once per link.
    fn delete_all(&mut self, links: &[Macvlan]) {
        if links.len() > 1 && self.delete_as_group(links).is_ok() {
            return;
        }
        for macvlan in links {
            self.delete_or_log(macvlan);
        }
    }

    /// Moves links to a group that has no other member, and deletes the group.
    fn delete_as_group(&mut self, links: &[Macvlan]) -> io::Result<()> {
        let mut used = Vec::new();
        self.requests
            .dump_links(|message| used.extend(LinkDetails::decode(message).map(|link| link.group)))?;
        let group = loop {
            let mut bytes = [0; 4];
            getrandom(&mut bytes, GetRandomFlags::empty())?;
            // Administrators use small numbers (iproute2's group file); 0 is the default group.
            let group = u32::from_ne_bytes(bytes) | 1 << 30;
            if !used.contains(&group) {
                break group;
            }
        };
        for Macvlan { ifindex, .. } in links {
            gone_is_fine(self.set(LinkUnspec::new_with_index(*ifindex).link_group(group).build()))?;
        }
        self.delete_link(LinkUnspec::new_with_index(0).link_group(group).build())
    }

    fn delete_or_log(&mut self, Macvlan { name: interface, ifindex }: &Macvlan) {
        if let Err(error) = self.delete(*ifindex) {
            tracing::error!(interface, %error, "cannot delete a virtual MAC; delete it with `ip link delete`");
        }
    }

    fn delete(&mut self, ifindex: u32) -> io::Result<()> {
        self.delete_link(LinkUnspec::new_with_index(ifindex).build())
    }

    fn delete_link(&mut self, link: LinkMessage) -> io::Result<()> {
        gone_is_fine(self.requests.request(RouteNetlinkMessage::DelLink(link), 0))
    }
}

impl Drop for Macvlans {
    fn drop(&mut self) {
        self.clear();
    }
}

fn is_taken(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
}

/// Treats errors for a link that is gone, possibly with its parent, as success.
fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        result => result,
    }
}
