//! Links, addresses, routes and policy rules through rtnetlink(7), and process events through the
//! kernel's connector.
//!
//! [`Requests`] reads links, addresses, neighbor entries, and vipd's routes and rules. It also
//! changes addresses, routes and rules, and brings links up and down. [`Monitor`] receives
//! notifications about the links in use and their addresses, the neighbor entries of unicast peers,
//! and vipd's routes and rules that were removed or replaced. Each of the two has its own socket,
//! so that a burst of notifications cannot displace a response. [`Macvlans`] creates and deletes
//! the macvlans of virtual routers that use a virtual MAC. [`RouteMonitor`] and [`Routes`] serve
//! tracked routes, and [`ProcessEvents`] serves tracked processes.

mod change;
mod dump;
mod filter;
mod link_facts;
mod macvlan;
mod message;
mod monitor;
mod process_events;
mod process_filter;
mod receive;
mod requests;
mod route;
mod route_filter;
mod route_monitor;
mod route_state;
mod routing;
mod rule;
mod stale;
pub(crate) mod sysctl;
mod wire;
mod worker;

pub use change::{Attributes, Change, Label, Scope};
pub use link_facts::LinkFacts;
pub use macvlan::{Macvlan, Macvlans, Wanted};
pub use message::{Address, Link, Notice, PROTO_VIPD};
pub use monitor::{Drained, Monitor, MonitorTraffic};
pub use process_events::ProcessEvents;
pub use process_filter::Selection;
pub use receive::Batch;
pub use requests::{BATCH, Requests, Traffic};
pub use route::{Route, RouteKind};
pub use route_monitor::RouteMonitor;
pub use route_state::{Destination, RouteState, Routes};
pub use routing::RoutingEntry;
pub use rule::Rule;
