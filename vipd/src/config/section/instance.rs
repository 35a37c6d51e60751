//! Reads and checks an `[[instance]]`.

use std::sync::Arc;

use super::addresses::{Addresses, Placed};
use super::announcements;
use super::election::Election;
use super::hmac::{self, Hmac};
use super::interval;
use crate::config::Instance;
use crate::config::host;

use super::check::Checks;
use super::notify;
use super::password;
use super::routing::Routing;
use super::secret::Folders;
use super::track;
use super::transport::{self, Route};
use super::wire;
use crate::config::operate::Notify;
use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::settings::{Checksum, Password, Transport, VirtualMac, XdpMode};
use crate::config::table::{Located, Rejection, Table, Value};
use crate::config::track::Track;
use crate::vrrp::config::{Announcements, Family, PRIORITY_OWNER, RouterConfig};
use crate::vrrp::interval::{Interval, Version};

/// The valid settings of an instance. Invalid settings have already been reported.
#[derive(Debug)]
pub(in crate::config) struct Draft {
    pub(in crate::config) name: Option<Located<String>>,
    pub(in crate::config) interface: Option<Located<String>>,
    pub(in crate::config) vrid: Option<Located<u8>>,
    pub(in crate::config) addresses: Addresses,
    pub(in crate::config) interval: Option<Interval>,
    pub(in crate::config) election: Election,
    pub(in crate::config) route: Route,
    checksum: Checksum,
    password: Option<Password>,
    pub(in crate::config) hmac: Option<Hmac>,
    virtual_mac: Option<VirtualMac>,
    announcements: Announcements,
    announce_interval: u64,
    track: Vec<Located<Track>>,
    notify: Option<Arc<Notify>>,
    pub(in crate::config) routing: Routing,
}

impl Draft {
    /// Reads an `[[instance]]` table and reports its problems.
    pub(in crate::config) fn read(
        table: &Table<'_>,
        folders: &Folders<'_>,
        checks: &Checks,
        problems: &mut Collector<'_>,
    ) -> Self {
        table.reject_unknown(schema::Section::Instance, problems);
        let configured = table.given(&schema::VERSION, problems, version);
        let name = table.required(&schema::NAME, problems, name);
        let interface = table.required(&schema::INTERFACE, problems, host::interface);
        let vrid = table.required(&schema::VRID, problems, Value::integer);
        let addresses = Addresses::read(table, problems);
        if let (Some(Some(Located { at, value: Version::V2 })), Some(Family::V6)) =
            (&configured, addresses.family)
        {
            problems.add(
                *at,
                "version is 2 in an IPv6 virtual router; VRRPv2 is for IPv4 only (RFC 3768 section 1); remove `version`",
            );
        }
        let version = configured.map(|version| version.map_or(Version::V3, |version| version.value));
        let election = Election::read(table, problems);
        let virtual_mac =
            table.get(schema::VIRTUAL_MAC.name).filter(|found| found.get_ref().as_bool() == Some(true));
        if let (Some(found), PRIORITY_OWNER) = (virtual_mac, election.priority) {
            problems.add(
                found.span().start,
                "virtual_mac is true and priority is 255; an owner's addresses are the interface's own and use its MAC; remove `virtual_mac`, or lower the priority",
            );
        }
        let own = interface.as_ref().map(|interface| &interface.value);
        let elsewhere = addresses.all().find(|placed| {
            let dev = placed.value.placement.interface.as_ref();
            dev.is_some() && dev != own
        });
        if let (Some(placed), false) = (elsewhere, election.accept) {
            problems.add(
                placed.at,
                "accept is false and a VIP has its own `dev`, but packets to VIPs can be dropped only on the \
                 instance's interface; remove `accept` or `dev`",
            );
        }
        let route = transport::read(table, &addresses, election.priority == PRIORITY_OWNER, problems);
        let is_unicast = route.transport != Transport::Multicast;
        let (announcements, announce_interval) = announcements::read(table, problems);
        let interval = interval::read(table, version, problems);
        let shown = name.as_ref().map_or("the instance", |name| &name.value);
        let hmac = hmac::read(table, shown, folders, interval, problems);
        Self {
            name,
            interface,
            vrid,
            interval,
            route,
            checksum: wire::checksum(table, version, addresses.family, problems),
            password: password::read(table, folders, version, problems),
            hmac,
            virtual_mac: wire::virtual_mac(table, is_unicast, problems),
            announcements,
            announce_interval,
            track: track::read(table, checks, Some(election.priority), problems),
            notify: notify::read(table, problems),
            routing: Routing::read(table, addresses.family, problems),
            election,
            addresses,
        }
    }

    /// Returns the instance; `None` if its name, interface, VRID, family or interval is missing or
    /// invalid. `xdp` returns the XDP mode of an interface.
    pub(in crate::config) fn finish(self, xdp: impl Fn(&str) -> XdpMode) -> Option<Instance> {
        let Addresses { advertised, excluded, family } = self.addresses;
        let Route { transport, source } = self.route;
        let Election { priority, preempt, preempt_delay, startup_delay, down_after_adverts, accept } =
            self.election;
        let interface = self.interface?.value;
        let xdp = xdp(&interface);
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
                is_verified: self.hmac.is_some(),
                announcements: self.announcements,
                virtual_addresses: plain(advertised),
                excluded_addresses: plain(excluded),
            },
            source,
            transport,
            checksum: self.checksum,
            password: self.password,
            hmac: self.hmac.map(|hmac| hmac.config),
            xdp,
            virtual_mac: self.virtual_mac,
            accept,
            announce_interval: self.announce_interval,
            placements,
            track: self.track.into_iter().map(|track| track.value).collect(),
            notify: self.notify,
            routes: self.routing.routes.into_iter().map(|route| route.value).collect(),
            rules: self.routing.rules.into_iter().map(|rule| rule.value).collect(),
        })
    }
}

pub(super) fn name(value: &Value<'_>) -> Result<String, Rejection> {
    let name = value.string()?;
    let printable = name.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if printable && (1..=64).contains(&name.chars().count()) {
        Ok(name.to_owned())
    } else {
        Err(value.rejected(format!("{name:?}"), "choose another name"))
    }
}

fn version(value: &Value<'_>) -> Result<Version, Rejection> {
    match value.any_integer()? {
        Some(2) => Ok(Version::V2),
        Some(3) => Ok(Version::V3),
        _ => Err(value.rejected(value.source_of_integer(), "choose another number")),
    }
}
