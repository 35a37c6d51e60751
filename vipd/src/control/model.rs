//! What `status` and `stats` say, as JSON.
//!
//! Names are the leaves of RFC 8347 (`ietf-vrrp`) where it has one, in its units; vipd's own carry the prefix
//! `vipd:`. They are stable: others script against them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// State of a virtual router (RFC 8347 `state`, and `fault` of vipd's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not started.
    Initialize,
    /// Listening to a master.
    Backup,
    /// Owns the virtual addresses now.
    Master,
    /// Cannot take part; `vipd:fault-reason` says why.
    Fault,
}

/// Answer to `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// One entry a configured instance, in the order of the configuration.
    pub instances: Vec<InstanceStatus>,
}

/// Status of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InstanceStatus {
    /// Name of the instance.
    pub name: String,
    /// Interface name.
    pub interface: String,
    /// Virtual router identifier.
    pub vrid: u8,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// VRRP version, 2 or 3.
    pub version: u8,
    /// State.
    pub state: State,
    /// Configured priority.
    pub priority: u8,
    /// Priority in force.
    pub effective_priority: u8,
    /// Source of the last advert accepted, if any.
    pub last_adv_source: Option<IpAddr>,
    /// Active_Down_Interval in **centiseconds** (RFC 8347), rounded down.
    pub master_down_interval: u64,
    /// Skew_Time in **microseconds** (RFC 8347), rounded down.
    pub skew_time: u64,
    /// Virtual addresses with their prefix length.
    pub virtual_addresses: Vec<String>,
    /// Whether packets to the virtual addresses are accepted as master (RFC 8347).
    pub accept_mode: bool,
    /// Virtual addresses that are not advertised.
    #[serde(rename = "vipd:excluded-addresses")]
    pub excluded_addresses: Vec<String>,
    /// The MAC address of its own, where it has one.
    #[serde(rename = "vipd:virtual-mac")]
    pub virtual_mac: Option<String>,
    /// `multicast` or `unicast`.
    #[serde(rename = "vipd:transport")]
    pub transport: String,
    /// `none`, or `pass` for VRRPv2's password; never the password.
    #[serde(rename = "vipd:authentication")]
    pub authentication: String,
    /// Form of the checksum that is sent: `v2`, `rfc5798`, `rfc9568` or `ipv6`.
    #[serde(rename = "vipd:checksum")]
    pub checksum: String,
    /// Who else has sent valid adverts for this virtual router, 16 at most.
    #[serde(rename = "vipd:peers")]
    pub peers: Vec<PeerStatus>,
    /// Configured interval in nanoseconds.
    #[serde(rename = "vipd:advertise-interval-ns")]
    pub advertise_interval_ns: u64,
    /// Interval of the master in force, learned or own, in nanoseconds.
    #[serde(rename = "vipd:active-advertise-interval-ns")]
    pub active_advertise_interval_ns: u64,
    /// Active_Down_Interval in nanoseconds.
    #[serde(rename = "vipd:master-down-interval-ns")]
    pub master_down_interval_ns: u64,
    /// Whether a master of lower priority is preempted.
    #[serde(rename = "vipd:preempt")]
    pub preempt: bool,
    /// How the XDP program is attached: `native` or `generic`; none while it is not.
    #[serde(rename = "vipd:xdp-mode")]
    pub xdp_mode: Option<String>,
    /// VIPs that a master should have and does not: the kernel refused them.
    #[serde(rename = "vipd:missing-addresses", default)]
    pub missing_addresses: Vec<String>,
    /// Primary address of the interface, the source of adverts; none while there is none.
    #[serde(rename = "vipd:primary-address")]
    pub primary_address: Option<IpAddr>,
    /// Why the instance is in `fault`.
    #[serde(rename = "vipd:fault-reason")]
    pub fault_reason: Option<String>,
    /// Reason of the last change of state (`startup`, `master-timeout`, …).
    #[serde(rename = "vipd:last-transition-reason")]
    pub last_transition_reason: Option<String>,
    /// Milliseconds since the last change of state.
    #[serde(rename = "vipd:last-transition-ms")]
    pub last_transition_ms: Option<u64>,
    /// Nanoseconds from now to the master-down deadline, while in backup.
    #[serde(rename = "vipd:master-down-in-ns")]
    pub master_down_in_ns: Option<u64>,
}

/// Another router of the same virtual router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PeerStatus {
    /// Source of its adverts.
    pub address: IpAddr,
    /// Priority of the last one.
    pub priority: u8,
    /// Form of its checksum: `v2`, `rfc5798`, `rfc9568` or `ipv6`.
    pub checksum: String,
    /// Milliseconds since then.
    pub last_heard_ms: u64,
}

/// Answer to `stats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsReport {
    /// Counters of the agent as a whole.
    pub global: GlobalStatistics,
    /// One entry an instance, in the order of the configuration.
    pub instances: Vec<InstanceStats>,
}

/// Counters of the agent as a whole: sums over all instances, and what belongs to none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GlobalStatistics {
    /// Adverts with a wrong VRRP checksum.
    pub checksum_errors: u64,
    /// Adverts with another version than configured.
    pub version_errors: u64,
    /// Adverts for a VRID that is not configured on their interface; they were passed on.
    pub vrid_errors: u64,
    /// Adverts with a TTL or Hop Limit other than 255, or below a unicast peer's minimum.
    pub ip_ttl_errors: u64,
    /// Fragments of IP protocol 112, passed on.
    #[serde(rename = "vipd:fragments-passed")]
    pub fragments_passed: u64,
    /// IP protocol 112 to where none of our virtual routers listens, passed on.
    #[serde(rename = "vipd:destination-passed")]
    pub destination_passed: u64,
    /// IP protocol 112 too short or broken to tell the VRID, passed on.
    #[serde(rename = "vipd:unparsable-passed")]
    pub unparsable_passed: u64,
    /// Valid adverts that found the ring buffer full.
    #[serde(rename = "vipd:ring-full")]
    pub ring_full: u64,
    /// Events that the engine could not hand to the log because its channel was full.
    #[serde(rename = "vipd:events-dropped")]
    pub events_dropped: u64,
    /// Netlink notifications lost by an overrun; each was answered by a full dump.
    #[serde(rename = "vipd:netlink-overruns")]
    pub netlink_overruns: u64,
    /// Wake-ups of the engine.
    #[serde(rename = "vipd:engine-wakeups")]
    pub engine_wakeups: u64,
}

/// Counters of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStats {
    /// Name of the instance.
    pub name: String,
    /// Interface name.
    pub interface: String,
    /// Virtual router identifier.
    pub vrid: u8,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// The counters.
    pub statistics: Statistics,
}

/// Counters of one instance, all since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Statistics {
    /// Times this router became master.
    pub master_transitions: u64,
    /// Valid adverts received, counted in the kernel.
    pub advertisement_rcvd: u64,
    /// Adverts sent.
    pub advertisement_sent: u64,
    /// Adverts whose interval was not the configured one (dropped in VRRPv2, adopted in VRRPv3).
    pub interval_errors: u64,
    /// Adverts with priority 0 received.
    pub priority_zero_pkts_rcvd: u64,
    /// Adverts with priority 0 sent.
    pub priority_zero_pkts_sent: u64,
    /// Adverts of a type other than 1.
    pub invalid_type_pkts_rcvd: u64,
    /// Adverts whose address list was not the configured one.
    pub address_list_errors: u64,
    /// Adverts whose length did not fit their address count.
    pub packet_length_errors: u64,
    /// Adverts with a wrong VRRP checksum.
    #[serde(rename = "vipd:checksum-errors")]
    pub checksum_errors: u64,
    /// Adverts with another version than configured.
    #[serde(rename = "vipd:version-errors")]
    pub version_errors: u64,
    /// Adverts with a TTL or Hop Limit other than 255, or below a unicast peer's minimum.
    #[serde(rename = "vipd:ip-ttl-errors")]
    pub ip_ttl_errors: u64,
    /// Adverts with a wrong IPv4 header checksum, or an impossible source.
    #[serde(rename = "vipd:ip-header-errors")]
    pub ip_header_errors: u64,
    /// Adverts with an address count of 0.
    #[serde(rename = "vipd:address-count-errors")]
    pub address_count_errors: u64,
    /// Adverts with an interval of 0.
    #[serde(rename = "vipd:interval-zero-errors")]
    pub interval_zero_errors: u64,
    /// VRRPv2 adverts with an unknown authentication type.
    #[serde(rename = "vipd:invalid-auth-type")]
    pub invalid_auth_type: u64,
    /// VRRPv2 adverts with another authentication type than configured.
    #[serde(rename = "vipd:auth-type-mismatch")]
    pub auth_type_mismatch: u64,
    /// VRRPv2 adverts with another password than configured.
    #[serde(rename = "vipd:auth-failures")]
    pub auth_failures: u64,
    /// Adverts to our unicast address from hosts that are no configured peers.
    #[serde(rename = "vipd:peer-errors")]
    pub peer_errors: u64,
    /// IPv6 adverts whose first address was not link-local; they count all the same.
    #[serde(rename = "vipd:not-link-local-rcvd")]
    pub not_link_local_rcvd: u64,
    /// Valid VRRPv3 adverts with the RFC 5798 checksum (pseudo-header).
    #[serde(rename = "vipd:checksum-rfc5798-rcvd")]
    pub checksum_rfc5798_rcvd: u64,
    /// Valid VRRPv3 adverts with the RFC 9568 checksum (message alone).
    #[serde(rename = "vipd:checksum-rfc9568-rcvd")]
    pub checksum_rfc9568_rcvd: u64,
    /// Valid adverts that found the ring buffer full.
    #[serde(rename = "vipd:ring-full")]
    pub ring_full: u64,
    /// Valid adverts above 400 a second of one sender; they were not looked at.
    #[serde(rename = "vipd:rate-limited")]
    pub rate_limited: u64,
    /// Adverts of another owner (priority 255) while this router is the owner.
    #[serde(rename = "vipd:owner-conflicts")]
    pub owner_conflicts: u64,
    /// Adverts with this router's own source address.
    #[serde(rename = "vipd:own-adverts-rcvd")]
    pub own_adverts_rcvd: u64,
    /// Adverts of lower precedence received while master.
    #[serde(rename = "vipd:losing-adverts-rcvd")]
    pub losing_adverts_rcvd: u64,
    /// Adverts sent at once to answer a losing one (RFC 9568 section 6.4.3).
    #[serde(rename = "vipd:assert-adverts-sent")]
    pub assert_adverts_sent: u64,
    /// Such answers held back by the rate limit.
    #[serde(rename = "vipd:assert-adverts-suppressed")]
    pub assert_adverts_suppressed: u64,
    /// Priority-0 adverts from a router other than the current master.
    #[serde(rename = "vipd:priority-zero-ignored-rcvd")]
    pub priority_zero_ignored_rcvd: u64,
    /// Times mastership was given up after a stall of this process.
    #[serde(rename = "vipd:stalls")]
    pub stalls: u64,
    /// Gratuitous ARP packets sent.
    #[serde(rename = "vipd:gratuitous-arp-sent")]
    pub gratuitous_arp_sent: u64,
    /// Unsolicited Neighbor Advertisements sent.
    #[serde(rename = "vipd:neighbor-advertisements-sent")]
    pub neighbor_advertisements_sent: u64,
    /// Packets to the virtual addresses that were dropped (Accept_Mode false).
    #[serde(rename = "vipd:not-accepted")]
    pub not_accepted: u64,
    /// Packets the kernel refused to send.
    #[serde(rename = "vipd:send-errors")]
    pub send_errors: u64,
    /// Virtual addresses put back after somebody else had deleted them.
    #[serde(rename = "vipd:addresses-restored")]
    pub addresses_restored: u64,
    /// Address changes that netlink refused.
    #[serde(rename = "vipd:address-errors")]
    pub address_errors: u64,
}
