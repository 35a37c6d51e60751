//! `routes` and `rules`: routes and policy rules that exist while the instance is master.

use std::net::IpAddr;

use super::track::prefix;
use crate::config::host;
use crate::config::operate::{Network, Route, RouteKind, Rule, TABLE_MAIN, default_metric};
use crate::config::problem::Collector;
use crate::config::schema::{self, Key};
use crate::config::settings::Scope;
use crate::config::table::{Located, Rejection, Table, Value};
use crate::vrrp::config::Family;

/// The valid routes and rules of an instance. Invalid routes and rules have already been reported.
#[derive(Debug, Default)]
pub(in crate::config) struct Routing {
    pub(in crate::config) routes: Vec<Located<Route>>,
    pub(in crate::config) rules: Vec<Located<Rule>>,
    /// Valid values of `dev`, to be checked against the machine. Includes those of routes that are
    /// otherwise invalid.
    pub(in crate::config) devs: Vec<Located<String>>,
}

impl Routing {
    /// Reads `routes` and `rules`. A rule that names no network is of family `family`.
    pub(in crate::config) fn read(
        table: &Table<'_>,
        family: Option<Family>,
        problems: &mut Collector<'_>,
    ) -> Self {
        let mut routing = Self::default();
        for (table, at) in tables(table, &schema::ROUTES, &schema::ROUTE, "in a route", problems) {
            let found = routing.route(&table, problems);
            routing.routes.extend(found.map(|value| Located { at, value }));
        }
        for (table, at) in tables(table, &schema::RULES, &schema::RULE, "in a rule", problems) {
            let found = rule(&table, family, problems);
            routing.rules.extend(found.map(|value| Located { at, value }));
        }
        routing
    }

    fn route(&mut self, table: &Table<'_>, problems: &mut Collector<'_>) -> Option<Route> {
        table.reject_unknown(schema::Section::Route, problems);
        let to = table.required(&schema::ROUTE_TO, problems, network);
        let via = table.given(&schema::ROUTE_VIA, problems, host::read);
        let dev = table.given(&schema::ROUTE_DEV, problems, host::interface);
        let number = table.optional(&schema::ROUTE_TABLE, problems, |value| integer(value, 1));
        let metric = table.optional(&schema::ROUTE_METRIC, problems, |value| integer(value, 0));
        let source = table.given(&schema::ROUTE_SOURCE, problems, host::read);
        let scope = table.given(&schema::ROUTE_SCOPE, problems, |value| {
            value.choice([Scope::Global, Scope::Link, Scope::Host])
        });
        let kind = table.optional(&schema::ROUTE_TYPE, problems, |value| {
            value.choice([
                RouteKind::Unicast,
                RouteKind::Blackhole,
                RouteKind::Unreachable,
                RouteKind::Prohibit,
                RouteKind::Throw,
            ])
        });
        let onlink = table.given(&schema::ROUTE_ONLINK, problems, Value::boolean);
        if let Some(Some(dev)) = &dev {
            self.devs.push(dev.clone());
        }
        // Combinations are checked only if every key on its own is valid.
        let given = Given {
            at: table.at(),
            to: to?.value,
            via: via?,
            dev: dev?,
            table: number?.unwrap_or(TABLE_MAIN),
            metric: metric?,
            source: source?,
            scope: scope?,
            kind: kind?.unwrap_or_default(),
            onlink: onlink?,
        };
        let contradictions = given.contradictions();
        let is_valid = contradictions.is_empty();
        for (at, message) in contradictions {
            problems.add(at, message);
        }
        is_valid.then(|| given.route())
    }
}

/// The valid keys of a route.
struct Given {
    at: usize,
    to: Network,
    via: Option<Located<IpAddr>>,
    dev: Option<Located<String>>,
    table: u32,
    metric: Option<u32>,
    source: Option<Located<IpAddr>>,
    scope: Option<Located<Scope>>,
    kind: RouteKind,
    onlink: Option<Located<bool>>,
}

impl Given {
    /// Returns a rejection for each invalid combination of individually valid keys.
    fn contradictions(&self) -> Vec<Rejection> {
        let Self { at, to: (network, length), via, dev, source, scope, kind, onlink, .. } = self;
        let mut found = Vec::new();
        for (key, address) in [(&schema::ROUTE_VIA, via), (&schema::ROUTE_SOURCE, source)] {
            if let Some(Located { at, value }) = address
                && value.is_ipv6() != network.is_ipv6()
            {
                let message = format!(
                    "{key} is {value}, but the route is to {network}/{length}; use addresses of one family"
                );
                found.push((*at, message));
            }
        }
        if *kind != RouteKind::Unicast {
            for (key, at) in [
                (&schema::ROUTE_VIA, via.as_ref().map(|via| via.at)),
                (&schema::ROUTE_DEV, dev.as_ref().map(|dev| dev.at)),
                (&schema::ROUTE_SOURCE, source.as_ref().map(|source| source.at)),
                (&schema::ROUTE_SCOPE, scope.as_ref().map(|scope| scope.at)),
            ] {
                let reason = format!(
                    "{key} is set for a route of type \"{kind}\", which forwards no packets; remove `{key}`"
                );
                found.extend(at.map(|at| (at, reason)));
            }
        } else if via.is_none() && dev.is_none() {
            found.push((
                *at,
                "a route has neither `via` nor `dev`; packets need a next hop or an outgoing interface; add e.g. \
                 `via = \"192.0.2.1\"`, or `type = \"blackhole\"` to drop them"
                    .to_owned(),
            ));
        }
        if let (Some(Located { at, value }), None) = (via, dev)
            && host::is_link_local(*value)
        {
            let message = format!(
                "via is {value}, a link-local address, and `dev` is missing; add `dev`, the interface on \
                 the same link"
            );
            found.push((*at, message));
        }
        if let Some(Located { at, value: true }) = onlink
            && (via.is_none() || dev.is_none())
        {
            let message = "onlink is true, but `via` or `dev` is missing; add it, or remove `onlink`";
            found.push((*at, message.to_owned()));
        }
        if let (Some(scope), true) = (scope, network.is_ipv6()) {
            let message = "scope is set for an IPv6 route; IPv6 routes have no scope; remove it";
            found.push((scope.at, message.to_owned()));
        }
        found
    }

    fn route(self) -> Route {
        let is_direct = self.via.is_none() && self.to.0.is_ipv4() && self.kind == RouteKind::Unicast;
        let default_scope = if is_direct { Scope::Link } else { Scope::Global };
        Route {
            to: self.to,
            via: self.via.map(|via| via.value),
            dev: self.dev.map(|dev| dev.value),
            table: self.table,
            metric: self.metric.filter(|metric| *metric > 0).unwrap_or_else(|| default_metric(self.to.0)),
            source: self.source.map(|source| source.value),
            scope: self.scope.map_or(default_scope, |scope| scope.value),
            kind: self.kind,
            onlink: self.onlink.is_some_and(|onlink| onlink.value),
        }
    }
}

fn rule(table: &Table<'_>, family: Option<Family>, problems: &mut Collector<'_>) -> Option<Rule> {
    table.reject_unknown(schema::Section::Rule, problems);
    let from = table.given(&schema::RULE_FROM, problems, network);
    let to = table.given(&schema::RULE_TO, problems, network);
    let iif = table.optional(&schema::RULE_IIF, problems, host::any_interface);
    let oif = table.optional(&schema::RULE_OIF, problems, host::any_interface);
    let fwmark = table.optional(&schema::RULE_FWMARK, problems, fwmark);
    let number = table.required(&schema::RULE_TABLE, problems, |value| integer(value, 1));
    let priority = table.required(&schema::RULE_PRIORITY, problems, |value| integer(value, 1));
    let (from, to, iif, oif, fwmark) = (from?, to?, iif?, oif?, fwmark?);
    let is_ipv6 = |network: &Located<Network>| network.value.0.is_ipv6();
    if let (Some(from), Some(to)) = (&from, &to)
        && is_ipv6(from) != is_ipv6(to)
    {
        let (network, length) = to.value;
        problems.add(
            to.at,
            format!("to is {network}/{length}, and from is of the other family; use networks of one family"),
        );
        return None;
    }
    let of_network = from.as_ref().or(to.as_ref()).map(is_ipv6);
    let is_ipv6 = of_network.or(family.map(|family| family == Family::V6))?;
    // A network with prefix length 0 matches all packets of its family.
    let selector =
        |network: Option<Located<Network>>| network.map(|network| network.value).filter(|found| found.1 > 0);
    let (from, to) = (selector(from), selector(to));
    if from.is_none() && to.is_none() && iif.is_none() && oif.is_none() && fwmark.is_none() {
        problems.add(
            table.at(),
            "a rule selects all packets; if its priority is below 32766, it overrides the main table; \
             add at least one of from, to, iif, oif and fwmark, e.g. `from = \"192.0.2.10\"`",
        );
        return None;
    }
    Some(Rule { is_ipv6, from, to, iif, oif, fwmark, table: number?.value, priority: priority?.value })
}

/// Returns the tables of an array, with their byte offsets.
fn tables<'t>(
    table: &Table<'t>,
    key: &'static Key,
    element: &'static Key,
    place: &'static str,
    problems: &mut Collector<'_>,
) -> Vec<(Table<'t>, usize)> {
    let elements =
        table.optional(key, problems, |value| value.elements(element)).flatten().unwrap_or_default();
    let mut tables = Vec::new();
    for element in elements {
        match element.table(place) {
            Ok(table) => tables.push((table, element.at())),
            Err((at, message)) => problems.add(at, message),
        }
    }
    tables
}

/// Reads a network with its prefix length, or a host address.
fn network(value: &Value<'_>) -> Result<Network, Rejection> {
    match value.string()?.parse::<IpAddr>() {
        Ok(address) => Ok((address, if address.is_ipv4() { 32 } else { 128 })),
        Err(_) => prefix(value),
    }
}

/// Reads a 32-bit unsigned integer that is at least `min`.
fn integer(value: &Value<'_>, min: u32) -> Result<u32, Rejection> {
    value
        .any_integer()?
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number >= min)
        .ok_or_else(|| value.rejected(value.source_of_integer(), "choose another number"))
}

/// Reads a firewall mark: an integer, or a string with a mark and optionally its mask, such as
/// `0x10/0xff`.
fn fwmark(value: &Value<'_>) -> Result<(u32, u32), Rejection> {
    let Ok(text) = value.string() else { return integer(value, 1).map(|mark| (mark, u32::MAX)) };
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let (bits, mask) = match text.split_once('/') {
        Some((bits, mask)) => (number(bits), number(mask)),
        None => (number(text), Some(u32::MAX)),
    };
    match (bits, mask) {
        // Without a mask, a mark of 0 matches all packets (`fib_nl2rule` in
        // `net/core/fib_rules.c`).
        (Some(bits), Some(mask)) if mask > 0 && bits & !mask == 0 && (bits > 0 || mask < u32::MAX) => {
            Ok((bits, mask))
        }
        _ => Err(value.rejected(
            format!("{text:?}"),
            "the mark must have no bits outside its mask, the mask must not be 0, and mark 0 requires a mask other \
             than 0xffffffff",
        )),
    }
}
