//! `virtual_addresses`, `virtual_addresses_excluded` and `family`.

use vipd_common::wire::{ipv6, trailer, vrrp};

use super::virtual_address;
use crate::config::host;
use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::settings::{Placement, Scope};
use crate::config::table::{Form, Located, Rejection, Table, Value};
use crate::vrrp::config::{Family, VirtualAddress};

/// Size of an Ethernet frame's payload in bytes.
const ETHERNET_MTU: usize = 1500;

/// A VIP and its placement on an interface.
#[derive(Clone, Debug)]
pub(in crate::config) struct Placed {
    pub(in crate::config) address: VirtualAddress,
    pub(in crate::config) placement: Placement,
}

/// The valid VIPs of an instance. Invalid VIPs have already been reported.
#[derive(Debug)]
pub(in crate::config) struct Addresses {
    pub(in crate::config) advertised: Vec<Located<Placed>>,
    pub(in crate::config) excluded: Vec<Located<Placed>>,
    /// `None` if `family` is invalid, or if there are valid advertised VIPs and none of them is of
    /// this family. Without valid advertised VIPs, also `None` if neither `family` nor an empty
    /// list is configured.
    pub(in crate::config) family: Option<Family>,
}

impl Addresses {
    pub(in crate::config) fn read(table: &Table<'_>, problems: &mut Collector<'_>) -> Self {
        let advertised = table.required(&schema::VIRTUAL_ADDRESSES, problems, |value| {
            let elements = value.elements(&schema::VIRTUAL_ADDRESS)?;
            match elements.len() {
                // The count is one byte on the wire.
                256.. => Err(value.rejected(
                    format!("an array of length {}", elements.len()),
                    "move some to `virtual_addresses_excluded`, or spread them over several instances",
                )),
                _ => Ok(elements),
            }
        });
        let excluded = table
            .optional(&schema::VIRTUAL_ADDRESSES_EXCLUDED, problems, |value| {
                value.elements(&schema::VIRTUAL_ADDRESS)
            })
            .flatten()
            .unwrap_or_default();
        let without_any = advertised.as_ref().filter(|found| found.value.is_empty()).map(|found| found.at);
        let advertised = list(&advertised.map(|found| found.value).unwrap_or_default(), problems);
        let excluded = list(&excluded, problems);
        let family = family(table, &advertised, without_any.is_some(), problems);
        if let Some(at) = without_any {
            problems.warn(
                at,
                "virtual_addresses is empty; under RFC 9568 section 5.2.5 routers ignore adverts without addresses; \
                 use vipd, or keepalived with `no_virtual_ipaddress`, on all routers of this virtual router",
            );
        }
        if family == Some(Family::V6) {
            let trailer = table.get(schema::HMAC.name).map_or(0, |_| trailer::LEN);
            warn_ipv6(&advertised, trailer, problems);
        }
        Self { advertised, excluded, family }
    }

    /// Returns the advertised VIPs, then the excluded VIPs.
    pub(in crate::config) fn all(&self) -> impl Iterator<Item = &Located<Placed>> {
        self.advertised.iter().chain(&self.excluded)
    }
}

/// Returns the family of the advertised addresses, which must be the same for all (RFC 9568 section
/// 5.2.9).
fn family(
    table: &Table<'_>,
    advertised: &[Located<Placed>],
    without_any: bool,
    problems: &mut Collector<'_>,
) -> Option<Family> {
    let configured =
        table.given(&schema::FAMILY, problems, |value| value.choice([Family::V4, Family::V6]))?;
    let of = |located: &Located<Placed>| Family::of(located.value.address.address);
    let Some(first) = advertised.first() else {
        return configured.map(|family| family.value).or(without_any.then_some(Family::V4));
    };
    if let Some(configured) = &configured
        && advertised.iter().all(|located| of(located) != configured.value)
    {
        let found = host::family_name(of(first));
        problems.add(
            configured.at,
            format!(
                "family is \"{}\", but the virtual addresses are {found}; remove `family`",
                configured.value
            ),
        );
        return None;
    }
    let family = configured.map_or_else(|| of(first), |family| family.value);
    for other in advertised.iter().filter(|located| of(located) != family) {
        problems.add(
            other.at,
            format!(
                "virtual address {} is {} in an {} virtual router; an advert carries addresses of one family only (RFC 9568 \
                 section 5.2.9); move it to `virtual_addresses_excluded`, or to a separate instance",
                other.value.address,
                host::family_name(of(other)),
                host::family_name(family),
            ),
        );
    }
    Some(family)
}

/// Warns about a first address that is not link-local, and about adverts that exceed the Ethernet
/// MTU with a trailer of this length.
fn warn_ipv6(advertised: &[Located<Placed>], trailer: usize, problems: &mut Collector<'_>) {
    let fitting = (ETHERNET_MTU - ipv6::HEADER_LEN - vrrp::HEADER_LEN - trailer) / 16;
    if let Some(first) = advertised.first()
        && !host::is_link_local(first.value.address.address)
    {
        problems.warn(
            first.at,
            format!(
                "virtual address {} is the first one of an IPv6 virtual router but is not link-local; RFC 9568 section 5.2.9 requires a link-local address first, and strict routers discard other adverts; put an fe80::/10 address first, the same on all routers",
                first.value.address
            ),
        );
    }
    if let Some(over) = advertised.get(fitting) {
        problems.warn(
            over.at,
            format!(
                "an advert with {} IPv6 addresses exceeds the Ethernet MTU of {ETHERNET_MTU} bytes; {fitting} addresses fit; \
                 move the others to `virtual_addresses_excluded`",
                advertised.len()
            ),
        );
    }
}

fn list(elements: &[Value<'_>], problems: &mut Collector<'_>) -> Vec<Located<Placed>> {
    let mut placed = Vec::new();
    for element in elements {
        let found = match element.form("in a virtual address") {
            Ok(Form::Text(text)) => virtual_address::parse(text)
                .map(|address| {
                    let deprecated = is_host_ipv6(address);
                    Some(Placed { address, placement: Placement { deprecated, ..Placement::default() } })
                })
                .map_err(|message| element.rejected_because(message)),
            Ok(Form::Table(table)) => Ok(with_placement(&table, problems)),
            Err(rejection) => Err(rejection),
        };
        match found {
            Ok(found) => placed.extend(found.map(|value| Located { at: element.at(), value })),
            Err((at, message)) => problems.add(at, message),
        }
    }
    placed
}

fn with_placement(table: &Table<'_>, problems: &mut Collector<'_>) -> Option<Placed> {
    table.reject_unknown(schema::Section::VirtualAddress, problems);
    let address = table.required(&schema::ADDRESS, problems, |value| {
        virtual_address::parse(value.string()?).map_err(|message| value.rejected_because(message))
    });
    let interface = table.optional(&schema::DEV, problems, host::interface).flatten();
    let label = table.given(&schema::LABEL, problems, label).flatten();
    let scope = table
        .given(&schema::SCOPE, problems, |value| value.choice([Scope::Global, Scope::Link, Scope::Host]))
        .flatten();
    let broadcast = table
        .given(&schema::BROADCAST, problems, |value| {
            let text = value.string()?;
            text.parse().map_err(|_| value.rejected(format!("{text:?}"), "use e.g. \"192.0.2.255\""))
        })
        .flatten();
    let preferred = table.optional(&schema::PREFERRED, problems, Value::boolean).flatten();
    let address = address?.value;
    if address.address.is_ipv6() {
        let only_ipv4 = [
            (label.as_ref().map(|label| label.at), &schema::LABEL, "have no label"),
            (scope.as_ref().map(|scope| scope.at), &schema::SCOPE, "have no configurable scope"),
            (
                broadcast.as_ref().map(|broadcast| broadcast.at),
                &schema::BROADCAST,
                "have no broadcast address",
            ),
        ];
        for (at, key, reason) in only_ipv4 {
            if let Some(at) = at {
                problems.add(at, format!("{key} is set for {address}; IPv6 addresses {reason}; remove it"));
            }
        }
    }
    let placement = Placement {
        interface,
        label: label.map(|label| label.value),
        scope: scope.map(|scope| scope.value).unwrap_or_default(),
        broadcast: broadcast.map(|broadcast| broadcast.value),
        deprecated: preferred.map_or_else(|| is_host_ipv6(address), |preferred| !preferred),
    };
    Some(Placed { address, placement })
}

/// Reads a label. The kernel accepts any `IFA_LABEL` of up to `IFNAMSIZ` bytes, including the
/// terminating zero.
fn label(value: &Value<'_>) -> Result<String, Rejection> {
    let label = value.string()?;
    let forbidden = |c: char| c.is_whitespace() || c.is_control();
    if (1..=15).contains(&label.len()) && !label.contains(forbidden) {
        Ok(label.to_owned())
    } else {
        Err(value.rejected(format!("{label:?}"), "use e.g. \"eth1:vip\""))
    }
}

/// Returns whether a VIP is an IPv6 /128. The kernel might select such an address as the source of
/// new connections (RFC 6724 rule 8: longest matching prefix), and these connections would break
/// when the VIP moves. Such a VIP is therefore deprecated by default, as in keepalived.
fn is_host_ipv6(address: VirtualAddress) -> bool {
    address.address.is_ipv6() && address.prefix == 128
}
