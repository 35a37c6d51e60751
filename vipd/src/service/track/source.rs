//! The sources of tracked objects: the interfaces, scripts, processes, files and routes to check.

use std::fmt;
use std::sync::Arc;

use crate::config::track::{Process, Script, Tracked, TrackedFile, TrackedRoute};
use crate::netlink::Destination;
use crate::vrrp::config::Family;

/// An object to check. Instances that track the same object share one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Interface(String),
    Script(Arc<Script>),
    Process(Arc<Process>),
    File(Arc<TrackedFile>),
    /// A route. The string is its name: `default` or the prefix.
    Route(String, Destination),
}

impl Source {
    /// Returns the source for an element of `track`. `family` selects the IPv4 or IPv6 default
    /// route.
    pub(super) fn of(tracked: &Tracked, family: Family) -> Self {
        match tracked {
            Tracked::Interface(name) => Self::Interface(name.clone()),
            Tracked::Script(script) => Self::Script(Arc::clone(script)),
            Tracked::Process(process) => Self::Process(Arc::clone(process)),
            Tracked::File(file) => Self::File(Arc::clone(file)),
            Tracked::Route(TrackedRoute::Default) => {
                let is_v6 = family == Family::V6;
                let destination = if is_v6 { Destination::DEFAULT_V6 } else { Destination::DEFAULT_V4 };
                Self::Route("default".to_owned(), destination)
            }
            Tracked::Route(TrackedRoute::Prefix(address, prefix)) => {
                let destination = Destination { address: *address, prefix: *prefix };
                Self::Route(destination.to_string(), destination)
            }
        }
    }

    /// Returns whether this script, process or file replaces `former` in a reload, that is, whether
    /// both have the same kind and name. Always false for interfaces and routes.
    pub(super) fn is_successor(&self, former: &Self) -> bool {
        let is_check = matches!(self, Self::Script(_) | Self::Process(_) | Self::File(_));
        is_check && (self.kind(), self.name()) == (former.kind(), former.name())
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Interface(_) => "interface",
            Self::Script(_) => "script",
            Self::Process(_) => "process",
            Self::File(_) => "file",
            Self::Route(..) => "route",
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Interface(name) | Self::Route(name, _) => name,
            Self::Script(script) => &script.name,
            Self::Process(process) => &process.name,
            Self::File(file) => &file.name,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}
