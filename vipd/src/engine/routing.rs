//! The routes and policy rules of an instance, as the engine adds them.

use super::id::LinkId;
use super::link::LinkRole;
use super::links::Links;
use super::topology::Topology;
use crate::config;
use crate::config::operate;
use crate::config::settings::Scope;
use crate::netlink::{self, Destination, Label, Route, RouteKind, RoutingEntry, Rule};

/// A route or policy rule of an instance. Instances with the same settings share the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    /// The entry. A route's interface is in `link` instead. Routes are sorted before rules.
    pub(super) entry: RoutingEntry,
    /// Configured interface of a route, if there is one.
    pub(super) link: Option<LinkId>,
}

/// The order in which entries are added: the kernel refuses a route whose gateway is not reachable
/// yet, and a rule should not refer to a table without its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Routes without a gateway. A gateway may be reachable only through such a route.
    Direct,
    /// Routes with a gateway.
    Gateway,
    Rule,
}

impl Wanted {
    /// Returns the routes and then the rules of an instance, in the order of the configuration.
    /// Adds links that do not exist yet.
    pub(crate) fn all(settings: &config::Instance, links: &mut Links) -> Vec<Self> {
        let routes = settings.routes.iter().map(|one| Self {
            entry: RoutingEntry::Route(route(one)),
            link: one.dev.as_ref().map(|dev| links.find_or_add(dev, LinkRole::RouteOnly)),
        });
        let rules =
            settings.rules.iter().map(|one| Self { entry: RoutingEntry::Rule(rule(one)), link: None });
        routes.chain(rules).collect()
    }

    /// Returns the entry. For a route with a configured link, adds the link's current interface, or
    /// returns `None` if the link has no interface.
    pub(crate) fn resolve(&self, links: &Links) -> Option<RoutingEntry> {
        match (self.entry, self.link) {
            (RoutingEntry::Route(route), Some(link)) => {
                let ifindex = Some(links.route_ifindex(link)?);
                Some(RoutingEntry::Route(Route { ifindex, ..route }))
            }
            (entry, _) => Some(entry),
        }
    }

    /// Returns the stage in which the entry is added.
    pub(super) fn stage(&self) -> Stage {
        match self.entry {
            RoutingEntry::Route(Route { via: None, .. }) => Stage::Direct,
            RoutingEntry::Route(_) => Stage::Gateway,
            RoutingEntry::Rule(_) => Stage::Rule,
        }
    }

    /// Returns the destination of a route; `None` for a rule.
    fn destination(&self) -> Option<Destination> {
        match self.entry {
            RoutingEntry::Route(route) => Some(Destination { address: route.to, prefix: route.prefix }),
            RoutingEntry::Rule(_) => None,
        }
    }

    /// Returns the smallest entry that the kernel regards as the same as `found`. A search in an
    /// ordered map begins at this entry.
    pub(crate) fn first_like(found: RoutingEntry) -> Self {
        let entry = match found {
            RoutingEntry::Route(route) => RoutingEntry::Route(route.first_of_its_key()),
            rule @ RoutingEntry::Rule(_) => rule,
        };
        Self { entry, link: None }
    }

    /// Returns whether the kernel regards this entry as the same as `found`: with `NLM_F_EXCL`, it
    /// accepts only one route per destination and metric in a table.
    pub(crate) fn is_like(&self, found: RoutingEntry) -> bool {
        Self::first_like(self.entry) == Self::first_like(found)
    }
}

/// Returns the destinations of all routes, sorted and without duplicates. Returns `None` if no
/// router has routes or policy rules.
pub(super) fn destinations(topology: &Topology) -> Option<Vec<Destination>> {
    let mut entries = topology.routers.iter().flat_map(|(_, instance)| &instance.routing).peekable();
    entries.peek()?;
    let mut destinations: Vec<_> = entries.filter_map(Wanted::destination).collect();
    destinations.sort_unstable();
    destinations.dedup();
    Some(destinations)
}

fn route(route: &operate::Route) -> Route {
    Route {
        to: route.to.0,
        prefix: route.to.1,
        table: route.table,
        metric: route.metric,
        kind: match route.kind {
            operate::RouteKind::Unicast => RouteKind::Unicast,
            operate::RouteKind::Blackhole => RouteKind::Blackhole,
            operate::RouteKind::Unreachable => RouteKind::Unreachable,
            operate::RouteKind::Prohibit => RouteKind::Prohibit,
            operate::RouteKind::Throw => RouteKind::Throw,
        },
        via: route.via,
        ifindex: None,
        source: route.source,
        scope: match route.scope {
            Scope::Global => netlink::Scope::Global,
            Scope::Link => netlink::Scope::Link,
            Scope::Host => netlink::Scope::Host,
        },
        onlink: route.onlink,
    }
}

fn rule(rule: &operate::Rule) -> Rule {
    Rule {
        is_ipv6: rule.is_ipv6,
        priority: rule.priority,
        table: rule.table,
        from: rule.from,
        to: rule.to,
        // The configuration limits interface names to the length of a label.
        iif: rule.iif.as_deref().and_then(Label::new),
        oif: rule.oif.as_deref().and_then(Label::new),
        fwmark: rule.fwmark,
    }
}

/// Returns whether a possibly stale route or rule is configured. Routes are compared only by
/// destination, table and metric, because the rest may have changed: for example, the interface may
/// have another index now.
pub(crate) fn is_configured(found: &RoutingEntry, instances: &[&config::Instance]) -> bool {
    let routes = instances.iter().flat_map(|one| &one.routes).map(|one| RoutingEntry::Route(route(one)));
    let rules = instances.iter().flat_map(|one| &one.rules).map(|one| RoutingEntry::Rule(rule(one)));
    routes.chain(rules).any(|entry| Wanted { entry, link: None }.is_like(*found))
}
