//! Every counter's kind and help, beside the names that serde gives them.
//!
//! The values come from the serialized report, so that a counter cannot be forgotten; a test holds the two
//! lists together.

use serde::Serialize;
use serde_json::Value;

/// What a counter that is not 0 means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The protocol at work.
    Traffic,
    /// Something that a person may want to look into.
    Error,
}

/// One counter as reports name it.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

const fn counter(name: &'static str, kind: Kind, help: &'static str) -> Counter {
    Counter { name, kind, help }
}

/// Counters of the agent as a whole.
pub(super) const GLOBAL: &[Counter] = &[
    counter("checksum-errors", Kind::Error, "Adverts with a wrong VRRP checksum"),
    counter("version-errors", Kind::Error, "Adverts with another version than configured"),
    counter(
        "vrid-errors",
        Kind::Traffic,
        "Adverts for a VRID that is not configured on their interface; they were passed on",
    ),
    counter(
        "ip-ttl-errors",
        Kind::Error,
        "Adverts with a TTL or Hop Limit other than 255, or below a unicast peer's minimum",
    ),
    counter("vipd:fragments-passed", Kind::Traffic, "Fragments of IP protocol 112, passed on"),
    counter(
        "vipd:destination-passed",
        Kind::Traffic,
        "IP protocol 112 to where none of our virtual routers listens, passed on",
    ),
    counter(
        "vipd:unparsable-passed",
        Kind::Traffic,
        "IP protocol 112 too short or broken to tell the VRID, passed on",
    ),
    counter("vipd:ring-full", Kind::Error, "Valid adverts that found the ring buffer full"),
    counter(
        "vipd:events-dropped",
        Kind::Error,
        "Events that the engine could not hand to the log because its channel was full",
    ),
    counter(
        "vipd:netlink-overruns",
        Kind::Error,
        "Netlink notifications lost by an overrun; each was answered by a full dump",
    ),
    counter("vipd:engine-wakeups", Kind::Traffic, "Wake-ups of the engine"),
];

/// Counters of an instance.
pub(super) const INSTANCE: &[Counter] = &[
    counter("master-transitions", Kind::Traffic, "Times this router became master"),
    counter("advertisement-rcvd", Kind::Traffic, "Valid adverts received, counted in the kernel"),
    counter("advertisement-sent", Kind::Traffic, "Adverts sent"),
    counter(
        "interval-errors",
        Kind::Error,
        "Adverts whose interval was not the configured one (dropped in VRRPv2, adopted in VRRPv3)",
    ),
    counter("priority-zero-pkts-rcvd", Kind::Traffic, "Adverts with priority 0 received"),
    counter("priority-zero-pkts-sent", Kind::Traffic, "Adverts with priority 0 sent"),
    counter("invalid-type-pkts-rcvd", Kind::Error, "Adverts of a type other than 1"),
    counter("address-list-errors", Kind::Error, "Adverts whose address list was not the configured one"),
    counter("packet-length-errors", Kind::Error, "Adverts whose length did not fit their address count"),
    counter("vipd:checksum-errors", Kind::Error, "Adverts with a wrong VRRP checksum"),
    counter("vipd:version-errors", Kind::Error, "Adverts with another version than configured"),
    counter(
        "vipd:ip-ttl-errors",
        Kind::Error,
        "Adverts with a TTL or Hop Limit other than 255, or below a unicast peer's minimum",
    ),
    counter(
        "vipd:ip-header-errors",
        Kind::Error,
        "Adverts with a wrong IPv4 header checksum, or an impossible source",
    ),
    counter("vipd:address-count-errors", Kind::Error, "Adverts with an address count of 0"),
    counter("vipd:interval-zero-errors", Kind::Error, "Adverts with an interval of 0"),
    counter("vipd:invalid-auth-type", Kind::Error, "VRRPv2 adverts with an unknown authentication type"),
    counter(
        "vipd:auth-type-mismatch",
        Kind::Error,
        "VRRPv2 adverts with another authentication type than configured",
    ),
    counter("vipd:auth-failures", Kind::Error, "VRRPv2 adverts with another password than configured"),
    counter(
        "vipd:peer-errors",
        Kind::Error,
        "Adverts to our unicast address from hosts that are no configured peers",
    ),
    counter(
        "vipd:not-link-local-rcvd",
        Kind::Traffic,
        "IPv6 adverts whose first address was not link-local; they count all the same",
    ),
    counter(
        "vipd:checksum-rfc5798-rcvd",
        Kind::Traffic,
        "Valid VRRPv3 adverts with the RFC 5798 checksum (pseudo-header)",
    ),
    counter(
        "vipd:checksum-rfc9568-rcvd",
        Kind::Traffic,
        "Valid VRRPv3 adverts with the RFC 9568 checksum (message alone)",
    ),
    counter("vipd:ring-full", Kind::Error, "Valid adverts that found the ring buffer full"),
    counter(
        "vipd:rate-limited",
        Kind::Error,
        "Valid adverts above 400 a second of one sender; they were not looked at",
    ),
    counter(
        "vipd:owner-conflicts",
        Kind::Error,
        "Adverts of another owner (priority 255) while this router is the owner",
    ),
    counter("vipd:own-adverts-rcvd", Kind::Error, "Adverts with this router's own source address"),
    counter("vipd:losing-adverts-rcvd", Kind::Traffic, "Adverts of lower precedence received while master"),
    counter(
        "vipd:assert-adverts-sent",
        Kind::Traffic,
        "Adverts sent at once to answer a losing one (RFC 9568 section 6.4.3)",
    ),
    counter("vipd:assert-adverts-suppressed", Kind::Traffic, "Such answers held back by the rate limit"),
    counter(
        "vipd:priority-zero-ignored-rcvd",
        Kind::Traffic,
        "Priority-0 adverts from a router other than the current master",
    ),
    counter("vipd:stalls", Kind::Error, "Times mastership was given up after a stall of this process"),
    counter("vipd:gratuitous-arp-sent", Kind::Traffic, "Gratuitous ARP packets sent"),
    counter("vipd:neighbor-advertisements-sent", Kind::Traffic, "Unsolicited Neighbor Advertisements sent"),
    counter(
        "vipd:not-accepted",
        Kind::Traffic,
        "Packets to the virtual addresses that were dropped (Accept_Mode false)",
    ),
    counter("vipd:send-errors", Kind::Error, "Packets the kernel refused to send"),
    counter(
        "vipd:addresses-restored",
        Kind::Error,
        "Virtual addresses put back after somebody else had deleted them",
    ),
    counter("vipd:address-errors", Kind::Error, "Address changes that netlink refused"),
];

/// The names and values of a set of counters, in the order of their definition.
pub(super) fn of(statistics: &impl Serialize) -> Vec<(String, u64)> {
    let Ok(Value::Object(fields)) = serde_json::to_value(statistics) else { return Vec::new() };
    fields.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect()
}

/// The help of a counter.
pub(super) fn help(counters: &[Counter], name: &str) -> &'static str {
    find(counters, name).map_or("Not described", |counter| counter.help)
}

/// Whether a counter tells of errors.
pub(super) fn is_error(counters: &[Counter], name: &str) -> bool {
    find(counters, name).is_none_or(|counter| counter.kind == Kind::Error)
}

fn find<'c>(counters: &'c [Counter], name: &str) -> Option<&'c Counter> {
    counters.iter().find(|counter| counter.name == name)
}
