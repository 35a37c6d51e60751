//! One `[[instance]]`: every key read and checked by itself.

use std::path::Path;

use super::Instance;
use super::addresses::{Addresses, Placed};
use super::announcements;
use super::election::Election;
use super::interval;
use super::keys;
use super::password;
use super::problem::Collector;
use super::settings::{Checksum, Password, Transport, VirtualMac};
use super::table::{Located, Refusal, Table, Value};
use super::transport::{self, Route};
use super::wire;
use crate::vrrp::config::{Announcements, Family, PRIORITY_OWNER, RouterConfig};
use crate::vrrp::interval::{Interval, Version};

/// An instance as far as it could be read; what could not has been reported.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: Option<Located<String>>,
    pub(super) interface: Option<Located<String>>,
    pub(super) vrid: Option<Located<u8>>,
    pub(super) addresses: Addresses,
    interval: Option<Interval>,
    election: Election,
    route: Route,
    checksum: Checksum,
    password: Option<Password>,
    virtual_mac: Option<VirtualMac>,
    announcements: Announcements,
    announce_interval: u64,
}

impl Draft {
    /// Reads a table and reports what is wrong with it; paths in it start from `folder`.
    pub(super) fn read(table: &Table<'_>, folder: &Path, problems: &mut Collector<'_>) -> Self {
        table.refuse_unknown(keys::IN_INSTANCE, problems);
        let said = table.given(&keys::VERSION, problems, version);
        let name = table.required(&keys::NAME, problems, name);
        let interface = table.required(&keys::INTERFACE, problems, interface);
        let vrid = table.required(&keys::VRID, problems, |value| value.integer(1));
        let addresses = Addresses::read(table, problems);
        if let (Some(Some(Located { at, value: Version::V2 })), Some(Family::V6)) = (&said, addresses.family)
        {
            problems.add(
                *at,
                "version is 2 in an IPv6 virtual router; VRRPv2 has IPv4 only (RFC 3768 section 1); remove it",
            );
        }
        let version = said.map(|said| said.map_or(Version::V3, |said| said.value));
        let election = Election::read(table, problems);
        let virtual_mac =
            table.get(keys::VIRTUAL_MAC.name).filter(|found| found.get_ref().as_bool() == Some(true));
        if let (Some(found), PRIORITY_OWNER) = (virtual_mac, election.priority) {
            problems.add(
                found.span().start,
                "virtual_mac is true and priority is 255; the addresses of an owner are the interface's own, with its \
                 own MAC; remove it, or lower the priority",
            );
        }
        let elsewhere = addresses.all().find(|placed| placed.value.placement.interface.is_some());
        if let (Some(placed), false) = (elsewhere, election.accept) {
            problems.add(
                placed.at,
                "accept is false and an address has a `dev` of its own; packets are dropped on the instance's interface \
                 only; remove one of them",
            );
        }
        let route = transport::read(table, &addresses, election.priority == PRIORITY_OWNER, problems);
        let is_unicast = route.transport != Transport::Multicast;
        let (announcements, announce_interval) = announcements::read(table, problems);
        Self {
            name,
            interface,
            vrid,
            interval: interval::read(table, version, problems),
            election,
            route,
            checksum: wire::checksum(table, version, addresses.family, problems),
            password: password::read(table, folder, version, problems),
            virtual_mac: wire::virtual_mac(table, is_unicast, problems),
            announcements,
            announce_interval,
            addresses,
        }
    }

    /// The instance, if what it cannot do without could be read.
    pub(super) fn finish(self) -> Option<Instance> {
        let Addresses { advertised, excluded, family } = self.addresses;
        let Route { transport, source } = self.route;
        let Election { priority, preempt, preempt_delay, startup_delay, down_after_adverts, accept } =
            self.election;
        let interface = self.interface?.value;
        let placements = advertised
            .iter()
            .chain(&excluded)
            .map(|placed| {
                let mut placement = placed.value.placement.clone();
                placement.interface = placement.interface.filter(|dev| *dev != interface);
                placement
            })
            .collect();
        let plain =
            |list: Vec<Located<Placed>>| list.into_iter().map(|placed| placed.value.address).collect();
        Some(Instance {
            name: self.name?.value,
            interface,
            router: RouterConfig {
                vrid: self.vrid?.value,
                family: family?,
                priority,
                interval: self.interval?,
                preempt,
                preempt_delay,
                startup_delay,
                down_after_adverts,
                announcements: self.announcements,
                virtual_addresses: plain(advertised),
                excluded_addresses: plain(excluded),
            },
            source,
            transport,
            checksum: self.checksum,
            password: self.password,
            virtual_mac: self.virtual_mac,
            accept,
            announce_interval: self.announce_interval,
            placements,
        })
    }
}

fn name(value: &Value<'_>) -> Result<String, Refusal> {
    let name = value.string()?;
    let printable = name.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if printable && (1..=64).contains(&name.chars().count()) {
        Ok(name.to_owned())
    } else {
        Err(value.refused(format!("{name:?}"), "choose another name"))
    }
}

/// A name the kernel would give an interface, other than the loopback's.
pub(super) fn interface(value: &Value<'_>) -> Result<String, Refusal> {
    let (key, name) = (value.key(), value.string()?);
    if name == "lo" {
        return Err(value.refused_because(format!(
            "{key} is \"lo\"; no other host can be reached by the loopback interface; name the interface that faces \
             the hosts"
        )));
    }
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if !(1..=15).contains(&name.len()) || name.contains(forbidden) || name == "." || name == ".." {
        return Err(value.refused_because(format!(
            "{key} is {name:?}; it must be 1 to 15 bytes without `/`, `:` or white space; \
             `ip link` lists the names"
        )));
    }
    Ok(name.to_owned())
}

fn version(value: &Value<'_>) -> Result<Version, Refusal> {
    match value.integer(0) {
        Ok(2) => Ok(Version::V2),
        Ok(3) => Ok(Version::V3),
        Ok(other) => Err(value.refused(other.to_string(), "choose another number")),
        Err(refusal) => Err(refusal),
    }
}
