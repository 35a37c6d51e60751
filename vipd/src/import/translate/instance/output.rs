//! The tables of an instance in vipd's configuration.

use super::{Instance, OWNER};
use crate::import::report::Position;
use crate::import::toml::{Table, Value};
use crate::import::translate::annotate;
use crate::import::translate::check::Checks;
use crate::import::translate::context::Context;
use crate::import::translate::global::Global;
use crate::import::translate::track::{Role, Track};
use crate::import::translate::values::{self, SECOND};

/// Unit of the interval in VRRPv3.
const CENTISECOND: u64 = SECOND / 100;
/// Maximum length of a VRRPv2 password.
const PASSWORD_MAX: usize = 8;

/// The other parts of the configuration that affect an instance.
pub(in crate::import::translate) struct Surroundings<'a> {
    pub(in crate::import::translate) global: &'a Global,
    pub(in crate::import::translate) checks: &'a Checks,
    /// Whether the instance is in a group to which the weights of the members' objects do not
    /// apply. Details are at [`Role::Member`].
    pub(in crate::import::translate) is_member: bool,
    /// The objects tracked by the group, if this instance is its only member.
    pub(in crate::import::translate) more_tracks: &'a [Track],
}

impl Instance {
    /// Returns `[[instance]]`, `[instance.hmac]` and `[instance.notify]`. `unnumbered` is the
    /// number of policy rules so far that have no configured preference.
    pub(in crate::import::translate) fn tables(
        &self,
        surroundings: &Surroundings<'_>,
        unnumbered: &mut u32,
        context: &mut Context<'_>,
    ) -> Vec<Table> {
        let global = surroundings.global;
        let start = context.report.len();
        let mut table = Table::new("[[instance]]");
        table.text("name", &self.name);
        match self.interface(global) {
            Some(interface) => table.text("interface", interface),
            None => context.attention(&self.at, "the instance has no interface; add `interface`"),
        }
        match self.vrid {
            Some(vrid) => table.set("vrid", Value::Integer(vrid.into())),
            None => context.attention(&self.at, "the instance has no virtual_router_id; add `vrid`"),
        }
        let version = self.version(global);
        if self.is_ipv6() {
            if self.addresses.is_empty() {
                table.text("family", "ipv6");
            }
            match &self.version {
                Some((2, at)) if self.late_version.is_some() => {
                    context.note(at, "`version 2` is left out: keepalived ignores it, too, after IPv6 settings");
                }
                Some((2, at)) if self.is_strict.unwrap_or(global.is_strict) => {
                    context.note(at, "`version 2` is left out: keepalived uses 3, too, for IPv6 in strict mode");
                }
                Some((2, at)) => context.attention(
                    at,
                    "version 3 is used, because VRRPv2 is for IPv4 only (RFC 3768), but keepalived sends VRRPv2 adverts here; \
                     remove `version 2` on all routers before the first one is replaced",
                ),
                _ => {}
            }
        } else {
            table.set("version", Value::Integer(version.into()));
        }
        self.write_election(version, global, &mut table, context);
        if !self.is_ipv6() && version == 3 && self.has_rfc9568_checksum.unwrap_or(global.has_rfc9568_checksum)
        {
            table.text("checksum", "rfc9568");
        }
        self.write_password(version, global, &mut table, context);
        self.write_virtual_mac(global, &mut table, context);
        self.transport.write(self.is_ipv6(), &mut table, context);
        self.write_addresses(global, &mut table, context);
        self.write_tracks(surroundings, &mut table, context);
        for (key, values) in [("routes", self.routes(context)), ("rules", self.rules(unnumbered, context))] {
            if !values.is_empty() {
                table.set(key, Value::Array(values));
            }
        }
        let interface = self.interface(global);
        if let Some(garp) = self.garp.or(&global.garp_on(interface.as_deref())).translate(self.is_ipv6()) {
            table.set("garp", garp);
        }
        let hmac = self.hmac.as_ref().map(|hmac| hmac.table(context));
        let notify = self.notify.table("[instance.notify]", context);
        annotate(&mut table, &self.messages);
        annotate(&mut table, context.report.since(start));
        [Some(table), hmac, notify].into_iter().flatten().collect()
    }

    fn write_election(&self, version: u8, global: &Global, table: &mut Table, context: &mut Context<'_>) {
        let priority = self.priority();
        if self.priority.is_none() && self.is_state_master {
            context.attention(
                &self.at,
                "without a priority, keepalived uses 255, the priority of an address owner, in state MASTER; set the \
                 priority that you want",
            );
        }
        table.set("priority", Value::Integer(priority.into()));
        if let Some((nanos, at)) = &self.interval {
            table.text("advert_interval", values::duration(encodable(*nanos, version, at, context)));
        }
        let is_strict = self.is_strict.unwrap_or(global.is_strict);
        let down_after = self.down_after_adverts.or(global.down_after_adverts);
        match down_after.filter(|adverts| *adverts != 3) {
            Some(_) if is_strict => {
                context.note(
                    &self.at,
                    "`down_timer_adverts` is left out: keepalived ignores it, too, in strict mode",
                );
            }
            Some(adverts) => table.set("down_after_adverts", Value::Integer(adverts.into())),
            None => {}
        }
        self.write_preemption(priority, is_strict, table, context);
        if let Some(delay) = global.startup_delay.filter(|delay| *delay > 0) {
            table.text("startup_delay", values::duration(delay));
        }
        // In strict mode, keepalived ignores `accept` in VRRPv2.
        let accept = match self.accept {
            Some(true) if is_strict && version == 2 => None,
            accept => accept,
        };
        if accept.unwrap_or(!is_strict) {
            return;
        }
        if priority == OWNER {
            if accept == Some(false) {
                context.note(
                    &self.at,
                    "`no_accept` is left out: an address owner accepts packets to its addresses",
                );
            }
            return;
        }
        if accept.is_none() {
            context.attention(
                &self.at,
                "strict mode drops packets to the VIPs, which therefore do not answer; if they should answer, remove \
                 `accept = false`",
            );
        }
        table.set("accept", Value::Boolean(false));
    }

    fn write_preemption(&self, priority: u8, is_strict: bool, table: &mut Table, context: &mut Context<'_>) {
        let delay = self.preempt_delay.as_ref().filter(|(delay, _)| *delay > 0);
        let ignored = |at: &Position, keyword: &str, reason: &str, context: &mut Context<'_>| {
            context.note(at, format!("`{keyword}` is left out: keepalived ignores it, too, {reason}"));
        };
        // In strict mode, keepalived changes `state MASTER` to BACKUP, except for an address owner.
        if (self.is_state_master && !is_strict) || priority == OWNER {
            let reason = if priority == OWNER { "for an address owner" } else { "in state MASTER" };
            if let Some(at) = &self.nopreempt {
                ignored(at, "nopreempt", reason, context);
            }
            if let Some((_, at)) = delay {
                ignored(at, "preempt_delay", reason, context);
            }
            return;
        }
        if self.nopreempt.is_some() {
            table.set("preempt", Value::Boolean(false));
            if let Some((_, at)) = delay {
                ignored(at, "preempt_delay", "with `nopreempt`", context);
            }
        } else if let Some((delay, at)) = delay {
            if is_strict {
                ignored(at, "preempt_delay", "in strict mode", context);
            } else {
                table.text("preempt_delay", values::duration(*delay));
            }
        }
    }

    fn write_password(&self, version: u8, global: &Global, table: &mut Table, context: &mut Context<'_>) {
        let Some((password, at)) = &self.password else { return };
        if self.hmac.is_some() {
            context.note(at, "the password is left out: keepalived ignores it, too, with `auth_hmac`");
            return;
        }
        if self.is_strict.unwrap_or(global.is_strict) {
            context.attention(
                at,
                "the password is left out: keepalived ignores it in strict mode; if other routers have it, add `auth_pass`",
            );
            return;
        }
        if version == 3 {
            context.note(
                at,
                "the password is left out: VRRPv3 has no authentication, and keepalived ignores it, too",
            );
            return;
        }
        match password.get(..password.len().min(PASSWORD_MAX)) {
            Some(start) => {
                if start.len() < password.len() {
                    context.note(at, "the password is cut to its first 8 bytes, as in keepalived");
                }
                table.text("auth_pass", start);
            }
            None => context.attention(
                at,
                "the password has more than 8 bytes, and the first 8 are not whole characters; add `auth_pass_file`",
            ),
        }
    }

    fn write_virtual_mac(&self, global: &Global, table: &mut Table, context: &mut Context<'_>) {
        let is_strict = self.is_strict.unwrap_or(global.is_strict);
        if self.has_virtual_mac {
            table.set("virtual_mac", Value::Boolean(true));
        }
        match &self.transmits_on_base {
            Some(at) if self.has_virtual_mac && is_strict => {
                context.note(at, "`vmac_xmit_base` is left out: keepalived ignores it, too, in strict mode");
            }
            Some(_) if self.has_virtual_mac => {
                table.set("virtual_mac_transmit_on_base", Value::Boolean(true));
            }
            Some(at) => context.note(at, "`vmac_xmit_base` is left out: it has no effect without `use_vmac`"),
            None => {}
        }
    }

    fn write_addresses(&self, global: &Global, table: &mut Table, context: &mut Context<'_>) {
        let interface = self.interface(global);
        let mut known = Vec::new();
        let (mut advertised, mut excluded) = (Vec::new(), Vec::new());
        for (address, is_advertised) in self
            .addresses
            .iter()
            .map(|address| (address, true))
            .chain(self.excluded.iter().map(|address| (address, false)))
        {
            if known.contains(&address.address) {
                context.attention(
                    &address.at,
                    format!(
                        "{} is listed twice; the second one is left out; check its options",
                        address.address
                    ),
                );
                continue;
            }
            known.push(address.address);
            let element = address.translate(interface.as_deref());
            if !is_advertised {
                excluded.push(element);
            } else if address.address.is_ipv6() == self.is_ipv6() {
                advertised.push(element);
            } else {
                context.attention(
                    &address.at,
                    format!(
                        "{} is left out, because it is not of the family of the first VIP; keepalived ignores it, too; move \
                         it to `virtual_ipaddress_excluded`",
                        address.address
                    ),
                );
            }
        }
        table.set("virtual_addresses", Value::Array(advertised));
        if !excluded.is_empty() {
            table.set("virtual_addresses_excluded", Value::Array(excluded));
        }
    }

    fn write_tracks(&self, surroundings: &Surroundings<'_>, table: &mut Table, context: &mut Context<'_>) {
        let role = if self.priority() == OWNER {
            Role::AddressOwner
        } else if surroundings.is_member {
            Role::Member
        } else {
            Role::Independent
        };
        let interface = self.interface(surroundings.global);
        let mut tracks: Vec<Value> = Vec::new();
        for track in &self.tracks {
            if track.is_interface(interface.as_deref()) {
                track.report_own_interface(context);
            } else {
                tracks.extend(track.translate(surroundings.checks, role, context));
            }
        }
        let of_group = surroundings.more_tracks.iter();
        tracks.extend(
            of_group.filter_map(|track| track.translate(surroundings.checks, Role::Independent, context)),
        );
        if !tracks.is_empty() {
            table.set("track", Value::Array(tracks));
        }
    }
}

/// Rounds an interval as keepalived does: in VRRPv2 to whole seconds from 1 s to 255 s, and in
/// VRRPv3 to multiples of 10 ms from 10 ms to 40.95 s. Reports an interval that rounding changes.
fn encodable(nanos: u64, version: u8, at: &Position, context: &mut Context<'_>) -> u64 {
    let (unit, most) = if version == 2 { (SECOND, 255 * SECOND) } else { (CENTISECOND, 4095 * CENTISECOND) };
    let rounded = ((nanos + unit / 2) / unit * unit).clamp(unit, most);
    if rounded != nanos {
        context.note(
            at,
            format!(
                "`advert_int` becomes {}: keepalived rounds it in VRRPv{version}",
                values::duration(rounded)
            ),
        );
    }
    rounded
}
