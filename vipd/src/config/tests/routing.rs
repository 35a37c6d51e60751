//! Keys, defaults, errors and warnings of `routes` and `rules`.

use std::net::IpAddr;

use super::*;
use crate::config::machine::{Interface, Machine};
use crate::config::operate::{Route, RouteKind, Rule};
use crate::config::settings::Scope;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn routes_have_defaults() {
    let instance = parsed(
        "routes = [{ to = \"0.0.0.0/0\", via = \"192.0.2.1\" }, { to = \"2001:db8::/32\", dev = \"eth2\" }]",
    );
    let route = Route {
        to: (address("0.0.0.0"), 0),
        via: Some(address("192.0.2.1")),
        dev: None,
        table: 254,
        metric: 0,
        source: None,
        scope: Scope::Global,
        kind: RouteKind::Unicast,
        onlink: false,
    };
    let (to, dev) = ((address("2001:db8::"), 32), Some("eth2".to_owned()));
    let other = Route { to, via: None, dev, metric: 1024, ..route.clone() };
    assert_eq!(instance.routes, [route, other]);
    let direct = parsed("routes = [{ to = \"10.0.0.0/8\", dev = \"eth2\" }]");
    assert_eq!(direct.routes[0].scope, Scope::Link);
}

#[test]
fn all_keys_of_routes_and_rules_are_read() {
    let instance = parsed(
        "routes = [{ to = \"10.0.0.1\", via = \"192.0.2.1\", dev = \"eth2\", table = 4294967295, metric = 5, \
         source = \"192.0.2.10\", scope = \"link\", onlink = true }, { to = \"::/0\", type = \"unreachable\", table = 9 }]\n\
         rules = [{ from = \"192.0.2.10\", to = \"10.0.0.0/8\", iif = \"lo\", oif = \"eth2\", fwmark = \"0x10/0xff\", \
         table = 100, priority = 7 }, { iif = \"eth2\", from = \"::/0\", table = 100, priority = 7 }, \
         { fwmark = 3, table = 1, priority = 8 }]",
    );
    let shown = instance.routes.iter().map(ToString::to_string);
    let shown: Vec<_> = shown.chain(instance.rules.iter().map(ToString::to_string)).collect();
    assert_eq!(
        shown,
        [
            "route 10.0.0.1/32 via 192.0.2.1 dev eth2 src 192.0.2.10 table 4294967295 metric 5 onlink",
            "route unreachable ::/0 table 9",
            "rule from 192.0.2.10/32 to 10.0.0.0/8 iif lo oif eth2 fwmark 0x10/0xff table 100 priority 7",
            "rule iif eth2 table 100 priority 7",
            "rule fwmark 0x3 table 1 priority 8",
        ]
    );
    let families: Vec<_> = instance.rules.iter().map(|Rule { is_ipv6, .. }| *is_ipv6).collect();
    assert_eq!(families, [false, true, false]);
}

#[test]
fn invalid_routes_are_rejected() {
    let row = |route: &str| problems(&with(&format!("routes = [{route}]")));
    let via = "via = \"192.0.2.1\"";
    for (route, expected) in [
        (
            "{ via = \"192.0.2.1\" }".to_owned(),
            "6:11: to is missing; it must be a network with its prefix length, or an IPv4 or IPv6 address; add e.g. `to = \"10.0.0.0/8\"`",
        ),
        (
            format!("{{ to = \"10.0.0.1/8\", {via} }}"),
            "6:18: to is \"10.0.0.1/8\", which has host bits set; it must be a network with its prefix length, or an IPv4 or IPv6 address; use \"10.0.0.0/8\"",
        ),
        (
            format!("{{ to = \"2001:db8::/32\", {via} }}"),
            "6:41: via is 192.0.2.1, but the route is to 2001:db8::/32; use addresses of one family",
        ),
        (
            "{ to = \"10.0.0.0/8\" }".to_owned(),
            "6:11: a route has neither `via` nor `dev`; packets need a next hop or an outgoing interface; add e.g. `via = \"192.0.2.1\"`, or `type = \"blackhole\"` to drop them",
        ),
        (
            "{ to = \"::/0\", via = \"fe80::1\" }".to_owned(),
            "6:32: via is fe80::1, a link-local address, and `dev` is missing; add `dev`, the interface on the same link",
        ),
        (
            format!("{{ to = \"10.0.0.0/8\", {via}, table = 0 }}"),
            "6:59: table is 0; it must be an integer from 1 to 4294967295; choose another number",
        ),
        (
            format!("{{ to = \"10.0.0.0/8\", {via}, table = 4294967296 }}"),
            "6:59: table is 4294967296; it must be an integer from 1 to 4294967295; choose another number",
        ),
        (
            format!("{{ to = \"10.0.0.0/8\", {via}, type = \"blackhole\" }}"),
            "6:38: via is set for a route of type \"blackhole\", which forwards no packets; remove `via`",
        ),
        (
            format!("{{ to = \"10.0.0.0/8\", {via}, onlink = true }}"),
            "6:60: onlink is true, but `via` or `dev` is missing; add it, or remove `onlink`",
        ),
        (
            "{ to = \"::/0\", dev = \"eth2\", scope = \"link\" }".to_owned(),
            "6:48: scope is set for an IPv6 route; IPv6 routes have no scope; remove it",
        ),
        (
            format!("{{ to = \"10.0.0.0/8\", {via} }}, {{ to = \"10.0.0.0/8\", dev = \"eth2\" }}"),
            "6:53: route to 10.0.0.0/8 in table 254 with metric 0 is already defined at line 6, column 11; a table has at most one route per destination and metric; remove one of them, or choose another metric",
        ),
        (
            "{ to = \"10.0.0.0/8\", gateway = \"192.0.2.1\", dev = \"eth2\" }".to_owned(),
            "6:32: unknown key `gateway` in a route; remove it (allowed keys: to, via, dev, table, metric, source, scope, type, onlink)",
        ),
        (
            "3".to_owned(),
            "6:11: a route is an integer; it must be a table; use e.g. `{ to = \"10.0.0.0/8\", via = \"192.0.2.1\" }`",
        ),
    ] {
        assert_eq!(row(&route), expected, "{route}");
    }
}

#[test]
fn duplicate_routes_of_one_instance_are_rejected_even_if_another_instance_has_the_route() {
    let route = "{ to = \"10.0.0.0/8\", via = \"192.0.2.1\" }";
    let first = with(&format!("routes = [{route}]"));
    let second = with(&format!("routes = [{route}, {route}]"))
        .replace("\"a\"", "\"b\"")
        .replace("51", "52")
        .replace("192.0.2.10", "192.0.2.11");
    let found = problems(&(first + &second));
    assert!(found.contains("in table 254 with metric 0 is already defined at line 12"), "{found}");
}

#[test]
fn invalid_rules_are_rejected() {
    let row = |rule: &str| problems(&with(&format!("rules = [{rule}]")));
    for (rule, expected) in [
        (
            "{ from = \"192.0.2.10\", table = 100, priority = 0 }",
            "6:57: priority is 0; it must be an integer from 1 to 4294967295; choose another number",
        ),
        (
            "{ from = \"192.0.2.10\", priority = 1 }",
            "6:10: table is missing; it must be an integer from 1 to 4294967295; add e.g. `table = 100`",
        ),
        (
            "{ from = \"0.0.0.0/0\", table = 100, priority = 1 }",
            "6:10: a rule selects all packets; if its priority is below 32766, it overrides the main table; add at least one of from, to, iif, oif and fwmark, e.g. `from = \"192.0.2.10\"`",
        ),
        (
            "{ from = \"192.0.2.10\", to = \"2001:db8::/32\", table = 100, priority = 1 }",
            "6:38: to is 2001:db8::/32, and from is of the other family; use networks of one family",
        ),
        (
            "{ fwmark = \"0x100/0xff\", table = 100, priority = 1 }",
            "6:21: fwmark is \"0x100/0xff\"; it must be an integer from 1 to 4294967295, or a string with a mark and its mask such as \"0x10/0xff\"; the mark must have no bits outside its mask, the mask must not be 0, and mark 0 requires a mask other than 0xffffffff",
        ),
        (
            "{ iif = \"eth1\", table = 9, priority = 1 }, { iif = \"eth1\", table = 9, priority = 1 }",
            "6:53: rule iif eth1 table 9 priority 1 is already defined at line 6, column 10; remove one of them",
        ),
        (
            "{ from = \"192.0.2.10\", iif = \"eth1\", table = 9, priority = 1 }, { iif = \"eth1\", table = 9, priority = 1 }",
            "6:10: rule from 192.0.2.10/32 iif eth1 table 9 priority 1 has no effect while rule iif eth1 table 9 priority 1 at line 6, column 74 exists, which has the same table and priority and also matches these packets; remove one of them, or choose another priority",
        ),
    ] {
        assert_eq!(row(rule), expected, "{rule}");
    }
}

/// Returns a file with two instances: the first with route `one`, the second with route `other`.
fn two_instances(one: &str, other: &str) -> String {
    let second = with(&format!("routes = [{other}]")).replace("\"a\"", "\"b\"").replace("51", "52");
    with(&format!("routes = [{one}]")) + &second.replace("192.0.2.10", "192.0.2.11")
}

#[test]
fn conflicting_routes_cause_a_warning_but_shared_routes_do_not() {
    let route = "{ to = \"10.0.0.0/8\", via = \"192.0.2.1\" }";
    let warnings = |other: &str| {
        let config =
            Config::parse(&two_instances(route, other), "f").unwrap_or_else(|found| panic!("{found}"));
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warnings(route), [""; 0]);
    assert_eq!(
        warnings("{ to = \"10.0.0.0/8\", via = \"192.0.2.2\" }"),
        [
            "12:11: route to 10.0.0.0/8 in table 254 with metric 0 differs from the one at line 6, column 11; only one of them can exist while both instances are master; choose another metric"
        ]
    );
}

#[test]
fn route_through_an_unknown_interface_causes_a_warning() {
    let interfaces = [("eth1".to_owned(), Interface { has_ethernet: true, addresses: Vec::new() })].into();
    let machine = Machine { interfaces, ..Machine::default() };
    let source =
        with("routes = [{ to = \"10.0.0.0/8\", dev = \"eth7\" }, { to = \"10.0.0.0/9\", dev = \"eth1\" }]");
    let config = Config::parse_on(&source, "f", &machine).unwrap_or_else(|problems| panic!("{problems}"));
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["6:38: dev is eth7, which does not exist on this machine; the route is added once it exists"]
    );
}
