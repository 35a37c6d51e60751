//! Macvlans with a virtual router's own MAC (RFC 9568 section 7.3).
//!
//! Such a link is **down** while its router is not master: nothing is received for the MAC, no ARP is answered, no
//! IGMP or MLD report leaves a backup with it, which would point switches the wrong way. It is in private mode: two of
//! them on one parent do not hear each other, and frames from its own MAC, which are the other routers' adverts, are not
//! taken for its own.
//!
//! What must not outlive vipd is written on the link itself, as its alias: whose it is, and what its parent's sysctls
//! were before. So a crash loses nothing, and the next start clears up.
//!
//! ```text
//! vipd /run/vipd arp_ignore=0 arp_announce=0
//! ```

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::LinkMacVlan;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, MacVlanMode};

use super::change::Change;
use super::requests::Requests;
use super::sysctl::{self, Sysctls};

/// A macvlan that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvlan {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
}

/// What a macvlan is to be.
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
    fn mac(&self) -> [u8; 6] {
        let block = if self.family == 6 { 2 } else { 1 };
        [0x00, 0x00, 0x5e, 0x00, block, self.vrid]
    }

    /// Its name, and another one where that is taken: two interfaces may have a router of one VRID.
    fn names(&self) -> [String; 2] {
        let Self { parent, family, vrid, .. } = self;
        [format!("vrrp{family}-{vrid}"), format!("v{family}-{vrid}-{parent}")]
    }
}

/// The macvlans of one agent.
pub struct Macvlans {
    requests: Requests,
    /// Whose they are: the first words of each alias.
    owner: String,
    made: Vec<Macvlan>,
    /// The sysctls of each parent before the first macvlan was made on it.
    parents: BTreeMap<String, Sysctls>,
}

impl Macvlans {
    /// Clears up what an earlier run of the same `owner`, a word, has left behind.
    ///
    /// # Errors
    /// When netlink refuses.
    pub fn open(owner: &str) -> io::Result<Self> {
        let owner = format!("vipd {owner} ");
        let mut macvlans =
            Self { requests: Requests::open()?, owner, made: Vec::new(), parents: BTreeMap::new() };
        let links = macvlans.requests.links()?;
        for link in links.iter().map(Seen::of) {
            let Some(note) = link.alias.and_then(|alias| alias.strip_prefix(&macvlans.owner)) else {
                continue;
            };
            let name_of = |index| links.iter().find(|found| found.header.index == index).map(Seen::of);
            if let Some(parent) = link.parent.and_then(name_of).and_then(|parent| parent.name) {
                Sysctls::read(note).restore(parent);
            }
            macvlans.delete(link.ifindex)?;
            tracing::warn!(interface = link.name.unwrap_or_default(), "removed a virtual MAC left behind");
        }
        Ok(macvlans)
    }

    /// Makes one, which is down; one that was made before and is still there is kept.
    ///
    /// # Errors
    /// When netlink refuses, or a sysctl.
    pub fn make(&mut self, wanted: &Wanted<'_>) -> io::Result<Macvlan> {
        let before = self.parents.entry(wanted.parent_name.to_owned());
        let before = before.or_insert_with(|| Sysctls::of_parent(wanted.parent_name)).clone();
        let alias = format!("{}{before}", self.owner);
        let macvlan = self.create(wanted)?;
        if self.made.contains(&macvlan) {
            return Ok(macvlan);
        }
        self.made.push(macvlan.clone());
        self.describe(macvlan.ifindex, alias)?;
        sysctl::prepare(&macvlan.name, wanted.family, wanted.parent_name)?;
        if wanted.family == 4 {
            sysctl::prepare_parent(wanted.parent_name)?;
        }
        Ok(macvlan)
    }

    /// Sets one up or down; one that is gone is no error.
    ///
    /// # Errors
    /// When netlink refuses.
    pub fn set_up(&mut self, ifindex: u32, up: bool) -> io::Result<()> {
        let change = if up { Change::Up { ifindex } } else { Change::Down { ifindex } };
        let mut result = Ok(());
        self.requests.apply(&[change], |_, error| {
            if error.raw_os_error() != Some(libc::ENODEV) {
                result = Err(io::Error::new(error.kind(), error.to_string()));
            }
        })?;
        result
    }

    fn create(&mut self, wanted: &Wanted<'_>) -> io::Result<Macvlan> {
        let links = self.requests.links()?;
        let names = wanted.names();
        let mine = |link: &Seen<'_>| {
            link.parent == Some(wanted.parent)
                && link.mac == Some(&wanted.mac())
                && link.is_mine(&self.owner, &names)
        };
        let mine: Vec<u32> = links.iter().map(Seen::of).filter(mine).map(|link| link.ifindex).collect();
        // One of this life is in use: the parent is opened again for another one's sake.
        if let Some(found) = self.made.iter().find(|macvlan| mine.contains(&macvlan.ifindex)) {
            return Ok(found.clone());
        }
        // One of a life that ended before the alias was written.
        for ifindex in mine {
            self.delete(ifindex)?;
        }
        let mut result = Err(io::ErrorKind::AlreadyExists.into());
        for name in names {
            let link = LinkMacVlan::new(&name, wanted.parent, MacVlanMode::Private);
            let link = RouteNetlinkMessage::NewLink(link.address(wanted.mac().to_vec()).build());
            result = self.requests.request(link, NLM_F_CREATE | NLM_F_EXCL).map(|()| name);
            if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
                continue;
            }
            break;
        }
        let name = result?;
        let links = self.requests.links()?;
        let made = links.iter().map(Seen::of).find(|link| link.name == Some(&name));
        let ifindex = made.ok_or(io::ErrorKind::NotFound)?.ifindex;
        Ok(Macvlan { name, ifindex })
    }

    /// The kernel takes no alias when a link is created.
    fn describe(&mut self, ifindex: u32, alias: String) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = ifindex;
        link.attributes.push(LinkAttribute::IfAlias(alias));
        self.requests.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    fn delete(&mut self, ifindex: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = ifindex;
        match self.requests.request(RouteNetlinkMessage::DelLink(link), 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            result => result,
        }
    }
}

/// Removes them all, and gives their parents back the sysctls they had.
impl Drop for Macvlans {
    fn drop(&mut self) {
        for macvlan in std::mem::take(&mut self.made) {
            // It may have gone with its parent.
            if let Err(error) = self.delete(macvlan.ifindex) {
                let interface = macvlan.name;
                tracing::error!(interface, %error, "cannot remove a virtual MAC; `ip link delete` does it");
            }
        }
        for (parent, before) in std::mem::take(&mut self.parents) {
            before.restore(&parent);
        }
    }
}

/// What matters of a link.
struct Seen<'a> {
    ifindex: u32,
    name: Option<&'a str>,
    alias: Option<&'a str>,
    parent: Option<u32>,
    mac: Option<&'a [u8]>,
    is_down: bool,
}

impl<'a> Seen<'a> {
    fn of(link: &'a LinkMessage) -> Self {
        let mut seen = Self {
            ifindex: link.header.index,
            name: None,
            alias: None,
            parent: None,
            mac: None,
            is_down: false,
        };
        seen.is_down = !link.header.flags.contains(LinkFlags::Up);
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => seen.name = Some(name),
                LinkAttribute::IfAlias(alias) => seen.alias = Some(alias),
                LinkAttribute::Link(parent) => seen.parent = Some(*parent),
                LinkAttribute::Address(mac) => seen.mac = Some(mac),
                _ => {}
            }
        }
        seen
    }

    /// Whether it has our alias; or none, and our name, and is down, as it is before it has an alias. One with this MAC that
    /// somebody else has made, for FRR's vrrpd, say, is not ours.
    fn is_mine(&self, owner: &str, names: &[String]) -> bool {
        let unfinished = self.is_down && self.name.is_some_and(|name| names.iter().any(|ours| ours == name));
        self.alias.map_or(unfinished, |alias| alias.starts_with(owner))
    }
}
