//! The JSON reports of `status` and `stats`.
//!
//! A value with the name of a leaf of RFC 8347 (`ietf-vrrp`) also has the leaf's unit. Other names
//! have the prefix `vipd:`, except `instances`, `global`, `statistics`, `effective-priority`,
//! `virtual-addresses`, names that identify an instance, and names inside `vipd:peers`,
//! `vipd:unicast-peers`, `vipd:hmac` and `vipd:track`. Names must not change, because scripts
//! depend on them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use super::counters::{GlobalStatistics, Statistics};

/// State of a virtual router (RFC 8347 `state`, plus `fault`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not started, or shut down.
    Initialize,
    /// Monitors the master, or waits for one.
    Backup,
    /// Answers for the virtual addresses.
    Master,
    /// Cannot take part in elections; `vipd:fault-reason` has the reason.
    Fault,
}

impl State {
    /// Returns the name of the state in reports and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Master => "master",
            Self::Fault => "fault",
        }
    }
}

/// Reply to a request that changes the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReport {
    /// The changes, one human-readable line each.
    pub changes: Vec<String>,
    /// Warnings for the user, one human-readable line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Reply to `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// One entry per configured instance, in the order of the configuration.
    pub instances: Vec<InstanceStatus>,
    /// Whether a guardian watches the engine. Missing with `fence = "off"`, or if the guardian
    /// could not be prepared when the agent started.
    #[serde(rename = "vipd:guardian", default, skip_serializing_if = "Option::is_none")]
    pub guardian: Option<bool>,
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
    /// Current state.
    pub state: State,
    /// Configured priority, 1 to 255.
    pub priority: u8,
    /// Effective priority: 1 to 254, or 255 for the owner.
    pub effective_priority: u8,
    /// In Backup, source of the last accepted advert, if any.
    pub last_adv_source: Option<IpAddr>,
    /// Active_Down_Interval in **centiseconds** (RFC 8347), rounded down.
    pub master_down_interval: u64,
    /// Skew_Time in **microseconds** (RFC 8347), rounded down.
    pub skew_time: u64,
    /// Advertised virtual addresses with prefix length.
    pub virtual_addresses: Vec<String>,
    /// Accept_Mode (RFC 8347 `accept-mode`): whether a master accepts packets to the virtual
    /// addresses.
    pub accept_mode: bool,
    /// Virtual addresses that are not advertised, with prefix length.
    #[serde(rename = "vipd:excluded-addresses")]
    pub excluded_addresses: Vec<String>,
    /// Virtual MAC of the instance, if it uses one.
    #[serde(rename = "vipd:virtual-mac")]
    pub virtual_mac: Option<String>,
    /// `multicast` or `unicast`.
    #[serde(rename = "vipd:transport")]
    pub transport: String,
    /// `none`, `pass` for a VRRPv2 password, or `hmac` for signed adverts. Never contains a
    /// password or a key.
    #[serde(rename = "vipd:authentication")]
    pub authentication: String,
    /// Keys and rules for signed adverts; `None` without `hmac`.
    #[serde(rename = "vipd:hmac", default)]
    pub hmac: Option<HmacStatus>,
    /// Checksum form of sent adverts: `v2`, `rfc5798`, `rfc9568` or `ipv6`.
    #[serde(rename = "vipd:checksum")]
    pub checksum: String,
    /// Configured unicast peers; empty with multicast.
    #[serde(rename = "vipd:unicast-peers", default)]
    pub unicast_peers: Vec<UnicastPeer>,
    /// Other routers that have sent valid adverts for this virtual router, at most 16.
    #[serde(rename = "vipd:peers")]
    pub peers: Vec<PeerStatus>,
    /// Name of the instance's sync group.
    #[serde(rename = "vipd:group", default)]
    pub group: Option<String>,
    /// State of the group: the common state of its members, `fault` if any member has a fault, or
    /// `initialize` if their states differ, as while they start.
    #[serde(rename = "vipd:group-state", default)]
    pub group_state: Option<State>,
    /// Configured interval in nanoseconds.
    #[serde(rename = "vipd:advertise-interval-ns")]
    pub advertise_interval_ns: u64,
    /// Active_Adver_Interval, learned or configured, in nanoseconds.
    #[serde(rename = "vipd:active-advertise-interval-ns")]
    pub active_advertise_interval_ns: u64,
    /// Active_Down_Interval in nanoseconds.
    #[serde(rename = "vipd:master-down-interval-ns")]
    pub master_down_interval_ns: u64,
    /// Configured `preempt`: whether a lower-priority master is preempted. An address owner always
    /// preempts. After `vipd failover`, an instance does not preempt until it becomes master again
    /// or restarts.
    #[serde(rename = "vipd:preempt")]
    pub preempt: bool,
    /// Delay before a lower-priority master is preempted, in nanoseconds.
    #[serde(rename = "vipd:preempt-delay-ns", default)]
    pub preempt_delay_ns: u64,
    /// In Backup, nanoseconds until the preemption delay ends, while the instance follows a
    /// lower-priority master.
    #[serde(rename = "vipd:preempt-in-ns", default)]
    pub preempt_in_ns: Option<u64>,
    /// Configured startup delay in nanoseconds: the time for which the instance stays in Initialize
    /// before its first start.
    #[serde(rename = "vipd:startup-delay-ns", default)]
    pub startup_delay_ns: u64,
    /// In Initialize, nanoseconds until the startup delay ends.
    #[serde(rename = "vipd:starts-in-ns", default)]
    pub starts_in_ns: Option<u64>,
    /// The reason why the instance is in `initialize`; `None` in other states.
    #[serde(rename = "vipd:initialize-reason", default)]
    pub initialize_reason: Option<String>,
    /// Fence level (`full`, `ingress`, `process` or `off`): the extent to which the kernel drops
    /// packets to and from the VIPs when the agent is dead or stopped and another node has become
    /// master. `None` while no interface of the instance is open.
    #[serde(rename = "vipd:fence")]
    pub fence: Option<String>,
    /// XDP mode in use, `native`, `tc` or `generic`; `None` while the program is not attached.
    #[serde(rename = "vipd:xdp-mode")]
    pub xdp_mode: Option<String>,
    /// VIPs that a master should have but lacks, for example because the kernel refused to add
    /// them.
    #[serde(rename = "vipd:missing-addresses", default)]
    pub missing_addresses: Vec<String>,
    /// Routes that exist while the instance is master, each as `route ` followed by the notation of
    /// `ip route`.
    #[serde(rename = "vipd:routes", default)]
    pub routes: Vec<String>,
    /// Policy rules that exist while the instance is master, each as `rule ` followed by the
    /// notation of `ip rule`.
    #[serde(rename = "vipd:rules", default)]
    pub rules: Vec<String>,
    /// Routes and policy rules that a master should have but lacks, each with the reason.
    #[serde(rename = "vipd:missing-routes", default)]
    pub missing_routes: Vec<String>,
    /// Source of adverts: the configured `source`, or the primary address of the interface. `None`
    /// before the first advert can be sent, and while the interface does not exist or does not have
    /// this address.
    #[serde(rename = "vipd:primary-address")]
    pub primary_address: Option<IpAddr>,
    /// The reason why the instance is in `fault`; `None` in other states.
    #[serde(rename = "vipd:fault-reason")]
    pub fault_reason: Option<String>,
    /// Name of the fault in state `fault`, for example `interface-down`; `None` in other states.
    #[serde(rename = "vipd:fault", default)]
    pub fault: Option<String>,
    /// Reason for the last change of state (`startup`, `master-timeout`, …).
    #[serde(rename = "vipd:last-transition-reason")]
    pub last_transition_reason: Option<String>,
    /// Milliseconds since the last change of state.
    #[serde(rename = "vipd:last-transition-ms")]
    pub last_transition_ms: Option<u64>,
    /// Objects that the instance tracks.
    #[serde(rename = "vipd:track", default)]
    pub track: Vec<TrackedObject>,
    /// Sum of the amounts that the tracked objects currently add to the priority.
    #[serde(rename = "vipd:track-weight", default)]
    pub track_weight: i64,
    /// In Backup, nanoseconds until the master-down timer fires.
    #[serde(rename = "vipd:master-down-in-ns")]
    pub master_down_in_ns: Option<u64>,
}

/// An object that an instance tracks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrackedObject {
    /// `interface`, `script`, `process`, `file` or `route`.
    pub kind: String,
    /// Name of the interface, script, process or file; for a route, `default` or the prefix.
    pub name: String,
    /// `up`, `down`, the number in a file, or `unknown` until the first reading.
    pub state: String,
    /// Configured weight; `None` if no weight is configured. In that case, the instance is in Fault
    /// while the object is down. It is also in Fault while the state is unknown, unless a reload
    /// has added the object to a running instance.
    pub weight: Option<i16>,
    /// Explanation of the state, for example the last line of a script's output.
    pub detail: Option<String>,
    /// Milliseconds since the state last changed, or since this process first recorded a state,
    /// whichever is later.
    pub since_ms: u64,
    /// Number of state changes since the object was first read.
    pub changes: u64,
}

/// A configured unicast peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UnicastPeer {
    /// Address of the peer.
    pub address: IpAddr,
    /// Minimum TTL or Hop Limit of the peer's adverts.
    pub min_ttl: u8,
}

/// Another router that has sent valid adverts for the same virtual router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PeerStatus {
    /// Source address of the router's adverts.
    pub address: IpAddr,
    /// Priority in the router's last advert.
    pub priority: u8,
    /// Checksum form of the router's last advert: `v2`, `rfc5798`, `rfc9568` or `ipv6`.
    pub checksum: String,
    /// Milliseconds since the router's last advert.
    pub last_heard_ms: u64,
    /// ID of the key with which the router's last advert was signed; `None` if this advert was not
    /// signed.
    #[serde(default)]
    pub key_id: Option<u8>,
    /// Clock of the router minus the clock of this host in milliseconds, according to the router's
    /// last advert; `None` if this advert was not signed.
    #[serde(default)]
    pub clock_offset_ms: Option<i64>,
}

/// IDs of the keys, and rules for signed adverts. Never contains a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HmacStatus {
    /// `enforce`, `permissive` or `receive-only`.
    pub mode: String,
    /// ID of the key with which adverts are signed; `None` if they are not.
    pub active_key: Option<u8>,
    /// IDs of the keys with which received adverts are verified.
    pub keys: Vec<u8>,
    /// `time` or `monotonic`.
    pub anti_replay: String,
    /// Largest accepted difference between two clocks in nanoseconds; `None` with `monotonic`.
    pub window_ns: Option<u64>,
}

/// Reply to `stats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsReport {
    /// Counters of the agent as a whole.
    pub global: GlobalStatistics,
    /// One entry per instance, in the order of [`StatusReport::instances`].
    pub instances: Vec<InstanceStats>,
}

/// Counters of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStats {
    /// Name of the instance.
    pub name: String,
    /// Interface name.
    pub interface: String,
    /// Virtual router identifier, 1 to 255.
    pub vrid: u8,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Counters of the instance.
    pub statistics: Statistics,
}
