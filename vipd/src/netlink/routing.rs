//! Routes and policy rules with vipd's mark: requests that add, remove and read them.

use std::fmt;
use std::io;

use rtnetlink::packet_core::NLM_F_ACK;
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol};
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::change::Change;
use super::message::{Notice, PROTO_VIPD};
use super::requests::Requests;
use super::route::Route;
use super::rule::Rule;
use super::wire::{Message, append};

/// A route or a policy rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoutingEntry {
    /// A route.
    Route(Route),
    /// A policy rule.
    Rule(Rule),
}

impl RoutingEntry {
    /// Returns the request that adds the entry.
    pub(super) fn addition(&self) -> RouteNetlinkMessage {
        match self {
            Self::Route(route) => RouteNetlinkMessage::NewRoute(route.addition()),
            Self::Rule(rule) => RouteNetlinkMessage::NewRule(rule.addition()),
        }
    }

    /// Returns the request that removes the entry. Only an entry with vipd's mark matches.
    pub(super) fn removal(&self) -> RouteNetlinkMessage {
        match self {
            Self::Route(route) => RouteNetlinkMessage::DelRoute(route.removal()),
            Self::Rule(rule) => RouteNetlinkMessage::DelRule(rule.removal()),
        }
    }

    /// Returns the complete netlink message that removes the entry, for
    /// [`Requests::replay`](super::Requests::replay).
    pub fn removal_request(&self) -> Vec<u8> {
        let mut message = Vec::new();
        append(&mut message, self.removal(), NLM_F_ACK, 0);
        message
    }

    /// Decodes a route or rule message. Returns `None` for other messages, and if the entry lacks
    /// vipd's mark.
    pub(super) fn decode(message: &Message<'_>) -> Option<Self> {
        match message.message_type() {
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => Route::decode(message.payload()).map(Self::Route),
            libc::RTM_NEWRULE | libc::RTM_DELRULE => Rule::decode(message.payload()).map(Self::Rule),
            _ => None,
        }
    }
}

impl fmt::Display for RoutingEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(route) => route.fmt(f),
            Self::Rule(rule) => rule.fmt(f),
        }
    }
}

impl Requests {
    /// Reads the routes and policy rules with vipd's mark. If a change interrupts a dump, an entry
    /// may be passed to `each` twice.
    ///
    /// # Errors
    /// See [`dump`](Self::dump).
    pub fn dump_routing(&mut self, mut each: impl FnMut(RoutingEntry)) -> io::Result<()> {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            // The kernel filters the routes by protocol, but not the rules.
            let mut routes = RouteMessage::default();
            routes.header.address_family = family;
            routes.header.protocol = RouteProtocol::from(PROTO_VIPD);
            let mut rules = RuleMessage::default();
            rules.header.family = family;
            for request in [RouteNetlinkMessage::GetRoute(routes), RouteNetlinkMessage::GetRule(rules)] {
                let result = self.repeat(|requests| {
                    requests.dump_one(request.clone(), &mut |message| {
                        if let Some(Notice::RoutingEntry(found)) = Notice::decode(message) {
                            each(found);
                        }
                    })
                });
                match result {
                    // The kernel does not support IPv6 or policy rules.
                    Err(error)
                        if matches!(
                            error.raw_os_error(),
                            Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::EPFNOSUPPORT)
                        ) => {}
                    result => result?,
                }
            }
        }
        Ok(())
    }

    /// Removes the routes and policy rules that have vipd's mark and for which `is_stale` returns
    /// true. Returns the removed entries.
    ///
    /// # Errors
    /// Returns an error if a dump fails, and then removes nothing. Also returns an error if a
    /// removal fails; all other removals are still carried out.
    pub fn remove_routing(
        &mut self,
        mut is_stale: impl FnMut(&RoutingEntry) -> bool,
    ) -> io::Result<Vec<RoutingEntry>> {
        let mut stale = Vec::new();
        self.dump_routing(|found| {
            if !stale.contains(&found) && is_stale(&found) {
                stale.push(found);
            }
        })?;
        // Rules are removed first, so that no rule refers to a table without its routes.
        stale.sort_by_key(|found| matches!(found, RoutingEntry::Route(_)));
        let changes: Vec<Change> = stale.iter().map(|found| Change::RemoveEntry(*found)).collect();
        let mut refused = Ok(());
        self.apply(&changes, |change, error| {
            refused = Err(io::Error::new(error.kind(), format!("cannot remove {change}: {error}")));
        })?;
        refused.map(|()| stale)
    }
}
