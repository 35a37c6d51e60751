//! Notifications, groups, routes and rules of instances, and access to the control socket.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::track::{Track, User};

/// Commands that run when an instance or a group changes state (`[instance.notify]`,
/// `[group.notify]`). Each is the absolute path of an executable and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Runs on the transition to Master.
    pub master: Option<Vec<String>>,
    /// Runs on the transition to Backup.
    pub backup: Option<Vec<String>>,
    /// Runs on the transition to Fault.
    pub fault: Option<Vec<String>>,
    /// Runs before the agent stops or removes the instance.
    pub stop: Option<Vec<String>>,
    /// Runs on every transition, after the command for the state.
    pub any: Option<Vec<String>>,
    /// User that the commands run as; `None` for the agent's own.
    pub user: Option<User>,
    /// Time in nanoseconds after which a command is killed.
    pub timeout: u64,
}

/// Settings for all notifications (top-level `[notify]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notifications {
    /// FIFO that receives a line in keepalived's format for each transition (`fifo`).
    pub fifo: Option<PathBuf>,
}

/// Instances that are masters together or not at all (`[[group]]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name, unique among the groups.
    pub name: String,
    /// Names of at least two instances, each in this group only.
    pub members: Vec<String>,
    /// Objects that all members track.
    pub track: Vec<Track>,
    /// Commands for transitions of the group.
    pub notify: Option<Arc<Notify>>,
}

/// Access to the control socket (`[control]`). Root always has full access.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Group whose members may read reports and events.
    pub read_group: Option<UserGroup>,
    /// Group whose members may also change the running agent.
    pub admin_group: Option<UserGroup>,
}

/// A group of users, resolved when the file is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserGroup {
    /// Name in the file, for messages.
    pub name: String,
    /// Group ID.
    pub gid: u32,
}

/// A route that exists while the instance is master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination: network address and prefix length (`to`).
    pub to: (IpAddr, u8),
    /// Next hop.
    pub via: Option<IpAddr>,
    /// Outgoing interface.
    pub dev: Option<String>,
    /// Routing table; 254 is the main table.
    pub table: u32,
}

/// A policy rule that exists while the instance is master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Source prefix: network address and prefix length (`from`).
    pub from: Option<(IpAddr, u8)>,
    /// Routing table that matching packets use.
    pub table: u32,
    /// Preference of the rule. Lower numbers match first.
    pub priority: u32,
}
