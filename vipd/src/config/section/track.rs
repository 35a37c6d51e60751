//! `track`: the objects that an instance or a group tracks.

use std::net::IpAddr;

use super::check::Checks;
use crate::config::host;
use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::table::{Located, Rejection, Table, Value};
use crate::config::track::{Track, Tracked, TrackedRoute};
use crate::vrrp::config::PRIORITY_OWNER;

/// Largest absolute value of a weight.
const MAX_WEIGHT: i128 = 253;

/// Reads `track`. The position of an element is the position of its weight or, without a weight,
/// the position of its table. `priority` is the configured priority of an instance; `None` for a
/// group.
pub(super) fn read(
    table: &Table<'_>,
    checks: &Checks,
    priority: Option<u8>,
    problems: &mut Collector<'_>,
) -> Vec<Located<Track>> {
    let elements = table
        .optional(&schema::TRACK, problems, |value| value.elements(&schema::TRACKED))
        .flatten()
        .unwrap_or_default();
    let mut all = Vec::new();
    for element in elements {
        match element.table("in a tracked object") {
            Ok(table) => all.extend(one(&table, checks, priority, problems)),
            Err((at, message)) => problems.add(at, message),
        }
    }
    if let Some(limit @ (1 | 254)) = priority {
        warn_at_limit(&all, limit, problems);
    }
    all
}

/// Warns about weights that have no effect because they would only move the priority beyond
/// `limit`, which is the configured priority.
fn warn_at_limit(all: &[Located<Track>], limit: u8, problems: &mut Collector<'_>) {
    let is_outwards = |weight: i16| if limit == 1 { weight < 0 } else { weight > 0 };
    // A file's number may have either sign.
    let may_move = |track: &Track| {
        matches!(track.object, Tracked::File(_))
            || track.weight.is_some_and(|weight| weight != 0 && !is_outwards(weight))
    };
    if all.iter().any(|track| may_move(&track.value)) {
        return;
    }
    for track in all.iter().filter(|track| track.value.weight.is_some_and(is_outwards)) {
        problems.warn(
            track.at,
            format!(
                "weight has no effect, because the priority is {limit} already; effective priorities are 1 to 254; \
                 change the priority"
            ),
        );
    }
}

fn one(
    table: &Table<'_>,
    checks: &Checks,
    priority: Option<u8>,
    problems: &mut Collector<'_>,
) -> Option<Located<Track>> {
    table.reject_unknown(schema::Section::Track, problems);
    let kinds = [
        &schema::TRACK_INTERFACE,
        &schema::TRACK_SCRIPT,
        &schema::TRACK_PROCESS,
        &schema::TRACK_FILE,
        &schema::TRACK_ROUTE,
    ];
    let given = kinds.iter().filter(|key| table.get(key.name).is_some()).count();
    if given != 1 {
        problems.absent(
            "track",
            table.at(),
            format!(
                "a tracked object has {given} of the keys interface, script, process, file and route; it must have \
                 exactly one of them; use e.g. `{}`",
                schema::TRACKED.example
            ),
        );
        return None;
    }
    let weight = table.given(&schema::WEIGHT, problems, weight);
    if let Some(Some(found)) = &weight {
        if found.value == 0 {
            problems
                .warn(found.at, "weight is 0 and has no effect; without a weight, failure causes a fault, and a file has weight 1");
        } else if priority == Some(PRIORITY_OWNER) {
            problems.warn(
                found.at,
                "weight has no effect, because the priority of an address owner is always 255",
            );
        }
    }
    let weight = weight?;
    let at = weight.as_ref().map_or_else(|| table.at(), |found| found.at);
    let weight = weight.map(|found| found.value);
    let mut object = None;
    let mut set = |found: Option<Option<Tracked>>| object = object.take().or(found.flatten());
    set(table.optional(&schema::TRACK_INTERFACE, problems, |value| {
        host::interface(value).map(Tracked::Interface)
    }));
    set(table.optional(&schema::TRACK_ROUTE, problems, |value| route(value).map(Tracked::Route)));
    let mut set = |found: Option<Option<Option<Tracked>>>| set(found.map(Option::flatten));
    set(table.optional(&schema::TRACK_SCRIPT, problems, |value| {
        Ok(checks.find(value, &checks.scripts, &schema::SCRIPTS)?.map(Tracked::Script))
    }));
    set(table.optional(&schema::TRACK_PROCESS, problems, |value| {
        Ok(checks.find(value, &checks.processes, &schema::PROCESSES)?.map(Tracked::Process))
    }));
    set(table.optional(&schema::TRACK_FILE, problems, |value| {
        Ok(checks.find(value, &checks.files, &schema::FILES)?.map(Tracked::File))
    }));
    let object = object?;
    // A file has a number and is neither up nor down, so it always needs a weight.
    let weight = weight.or(matches!(object, Tracked::File(_)).then_some(1));
    Some(Located { at, value: Track { object, weight } })
}

fn weight(value: &Value<'_>) -> Result<i16, Rejection> {
    value
        .any_integer()?
        .filter(|number| (-MAX_WEIGHT..=MAX_WEIGHT).contains(number))
        .and_then(|number| i16::try_from(number).ok())
        .ok_or_else(|| value.rejected(value.source_of_integer(), "choose another number"))
}

fn route(value: &Value<'_>) -> Result<TrackedRoute, Rejection> {
    let text = value.string()?;
    if text == "default" {
        return Ok(TrackedRoute::Default);
    }
    let (address, prefix) = prefix(value)?;
    Ok(TrackedRoute::Prefix(address, prefix))
}

/// Reads a network address with its prefix length.
pub(super) fn prefix(value: &Value<'_>) -> Result<(IpAddr, u8), Rejection> {
    let text = value.string()?;
    let invalid = || value.rejected(format!("{text:?}"), "use e.g. \"10.0.0.0/8\" or \"2001:db8::/32\"");
    let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = prefix.parse().ok().filter(|length| *length <= bits).ok_or_else(invalid)?;
    let network = match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(u32::from(bits - prefix)).unwrap_or(0);
            IpAddr::from(std::net::Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(u32::from(bits - prefix)).unwrap_or(0);
            IpAddr::from(std::net::Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    };
    if network == address {
        Ok((address, prefix))
    } else {
        Err(value
            .rejected(format!("{text:?}, which has host bits set"), &format!("use \"{network}/{prefix}\"")))
    }
}
