//! `vrrp_instance`.

mod hmac;
mod output;
mod transport;

use std::net::IpAddr;

use super::address::{self, Vip};
use super::context::Context;
use super::garp::Garp;
use super::global::Global;
use super::notify::Notify;
use super::routing;
use super::track::{self, Track};
use super::values::{self, SECOND};
use crate::import::keywords::Block;
use crate::import::report::{Message, Position};
use crate::import::toml::Value;
use crate::import::tree::Statement;

use hmac::Hmac;
pub(super) use output::Surroundings;
use transport::Transport;

/// Priority of an address owner.
pub(super) const OWNER: u8 = 255;

/// An instance, as configured. `None` means that a setting is not configured.
#[derive(Debug)]
pub(super) struct Instance {
    at: Position,
    /// keepalived's name.
    pub(super) original: String,
    /// vipd's name.
    pub(super) name: String,
    is_state_master: bool,
    interface: Option<String>,
    vrid: Option<u8>,
    version: Option<(u8, Position)>,
    /// The position of `version` if it follows a setting that makes the instance IPv6. In this
    /// position, keepalived ignores version 2.
    late_version: Option<Position>,
    is_native_ipv6: bool,
    priority: Option<u8>,
    /// Time in nanoseconds, and its position.
    interval: Option<(u64, Position)>,
    down_after_adverts: Option<u8>,
    nopreempt: Option<Position>,
    /// Time in nanoseconds, and its position.
    preempt_delay: Option<(u64, Position)>,
    accept: Option<bool>,
    is_strict: Option<bool>,
    has_rfc9568_checksum: Option<bool>,
    password: Option<(String, Position)>,
    hmac: Option<Hmac>,
    has_virtual_mac: bool,
    transmits_on_base: Option<Position>,
    transport: Transport,
    addresses: Vec<Vip>,
    excluded: Vec<Vip>,
    pub(super) tracks: Vec<Track>,
    routes: Vec<Statement>,
    rules: Vec<Statement>,
    notify: Notify,
    garp: Garp,
    /// Messages about the statements of the instance.
    messages: Vec<Message>,
}

impl Instance {
    /// Translates a `vrrp_instance`.
    pub(super) fn read(statement: &Statement, context: &mut Context<'_>) -> Self {
        let start = context.report.len();
        let original = statement.argument().unwrap_or_default().to_owned();
        let mut instance = Self {
            at: statement.at.clone(),
            name: context.name(&statement.at, &original),
            original,
            is_state_master: false,
            interface: None,
            vrid: None,
            version: None,
            late_version: None,
            is_native_ipv6: false,
            priority: None,
            interval: None,
            down_after_adverts: None,
            nopreempt: None,
            preempt_delay: None,
            accept: None,
            is_strict: None,
            has_rfc9568_checksum: None,
            password: None,
            hmac: None,
            has_virtual_mac: false,
            transmits_on_base: None,
            transport: Transport::default(),
            addresses: Vec::new(),
            excluded: Vec::new(),
            tracks: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            notify: Notify::default(),
            garp: Garp::default(),
            messages: Vec::new(),
        };
        for setting in statement.children() {
            instance.setting(setting, context);
        }
        instance.messages = context.report.since(start).to_vec();
        instance
    }

    fn setting(&mut self, setting: &Statement, context: &mut Context<'_>) {
        if !context.is_translated(Block::Instance, setting)
            || self.garp.read(setting, context)
            || self.notify.read(setting, context)
            || self.transport.read(setting, context)
            || track::read(setting, &mut self.tracks, context)
            || self.election(setting, context)
        {
            return;
        }
        match setting.keyword() {
            "interface" => self.interface = setting.argument().map(str::to_owned),
            "virtual_router_id" => self.vrid = context.integer(setting, 1..=255),
            "version" => {
                let version = context.integer(setting, 2..=3);
                self.version = version.map(|version| (version, setting.at.clone()));
                self.late_version = Some(setting.at.clone()).filter(|_| self.is_ipv6());
            }
            "native_ipv6" => self.is_native_ipv6 = true,
            "authentication" => self.authentication(setting, context),
            "auth_hmac" => self.hmac = Hmac::read(setting, context),
            "use_vmac" => self.virtual_mac(setting, context),
            "vmac_xmit_base" => self.transmits_on_base = Some(setting.at.clone()),
            "v3_checksum_as_v2" => self.has_rfc9568_checksum = context.boolean(setting),
            "virtual_ipaddress" => self.addresses.extend(address::read(setting, context)),
            "virtual_ipaddress_excluded" => self.excluded.extend(address::read(setting, context)),
            // `virtual_addresses` is always written, as `[]` if there are no VIPs.
            "no_virtual_ipaddress" => {}
            "virtual_routes" => self.routes.push(setting.clone()),
            "virtual_rules" => self.rules.push(setting.clone()),
            keyword => context.no_translation(keyword, &setting.at),
        }
    }

    /// Returns whether a setting concerns the election, and translates it if so.
    fn election(&mut self, setting: &Statement, context: &mut Context<'_>) -> bool {
        match setting.keyword() {
            "state" => match setting.argument() {
                Some("MASTER") => self.is_state_master = true,
                Some("BACKUP") if self.is_state_master => context.attention(
                    &setting.at,
                    "`state BACKUP` is left out: keepalived ignores it, too, after `state MASTER`; remove one of them",
                ),
                Some("BACKUP") => {}
                _ => context.invalid(setting, "MASTER or BACKUP"),
            },
            "priority" => self.priority = context.integer(setting, 1..=255),
            "advert_int" => {
                // keepalived also ignores intervals outside this range.
                let range = SECOND / 100..=255 * SECOND;
                match setting.argument().and_then(values::seconds).filter(|nanos| range.contains(nanos)) {
                    Some(nanos) => self.interval = Some((nanos, setting.at.clone())),
                    None => context.invalid(setting, "a number of seconds from 0.01 to 255"),
                }
            }
            "down_timer_adverts" => self.down_after_adverts = context.integer(setting, 1..=100),
            "preempt" => self.nopreempt = None,
            "nopreempt" => self.nopreempt = Some(setting.at.clone()),
            "preempt_delay" => {
                let delay = context.time(setting, 0..=1000 * SECOND);
                self.preempt_delay = delay.map(|nanos| (nanos, setting.at.clone()));
            }
            "accept" => self.accept = Some(true),
            "no_accept" => self.accept = Some(false),
            "strict_mode" => self.is_strict = context.boolean(setting),
            _ => return false,
        }
        true
    }

    fn authentication(&mut self, block: &Statement, context: &mut Context<'_>) {
        let (mut kind, mut password) = (None, None);
        for setting in block.children() {
            if !context.is_translated(Block::Authentication, setting) {
                continue;
            }
            match setting.keyword() {
                "auth_type" => kind = setting.argument(),
                "auth_pass" => password = setting.argument().map(|text| (text, &setting.at)),
                keyword => context.no_translation(keyword, &setting.at),
            }
        }
        match (kind, password) {
            (Some("AH"), _) => context.attention(
                &block.at,
                "authentication AH is not translated: vipd does not have the IP Authentication Header; change all \
                 routers to PASS, or remove it from all, before the first one is replaced",
            ),
            (Some("PASS"), Some((password, at))) if !password.is_empty() => {
                self.password = Some((password.to_owned(), at.clone()));
            }
            (kind, Some((password, at))) if kind != Some("PASS") && !password.is_empty() => context.attention(
                at,
                "the password is left out: keepalived ignores it, too, without `auth_type PASS`; if other routers have it, \
                 add `auth_pass`",
            ),
            _ => context.attention(&block.at, "the authentication has no password; it is left out; add `auth_pass`"),
        }
    }

    fn virtual_mac(&mut self, setting: &Statement, context: &mut Context<'_>) {
        self.has_virtual_mac = true;
        for word in setting.arguments() {
            if word.contains(':') {
                context.attention(
                    &setting.at,
                    format!(
                        "the MAC {word} is not translated: vipd uses the virtual router MAC, 00:00:5e:00:01:VRID (IPv6: 00:00:5e:00:02:VRID); \
                         adapt settings that use the old MAC"
                    ),
                );
            } else {
                context.attention(
                    &setting.at,
                    format!("the name {word} is not translated: {}", crate::import::keywords::MACVLAN_NAME),
                );
            }
        }
    }

    /// Returns the priority. If no priority is configured and the initial state is MASTER,
    /// keepalived uses 255, the priority of an address owner.
    pub(super) fn priority(&self) -> u8 {
        self.priority.unwrap_or(if self.is_state_master { OWNER } else { 100 })
    }

    fn is_ipv6(&self) -> bool {
        let of_addresses = self.addresses.first().map(|first| first.address.is_ipv6());
        of_addresses.unwrap_or_else(|| self.is_native_ipv6 || self.transport.is_ipv6())
    }

    fn version(&self, global: &Global) -> u8 {
        if self.is_ipv6() {
            return 3;
        }
        self.version.as_ref().map(|(version, _)| *version).or(global.version).unwrap_or(2)
    }

    /// Returns the interface. With unicast, keepalived does not need `interface`, and adds the VIPs
    /// to `dev` or to the default interface.
    fn interface(&self, global: &Global) -> Option<String> {
        let of_address = || self.addresses.first().and_then(|first| first.interface.clone());
        let other = || of_address().or_else(|| global.interface.clone());
        self.interface.clone().or_else(|| other().filter(|_| self.transport.has_peers()))
    }

    fn routes(&self, context: &mut Context<'_>) -> Vec<Value> {
        self.routes.iter().flat_map(|block| routing::routes(block, context)).collect()
    }

    fn rules(&self, unnumbered: &mut u32, context: &mut Context<'_>) -> Vec<Value> {
        let is_ipv6 = self.is_ipv6();
        self.rules.iter().flat_map(|block| routing::rules(block, is_ipv6, unnumbered, context)).collect()
    }
}

/// Parses an address of a router.
fn host(statement: &Statement, context: &mut Context<'_>) -> Option<IpAddr> {
    let found = statement.argument().and_then(|text| text.parse().ok());
    if found.is_none() {
        context.invalid(statement, "an address");
    }
    found
}
