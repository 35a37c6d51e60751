//! The table of counters, from which reports, tables, metrics, log texts and `docs/counters.md` are
//! generated.
//!
//! To add a counter, add a row here. If the counter's source does not provide the value yet, also
//! add a field for the value in `service/report.rs`.

use serde::{Deserialize, Serialize};
use vipd_common::counters::Counter as Cell;

/// Whether a value can decrease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Never decreases, with one exception: a reload that removes or restarts an instance resets
    /// the instance's counters, except those of its notifications. This also reduces the sums over
    /// all instances.
    Counter,
    /// The current value, which can decrease.
    Gauge,
}

/// Whether a value other than 0 needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Normal operation.
    Traffic,
    /// Needs an operator's attention; included in the `ERRORS` column.
    Error,
}

/// The component that counts a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The BPF program. In rows with a field of the engine, signed adverts that the program passes
    /// to user space are counted by the engine, and the value is the sum.
    Kernel(Cell),
    /// The protocol's state machine.
    Core,
    /// The engine, for the frames that it sends for a virtual router, for changes to the router's
    /// addresses, routes and rules, and for refused signed adverts.
    Sent,
    /// The engine, for everything else.
    Engine,
    /// The service, for notification commands and the FIFO.
    Service,
}

/// One row of the table.
#[derive(Debug)]
pub struct Counter {
    /// Name in JSON: a leaf of RFC 8347's `statistics`, or a name with the prefix `vipd:`.
    pub name: &'static str,
    /// Whether the value can decrease.
    pub kind: Kind,
    /// Whether a value other than 0 needs attention.
    pub severity: Severity,
    /// The component that counts the value.
    pub source: Source,
    /// One line for `# HELP` and the reference.
    pub help: &'static str,
    /// For a row of an instance with `dropped`: why the adverts are discarded, as shown in the log
    /// for adverts that the BPF program drops. `None` for other rows, including the sums over all
    /// instances.
    pub reason: Option<&'static str>,
}

/// The table of counters. Each row is
/// `field: "name", kind, severity, source(cell or field), "help"`. A row with `Kernel(cell, field)`
/// is the sum of a cell of the BPF program and a field of the engine; the field counts adverts that
/// the engine has verified or refused. A row of an instance may end with `, dropped "reason"`: why
/// its adverts are dropped. The log shows this reason for adverts that the BPF program drops.
macro_rules! table {
    ($use:ident) => {
        $use! {
            /// Counters of the agent as a whole: sums over all instances, and counters that do not
            /// belong to an instance.
            GlobalStatistics, GLOBAL, global {
                checksum_errors: "checksum-errors", Counter, Error, Kernel(ChecksumErrors),
                    "Adverts with a wrong VRRP checksum";
                version_errors: "version-errors", Counter, Error, Kernel(VersionErrors),
                    "Adverts with a VRRP version other than the configured one";
                vrid_errors: "vrid-errors", Counter, Traffic, Kernel(VridErrors),
                    "Adverts to the VRRP group for a VRID that is not configured on the interface, passed to the network stack";
                ip_ttl_errors: "ip-ttl-errors", Counter, Error, Kernel(IpTtlErrors),
                    "Adverts with a TTL or Hop Limit other than 255 (from a unicast peer: below its min_ttl)";
                fragments_passed: "vipd:fragments-passed", Counter, Traffic, Kernel(FragmentsPassed),
                    "Fragments of IP protocol 112 packets, passed to the network stack";
                destination_passed: "vipd:destination-passed", Counter, Traffic, Kernel(DestinationPassed),
                    "IP protocol 112 packets to a destination other than that of their virtual router or, if their VRID is not configured, other than the VRRP group; passed to the network stack";
                unparsable_passed: "vipd:unparsable-passed", Counter, Traffic, Kernel(UnparsablePassed),
                    "IP protocol 112 packets too short or too malformed to contain a VRID, passed to the network stack";
                ring_full: "vipd:ring-full", Counter, Error, Kernel(RingFull),
                    "Adverts lost because the ring buffer was full (signed adverts: before their HMAC is verified)";
                events_dropped: "vipd:events-dropped", Counter, Error, Engine(reports_dropped),
                    "Events missing from the log because its queue was full";
                netlink_overruns: "vipd:netlink-overruns", Counter, Error, Engine(overruns),
                    "Times that netlink notifications were lost, each followed by a resync";
                engine_wakeups: "vipd:engine-wakeups", Counter, Traffic, Engine(wakeups),
                    "Wake-ups of the engine";
                fifo_dropped: "vipd:fifo-dropped", Counter, Error, Service(fifo_dropped),
                    "Lines missing from the notification FIFO, usually because it was full";
            }

            /// Counters of one instance since the agent, or a predecessor, added it.
            Statistics, INSTANCE, instance {
                master_transitions: "master-transitions", Counter, Traffic, Core(master_transitions),
                    "Transitions to master";
                advertisement_rcvd: "advertisement-rcvd", Counter, Traffic, Kernel(AdvertisementRcvd, verified),
                    "Valid adverts received, counted in the kernel or, if they are signed, once verified";
                advertisement_sent: "advertisement-sent", Counter, Traffic, Sent(adverts),
                    "Adverts sent";
                interval_errors: "interval-errors", Counter, Error, Core(interval_errors),
                    "Adverts with an interval other than the configured one (VRRPv2: dropped; VRRPv3: accepted, and learned by a backup from its master)";
                priority_zero_pkts_rcvd: "priority-zero-pkts-rcvd", Counter, Traffic, Kernel(PriorityZeroRcvd, verified_priority_zero),
                    "Priority-0 adverts received";
                priority_zero_pkts_sent: "priority-zero-pkts-sent", Counter, Traffic, Sent(priority_zero),
                    "Priority-0 adverts sent";
                invalid_type_pkts_rcvd: "invalid-type-pkts-rcvd", Counter, Error, Kernel(InvalidTypeRcvd),
                    "Adverts with a type other than 1", dropped "unknown VRRP type";
                address_list_errors: "address-list-errors", Counter, Error, Core(address_list_errors),
                    "Adverts with an address list other than the configured one";
                packet_length_errors: "packet-length-errors", Counter, Error, Kernel(PacketLengthErrors),
                    "Truncated adverts, and adverts whose length does not match their address count",
                    dropped "truncated, or its length does not match the address count";
                checksum_errors: "vipd:checksum-errors", Counter, Error, Kernel(ChecksumErrors),
                    "Adverts with a wrong VRRP checksum", dropped "invalid VRRP checksum";
                version_errors: "vipd:version-errors", Counter, Error, Kernel(VersionErrors),
                    "Adverts with a VRRP version other than the configured one",
                    dropped "VRRP version mismatch";
                ip_ttl_errors: "vipd:ip-ttl-errors", Counter, Error, Kernel(IpTtlErrors),
                    "Adverts with a TTL or Hop Limit other than 255 (from a unicast peer: below its min_ttl)",
                    dropped "TTL or Hop Limit too small: routed or spoofed; a unicast peer behind routers needs min_ttl";
                ip_header_errors: "vipd:ip-header-errors", Counter, Error, Kernel(IpHeaderErrors),
                    "Adverts with a wrong IPv4 header checksum or an invalid source address",
                    dropped "invalid IPv4 header checksum or source address";
                address_count_errors: "vipd:address-count-errors", Counter, Error, Kernel(AddressCountErrors),
                    "Adverts with an address count of 0", dropped "no addresses";
                interval_zero_errors: "vipd:interval-zero-errors", Counter, Error, Kernel(IntervalZeroErrors),
                    "Adverts with an interval of 0", dropped "advert interval is 0";
                invalid_auth_type: "vipd:invalid-auth-type", Counter, Error, Kernel(InvalidAuthType),
                    "VRRPv2 adverts with an unknown authentication type", dropped "unknown authentication type";
                auth_type_mismatch: "vipd:auth-type-mismatch", Counter, Error, Kernel(AuthTypeMismatch),
                    "VRRPv2 adverts with an authentication type other than the configured one",
                    dropped "authentication type mismatch";
                auth_failures: "vipd:auth-failures", Counter, Error, Kernel(AuthFailures),
                    "VRRPv2 adverts with a wrong password", dropped "password mismatch";
                peer_errors: "vipd:peer-errors", Counter, Error, Kernel(PeerErrors),
                    "Adverts to the router's unicast address from a source that is not a configured peer",
                    dropped "sender is not a configured unicast peer";
                not_link_local_rcvd: "vipd:not-link-local-rcvd", Counter, Traffic, Kernel(NotLinkLocal),
                    "Valid IPv6 adverts whose first address is not link-local (signed adverts: before their HMAC is verified)";
                checksum_rfc5798_rcvd: "vipd:checksum-rfc5798-rcvd", Counter, Traffic, Kernel(ChecksumRfc5798Rcvd, verified_rfc5798),
                    "Valid VRRPv3 adverts with the RFC 5798 checksum (pseudo-header)";
                checksum_rfc9568_rcvd: "vipd:checksum-rfc9568-rcvd", Counter, Traffic, Kernel(ChecksumRfc9568Rcvd, verified_rfc9568),
                    "Valid VRRPv3 adverts with the RFC 9568 checksum (message only)";
                ring_full: "vipd:ring-full", Counter, Error, Kernel(RingFull),
                    "Adverts lost because the ring buffer was full (signed adverts: before their HMAC is verified)";
                rate_limited: "vipd:rate-limited", Counter, Error, Kernel(RateLimited),
                    "Valid adverts dropped by the per-source rate limit, and signed adverts that exceed the verification budget, dropped before their HMAC is verified",
                    dropped "rate limited: over 400 adverts/s from one source, or more signed adverts than are verified; see `vipd:peers` in `vipd status --json`";
                owner_conflicts: "vipd:owner-conflicts", Counter, Error, Core(owner_conflicts),
                    "Priority-255 adverts from another router, received as the owner";
                own_adverts_rcvd: "vipd:own-adverts-rcvd", Counter, Error, Core(own_adverts),
                    "Adverts received from this router's own source address";
                losing_adverts_rcvd: "vipd:losing-adverts-rcvd", Counter, Traffic, Core(losing_adverts),
                    "Adverts of other masters, received as master, to which this router does not yield";
                assert_adverts_sent: "vipd:assert-adverts-sent", Counter, Traffic, Core(asserts_sent),
                    "Adverts sent in answer to another master's advert or to a priority-0 advert (RFC 9568 section 6.4.3)";
                assert_adverts_suppressed: "vipd:assert-adverts-suppressed", Counter, Traffic,
                    Core(asserts_suppressed),
                    "Adverts in answer to another master's advert or to a priority-0 advert, suppressed by the rate limit or a stall";
                priority_zero_ignored_rcvd: "vipd:priority-zero-ignored-rcvd", Counter, Traffic,
                    Core(priority_zero_ignored),
                    "Priority-0 adverts ignored in Backup, because a router other than the current master sent them";
                stalls: "vipd:stalls", Counter, Error, Core(stalls),
                    "Times that the router yielded mastership because it had sent no advert for so long that another router may have taken over";
                gratuitous_arp_sent: "vipd:gratuitous-arp-sent", Counter, Traffic, Sent(gratuitous_arps),
                    "Gratuitous ARP packets sent";
                neighbor_advertisements_sent: "vipd:neighbor-advertisements-sent", Counter, Traffic,
                    Sent(neighbor_advertisements), "Unsolicited Neighbor Advertisements sent";
                not_accepted: "vipd:not-accepted", Counter, Traffic, Kernel(NotAccepted),
                    "Packets to VIPs dropped because accept is false";
                send_errors: "vipd:send-errors", Counter, Error, Sent(send_errors),
                    "Frames that the kernel refused to send";
                addresses_restored: "vipd:addresses-restored", Counter, Error, Core(addresses_restored),
                    "VIPs restored after they were removed externally";
                address_errors: "vipd:address-errors", Counter, Error, Sent(address_errors),
                    "VIPs that could not be added, removed or inserted into the BPF program's map, and macvlans that could not be brought up";
                missing_addresses: "vipd:missing-addresses", Gauge, Error, Engine(missing_addresses),
                    "VIPs that a master should have but does not";
                notifications_coalesced: "vipd:notifications-coalesced", Counter, Traffic, Service(coalesced),
                    "State changes without a notification, because the state changed again before the commands for it could start";
                notify_errors: "vipd:notify-errors", Counter, Error, Service(errors),
                    "Notification commands that failed, timed out or could not be started";
                routes_restored: "vipd:routes-restored", Counter, Error, Sent(routes_restored),
                    "Routes and rules restored after they were missing";
                route_errors: "vipd:route-errors", Counter, Error, Sent(route_errors),
                    "Failed attempts to add a route or rule";
                missing_routes: "vipd:missing-routes", Gauge, Error, Engine(missing_routes),
                    "Routes and rules that a master should have but does not";
                fenced: "vipd:fenced", Counter, Traffic, Kernel(Fenced),
                    "Packets to and from VIPs dropped by the fence: another router claimed mastership, or this one was leaving Master";
                hmac_missing: "vipd:hmac-missing", Counter, Error, Kernel(HmacMissing, hmac_missing),
                    "Adverts without a trailer, although `hmac` requires one",
                    dropped "not signed, although hmac requires it";
                hmac_malformed: "vipd:hmac-malformed", Counter, Error, Kernel(HmacMalformed, hmac_malformed),
                    "Adverts with a trailer of another type, key ID 0 or reserved bytes other than 0",
                    dropped "malformed trailer";
                hmac_unknown_key: "vipd:hmac-unknown-key", Counter, Error, Sent(hmac_unknown_key),
                    "Adverts signed with a key ID that is not configured",
                    dropped "unknown key ID";
                hmac_failures: "vipd:hmac-failures", Counter, Error, Sent(hmac_failures),
                    "Adverts with a wrong HMAC: signed with another key, or forged",
                    dropped "wrong HMAC";
                hmac_stale: "vipd:hmac-stale", Counter, Error, Sent(hmac_stale),
                    "Signed adverts whose time differs from this host's clock by more than `window`",
                    dropped "its time differs from this host's clock by more than `window`";
                hmac_replayed: "vipd:hmac-replayed", Counter, Error, Kernel(HmacReplayed, hmac_replayed),
                    "Signed adverts whose sequence is not after the last one of their sender",
                    dropped "replay of a signed advert, or its sender's clock was set back";
            }
        }
    };
}
pub(crate) use table;

macro_rules! define {
    ($(
        $(#[$doc:meta])* $name:ident, $table:ident, $scope:ident {
            $($field:ident: $json:literal, $kind:ident, $severity:ident, $source:ident($from:ident $(, $also:ident)?),
                $help:literal
                $(, dropped $reason:literal)?;)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $(#[doc = $help] #[serde(rename = $json, default)] pub $field: u64,)*
        }

        #[doc = concat!("The rows of [`", stringify!($name), "`], in the order of its fields.")]
        pub const $table: &[Counter] = &[$(Counter {
            name: $json,
            kind: Kind::$kind,
            severity: Severity::$severity,
            source: define!(@source $source $from),
            help: $help,
            reason: define!(@reason $($reason)?),
        },)*];

        impl $name {
            /// Returns each row with its value.
            pub fn entries(&self) -> impl Iterator<Item = (&'static Counter, u64)> + use<> {
                $table.iter().zip([$(self.$field),*])
            }
        }
    )*};
    (@source Kernel $cell:ident) => { Source::Kernel(Cell::$cell) };
    (@source $source:ident $field:ident) => { Source::$source };
    (@reason) => { None };
    (@reason $reason:literal) => { Some($reason) };
}
table!(define);

impl Counter {
    /// Returns whether a value other than 0 needs attention.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Returns the name without vipd's prefix.
    pub fn short_name(&self) -> &'static str {
        self.name.trim_start_matches("vipd:")
    }

    /// Returns the name of the Prometheus metric. With the prefix `vipd`, `vipd:ip-ttl-errors`
    /// becomes `vipd_ip_ttl_errors_total`.
    pub fn metric(&self, prefix: &str) -> String {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{prefix}_{}{suffix}", self.short_name().replace('-', "_"))
    }
}

/// Returns the counters of adverts that the BPF program drops for an instance, each with the reason
/// shown in the log.
pub fn drop_reasons() -> impl Iterator<Item = (Cell, &'static str)> {
    INSTANCE.iter().filter_map(|counter| match (counter.source, counter.reason) {
        (Source::Kernel(cell), Some(reason)) => Some((cell, reason)),
        _ => None,
    })
}

/// Returns the tables of `docs/counters.md`.
#[cfg(test)]
fn markdown() -> String {
    use std::fmt::Write as _;

    let mut out = String::new();
    for (title, prefix, table) in
        [("Counters of an instance", "vipd", INSTANCE), ("Counters of the agent", "vipd_global", GLOBAL)]
    {
        let _ = write!(
            out,
            "## {title}\n\n| counter | metric | needs attention | counts | counted by | reason in the log |\n| --- | --- | --- | --- | --- | --- |\n"
        );
        for counter in table {
            let attention = if counter.is_error() { "yes" } else { "" };
            let source = match counter.source {
                Source::Kernel(_) => "BPF program",
                Source::Core => "protocol",
                Source::Sent | Source::Engine => "engine",
                Source::Service => "service",
            };
            let (name, metric, help) = (counter.name, counter.metric(prefix), counter.help);
            let reason = counter.reason.unwrap_or_default();
            let _ = writeln!(out, "| `{name}` | `{metric}` | {attention} | {help} | {source} | {reason} |");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Counter, GLOBAL, INSTANCE, markdown};
    use crate::control::model::StatsReport;

    /// A report in the format of vipd 0.1; each value occurs once.
    const FIXTURE: &str = include_str!("fixtures/stats.json");

    /// Counters that are newer than the fixture.
    const NEW: &[&str] = &[
        "vipd:missing-addresses",
        "vipd:routes-restored",
        "vipd:route-errors",
        "vipd:missing-routes",
        "vipd:notifications-coalesced",
        "vipd:notify-errors",
        "vipd:fifo-dropped",
        "vipd:fenced",
        "vipd:hmac-missing",
        "vipd:hmac-malformed",
        "vipd:hmac-unknown-key",
        "vipd:hmac-failures",
        "vipd:hmac-stale",
        "vipd:hmac-replayed",
    ];

    #[test]
    fn json_is_unchanged_except_for_new_counters_at_the_end() {
        let report: StatsReport = serde_json::from_str(FIXTURE).expect("a report");
        let json = serde_json::to_string(&report).expect("JSON") + "\n";
        let json = NEW.iter().fold(json, |json, name| json.replace(&format!(",\"{name}\":0"), ""));
        assert_eq!(json, FIXTURE);
    }

    #[test]
    fn entries_are_in_table_order() {
        let report: StatsReport = serde_json::from_str(FIXTURE).expect("a report");
        let old = |counters: &mut dyn Iterator<Item = (&'static Counter, u64)>| -> Vec<u64> {
            counters.filter(|(counter, _)| !NEW.contains(&counter.name)).map(|(_, value)| value).collect()
        };
        let global = old(&mut report.global.entries());
        assert_eq!(global, (1..=global.len() as u64).collect::<Vec<_>>());
        let values = old(&mut report.instances[0].statistics.entries());
        assert_eq!(values, (101..101 + values.len() as u64).collect::<Vec<_>>());
        assert_eq!(global.len() + values.len() + NEW.len(), GLOBAL.len() + INSTANCE.len());
    }

    #[test]
    fn the_reference_is_current() {
        crate::generated::check("docs/counters.md", &markdown());
    }
}
