//! One `[[instance]]`: every key read and checked by itself.

use super::Instance;
use super::duration::{self, DurationError};
use super::keys;
use super::problem::Collector;
use super::settings::{Checksum, Placement, Transport};
use super::table::{Located, Refusal, Table, Value, kind};
use super::virtual_address;
use crate::vrrp::config::{Family, PRIORITY_DEFAULT, RouterConfig, VirtualAddress};
use crate::vrrp::interval::{Interval, IntervalError, Version};

/// An instance as far as it could be read; what is `None` has been reported.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: Option<Located<String>>,
    pub(super) interface: Option<Located<String>>,
    pub(super) vrid: Option<Located<u8>>,
    /// Those that are addresses; `addresses_complete` says whether all are.
    pub(super) addresses: Vec<Located<VirtualAddress>>,
    addresses_complete: bool,
    priority: Option<u8>,
    interval: Option<Interval>,
    preempt: Option<bool>,
}

impl Draft {
    /// Reads a table and reports what is wrong with it.
    pub(super) fn read(table: &Table<'_>, problems: &mut Collector<'_>) -> Self {
        table.refuse_unknown(keys::INSTANCE, problems);
        let version =
            table.optional(&keys::VERSION, problems, version).map(|found| found.unwrap_or(Version::V3));
        let name = table.required(&keys::NAME, problems, name);
        let interface = table.required(&keys::INTERFACE, problems, interface);
        let vrid = table.required(&keys::VRID, problems, |value| value.integer(1));
        let (addresses, addresses_complete) = addresses(table, problems);
        Self {
            name,
            interface,
            vrid,
            addresses,
            addresses_complete,
            priority: table
                .optional(&keys::PRIORITY, problems, |value| value.integer(1))
                .map(|found| found.unwrap_or(PRIORITY_DEFAULT)),
            interval: interval(table, version, problems),
            preempt: table
                .optional(&keys::PREEMPT, problems, Value::boolean)
                .map(|found| found.unwrap_or(true)),
        }
    }

    /// The instance, if nothing was wrong with it.
    pub(super) fn finish(self) -> Option<Instance> {
        if !self.addresses_complete {
            return None;
        }
        let placements = vec![Placement::default(); self.addresses.len()];
        Some(Instance {
            source: None,
            transport: Transport::Multicast,
            checksum: Checksum::Rfc5798,
            password: None,
            virtual_mac: None,
            accept: true,
            announce_interval: 0,
            placements,
            name: self.name?.value,
            interface: self.interface?.value,
            router: RouterConfig {
                priority: self.priority?,
                preempt: self.preempt?,
                ..RouterConfig::new(
                    self.vrid?.value,
                    Family::V4,
                    self.interval?,
                    self.addresses.into_iter().map(|located| located.value).collect(),
                )
            },
        })
    }
}

fn name(value: &Value<'_>) -> Result<String, Refusal> {
    let name = value.string()?;
    let printable = name.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if printable && (1..=64).contains(&name.chars().count()) {
        Ok(name.to_owned())
    } else {
        Err(value.refused(format!("{name:?}"), "choose another name"))
    }
}

/// A name the kernel would give an interface, other than the loopback's.
fn interface(value: &Value<'_>) -> Result<String, Refusal> {
    let name = value.string()?;
    if name == "lo" {
        return Err(value.refused_because(
            "interface is \"lo\"; no VRRP router can be heard on the loopback interface; name the interface \
             that faces the hosts",
        ));
    }
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if !(1..=15).contains(&name.len()) || name.contains(forbidden) || name == "." || name == ".." {
        return Err(value.refused_because(format!(
            "interface is {name:?}; it must be 1 to 15 bytes without `/`, `:` or white space; \
             `ip link` lists the names"
        )));
    }
    Ok(name.to_owned())
}

fn version(value: &Value<'_>) -> Result<Version, Refusal> {
    match value.integer(0) {
        Ok(2) => Ok(Version::V2),
        Ok(3) => Ok(Version::V3),
        Ok(other) => Err(value.refused(other.to_string(), "choose another number")),
        Err(refusal) => Err(refusal),
    }
}

/// The interval; without a valid version it can only be checked for being a duration.
fn interval(table: &Table<'_>, version: Option<Version>, problems: &mut Collector<'_>) -> Option<Interval> {
    let found = table.optional(&keys::ADVERT_INTERVAL, problems, |value| {
        let text = value.string()?;
        let nanos = duration::parse(text).map_err(|error| {
            let remedy = match error {
                DurationError::Unit if text.bytes().all(|c| c.is_ascii_digit() || c == b'.') => {
                    format!("write \"{text}s\" or \"{text}ms\"")
                }
                DurationError::Number | DurationError::Unit => {
                    "write e.g. \"1s\", \"1.5s\" or \"10ms\"".to_owned()
                }
                DurationError::Range => "write e.g. \"1s\"".to_owned(),
            };
            value.refused(format!("{text:?}"), &remedy)
        })?;
        let Some(version) = version else { return Ok(None) };
        Interval::from_nanos(version, nanos).map(Some).map_err(|error| {
            let remedy = sayable(version, nanos);
            value.refused_because(format!("advert_interval is {text:?}; {error}; {remedy}"))
        })
    })?;
    match found {
        Some(interval) => interval,
        None => version.and_then(|version| Interval::from_nanos(version, 1_000_000_000).ok()),
    }
}

/// What to write instead of an interval that the wire cannot say: its neighbours that it can.
fn sayable(version: Version, nanos: u64) -> String {
    let (unit, max) = match version {
        Version::V2 => (1_000_000_000, 255),
        Version::V3 => (10_000_000, 4095),
    };
    let neighbour = |units: u64| {
        u16::try_from(units.clamp(1, max)).ok().and_then(|units| Interval::from_wire(version, units))
    };
    let (below, above) = (neighbour(nanos / unit), neighbour(nanos.div_ceil(unit)));
    let mut remedy = match (below, above) {
        (Some(below), Some(above)) if below != above => format!("write \"{below}\" or \"{above}\""),
        (Some(only), _) | (_, Some(only)) => format!("write \"{only}\""),
        (None, None) => "write \"1s\"".to_owned(),
    };
    if version == Version::V2 && Interval::from_nanos(Version::V3, nanos) != Err(IntervalError::V3) {
        remedy.push_str(", or set `version = 3`");
    }
    remedy
}

/// The virtual addresses that are some, and whether all are.
fn addresses(table: &Table<'_>, problems: &mut Collector<'_>) -> (Vec<Located<VirtualAddress>>, bool) {
    let mut refusals = Vec::new();
    let found = table.required(&keys::VIRTUAL_ADDRESSES, problems, |value| {
        let mut addresses = Vec::new();
        let mut count = 0_usize;
        for (at, element) in value.elements()? {
            count += 1;
            let Some(text) = element.as_str() else {
                let kind = kind(element);
                refusals.push((
                    at,
                    format!("a virtual address is {kind}; it must be a string; write e.g. \"192.0.2.10/24\""),
                ));
                continue;
            };
            match virtual_address::parse(text) {
                Ok(value) => addresses.push(Located { at, value }),
                Err(message) => refusals.push((at, message)),
            }
        }
        match count {
            0 => Err(value.refused("empty", "add the address that the routers share")),
            // The count is one byte on the wire.
            256.. => Err(value.refused(format!("an array of {count}"), "spread them over several instances")),
            _ => Ok(addresses),
        }
    });
    let complete = refusals.is_empty() && found.is_some();
    for (at, message) in refusals {
        problems.add(at, message);
    }
    (found.map(|located| located.value).unwrap_or_default(), complete)
}
