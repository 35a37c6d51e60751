//! `virtual_addresses`, `virtual_addresses_excluded` and `family`: which addresses, on which interface, and how.

use super::host;
use super::instance::interface;
use super::keys;
use super::problem::Collector;
use super::settings::{Placement, Scope};
use super::table::{Form, Located, Refusal, Table, Value};
use super::virtual_address;
use crate::vrrp::config::{Family, VirtualAddress};

/// IPv6 addresses in the longest advert that fits an Ethernet frame: 40 bytes of IPv6 header, 8 of VRRP, 16 each.
const FIT_ETHERNET6: usize = (1500 - 40 - 8) / 16;

/// A virtual address and how it is put on an interface.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) address: VirtualAddress,
    pub(super) placement: Placement,
}

/// The addresses of an instance; what is not one of them has been reported.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) advertised: Vec<Located<Placed>>,
    pub(super) excluded: Vec<Located<Placed>>,
    /// None where the file contradicts itself or does not say.
    pub(super) family: Option<Family>,
}

impl Addresses {
    pub(super) fn read(table: &Table<'_>, problems: &mut Collector<'_>) -> Self {
        let advertised = table.required(&keys::VIRTUAL_ADDRESSES, problems, |value| {
            let elements = value.elements(&keys::VIRTUAL_ADDRESS)?;
            match elements.len() {
                // The count is one byte on the wire.
                256.. => Err(value.refused(
                    format!("an array of {}", elements.len()),
                    "move some to `virtual_addresses_excluded`, or spread them over several instances",
                )),
                _ => Ok(elements),
            }
        });
        let excluded = table
            .optional(&keys::VIRTUAL_ADDRESSES_EXCLUDED, problems, |value| {
                value.elements(&keys::VIRTUAL_ADDRESS)
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
                "virtual_addresses is empty; RFC 9568 section 5.2.5 has routers ignore adverts without an address; \
                 let vipd alone, or keepalived with `no_virtual_ipaddress`, take part in this virtual router",
            );
        }
        if family == Some(Family::V6) {
            warn_ipv6(&advertised, problems);
        }
        Self { advertised, excluded, family }
    }

    /// The advertised ones, then the excluded ones.
    pub(super) fn all(&self) -> impl Iterator<Item = &Located<Placed>> {
        self.advertised.iter().chain(&self.excluded)
    }
}

/// IP with its version, for sentences.
pub(super) fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// The family of an advert's addresses, which all must have (RFC 9568 section 5.2.9).
fn family(
    table: &Table<'_>,
    advertised: &[Located<Placed>],
    without_any: bool,
    problems: &mut Collector<'_>,
) -> Option<Family> {
    let said = table.given(&keys::FAMILY, problems, |value| match value.string()? {
        "ipv4" => Ok(Family::V4),
        "ipv6" => Ok(Family::V6),
        other => Err(value.refused(format!("{other:?}"), "choose one of them")),
    })?;
    let of = |located: &Located<Placed>| Family::of(located.value.address.address);
    let Some(first) = advertised.first() else {
        return said.map(|said| said.value).or(without_any.then_some(Family::V4));
    };
    if let Some(said) = &said
        && advertised.iter().all(|located| of(located) != said.value)
    {
        let found = ip(of(first));
        problems.add(
            said.at,
            format!(
                "family is \"{}\" and the virtual addresses are {found}; remove it, the addresses say it",
                said.value
            ),
        );
        return None;
    }
    let family = said.map_or_else(|| of(first), |said| said.value);
    for stranger in advertised.iter().filter(|located| of(located) != family) {
        problems.add(
            stranger.at,
            format!(
                "virtual address {} is {} in an {} virtual router; an advert has addresses of one family (RFC 9568 \
                 section 5.2.9); move it to `virtual_addresses_excluded`, or to an instance of its own",
                stranger.value.address,
                ip(of(stranger)),
                ip(family),
            ),
        );
    }
    Some(family)
}

/// Two things that IPv6 asks for and other routers may do without.
fn warn_ipv6(advertised: &[Located<Placed>], problems: &mut Collector<'_>) {
    if let Some(first) = advertised.first()
        && !host::is_link_local(first.value.address.address)
    {
        problems.warn(
            first.at,
            format!(
                "virtual address {} is the first one of an IPv6 virtual router and not link-local; RFC 9568 section \
                 5.2.9 demands that, and a strict router discards adverts without; put an address of fe80::/10 \
                 first, the same on all routers",
                first.value.address
            ),
        );
    }
    if let Some(over) = advertised.get(FIT_ETHERNET6) {
        problems.warn(
            over.at,
            format!(
                "an advert with {} IPv6 addresses is longer than Ethernet's 1500 bytes; they fit {FIT_ETHERNET6}; \
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
                .map(|address| Some(Placed { address, placement: Placement::default() }))
                .map_err(|message| element.refused_because(message)),
            Ok(Form::Table(table)) => Ok(with_placement(&table, problems)),
            Err(refusal) => Err(refusal),
        };
        match found {
            Ok(found) => placed.extend(found.map(|value| Located { at: element.at(), value })),
            Err((at, message)) => problems.add(at, message),
        }
    }
    placed
}

fn with_placement(table: &Table<'_>, problems: &mut Collector<'_>) -> Option<Placed> {
    table.refuse_unknown(keys::IN_VIRTUAL_ADDRESS, problems);
    let address = table.required(&keys::ADDRESS, problems, |value| {
        virtual_address::parse(value.string()?).map_err(|message| value.refused_because(message))
    });
    let interface = table.optional(&keys::DEV, problems, interface).flatten();
    let label = table.given(&keys::LABEL, problems, label).flatten();
    let scope = table.given(&keys::SCOPE, problems, scope).flatten();
    let broadcast = table
        .given(&keys::BROADCAST, problems, |value| {
            let text = value.string()?;
            text.parse().map_err(|_| value.refused(format!("{text:?}"), "write e.g. \"192.0.2.255\""))
        })
        .flatten();
    let preferred = table.optional(&keys::PREFERRED, problems, Value::boolean).flatten().unwrap_or(true);
    let address = address?.value;
    if address.address.is_ipv6() {
        let only_ipv4 = [
            (label.as_ref().map(|label| label.at), &keys::LABEL, "have no label"),
            (scope.as_ref().map(|scope| scope.at), &keys::SCOPE, "have the scope that they say themselves"),
            (broadcast.as_ref().map(|broadcast| broadcast.at), &keys::BROADCAST, "have no broadcast"),
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
        deprecated: !preferred,
    };
    Some(Placed { address, placement })
}

/// `IFA_LABEL` is a string of `IFNAMSIZ` bytes with its zero; the kernel takes any.
fn label(value: &Value<'_>) -> Result<String, Refusal> {
    let label = value.string()?;
    let forbidden = |c: char| c.is_whitespace() || c.is_control();
    if (1..=15).contains(&label.len()) && !label.contains(forbidden) {
        Ok(label.to_owned())
    } else {
        Err(value.refused(format!("{label:?}"), "write e.g. the interface's name, `:` and a word"))
    }
}

fn scope(value: &Value<'_>) -> Result<Scope, Refusal> {
    match value.string()? {
        "global" => Ok(Scope::Global),
        "link" => Ok(Scope::Link),
        "host" => Ok(Scope::Host),
        other => Err(value.refused(format!("{other:?}"), "choose one of them")),
    }
}
