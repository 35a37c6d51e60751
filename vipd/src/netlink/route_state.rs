//! Tracked routes in the main table.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::requests::Requests;
use super::wire::{address, attribute};

/// Length of `struct rtmsg` in bytes.
const RTMSG_LEN: usize = 12;
/// Length of `struct rtnexthop` in bytes.
const RTNEXTHOP_LEN: usize = 8;
/// `RTA_NH_ID` (`include/uapi/linux/rtnetlink.h`).
const NEXTHOP_ID: u16 = 30;
/// `RTNH_F_DEAD` and `RTNH_F_LINKDOWN`.
const UNUSABLE: u8 = 0x01 | 0x10;

/// Destination of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// Network address; the bits after the prefix are 0.
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}

impl Destination {
    /// `0.0.0.0/0`.
    pub const DEFAULT_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    /// `::/0`.
    pub const DEFAULT_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };

    /// Returns AF_INET or AF_INET6.
    pub(super) fn family(&self) -> u8 {
        let family = if self.address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
        u8::try_from(family).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn parsed(text: &str) -> Self {
        let (address, prefix) = text.split_once('/').expect("a prefix");
        Self { address: address.parse().expect("an address"), prefix: prefix.parse().expect("a length") }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// State of the routes to a destination. If there are several routes, for example with different
/// metrics, the best state counts. The variants are listed from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteState {
    /// The main table contains no route with this prefix.
    Missing,
    /// The route has a type other than `unicast` and forwards no packets, for example
    /// `unreachable`, `blackhole` or `throw`.
    Rejecting,
    /// Every next hop is dead or on a link without a carrier.
    Unusable,
    /// At least one next hop can be used.
    Usable,
}

/// The tracked routes in the main table, and their interfaces and source addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// States of the routes to the destinations, in the order of the destinations.
    pub states: Vec<RouteState>,
    /// Whether changes interrupted the dump, so that routes may be missing from it.
    pub is_interrupted: bool,
    /// Indices of the next hops' interfaces.
    pub(super) links: BTreeSet<u32>,
    /// Preferred source addresses.
    pub(super) sources: BTreeSet<IpAddr>,
    /// Whether one of the routes uses a nexthop object (`RTA_NH_ID`).
    pub(super) has_nexthop_objects: bool,
}

impl Routes {
    /// Reads the routes. The kernel can filter a dump by table, but not by destination, so the time
    /// grows with the table: 0.3 s for 500,000 IPv4 routes. Call this on a thread that may block.
    ///
    /// # Errors
    /// The error returned by the kernel.
    pub fn read(destinations: &[Destination]) -> io::Result<Self> {
        let mut routes = Self::missing(destinations);
        let mut requests = Requests::open()?;
        if destinations.iter().any(|destination| destination.address.is_ipv4()) {
            routes.dump(destinations, AddressFamily::Inet, &mut requests)?;
        }
        if destinations.iter().any(|destination| destination.address.is_ipv6()) {
            routes.dump(destinations, AddressFamily::Inet6, &mut requests)?;
            // If a route is removed during a dump, the kernel may silently skip another route
            // (`fib6_dump_table` in `net/ipv6/ip6_fib.c`).
            let states = destinations.iter().zip(&routes.states);
            let mut states = states.filter(|(destination, _)| destination.address.is_ipv6());
            if states.any(|(_, state)| *state == RouteState::Missing) {
                routes.dump(destinations, AddressFamily::Inet6, &mut requests)?;
            }
        }
        Ok(routes)
    }

    /// Reads the main table of one family and records the routes to the destinations.
    fn dump(
        &mut self,
        destinations: &[Destination],
        family: AddressFamily,
        requests: &mut Requests,
    ) -> io::Result<()> {
        let mut wanted = RouteMessage::default();
        wanted.header.address_family = family;
        wanted.header.table = libc::RT_TABLE_MAIN;
        wanted.header.protocol = RouteProtocol::from(0);
        wanted.header.scope = RouteScope::from(0);
        wanted.header.kind = RouteType::from(0);
        let wanted = RouteNetlinkMessage::GetRoute(wanted);
        match requests.dump_one(wanted, &mut |message| self.add(destinations, message.payload())) {
            // The kernel creates the IPv4 main table only when needed, for example with the first
            // address (`fib_new_table`, `net/ipv4/fib_frontend.c`).
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.is_interrupted = true;
                Ok(())
            }
            result => result,
        }
    }

    fn missing(destinations: &[Destination]) -> Self {
        Self {
            states: vec![RouteState::Missing; destinations.len()],
            is_interrupted: false,
            links: BTreeSet::new(),
            sources: BTreeSet::new(),
            has_nexthop_objects: false,
        }
    }

    /// Adds a route from the dump if its prefix is one of the destinations. Several destinations
    /// may be equal.
    fn add(&mut self, destinations: &[Destination], body: &[u8]) {
        let Some(route) = RouteEntry::new(body) else { return };
        let states = destinations.iter().zip(&mut self.states);
        let mut wanted = states.filter(|(destination, _)| route.is_to(destination)).peekable();
        if wanted.peek().is_none() {
            return;
        }
        let found = route.state(&mut self.links);
        wanted.for_each(|(_, state)| *state = found.max(*state));
        self.sources.extend(route.attribute(libc::RTA_PREFSRC).and_then(address));
        self.has_nexthop_objects |= route.attribute(NEXTHOP_ID).is_some();
    }
}

/// A route in the main table.
struct RouteEntry<'a> {
    family: u8,
    prefix: u8,
    kind: u8,
    flags: u8,
    attributes: &'a [u8],
}

impl<'a> RouteEntry<'a> {
    /// Decodes the header. Returns `None` for routes of other tables, and for routes that apply
    /// only to some sources.
    fn new(body: &'a [u8]) -> Option<Self> {
        let (header, attributes) = body.split_first_chunk::<RTMSG_LEN>()?;
        let [family, prefix, source_prefix, _, table, _, _, kind, flags @ ..] = *header;
        // The flags of the next hop are in the lowest 8 bits.
        let flags = u8::try_from(u32::from_ne_bytes(flags) & 0xff).unwrap_or_default();
        (table == libc::RT_TABLE_MAIN && source_prefix == 0).then_some(Self {
            family,
            prefix,
            kind,
            flags,
            attributes,
        })
    }

    fn is_to(&self, destination: &Destination) -> bool {
        self.family == destination.family()
            && self.prefix == destination.prefix
            // Default routes have no RTA_DST.
            && (self.prefix == 0 || self.attribute(libc::RTA_DST).and_then(address) == Some(destination.address))
    }

    /// Returns the state, and adds the interfaces of the next hops to `links`.
    fn state(&self, links: &mut BTreeSet<u32>) -> RouteState {
        if self.kind != libc::RTN_UNICAST {
            return RouteState::Rejecting;
        }
        let mut is_usable = false;
        let mut rest = self.attribute(libc::RTA_MULTIPATH).unwrap_or_default();
        let has_several = !rest.is_empty();
        // struct rtnexthop: rtnh_len, rtnh_flags, rtnh_hops, rtnh_ifindex; followed by attributes.
        while let Some(&[a, b, flags, _, index @ ..]) = rest.first_chunk::<RTNEXTHOP_LEN>() {
            links.insert(u32::from_ne_bytes(index));
            is_usable |= flags & UNUSABLE == 0;
            let length = usize::from(u16::from_ne_bytes([a, b])).max(RTNEXTHOP_LEN);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        if !has_several {
            let index = self.attribute(libc::RTA_OIF).and_then(|index| index.first_chunk());
            links.extend(index.map(|index| u32::from_ne_bytes(*index)));
            is_usable = self.flags & UNUSABLE == 0;
        }
        if is_usable { RouteState::Usable } else { RouteState::Unusable }
    }

    fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        attribute(self.attributes, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes a route of the main table with these attributes.
    fn route(prefix: u8, kind: u8, flags: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![2, prefix, 0, 0, 254, 4, 0, kind];
        body.extend(u32::from(flags).to_ne_bytes());
        for (kind, value) in attributes {
            body.extend(u16::try_from(4 + value.len()).expect("short").to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        body
    }

    fn nexthop(flags: u8, index: u32) -> Vec<u8> {
        let mut bytes = vec![0, 0, flags, 0];
        bytes[..2].copy_from_slice(&16_u16.to_ne_bytes());
        bytes.extend(index.to_ne_bytes());
        bytes.extend([8, 0, 5, 0, 10, 0, 0, 1]);
        bytes
    }

    fn state(body: &[u8]) -> (RouteState, Vec<u32>) {
        let mut links = BTreeSet::new();
        let state = RouteEntry::new(body).expect("a route").state(&mut links);
        (state, links.into_iter().collect())
    }

    #[test]
    fn route_is_usable_if_any_next_hop_is_usable() {
        let oif = (libc::RTA_OIF, &3_u32.to_ne_bytes()[..]);
        assert_eq!(state(&route(0, 1, 0, &[oif])), (RouteState::Usable, vec![3]));
        assert_eq!(state(&route(0, 1, 0x10, &[oif])), (RouteState::Unusable, vec![3]));
        assert_eq!(state(&route(0, 7, 0, &[])), (RouteState::Rejecting, vec![]));
        let several = |one, two| {
            let nexthops = [nexthop(one, 3), nexthop(two, 4)].concat();
            state(&route(0, 1, 0, &[(libc::RTA_MULTIPATH, &nexthops)]))
        };
        assert_eq!(several(0x11, 0), (RouteState::Usable, vec![3, 4]));
        assert_eq!(several(0x11, 0x10), (RouteState::Unusable, vec![3, 4]));
    }

    #[test]
    fn only_routes_with_the_same_prefix_in_the_main_table_match() {
        let network = (libc::RTA_DST, &[10, 1, 0, 0][..]);
        let body = route(16, 1, 0, &[network]);
        let entry = RouteEntry::new(&body).expect("a route");
        assert!(entry.is_to(&Destination::parsed("10.1.0.0/16")));
        for other in ["10.1.0.0/17", "10.2.0.0/16", "0.0.0.0/0", "::/0"] {
            assert!(!entry.is_to(&Destination::parsed(other)), "{other}");
        }
        let mut other = body.clone();
        other[4] = 100;
        assert!(RouteEntry::new(&other).is_none(), "another table");
        let mut source = body.clone();
        source[2] = 8;
        assert!(RouteEntry::new(&source).is_none(), "the route applies only to some sources");
        for length in 0..RTMSG_LEN {
            assert!(RouteEntry::new(&body[..length]).is_none(), "cut at {length}");
        }
    }

    /// `default` and `0.0.0.0/0` are different tracked objects with the same destination.
    #[test]
    fn equal_destinations_have_the_same_state() {
        let destinations = [Destination::DEFAULT_V4, Destination::DEFAULT_V6, Destination::DEFAULT_V4];
        let mut routes = Routes::missing(&destinations);
        routes.add(&destinations, &route(0, 1, 0, &[(libc::RTA_OIF, &3_u32.to_ne_bytes())]));
        assert_eq!(routes.states, [RouteState::Usable, RouteState::Missing, RouteState::Usable]);
    }

    #[test]
    fn truncated_next_hop_ends_the_list() {
        let whole = nexthop(0, 3);
        for length in 0..whole.len() {
            let (_, links) = state(&route(0, 1, 0, &[(libc::RTA_MULTIPATH, &whole[..length])]));
            assert_eq!(links.len(), usize::from(length >= RTNEXTHOP_LEN), "cut at {length}");
        }
    }
}
