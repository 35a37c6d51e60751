//! Notifications, groups, routes and rules of instances, access to the control socket, and metrics.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::settings::Scope;
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
    /// Runs when the instance or group has stopped: at shutdown, or in a reload that removes it or
    /// starts the instance again.
    pub stop: Option<Vec<String>>,
    /// Runs on every transition and stop, after the specific command if there is one.
    pub any: Option<Vec<String>>,
    /// User that the commands run as; `None` for the agent's own.
    pub user: Option<User>,
    /// Time in nanoseconds after which a command is killed.
    pub timeout: u64,
}

/// Settings for all notifications (top-level `[notify]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notifications {
    /// FIFO that receives a line in keepalived's format for each transition or stop (`fifo`).
    pub fifo: Option<PathBuf>,
}

/// Instances that are masters together or not at all (`[[group]]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name, unique among the groups.
    pub name: String,
    /// Names of at least two instances. No instance is in more than one group.
    pub members: Vec<String>,
    /// Objects that all members track.
    pub track: Vec<Track>,
    /// Commands for transitions of the group.
    pub notify: Option<Arc<Notify>>,
}

/// Access to the control socket (`[control]`). Root and the agent's user always have full access.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Group whose members may query status, counters and events.
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

/// Metrics over HTTP (`[metrics]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Address and port of the server; `None` for no server.
    pub listen: Option<SocketAddr>,
    /// Whether the metrics of keepalived-exporter are also exported.
    pub keepalived_names: bool,
}

/// A network: its address, in which all host bits are zero, and its prefix length.
pub type Network = (IpAddr, u8);

/// The main routing table (`RT_TABLE_MAIN`).
pub const TABLE_MAIN: u32 = 254;

/// Metric that the kernel assigns to IPv6 routes without a configured metric (`IP6_RT_PRIO_USER`).
pub const METRIC_IPV6: u32 = 1024;

/// A route that exists while the instance is master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination (`to`).
    pub to: Network,
    /// Next hop.
    pub via: Option<IpAddr>,
    /// Outgoing interface.
    pub dev: Option<String>,
    /// Routing table, not 0.
    pub table: u32,
    /// Metric. Lower numbers are preferred. Not 0 in IPv6.
    pub metric: u32,
    /// Source address of packets that the host itself sends.
    pub source: Option<IpAddr>,
    /// Scope of the destination; always [`Scope::Global`] in IPv6.
    pub scope: Scope,
    /// Treatment of packets (`type`).
    pub kind: RouteKind,
    /// Whether the next hop is treated as on-link, even if no prefix of the interface contains it.
    pub onlink: bool,
}

/// Treatment of packets that match a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteKind {
    /// Packets are forwarded.
    #[default]
    Unicast,
    /// Packets are dropped silently.
    Blackhole,
    /// Packets are dropped, and the sender receives ICMP "host unreachable" or ICMPv6 "no route to
    /// destination".
    Unreachable,
    /// Packets are dropped, and the sender receives ICMP "communication administratively
    /// prohibited".
    Prohibit,
    /// The lookup continues with the next rule.
    Throw,
}

/// A policy rule that exists while the instance is master. A selector that is `None` matches all
/// packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether the rule is for IPv6.
    pub is_ipv6: bool,
    /// Source network of packets.
    pub from: Option<Network>,
    /// Destination network of packets.
    pub to: Option<Network>,
    /// Interface on which packets arrive.
    pub iif: Option<String>,
    /// Interface that the sending socket is bound to (matches only packets from this host).
    pub oif: Option<String>,
    /// Firewall mark and its mask.
    pub fwmark: Option<(u32, u32)>,
    /// Routing table that matching packets use, not 0.
    pub table: u32,
    /// Preference of the rule, not 0. Lower numbers match first.
    pub priority: u32,
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unicast => "unicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Throw => "throw",
        })
    }
}

/// Formats the route in the notation of `ip route`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to: (network, prefix), via, dev, table, metric, source, scope: _, kind, onlink } = self;
        f.write_str("route ")?;
        if *kind != RouteKind::Unicast {
            write!(f, "{kind} ")?;
        }
        write!(f, "{network}/{prefix}")?;
        if let Some(via) = via {
            write!(f, " via {via}")?;
        }
        if let Some(dev) = dev {
            write!(f, " dev {dev}")?;
        }
        if let Some(source) = source {
            write!(f, " src {source}")?;
        }
        if *table != TABLE_MAIN {
            write!(f, " table {table}")?;
        }
        if *metric != default_metric(*network) {
            write!(f, " metric {metric}")?;
        }
        if *onlink { f.write_str(" onlink") } else { Ok(()) }
    }
}

/// Returns the metric that the kernel assigns to a route without a configured metric.
pub(super) fn default_metric(to: IpAddr) -> u32 {
    if to.is_ipv6() { METRIC_IPV6 } else { 0 }
}

/// Formats the rule in the notation of `ip rule`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_ipv6: _, from, to, iif, oif, fwmark, table, priority } = self;
        f.write_str("rule")?;
        if let Some((network, prefix)) = from {
            write!(f, " from {network}/{prefix}")?;
        }
        if let Some((network, prefix)) = to {
            write!(f, " to {network}/{prefix}")?;
        }
        if let Some(iif) = iif {
            write!(f, " iif {iif}")?;
        }
        if let Some(oif) = oif {
            write!(f, " oif {oif}")?;
        }
        match fwmark {
            Some((bits, u32::MAX)) => write!(f, " fwmark {bits:#x}")?,
            Some((bits, mask)) => write!(f, " fwmark {bits:#x}/{mask:#x}")?,
            None => {}
        }
        write!(f, " table {table} priority {priority}")
    }
}
