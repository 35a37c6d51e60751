//! `virtual_routes` and `virtual_rules`.

use std::net::IpAddr;
use std::path::Path;

use super::address;
use super::context::{Context, Parsed};
use super::values;
use crate::import::keywords::{self, Block};
use crate::import::report::Position;
use crate::import::toml::Value;
use crate::import::tree::Statement;

/// Routing tables whose names are not read from a file.
const TABLES: [(&str, u32); 3] = [("default", 253), ("main", 254), ("local", 255)];
/// The file with the names of further routing tables.
const TABLE_NAMES: &str = "/etc/iproute2/rt_tables";
/// Preference that keepalived assigns to the first rule without a configured preference. Each
/// further rule gets the next lower number.
const FIRST_PREFERENCE: u32 = 16_384;

/// Attributes that cannot be left out: without them, the route would lead elsewhere.
const ESSENTIAL: [&str; 6] = ["dsfield", "encap", "nexthop", "or", "tos", "vrf"];

/// The keys of a route or rule that are set.
#[derive(Default)]
struct Draft {
    entries: Vec<(&'static str, Value)>,
}

impl Draft {
    fn set(&mut self, key: &'static str, value: Value) {
        self.entries.retain(|(known, _)| *known != key);
        self.entries.push((key, value));
    }

    fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(known, _)| *known == key)
    }

    /// Returns an inline table with the keys in this order.
    fn ordered(mut self, order: &[&str]) -> Value {
        self.entries.sort_by_key(|(key, _)| order.iter().position(|known| known == key));
        Value::Inline(self.entries)
    }
}

/// Translates the routes of a block.
pub(super) fn routes(statement: &Statement, context: &mut Context<'_>) -> Vec<Value> {
    statement.children().iter().filter_map(|line| route(line, context)).collect()
}

fn route(line: &Statement, context: &mut Context<'_>) -> Option<Value> {
    let at = &line.at;
    let mut draft = Draft::default();
    let mut destination: Option<String> = None;
    let mut is_forced_ipv6 = false;
    let mut scope = None;
    let mut leads_elsewhere = false;
    let mut words = line.words.iter();
    while let Some(word) = words.next() {
        // The first word that is not an option is the destination.
        if keywords::find(Block::Route, word).is_none() && destination.is_none() {
            destination = Some(word.clone());
            continue;
        }
        is_forced_ipv6 |= word == "inet6";
        let value = match context.option(Block::Route, word, &mut words, at) {
            Parsed::Value(value) => value,
            Parsed::NotNeeded => continue,
            Parsed::LeftOut => {
                leads_elsewhere |= ESSENTIAL.contains(&word.as_str());
                continue;
            }
        };
        match word.as_str() {
            "to" => destination = Some(value),
            "via" | "gw" => {
                // The address may follow its family.
                let value = if matches!(value.as_str(), "inet" | "inet6") {
                    words.next().cloned()
                } else {
                    Some(value)
                };
                draft.set("via", Value::Text(value.unwrap_or_default()));
            }
            "dev" | "oif" => draft.set("dev", Value::Text(value)),
            "src" => draft.set("source", Value::Text(value)),
            "table" => draft.set("table", Value::Integer(table(&value, at, context)?)),
            "metric" | "priority" | "preference" => integer(&mut draft, "metric", &value, at, context),
            "scope" => scope = Some(value),
            "onlink" => draft.set("onlink", Value::Boolean(true)),
            "blackhole" | "unreachable" | "prohibit" | "throw" => {
                draft.set("type", Value::Text(word.clone()));
            }
            "unicast" => {}
            _ => context.no_translation(word, at),
        }
    }
    if leads_elsewhere {
        context.attention(at, "the route is left out, because it would lead elsewhere without the attribute");
        return None;
    }
    let has_ipv6 = draft.entries.iter().any(|(key, value)| {
        matches!(*key, "via" | "source") && matches!(value, Value::Text(text) if text.contains(':'))
    });
    // Without a network or an address that shows the family, keepalived uses IPv4.
    let to = match destination.as_deref() {
        Some("default") if is_forced_ipv6 || has_ipv6 => "::/0".to_owned(),
        Some("default") => "0.0.0.0/0".to_owned(),
        Some(text) => network(text, at, context)?,
        None => {
            context.attention(at, "the route has no destination; it is left out; add one");
            return None;
        }
    };
    match scope.as_deref() {
        Some(_) if to.contains(':') => {
            context.note(at, "`scope` is left out: the kernel ignores it for IPv6 routes");
        }
        // The default is `link` for a direct route, and `global` for others.
        Some("global" | "0") if draft.has("via") || draft.has("type") => {}
        Some("global" | "0") => draft.set("scope", Value::Text("global".to_owned())),
        Some(scope) => {
            if let Some(scope) = address::scope(scope, at, context) {
                draft.set("scope", Value::Text(scope.to_owned()));
            }
        }
        None => {}
    }
    draft.set("to", Value::Text(to));
    Some(draft.ordered(&["to", "via", "dev", "table", "metric", "source", "scope", "type", "onlink"]))
}

/// Translates the rules of a block. `is_ipv6` states whether the instance is for IPv6, and
/// `unnumbered` is the number of rules so far that have no configured preference.
pub(super) fn rules(
    statement: &Statement,
    is_ipv6: bool,
    unnumbered: &mut u32,
    context: &mut Context<'_>,
) -> Vec<Value> {
    statement.children().iter().filter_map(|line| rule(line, is_ipv6, unnumbered, context)).collect()
}

fn rule(line: &Statement, is_ipv6: bool, unnumbered: &mut u32, context: &mut Context<'_>) -> Option<Value> {
    let at = &line.at;
    let mut draft = Draft::default();
    let mut matches_more = false;
    let mut is_forced_ipv6 = false;
    let mut words = line.words.iter();
    while let Some(word) = words.next() {
        is_forced_ipv6 |= word == "inet6";
        let value = match context.option(Block::Rule, word, &mut words, at) {
            Parsed::Value(value) => value,
            Parsed::NotNeeded => continue,
            Parsed::LeftOut => {
                matches_more = true;
                continue;
            }
        };
        match word.as_str() {
            "from" | "to" if matches!(value.as_str(), "all" | "any" | "default") => {}
            "from" => draft.set("from", Value::Text(network(&value, at, context)?)),
            "to" => draft.set("to", Value::Text(network(&value, at, context)?)),
            "iif" | "dev" => draft.set("iif", Value::Text(value)),
            "oif" => draft.set("oif", Value::Text(value)),
            "fwmark" => draft.set("fwmark", fwmark(&value, at, context)?),
            "table" | "lookup" => {
                draft.set("table", Value::Integer(table(&value, at, context)?));
            }
            "priority" | "preference" | "order" => integer(&mut draft, "priority", &value, at, context),
            _ => context.no_translation(word, at),
        }
    }
    if matches_more {
        context.attention(
            at,
            "the rule is left out, because it would match or treat packets differently without the attribute",
        );
        return None;
    }
    // Without networks, the family is IPv4 in keepalived, and that of the instance in vipd.
    if !draft.has("from") && !draft.has("to") && is_forced_ipv6 != is_ipv6 {
        let all = if is_forced_ipv6 { "::/0" } else { "0.0.0.0/0" };
        draft.set("from", Value::Text(all.to_owned()));
    }
    if !draft.has("priority") {
        let preference = FIRST_PREFERENCE.saturating_sub(*unnumbered).max(1);
        *unnumbered += 1;
        context.attention(
            at,
            format!(
                "the rule has no preference; it gets {preference}, which keepalived would choose; set `priority` to the \
                 number that you want"
            ),
        );
        draft.set("priority", Value::Integer(preference));
    }
    if !draft.has("table") {
        context.attention(at, "the rule has no table; it is left out; add one");
        return None;
    }
    Some(draft.ordered(&["from", "to", "iif", "oif", "fwmark", "table", "priority"]))
}

/// Returns a network as vipd reads it, without host bits.
fn network(text: &str, at: &Position, context: &mut Context<'_>) -> Option<String> {
    let Some((address, length)) = values::network(text) else {
        context.attention(at, format!("{text:?} is not a network; the line is left out; correct it"));
        return None;
    };
    let Some(length) = length else { return Some(address.to_string()) };
    let masked: IpAddr = values::masked(address, length);
    if masked != address {
        context.note(at, format!("{text} becomes {masked}/{length}, without host bits"));
    }
    Some(format!("{masked}/{length}"))
}

fn integer(draft: &mut Draft, key: &'static str, text: &str, at: &Position, context: &mut Context<'_>) {
    match values::number(text) {
        Some(number) => draft.set(key, Value::Integer(number)),
        None => context.attention(at, format!("{text:?} is not a number; `{key}` is left out; correct it")),
    }
}

fn fwmark(text: &str, at: &Position, context: &mut Context<'_>) -> Option<Value> {
    let (bits, mask) = text.split_once('/').map_or((text, None), |(bits, mask)| (bits, Some(mask)));
    match (values::number(bits), mask.map(values::number)) {
        (Some(bits), None) => Some(Value::Integer(bits)),
        (Some(bits), Some(Some(mask))) => Some(Value::Text(format!("{bits:#x}/{mask:#x}"))),
        _ => {
            context
                .attention(at, format!("{text:?} is not a firewall mark; the rule is left out; correct it"));
            None
        }
    }
}

/// Returns the number of a routing table, given as number or name.
fn table(text: &str, at: &Position, context: &mut Context<'_>) -> Option<u32> {
    let known = TABLES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    let found = values::number(text).or(known).or_else(|| {
        let file = context.files.read(Path::new(TABLE_NAMES)).ok()?;
        let file = String::from_utf8(file).ok()?;
        file.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let number = words.next()?.parse().ok()?;
            (words.next()? == text).then_some(number)
        })
    });
    if found.is_none() {
        context.attention(
            at,
            format!("the routing table {text:?} is not in {TABLE_NAMES} of this machine; the line is left out; use the number of the table"),
        );
    }
    found
}
