//! The JSON objects of `vipd events`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// An event of an instance or of a sync group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EventRecord {
    /// Time in UTC (RFC 3339), with nanoseconds.
    pub time: String,
    /// Name of the instance; absent in events of groups.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// `group-state-changed`: name of the sync group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind of event, for example `state-changed`.
    pub event: String,
    /// `state-changed`, `group-state-changed`, `object-changed`: the previous state. Absent in the
    /// first `object-changed` event of an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `state-changed`, `group-state-changed`, `object-changed`: the new state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Reason for the event; in `object-changed`, the explanation of the new state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `state-changed`: delay in handling the timer that caused the change, in nanoseconds; 0 if no
    /// timer caused the change. Absent if the report with the delay was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_ns: Option<u64>,
    /// `state-changed`: number of earlier changes that have no event of their own, because the
    /// agent was overloaded, or because they occurred while a reload was adding the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// `object-changed`: the tracked object, such as `script web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Address of the router that the event is about, or the VIP or primary address that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// `master-changed`, `split-brain`: priority in that router's advert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
}
